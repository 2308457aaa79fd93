/** Tests of discovery and of TokenRequest with answers as real servers give them. Layer: api. */
import test from 'ava';
import { ApiError } from './api-error.ts';
import { createApiClient } from './client.ts';
import { endpointSliceVersion, groupVersions, serverVersion } from './discovery-versions.ts';
import { failure, startFakeApiServer } from './fake-api-server.ts';
import { requestToken } from './token-request.ts';

const group = (...versions: string[]) => ({
  kind: 'APIGroup',
  name: 'discovery.k8s.io',
  versions: versions.map((version) => ({ groupVersion: `discovery.k8s.io/${version}`, version })),
  preferredVersion: { groupVersion: `discovery.k8s.io/${versions[0]}`, version: versions[0] },
});

test('versions of the server and of EndpointSlices', async (t) => {
  const server = await startFakeApiServer({ open: true });
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(async () => {
    client.close();
    await server.close();
  });
  const { signal } = new AbortController();
  const answer = (body: unknown, status = 200) => server.script(() => ({ status, body }));
  answer({ major: '1', minor: '20+', gitVersion: 'v1.20.2-eks', goVersion: 'x' });
  t.deepEqual(await serverVersion(client, signal), { gitVersion: 'v1.20.2-eks', major: 1, minor: 20 });
  answer({ major: '', minor: '', gitVersion: 'v1.36.2-own' });
  t.like(await serverVersion(client, signal), { major: 1, minor: 36 });
  answer({ major: '', minor: '', gitVersion: 'master' });
  await t.throwsAsync(serverVersion(client, signal), { instanceOf: ApiError });
  answer(group('v1', 'v1beta1'));
  t.is(await endpointSliceVersion(client, signal), 'v1');
  answer(group('v1beta1'));
  t.is(await endpointSliceVersion(client, signal), 'v1beta1');
  answer(group('v7'));
  t.is(await endpointSliceVersion(client, signal), undefined);
  answer(failure(404, 'NotFound', 'the server could not find the requested resource'), 404);
  t.deepEqual(await groupVersions(client, 'discovery.k8s.io', signal), []);
  answer(failure(403, 'Forbidden', 'no'), 403);
  await t.throwsAsync(endpointSliceVersion(client, signal), { instanceOf: ApiError });
});

test('a token is asked for the pod and comes with its end', async (t) => {
  const server = await startFakeApiServer({ open: true });
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(async () => {
    client.close();
    await server.close();
  });
  const pod = { name: 'web', uid: 'u1' };
  const request = { namespace: 'shop', serviceAccount: 'builder', audiences: ['vault'], expirationSeconds: 600, pod };
  const missing = await t.throwsAsync<ApiError>(requestToken(client, request));
  t.is(missing?.code, 'API_NOT_FOUND');
  server.put('/api/v1/serviceaccounts', { metadata: { name: 'builder', namespace: 'shop' } });
  const before = Date.now();
  const { token, expiresAtMs } = await requestToken(client, request);
  t.is(token, 'e.y.J');
  t.true(Math.abs(expiresAtMs - before - 600_000) < 60_000);
  t.deepEqual(server.requests.at(-1)?.body, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {
      audiences: ['vault'],
      expirationSeconds: 600,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: 'web', uid: 'u1' },
    },
  });
  server.script(() => ({ status: 201, body: { status: { token: 'geheim', expirationTimestamp: 'never' } } }));
  const error = await t.throwsAsync<ApiError>(requestToken(client, request));
  t.notRegex(error?.toLine() ?? '', /geheim/);
});
