/** CertificateSigningRequests against a scripted API server: names, versions, states, and what is hostile. */
import test, { type ExecutionContext } from 'ava';
import { silentLogger } from '../observe/logger.ts';
import {
  createSigningRequest,
  followSigningRequest,
  parseSigningRequestState,
  type SigningRequestState,
} from './certificate-signing-request.ts';
import { createApiClient } from './client.ts';
import { failure, startFakeApiServer } from './fake-api-server.ts';

const path = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
const never = new AbortController().signal;

async function lab(t: ExecutionContext) {
  const server = await startFakeApiServer();
  const client = createApiClient({ access: server.access(), userAgent: 'test', random: () => 0 });
  t.teardown(async () => {
    client.close();
    await server.close();
  });
  return { server, client };
}

const spec = { request: '-----BEGIN', signerName: 's/x', usages: ['client auth'] } as const;

test('it is created with a generated name; v1beta1 only where there is no v1', async (t) => {
  for (const versions of [['v1', 'v1beta1'], ['v1beta1']]) {
    const { server, client } = await lab(t);
    server.script(({ path: asked }) => {
      const [, , , version = ''] = asked.split('/');
      if (!versions.includes(version)) return { status: 404, body: failure(404, 'NotFound', 'no') };
      const metadata = { name: 'csr-7', uid: 'u', creationTimestamp: '2026-01-02T03:04:05Z' };
      return { status: 201, body: { metadata } };
    });
    t.deepEqual(await createSigningRequest(client, spec, never), {
      version: versions[0] as 'v1',
      name: 'csr-7',
      uid: 'u',
      createdMs: Date.UTC(2026, 0, 2, 3, 4, 5),
    });
    t.deepEqual(server.requests.at(-1)?.body, {
      apiVersion: `certificates.k8s.io/${versions[0]}`,
      kind: 'CertificateSigningRequest',
      metadata: { generateName: 'csr-' },
      spec: { ...spec, request: btoa(spec.request) },
    });
  }
});

test('what the server refuses, or answers without a name, is an error', async (t) => {
  const { server, client } = await lab(t);
  server.script(() => ({ status: 403, body: failure(403, 'Forbidden', 'no role') }));
  await t.throwsAsync(createSigningRequest(client, spec, never), { code: 'API_FORBIDDEN' });
  t.is(server.requests.length, 1, 'and v1beta1 is not tried');
  for (const body of [{}, { metadata: { name: 'x' } }, { metadata: { name: '', uid: 'u' } }, []]) {
    server.script(() => ({ status: 201, body }));
    await t.throwsAsync(createSigningRequest(client, spec, never), { code: 'API_RESPONSE' });
  }
});

const status = (conditions: object[], certificate?: unknown): object => ({ status: { conditions, certificate } });
const is = (type: string, reason?: unknown, message?: string): object => ({ type, status: 'True', reason, message });

test('states: a denial and a failure outweigh an approval', (t) => {
  const cases: [object, SigningRequestState][] = [
    [{}, { kind: 'pending' }],
    [status([]), { kind: 'pending' }],
    [status([is('Other')], btoa('x')), { kind: 'pending' }],
    [status([is('Approved')]), { kind: 'approved' }],
    [status([is('Approved')], ''), { kind: 'approved' }],
    [status([is('Approved')], btoa('PEM')), { kind: 'issued', certificate: 'PEM' }],
    [status([is('Approved'), is('Denied', 'Policy', 'no')], btoa('x')), { kind: 'denied', by: 'Policy: no' }],
    [status([is('Denied', '', undefined)]), { kind: 'denied', by: 'no reason was given' }],
    [status([is('Failed', 'a'), is('Approved')]), { kind: 'failed', by: 'a' }],
  ];
  for (const [object, state] of cases) t.deepEqual(parseSigningRequestState(object), state, JSON.stringify(object));
  const long = parseSigningRequestState(status([is('Denied', 'x'.repeat(10_000))]));
  t.true('by' in long && long.by.length === 500);
  for (const hostile of [[], status('x' as never), status([is('Denied', 7)]), status([is('Approved')], 7)]) {
    t.throws(() => parseSigningRequestState(hostile));
  }
  t.throws(() => parseSigningRequestState(status([is('Approved')], 'A'.repeat(300_000))), { message: /300000 bytes/ });
});

test('it is followed from where it is to its end; a namesake is somebody else', async (t) => {
  const { server, client } = await lab(t);
  const stop = new AbortController();
  t.teardown(() => stop.abort(new Error('done')));
  const created = server.put(path, { metadata: { name: 'csr-1' }, ...status([]) });
  server.put(path, { metadata: { name: 'csr-2' }, ...status([is('Denied')]) });
  const seen: string[] = [];
  const name = { version: 'v1', name: 'csr-1', uid: created.metadata.uid ?? '' } as const;
  const listener = { state: ({ kind }: { kind: string }) => void seen.push(kind), status: () => undefined };
  followSigningRequest(client, name, listener, { signal: stop.signal, log: silentLogger });
  const until = async (count: number): Promise<void> => {
    for (let left = 300; seen.length < count && left > 0; left--)
      await new Promise((resolve) => setTimeout(resolve, 10));
  };
  await until(1);
  server.put(path, { ...created, ...status([is('Approved')]) });
  await until(2);
  server.put(path, { ...created, ...status([is('Approved')], btoa('PEM')) });
  await until(3);
  server.remove(path, 'csr-1');
  await until(4);
  t.deepEqual(seen, ['pending', 'approved', 'issued', 'gone']);
  server.put(path, { metadata: { name: 'csr-1' }, ...status([is('Approved')], btoa('other')) });
  const late: string[] = [];
  followSigningRequest(
    client,
    name,
    { ...listener, state: ({ kind }) => void late.push(kind) },
    { signal: stop.signal, log: silentLogger },
  );
  for (let left = 300; late.length === 0 && left > 0; left--) await new Promise((resolve) => setTimeout(resolve, 10));
  t.deepEqual(late, ['gone']);
  t.deepEqual(seen, ['pending', 'approved', 'issued', 'gone']);
});
