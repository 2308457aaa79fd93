/** The fake table against the cases that the real one is held against too, and what only the fake has. */
import test from 'ava';
import { cases } from './conntrack-cases.fake.ts';
import { FakeConntrack } from './fake-conntrack.ts';
import { aFlow } from './flow-add.fake.ts';

for (const { name, run } of cases) {
  test(`fake: ${name}`, async (t) => {
    const kernel = new FakeConntrack();
    await run(t, {
      open: () => kernel.open(),
      add: async (...flows) => {
        for (const flow of flows) kernel.add(flow);
      },
    });
    t.is(kernel.openSockets, 0);
  });
}

test('tuples are unique, and intercepted requests change nothing', async (t) => {
  const kernel = new FakeConntrack();
  const flow = kernel.add(aFlow('10.0.0.1:1', '10.0.0.2:2'));
  t.like(
    t.throws(() => kernel.add(aFlow('10.0.0.2:2', '10.0.0.1:1')), { any: true }),
    { errno: 17 },
  );
  const conntrack = await kernel.open();
  kernel.intercept = () => {
    throw new Error('no');
  };
  await t.throwsAsync(conntrack.delete([flow]), { message: 'no' });
  t.deepEqual(kernel.flows, [flow]);
  kernel.expire(flow);
  t.deepEqual(kernel.flows, []);
  conntrack.close();
});
