import test, { type ExecutionContext } from 'ava';
import type { Container, LifecycleHandler, Pod } from '../../api/core.ts';
import { createFakeAuthority } from '../../api/fake-pki.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { CriError } from '../../cri/cri-error.ts';
import type { ExecSyncRequestInput, ExecSyncResponse } from '../../cri/messages.generated.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { HookTarget } from '../pods/pod-context.ts';
import { closedPort, type FakeListener, listen } from '../probes/fake-listener.ts';
import { HookError } from './hook-error.ts';
import { createRunHook, type HookOptions } from './run-hook.ts';

const container: Container = { name: 'c', image: 'i' };
const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'default', uid: 'u1' },
  spec: { containers: [container] },
};
const where = 'for Container "c" in Pod "web_default(u1)" failed - error: ';

type Exec = (request: ExecSyncRequestInput, signal: AbortSignal | undefined) => Promise<ExecSyncResponse>;

function hooks({ exec = (() => Promise.reject(new Error('not here'))) as Exec, clock = systemClock as Clock } = {}) {
  const events: string[] = [];
  const options: HookOptions = {
    runtime: { execSync: (request, { signal } = {}) => exec(request, signal) },
    nodeIP: '127.0.0.1',
    clock,
    log: silentLogger,
    recordEvent: (_pod, { type, reason, message }) => events.push(`${type} ${reason}: ${message}`),
  };
  const runHook = createRunHook(options);
  const run = (handler: LifecycleHandler, target: Partial<HookTarget> = {}, signal = new AbortController().signal) =>
    runHook(handler, { pod, container, containerId: 'id', podIP: '127.0.0.1', ...target }, signal);
  return { run, events };
}

const failing = (t: ExecutionContext, hook: Promise<void>, message: string) =>
  t.throwsAsync(hook, { instanceOf: HookError, code: 'HOOK_FAILED', message });

async function listening(t: ExecutionContext, ...parameters: Parameters<typeof listen>): Promise<FakeListener> {
  const listener = await listen(...parameters);
  t.teardown(() => listener.close());
  return listener;
}

const answer = (exitCode: number, stdout = '', stderr = ''): ExecSyncResponse => ({
  exitCode,
  stdout: Buffer.from(stdout),
  stderr: Buffer.from(stderr),
});

test('a command runs in the container, as it is written and without a timeout', async (t) => {
  const asked: ExecSyncRequestInput[] = [];
  const { run } = hooks({
    exec: async (request) => {
      asked.push(request);
      return answer(0);
    },
  });
  await run({ exec: { command: ['sh', '-c', 'echo $(HOME)'] } });
  t.deepEqual(asked, [{ containerId: 'id', cmd: ['sh', '-c', 'echo $(HOME)'], timeout: 0 }]);
});

test('a command that fails says how, in few words', async (t) => {
  const brief = hooks({ exec: async () => answer(3, 'out', 'no such file') });
  const what = 'Exec lifecycle hook ([cat /x]) ';
  const said = `command 'cat /x' exited with 3: no such file, message: "outno such file"`;
  await failing(t, brief.run({ exec: { command: ['cat', '/x'] } }), what + where + said);
  const long = hooks({ exec: async () => answer(1, 'o'.repeat(5_000_000), 'e'.repeat(5_000_000)) });
  const error = await t.throwsAsync(long.run({ exec: { command: ['x'.repeat(1_000_000)] } }));
  t.true((error?.message.length ?? 0) < 6_000);
});

test('a runtime that refuses fails the hook and is its cause', async (t) => {
  const gone = new CriError('CRI_NOT_FOUND', 'no such container');
  const { run } = hooks({ exec: () => Promise.reject(gone) });
  const error = await failing(
    t,
    run({ exec: { command: ['x'] } }),
    `Exec lifecycle hook ([x]) ${where}no such container`,
  );
  t.is(error?.cause, gone);
});

test('a hook that is aborted rejects with the reason and takes its command along', async (t) => {
  const scope = new AbortController();
  const { run } = hooks({
    exec: (_request, signal) =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Error('cancelled')))),
  });
  const running = run({ exec: { command: ['x'] } }, {}, scope.signal);
  scope.abort(new Error('grace is over'));
  await t.throwsAsync(running, { message: 'grace is over' });
  await t.throwsAsync(run({ exec: { command: ['x'] } }, {}, scope.signal), { message: 'grace is over' });
});

test('a GET succeeds whatever the server answers', async (t) => {
  const { run } = hooks();
  for (const status of [200, 302, 404, 500]) {
    const listener = await listening(t, (socket) => socket.end(`HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`));
    await run({ httpGet: { path: '/stop', port: listener.port } });
    t.is(
      listener.received[0],
      `GET /stop HTTP/1.1\r\nHost: 127.0.0.1:${listener.port}\r\nUser-Agent: kube-lifecycle/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n`,
    );
  }
});

test('a GET that gets no answer fails', async (t) => {
  const { run } = hooks();
  const port = await closedPort();
  const address = `127.0.0.1:${port}`;
  const said = `Get "http://${address}/stop": dial tcp ${address}: connect: connection refused`;
  await failing(t, run({ httpGet: { path: '/stop', port } }), `HTTP lifecycle hook (/stop) ${where}${said}`);
  await failing(
    t,
    run({ httpGet: { port } }, { podIP: undefined }),
    `HTTP lifecycle hook () ${where}the pod has no IP address`,
  );
  await failing(t, run({ httpGet: { port: 'web' } }), `HTTP lifecycle hook () ${where}invalid port "web"`);
});

test('a hostNetwork pod is asked at the node’s address', async (t) => {
  const { run } = hooks();
  const listener = await listening(t, (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'));
  const onHost = { ...pod, spec: { ...pod.spec, hostNetwork: true } };
  await run({ httpGet: { port: listener.port } }, { pod: onHost, podIP: undefined });
  t.is(listener.received.length, 1);
});

test('HTTPS needs no valid certificate', async (t) => {
  const { run, events } = hooks();
  const tls = createFakeAuthority().issue({ names: ['else'] });
  const listener = await listening(t, (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'), { tls });
  await run({ httpGet: { scheme: 'HTTPS', port: listener.port } });
  t.is(listener.received.length, 1);
  t.deepEqual(events, []);
});

test('HTTPS to a server without TLS is tried again without, and without credentials', async (t) => {
  const { run, events } = hooks();
  const listener = await listening(t, (socket, count) =>
    socket.end(`HTTP/1.1 ${count === 0 ? '400 Bad Request' : '200 OK'}\r\nContent-Length: 0\r\n\r\n`),
  );
  const httpHeaders = [
    { name: 'authorization', value: 'Bearer secret' },
    { name: 'X-A', value: '1' },
  ];
  await run({ httpGet: { scheme: 'HTTPS', path: '/stop', port: listener.port, httpHeaders } });
  t.is(listener.received.length, 2);
  t.true(listener.received[1]?.startsWith('GET /stop HTTP/1.1\r\n'));
  t.true(listener.received[1]?.includes('X-A: 1'));
  t.false(listener.received[1]?.includes('secret'));
  const address = `127.0.0.1:${listener.port}`;
  t.deepEqual(events, [
    `Warning LifecycleHTTPFallback: request to HTTPS lifecycle hook ${address} got HTTP response, retry with HTTP succeeded`,
  ]);
});

test('a server that never ends its answer is left when the hook is aborted', async (t) => {
  const { run } = hooks();
  const scope = new AbortController();
  const closed = Promise.withResolvers<void>();
  const listener = await listening(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow');
    socket.on('close', () => closed.resolve());
    setImmediate(() => scope.abort(new Error('grace is over')));
  });
  await t.throwsAsync(run({ httpGet: { port: listener.port } }, {}, scope.signal), { message: 'grace is over' });
  await closed.promise;
});

test('a sleep lasts as long as it says, or until it is aborted', async (t) => {
  const clock = new FakeClock();
  const { run } = hooks({ clock });
  let over = false;
  const sleeping = run({ sleep: { seconds: 5 } }).then(() => {
    over = true;
  });
  await clock.advance(4_999);
  t.false(over);
  await clock.advance(1);
  await sleeping;
  await run({ sleep: { seconds: 0 } });
  await run({ sleep: { seconds: Number.NaN } });
  const scope = new AbortController();
  const forever = run({ sleep: { seconds: 2 ** 40 } }, {}, scope.signal);
  await clock.advance(2 ** 33);
  scope.abort(new Error('grace is over'));
  await t.throwsAsync(forever, { message: 'grace is over' });
});

test('tcpSocket and no action at all are refused', async (t) => {
  const { run } = hooks();
  const refused = `Lifecycle hook ${where}invalid handler: `;
  await failing(
    t,
    run({ tcpSocket: { port: 80 } }),
    `${refused}tcpSocket is no longer supported, use exec, httpGet or sleep`,
  );
  await failing(t, run({}), `${refused}it has no action`);
});
