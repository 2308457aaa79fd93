/** When this node's annotations are written for flannel's nodes, and what they say. */
import test, { type ExecutionContext } from 'ava';
import { ApiError } from '../../api/api-error.ts';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { flannelAnnotation, parseFlannel } from '../../network/overlay/flannel.ts';
import type { PeerChange, PeerNode } from '../../network/overlay/peer.ts';
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
const foreign = node('b', flannel('6a:00:00:00:00:01'));

function setUp(t: ExecutionContext) {
  const clock = new FakeClock();
  const listeners = new Set<(changes: readonly PeerChange[], complete: boolean) => void>();
  const written: Readonly<Record<string, string>>[] = [];
  let failure: Error | undefined;
  const scope = new AbortController();
  t.teardown(() => scope.abort());
  const tell = async (...peers: PeerNode[]): Promise<void> => {
    for (const listener of listeners)
      listener(
        peers.map((peer) => ({ type: 'set', peer })),
        true,
      );
    await settle();
  };
  publishFlannel(
    {
      nodeName: 'a',
      backend: 'vxlan',
      vni: 1,
      nodeIP: '198.51.100.1',
      peers: {
        follow(listener) {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
      },
      async write(annotations) {
        if (failure !== undefined) throw failure;
        written.push(annotations);
        await tell(node('a', { flannel: parseFlannel(annotations) }));
      },
      clock,
      log: silentLogger,
    },
    scope.signal,
  );
  return { clock, written, tell, scope, listeners, fail: (error: Error | undefined) => (failure = error) };
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

test('the end ends it', async (t) => {
  const { written, tell, scope, listeners } = setUp(t);
  scope.abort();
  t.is(listeners.size, 0);
  await tell(node('a'), foreign);
  t.deepEqual(written, []);
});
