/** Nodes of a scripted API server, as the overlay hears of them. */
import test from 'ava';
import { createApiClient } from '../../api/client.ts';
import { failure, startFakeApiServer } from '../../api/fake-api-server.ts';
import { systemClock } from '../../base/clock.ts';
import type { PeerChange } from '../../network/overlay/peer.ts';
import { silentLogger } from '../../observe/logger.ts';
import { followPeerNodes, projectPeers } from './peer-nodes.ts';

const path = '/api/v1/nodes';
const node = (name: string, podCIDR: string, address: string, more: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { podCIDR, podCIDRs: [podCIDR, 'fd00:1::/64'] },
  status: {
    addresses: [
      { type: 'Hostname', address: name },
      { type: 'InternalIP', address },
    ],
    ...more,
  },
});
const said = (change: PeerChange): string =>
  change.type === 'set' ? `${change.peer.name} ${change.peer.podCIDR} ${change.peer.address}` : `- ${change.name}`;

test('what a Node says of the way to its pods', (t) => {
  t.deepEqual(projectPeers(node('a', '10.244.1.0/24', '192.0.2.11'))[4], {
    name: 'a',
    createdAt: '2026-01-01T00:00:00Z',
    podCIDR: '10.244.1.0/24',
    address: '192.0.2.11',
  });
  const fresh = { metadata: { name: 'b' }, spec: {}, status: null };
  t.deepEqual(projectPeers(fresh)[4], { name: 'b', createdAt: '', podCIDR: undefined, address: undefined });
  const six = {
    metadata: { name: 'c' },
    spec: { podCIDR: 'fd00:1::/64', podCIDRs: ['fd00:1::/64', '10.244.3.0/24'] },
    status: {
      addresses: [
        { type: 'ExternalIP', address: '203.0.113.3' },
        { type: 'InternalIP', address: 'fd00::3' },
        { type: 'InternalIP', address: '192.0.2.13' },
      ],
    },
  };
  t.like(projectPeers(six), {
    4: { podCIDR: '10.244.3.0/24', address: '192.0.2.13' },
    6: { podCIDR: 'fd00:1::/64', address: 'fd00::3' },
  });
  // With one address it is that of both families.
  t.is(projectPeers(node('a', '10.244.1.0/24', '192.0.2.11'))[6].address, '192.0.2.11');
  for (const bad of [{}, { metadata: { name: '' } }, { metadata: { name: 'x' }, spec: { podCIDR: 7 } }, [], null])
    t.throws(() => projectPeers(bad), { code: 'OBJECT_SHAPE' });
});

test('every Node, then each change that matters; who comes later is told the same', async (t) => {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  server.put(path, node('a', '10.244.1.0/24', '192.0.2.11'));
  server.put(path, node('b', '10.244.2.0/24', '192.0.2.12'));
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  const peers = followPeerNodes({ client, clock: systemClock, log: silentLogger }, scope.signal);
  const heard: string[] = [];
  let isComplete = false;
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const unfollow = peers.follow(4, (changes, complete) => {
    heard.push(...changes.map(said));
    isComplete = complete;
  });
  t.false(isComplete);
  await until(() => isComplete);
  t.deepEqual(heard.toSorted(), ['a 10.244.1.0/24 192.0.2.11', 'b 10.244.2.0/24 192.0.2.12']);
  // A heartbeat changes the object, and nothing that is told.
  server.put(path, node('a', '10.244.1.0/24', '192.0.2.11', { images: [{ names: ['x'] }] }));
  server.put(path, node('b', '10.244.2.0/24', '192.0.2.99'));
  server.remove(path, 'a');
  await until(() => heard.length >= 4);
  t.deepEqual(heard.slice(2), ['b 10.244.2.0/24 192.0.2.99', '- a']);
  const later: string[] = [];
  peers.follow(4, (changes, complete) => later.push(...changes.map(said), String(complete)));
  t.deepEqual(later, ['b 10.244.2.0/24 192.0.2.99', 'true']);
  unfollow();
  server.put(path, node('c', '10.244.3.0/24', '192.0.2.13'));
  await until(() => later.length >= 4);
  t.is(heard.length, 4);
  t.is(peers.error, undefined);
});

test('who may not list them hears nothing, and the reason is told', async (t) => {
  const server = await startFakeApiServer();
  t.teardown(() => server.close());
  server.script((request) =>
    request.path === path ? { status: 403, body: failure(403, 'Forbidden', 'nodes is forbidden') } : undefined,
  );
  const client = createApiClient({ access: server.access(), userAgent: 'keelson/test' });
  t.teardown(() => client.close());
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  // Refusals of the first seconds may pass by themselves and are not told.
  let nowMs = Date.now();
  const clock = {
    now: () => (nowMs += 60_000),
    after: (_: number, callback: () => void) => systemClock.after(1, callback),
  };
  const peers = followPeerNodes({ client, clock, log: silentLogger }, scope.signal);
  while (peers.error === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  t.regex(peers.error, /nodes is forbidden/);
  peers.follow(4, (changes, complete) => t.deepEqual([changes, complete], [[], false]));
});
