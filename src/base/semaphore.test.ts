import test from 'ava';
import { createSemaphore } from './semaphore.ts';

const deferred = () => Promise.withResolvers<void>();

test('no more than the given places are in use, and arrivals go in order', async (t) => {
  const semaphore = createSemaphore(2);
  const gates = [deferred(), deferred(), deferred()];
  const started: number[] = [];
  const runs = gates.map((gate, i) =>
    semaphore.run(async () => {
      started.push(i);
      await gate.promise;
    }),
  );
  await Promise.resolve();
  t.deepEqual(started, [0, 1]);
  t.is(semaphore.active, 2);
  t.is(semaphore.waiting, 1);
  gates[1]!.resolve();
  await runs[1];
  await Promise.resolve();
  t.deepEqual(started, [0, 1, 2]);
  gates[0]!.resolve();
  gates[2]!.resolve();
  await Promise.all(runs);
  t.is(semaphore.active, 0);
});

test('a higher priority overtakes those that wait', async (t) => {
  const semaphore = createSemaphore(1);
  const gate = deferred();
  const order: string[] = [];
  const first = semaphore.run(() => gate.promise);
  const low = semaphore.run(async () => void order.push('low'));
  const high = semaphore.run(async () => void order.push('high'), { priority: 1 });
  gate.resolve();
  await Promise.all([first, low, high]);
  t.deepEqual(order, ['high', 'low']);
});

test('an aborted waiter leaves the queue and a failing one frees its place', async (t) => {
  const semaphore = createSemaphore(1);
  const gate = deferred();
  const first = semaphore.run(() => gate.promise);
  const controller = new AbortController();
  const waiting = semaphore.run(async () => undefined, { signal: controller.signal });
  controller.abort(new Error('stop'));
  await t.throwsAsync(waiting, { message: 'stop' });
  t.is(semaphore.waiting, 0);
  gate.resolve();
  await first;
  await t.throwsAsync(
    semaphore.run(() => Promise.reject(new Error('broken'))),
    { message: 'broken' },
  );
  t.is(semaphore.active, 0);
});
