/** The cluster's Service networks of a scripted API server, as the proxy hears of them. */
import test, { type ExecutionContext } from 'ava';
import { createApiClient } from '../../api/client.ts';
import { failure, startFakeApiServer } from '../../api/fake-api-server.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { followServiceCIDRs, projectServiceCIDR } from './proxy-service-cidrs.ts';

const group = '/apis/networking.k8s.io/v1';
const path = `${group}/servicecidrs`;
const resources = (...names: string[]) => ({
  status: 200,
  body: {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: 'networking.k8s.io/v1',
    resources: names.map((name) => ({ name, namespaced: false, kind: name, verbs: ['list'] })),
  },
});
const serviceCIDR = (name: string, ...cidrs: string[]) => ({ metadata: { name }, spec: { cidrs } });

async function setup(t: ExecutionContext, discovery: () => { status: number; body: object }) {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  server.script(({ path: asked }) => (asked === group ? discovery() : undefined));
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  const heard: string[] = [];
  // A minute of waiting is a few milliseconds.
  const clock: Clock = { now: systemClock.now, after: (ms, run) => systemClock.after(ms / 10_000, run) };
  const onChange = (prefixes: readonly string[]): void => void heard.push(prefixes.toSorted().join());
  const following = followServiceCIDRs({ client, onChange, clock, log: silentLogger }, scope.signal);
  const until = async (what: () => boolean): Promise<void> => {
    while (!what()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  return { server, heard, following, scope, until };
}

test('all networks, canonical, after each change; what is no network is left out', async (t) => {
  const { server, heard, until } = await setup(t, () => resources('networkpolicies', 'servicecidrs'));
  server.put(path, serviceCIDR('kubernetes', '10.96.0.7/12', 'FD00:96::/112'));
  await until(() => heard.at(-1) === '10.96.0.0/12,fd00:96::/112');
  server.put(path, serviceCIDR('more', '10.200.0.0/16', 'everything', '10.0.0.0/99'));
  await until(() => heard.at(-1) === '10.200.0.0/16,10.96.0.0/12,fd00:96::/112');
  server.remove(path, 'kubernetes');
  await until(() => heard.at(-1) === '10.200.0.0/16');
  server.remove(path, 'more');
  await until(() => heard.at(-1) === '');
  t.pass();
});

for (const [what, answer] of [
  ['an API server before 1.33', resources('networkpolicies', 'ingresses')],
  ['one without the group', { status: 404, body: failure(404, 'NotFound', 'the server could not find it') }],
] as const)
  test(`${what} is not asked for any`, async (t) => {
    const { server, heard, following } = await setup(t, () => answer);
    await following;
    t.deepEqual(heard, []);
    t.false(server.requests.some((request) => request.path === path));
  });

test('an API server that cannot answer yet is asked again, until it does or the proxy stops', async (t) => {
  let refusals = 3;
  const unavailable = { status: 503, body: failure(503, 'ServiceUnavailable', 'not ready') };
  const first = await setup(t, () => (refusals-- > 0 ? unavailable : resources('servicecidrs')));
  first.server.put(path, serviceCIDR('kubernetes', '10.96.0.0/12'));
  await first.until(() => first.heard.at(-1) === '10.96.0.0/12');
  t.is(refusals, -1);
  const second = await setup(t, () => unavailable);
  await second.until(() => second.server.requests.length > 3);
  second.scope.abort();
  await second.following;
  t.deepEqual(second.heard, []);
});

test('an object without networks has none', (t) => {
  for (const spec of [undefined, {}, { cidrs: [] }])
    t.deepEqual(projectServiceCIDR({ metadata: { name: 'a' }, spec }).prefixes, []);
});
