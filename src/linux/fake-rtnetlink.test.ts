/** The fake held against the cases that the real kernel passes too, and what only the fake offers. */
import test from 'ava';
import { FakeRtnetlink } from './fake-rtnetlink.ts';
import { KernelError } from './kernel-error.ts';
import type { RtnetlinkNotification } from './rtnetlink.ts';
import { cases } from './rtnetlink-cases.fake.ts';

for (const { name, run } of cases) {
  test(`as the kernel: ${name}`, async (t) => {
    const fake = new FakeRtnetlink();
    fake.addNamespace('/run/netns/a');
    fake.addNamespace('/run/netns/b');
    await run(t, {
      opener: fake,
      a: '/run/netns/a',
      b: '/run/netns/b',
      deleteNamespace: async (path) => fake.deleteNamespace(path),
    });
  });
}

test('notifications of subscribed groups of the own namespace, in order, until unsubscribed', async (t) => {
  const fake = new FakeRtnetlink();
  const seen: RtnetlinkNotification[] = [];
  const unsubscribe = await fake.subscribe(['link', 'address4'], (notification) => seen.push(notification));
  const socket = await fake.open();
  await socket.apply([
    { op: 'linkAddBridge', name: 'br0' },
    { op: 'addressAdd', ifindex: 2, prefix: '10.0.0.1/24' },
    { op: 'addressAdd', ifindex: 2, prefix: 'fd00::1/64' },
    { op: 'linkDelete', link: { name: 'br0' } },
  ]);
  await new Promise(setImmediate);
  t.deepEqual(
    seen.map(({ event }) => event),
    ['linkNew', 'addressNew', 'addressDelete', 'linkDelete'],
  );
  fake.overrun();
  t.is(seen.at(-1)?.event, 'overrun');
  unsubscribe();
  await socket.apply([{ op: 'linkAddBridge', name: 'br1' }]);
  await new Promise(setImmediate);
  t.is(seen.length, 5);
  t.is(fake.openSockets, 1);
  socket.close();
  t.is(fake.openSockets, 0);
});

test('intercept fails an operation without doing it', async (t) => {
  const fake = new FakeRtnetlink();
  const socket = await fake.open();
  const failure = new KernelError(105, 'RTM_NEWLINK', 'test');
  fake.intercept = (operation) => (operation.op === 'linkAddBridge' ? failure : undefined);
  t.deepEqual(await socket.apply([{ op: 'linkAddBridge', name: 'br0' }]), [failure]);
  t.is(await socket.link({ name: 'br0' }), undefined);
  t.deepEqual(fake.applied, []);
});
