/** Services and EndpointSlices of a scripted API server, as the proxy hears of them. */
import test from 'ava';
import { createApiClient } from '../../api/client.ts';
import { failure, startFakeApiServer } from '../../api/fake-api-server.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { ServiceEvent } from '../../proxy/service-source.ts';
import { createApiServiceSource } from './api-service-source.ts';
import { followOwnNode, podCIDRsOf } from './own-node.ts';

const meta = (name: string, labels: Record<string, string> = {}) => ({ name, namespace: 'shop', labels });
const service = (name: string, labels = {}) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: meta(name, labels),
  spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
});
const slice = (name: string, address: string) => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: meta(name, { 'kubernetes.io/service-name': 'web' }),
  addressType: 'IPv4',
  endpoints: [{ addresses: [address] }],
  ports: [{ port: 8080 }],
});

const said = (event: ServiceEvent): string => {
  switch (event.event) {
    case 'serviceSet':
      return `+ ${event.service.metadata.name}`;
    case 'sliceSet':
      return `+ ${event.slice.metadata.name} ${event.slice.endpoints?.[0]?.addresses[0]}`;
    case 'serviceDeleted':
      return `- ${event.service.namespace}/${event.service.name}`;
    case 'sliceDeleted':
      return `- ${event.slice.namespace}/${event.slice.name}`;
    case 'serviceCIDRs':
      return `= ${event.prefixes}`;
  }
};

test('all that is there before start resolves, then each change', async (t) => {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  server.put('/api/v1/services', service('web'));
  server.put('/apis/discovery.k8s.io/v1/endpointslices', slice('web-1', '10.244.0.2'));
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  const heard: string[] = [];
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  const source = createApiServiceSource({ client, sliceVersion: 'v1', clock: systemClock, log: silentLogger });
  await source.start((events) => heard.push(...events.map(said)), scope.signal);
  t.deepEqual(heard.toSorted(), ['+ web', '+ web-1 10.244.0.2']);
  server.put('/apis/discovery.k8s.io/v1/endpointslices', slice('web-1', '10.244.0.3'));
  server.remove('/api/v1/services', 'shop/web');
  while (heard.length < 4) await new Promise((resolve) => setTimeout(resolve, 5));
  t.deepEqual(heard.slice(2).toSorted(), ['+ web-1 10.244.0.3', '- shop/web']);
});

test('what is forbidden or lost is told, also before the first list and after it', async (t) => {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  server.put('/api/v1/services', service('web'));
  const refuse = ({ path }: { path: string }) =>
    path.includes('endpointslices')
      ? { status: 403, body: failure(403, 'Forbidden', 'User "u" cannot list resource "endpointslices"') }
      : undefined;
  server.script(refuse);
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  let aheadMs = 0;
  const clock: Clock = {
    now: () => systemClock.now() + aheadMs,
    after: (ms, run) => systemClock.after(ms > 60_000 ? ms : ms / 200, run),
  };
  const source = createApiServiceSource({ client, sliceVersion: 'v1', clock, log: silentLogger });
  const until = async (what: () => boolean): Promise<void> => {
    while (!what()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const started = source.start(() => {}, scope.signal);
  await until(() => server.requests.filter(({ path }) => path.includes('endpointslices')).length > 2);
  t.deepEqual(source.troubles(), [], 'it may pass');
  aheadMs = 20_000;
  await until(() => source.troubles().length > 0);
  t.regex(source.troubles().join(), /^endpointslices: GET .*User "u" cannot list resource "endpointslices"/);
  server.script(undefined);
  await started;
  await until(() => source.troubles().length === 0);
  aheadMs = 60_000;
  server.script(() => 'reset');
  server.endWatches();
  await until(() => source.troubles().length === 2);
  server.script(undefined);
  await until(() => source.troubles().length === 0);
  t.pass();
});

test('the own Node: its podCIDRs are waited for, one of each family in the Node’s order', async (t) => {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  const node = (spec: object) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-a' }, spec });
  server.put('/api/v1/nodes', node({}));
  const own = followOwnNode({ client, nodeName: 'node-a', clock: systemClock, log: silentLogger }, scope.signal);
  const waiting = new AbortController();
  const asked = own.podCIDRs(waiting.signal);
  const given = own.podCIDRs(scope.signal);
  waiting.abort(new Error('enough'));
  await t.throwsAsync(asked, { message: 'enough' });
  server.put('/api/v1/nodes', node({ podCIDR: 'fd00::/64', podCIDRs: ['fd00::/64', '10.244.3.0/24', '10.9.0.0/24'] }));
  t.deepEqual(await given, ['fd00::/64', '10.244.3.0/24']);
  t.deepEqual(await own.podCIDRs(scope.signal), ['fd00::/64', '10.244.3.0/24']);

  const seen: (readonly string[])[] = [];
  const unfollow = own.onChange(() => seen.push(podCIDRsOf(own.node)));
  const until = async (length: number): Promise<void> => {
    while (seen.length < length) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  server.remove('/api/v1/nodes', 'node-a');
  await until(1);
  server.put('/api/v1/nodes', node({ podCIDR: '10.244.9.0/24' }));
  await until(2);
  t.deepEqual(seen, [[], ['10.244.9.0/24']], 'a Node made anew has another one');
  t.deepEqual(await own.podCIDRs(scope.signal), ['10.244.9.0/24']);
  unfollow();
  t.is(own.error, undefined);
});
