import test from 'ava';
import { CleanupQueue } from './cleanup-queue.ts';

const at = { ip: '10.96.0.1', port: 53 };

test('one cleanup a destination: the newest list of who serves, everybody who was removed', (t) => {
  const queue = new CleanupQueue();
  queue.add([
    { ...at, remove: [1], keep: [2, 3] },
    { ip: '', port: 53, remove: [1], keep: [] },
  ]);
  queue.add([{ ...at, remove: [2], keep: [3] }]);
  t.is(queue.size, 2);
  t.deepEqual(queue.take(), [
    { ...at, remove: [1, 2], keep: [3] },
    { ip: '', port: 53, remove: [1], keep: [] },
  ]);
  t.deepEqual(queue.take(), []);
});

test('what is for all stays for all', (t) => {
  const queue = new CleanupQueue();
  queue.add([{ ...at, remove: undefined, keep: [1] }]);
  queue.add([{ ...at, remove: [1], keep: [2] }]);
  t.deepEqual(queue.take(), [{ ...at, remove: undefined, keep: [2] }]);
  queue.add([{ ...at, remove: [1], keep: [2] }]);
  queue.add([{ ...at, remove: undefined, keep: [3] }]);
  t.deepEqual(queue.take(), [{ ...at, remove: undefined, keep: [3] }]);
});

test('what is restored is older', (t) => {
  const queue = new CleanupQueue();
  queue.add([{ ...at, remove: [2], keep: [3] }]);
  queue.restore([
    { ...at, remove: [1], keep: [2] },
    { ip: '', port: 1, remove: [1], keep: [2] },
  ]);
  t.deepEqual(queue.take(), [
    { ...at, remove: [1, 2], keep: [3] },
    { ip: '', port: 1, remove: [1], keep: [2] },
  ]);
});

test('it does not grow with endpoints that come and go', (t) => {
  const queue = new CleanupQueue();
  for (let endpoint = 0; endpoint < 5000; endpoint++) queue.add([{ ...at, remove: [endpoint], keep: [endpoint + 1] }]);
  t.deepEqual(queue.take(), [{ ...at, remove: undefined, keep: [5000] }]);
});
