/** When this node's annotations are written for flannel's nodes, and what they say. */
import test, { type ExecutionContext } from 'ava';
import { ApiError } from '../../api/api-error.ts';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { flannelAnnotation, parseFlannel } from '../../network/overlay/flannel.ts';
import type { PeerListener, PeerNode } from '../../network/overlay/peer.ts';
import { vtepMac } from '../../network/overlay/vtep.ts';
import { silentLogger } from '../../observe/logger.ts';
import { publishFlannel } from './flannel-annotations.ts';

const node = (name: string, more: Partial<PeerNode> = {}): PeerNode => ({
  name,
  createdAt: '2026-01-01T00:00:00Z',
  podCIDR: undefined,
  address: '192.0.2.10',
  ...more,
});
const flannel = (mac: string): Partial<PeerNode> => ({
  flannel: { backendType: 'vxlan', vni: 1, mac, publicIP: '192.0.2.12', isOverwritten: false },
});
const six: Partial<PeerNode> = { podCIDR: 'fd00:244:1::/64', address: 'fd00::10' };
const foreign = node('b', flannel('6a:00:00:00:00:01'));

function setUp(t: ExecutionContext) {
  const clock = new FakeClock();
  const listeners = { 4: new Set<PeerListener>(), 6: new Set<PeerListener>() };
  const written: Readonly<Record<string, string>>[] = [];
  let failure: Error | undefined;
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  const tellOf = async (family: 4 | 6, peers: readonly PeerNode[]): Promise<void> => {
    for (const listener of listeners[family])
      listener(
        peers.map((peer) => ({ type: 'set', peer })),
        true,
      );
    await settle();
  };
  const tell = (...peers: PeerNode[]): Promise<void> => tellOf(4, peers);
  const tell6 = (...peers: PeerNode[]): Promise<void> => tellOf(6, peers);
  publishFlannel(
    {
      nodeName: 'a',
      backend: 'vxlan',
      vni: 1,
      nodeIPs: ['198.51.100.1'],
      peers: {
        follow(family, listener) {
          listeners[family].add(listener);
          return () => listeners[family].delete(listener);
        },
      },
      async write(annotations) {
        if (failure !== undefined) throw failure;
        written.push(annotations);
        await tell(node('a', { flannel: parseFlannel(annotations) }));
        const flannel = parseFlannel(annotations, 6);
        if (annotations[flannelAnnotation.backendV6Data] !== undefined) await tell6(node('a', { ...six, flannel }));
      },
      clock,
      log: silentLogger,
    },
    scope.signal,
  );
  return { clock, written, tell, tell6, scope, listeners, fail: (error: Error | undefined) => (failure = error) };
}

test('without a node of flannel’s nothing is written; with one it is, once', async (t) => {
  const { written, tell, clock } = setUp(t);
  await tell(node('a'), node('c'));
  t.deepEqual(written, []);
  await tell(foreign);
  t.is(written.length, 1);
  t.deepEqual(parseFlannel(written[0]), {
    backendType: 'vxlan',
    vni: 1,
    mac: vtepMac('a'),
    publicIP: '192.0.2.10',
    isOverwritten: false,
  });
  await tell(foreign, node('d', flannel('6a:00:00:00:00:02')));
  clock.advance(600_000);
  await settle();
  t.is(written.length, 1);
});

test('what flannel left on this node is written over; an address that an admin chose stays', async (t) => {
  const { written, tell } = setUp(t);
  await tell(
    node('a', {
      flannel: { backendType: 'vxlan', vni: 1, mac: '6a:00:00:00:00:09', publicIP: '203.0.113.7', isOverwritten: true },
    }),
  );
  t.is(written.length, 1);
  t.is(written[0]?.[flannelAnnotation.publicIP], '203.0.113.7');
});

test('a refusal is tried again, later and later', async (t) => {
  const { written, tell, clock, fail } = setUp(t);
  fail(new ApiError('API_FORBIDDEN', 'nodes "a" is forbidden'));
  await tell(node('a'), foreign);
  for (let second = 0; second < 20; second++) {
    clock.advance(1_000);
    await settle();
  }
  t.is(written.length, 0);
  fail(undefined);
  clock.advance(300_000);
  await settle();
  t.is(written.length, 1);
});

test('with IPv6 pods the annotations of IPv6 are written too, once', async (t) => {
  const { written, tell, tell6, clock } = setUp(t);
  await tell6(node('a', six));
  await tell(node('a'), foreign);
  const all = Object.assign({}, ...written) as Record<string, string>;
  t.is(all[flannelAnnotation.publicIPv6], 'fd00::10');
  t.is(all[flannelAnnotation.backendV6Data], JSON.stringify({ VNI: 1, VtepMAC: vtepMac('a') }));
  t.is(all[flannelAnnotation.publicIP], '192.0.2.10');
  clock.advance(600_000);
  await settle();
  const count = written.length;
  await tell6(node('a', { ...six, flannel: parseFlannel(all, 6) }));
  clock.advance(600_000);
  await settle();
  t.is(written.length, count);
});

test('a node with an IPv4 address only says the MAC address of its IPv6 pods, and flannel’s word for no address', async (t) => {
  const { written, tell, tell6 } = setUp(t);
  await tell6(node('a', { ...six, address: '192.0.2.10' }));
  await tell(node('a'), foreign);
  const all = Object.assign({}, ...written) as Record<string, string>;
  t.true(flannelAnnotation.backendV6Data in all);
  t.is(all[flannelAnnotation.publicIPv6], '::');
});

test('the end ends it', async (t) => {
  const { written, tell, scope, listeners } = setUp(t);
  scope.abort();
  t.is(listeners[4].size + listeners[6].size, 0);
  await tell(node('a'), foreign);
  t.deepEqual(written, []);
});
