/** The fake kernel against the cases that the real one is held against too, and what only the fake has. */
import test from 'ava';
import { FakeNftables } from './fake-nftables.ts';
import { cases } from './nftables/nftables-cases.fake.ts';

for (const { name, run } of cases) {
  test(`fake: ${name}`, async (t) => {
    const kernel = new FakeNftables();
    await run(t, () => kernel.open());
    t.is(kernel.openSockets, 0);
  });
}

test('intercepted batches change nothing', async (t) => {
  const kernel = new FakeNftables();
  const socket = await kernel.open();
  kernel.intercept = () => new Error('no');
  await t.throwsAsync(socket.apply([{ op: 'tableAdd', table: { family: 'ip', name: 't' } }]), { message: 'no' });
  t.is(kernel.tables.size, 0);
  socket.close();
  await t.throwsAsync(socket.generation(), { message: /EBADF/ });
});
