/** RuntimeClasses: not watched before they are needed, then known by their watch; one that is missing is named. */
import test from 'ava';
import type { ReflectorListener } from '../../api/reflector.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { IsolationError } from '../isolation/isolation-error.ts';
import { ObjectUnknownError } from './object-watches.ts';
import { RuntimeClasses } from './runtime-classes.ts';

function fixture() {
  const clock = new FakeClock();
  const followed: ReflectorListener<string>[] = [];
  const classes = new RuntimeClasses({ follow: (listener) => followed.push(listener), clock });
  return { clock, classes, followed };
}
const { signal } = new AbortController();

test('the first pod that names one begins the watch, and waits for its list', async (t) => {
  const { classes, followed } = fixture();
  t.is(followed.length, 0);
  const asked = [classes.handler('vm', signal), classes.handler('vm', signal)];
  t.is(followed.length, 1);
  followed[0]?.events([{ type: 'set', key: 'vm', object: 'kata', uid: 'u' } as never]);
  followed[0]?.synced?.();
  t.deepEqual(await Promise.all(asked), ['kata', 'kata']);
});

test('a class that is missing is named, until it comes; one that goes is missing again', async (t) => {
  const { classes, followed } = fixture();
  const early = classes.handler('vm', signal);
  followed[0]?.synced?.();
  const error = await t.throwsAsync(early, { instanceOf: IsolationError });
  t.is(error?.message, 'runtimeclass.node.k8s.io "vm" not found');
  followed[0]?.events([{ type: 'set', key: 'vm', object: 'kata' } as never]);
  t.is(await classes.handler('vm', signal), 'kata');
  followed[0]?.events([{ type: 'delete', key: 'vm' } as never]);
  await t.throwsAsync(classes.handler('vm', signal), { instanceOf: IsolationError });
});

test('an API server that is away does not hold a pod for ever', async (t) => {
  const { clock, classes } = fixture();
  const asked = classes.handler('vm', signal);
  clock.advance(1_000);
  await t.throwsAsync(asked, { instanceOf: ObjectUnknownError });
});
