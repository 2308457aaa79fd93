/** A right that was never given is told at once; a server that has not read its rights yet is given time. */
import test, { type ExecutionContext } from 'ava';
import { createApiClient } from '../../api/client.ts';
import { failure, startFakeApiServer } from '../../api/fake-api-server.ts';
import { namespaces, networkPolicies, pods } from '../../api/resource.ts';
import { MissingRights } from './missing-rights.ts';

const reviews = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';

/** @param allowed `group/resource` that the server allows to list; undefined: it does not answer */
async function setUp(t: ExecutionContext, allowed: { now: readonly string[] | undefined }) {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  const asked: string[] = [];
  server.script(({ path, body }) => {
    if (path !== reviews) return undefined;
    if (allowed.now === undefined) return { status: 500, body: failure(500, 'InternalError', 'no') };
    const { group, resource, verb } = (
      body as { spec: { resourceAttributes: { group: string; resource: string; verb: string } } }
    ).spec.resourceAttributes;
    asked.push(`${verb} ${group}/${resource}`);
    return { status: 201, body: { status: { allowed: allowed.now.includes(`${group}/${resource}`) } } };
  });
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  const told: (string | undefined)[] = [];
  return { rights: new MissingRights(client, (missing) => told.push(missing)), told, asked };
}
const slices = 'discovery.k8s.io/endpointslices';

test('what a server that knows the rights does not allow is missing, until it is listed', async (t) => {
  const { rights, told, asked } = await setUp(t, { now: [slices, '/namespaces'] });
  await rights.refused(networkPolicies);
  t.deepEqual(told, [], 'another server of several may have refused');
  asked.length = 0;
  await rights.refused(networkPolicies);
  t.deepEqual(told, ['this identity may not list networkpolicies']);
  t.deepEqual(asked, [`list ${slices}`, 'list networking.k8s.io/networkpolicies']);
  await rights.refused(networkPolicies);
  t.is(asked.length, 2, 'asked once');
  for (const resource of [pods, pods, namespaces, namespaces]) await rights.refused(resource);
  t.deepEqual(told.slice(1), ['this identity may not list networkpolicies, pods'], 'namespaces it may');
  rights.granted(networkPolicies);
  rights.granted(pods);
  rights.granted(namespaces);
  t.deepEqual(told.slice(2), ['this identity may not list pods', undefined]);
});

test('a server that knows no rights, or does not answer, decides nothing', async (t) => {
  const allowed: { now: readonly string[] | undefined } = { now: [] };
  const { rights, told } = await setUp(t, allowed);
  await rights.refused(networkPolicies);
  allowed.now = undefined;
  await rights.refused(networkPolicies);
  t.deepEqual(told, []);
  allowed.now = [slices];
  await rights.refused(networkPolicies);
  await rights.refused(networkPolicies);
  t.is(told.length, 1);
});

test('an answer that comes after the list decides nothing', async (t) => {
  const { rights, told } = await setUp(t, { now: [slices] });
  const asking = rights.refused(networkPolicies);
  rights.granted(networkPolicies);
  await asking;
  t.deepEqual(told, []);
});
