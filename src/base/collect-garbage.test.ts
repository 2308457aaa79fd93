/** A collection on demand really collects. */
import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { collectGarbage } from './collect-garbage.ts';

test('what nobody holds is gone after it', async (t) => {
  const makeGarbage = (): WeakRef<object> => new WeakRef({ large: new Array(1000).fill('x') });
  const reference = makeGarbage();
  // A WeakRef keeps its target until the end of the turn that made it.
  await setImmediate();
  collectGarbage();
  t.is(reference.deref(), undefined);
});
