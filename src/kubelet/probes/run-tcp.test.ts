import test from 'ava';
import { type Clock, systemClock } from '../../base/clock.ts';
import { closedPort, listen } from './fake-listener.ts';
import type { ProbeRequest } from './run-probe.ts';
import { runTcpProbe } from './run-tcp.ts';

const request = (overrides: Partial<ProbeRequest> = {}): ProbeRequest => ({
  container: { name: 'c', image: 'i', ports: [{ name: 'db', containerPort: 1 }] },
  containerId: 'id',
  host: '127.0.0.1',
  timeoutSeconds: 20,
  clock: systemClock,
  signal: new AbortController().signal,
  ...overrides,
});

test('a connection is enough, and it is closed without a word', async (t) => {
  const closed = Promise.withResolvers<void>();
  const listener = await listen((socket) => socket.on('close', () => closed.resolve()), { greet: true });
  t.teardown(() => listener.close());
  t.deepEqual(await runTcpProbe({ port: listener.port }, request()), { result: 'success', output: '' });
  await closed.promise;
  t.deepEqual(listener.received, ['']);
  const elsewhere = await runTcpProbe({ port: listener.port, host: '127.0.0.1' }, request({ host: undefined }));
  t.is(elsewhere.result, 'success', 'a host of its own goes before the pod');
});

test('a closed port fails', async (t) => {
  const port = await closedPort();
  t.deepEqual(await runTcpProbe({ port }, request()), {
    result: 'failure',
    output: `dial tcp 127.0.0.1:${port}: connect: connection refused`,
  });
});

test('no answer at all fails at the timeout', async (t) => {
  const listener = await listen(() => undefined);
  t.teardown(() => listener.close());
  const { port } = listener;
  // The timer fires before the kernel can say anything.
  const delays: number[] = [];
  const clock: Clock = {
    now: () => 0,
    after(delayMs, callback) {
      delays.push(delayMs);
      process.nextTick(callback);
      return () => undefined;
    },
  };
  const output = `dial tcp 127.0.0.1:${port}: i/o timeout`;
  t.deepEqual(await runTcpProbe({ port }, request({ clock, timeoutSeconds: 3 })), { result: 'failure', output });
  t.deepEqual(delays, [3000]);
});

test('a port that the container does not name and a pod without an address are errors of the node', async (t) => {
  const unknown = await runTcpProbe({ port: 'web' }, request());
  t.deepEqual(unknown, { result: 'error', state: 'unknown', output: 'invalid port "web"' });
  t.is((await runTcpProbe({ port: 'db' }, request({ host: undefined }))).result, 'error');
});

test('an aborted probe rejects with the reason', async (t) => {
  const listener = await listen(() => undefined);
  t.teardown(() => listener.close());
  const scope = new AbortController();
  const waiting = runTcpProbe({ port: listener.port }, request({ signal: scope.signal }));
  scope.abort(new Error('over'));
  await t.throwsAsync(waiting, { message: 'over' });
});
