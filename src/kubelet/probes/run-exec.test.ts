import test from 'ava';
import type { Container } from '../../api/core.ts';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { createSemaphore } from '../../base/semaphore.ts';
import { CriError } from '../../cri/cri-error.ts';
import type { ExecSyncRequestInput, ExecSyncResponse } from '../../cri/messages.generated.ts';
import type { CallOptions } from '../../cri/service.ts';
import { type ExecEdge, placePatienceMs, runExecProbe } from './run-exec.ts';
import { createRunProbe, type ProbeRequest } from './run-probe.ts';

const container: Container = {
  name: 'c',
  image: 'i',
  env: [
    { name: 'FILE', value: '/tmp/ready' },
    { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
  ],
};
const request = (overrides: Partial<ProbeRequest> = {}): ProbeRequest => ({
  container,
  containerId: 'id',
  host: undefined,
  timeoutSeconds: 3,
  clock: new FakeClock(),
  signal: new AbortController().signal,
  ...overrides,
});

interface Call {
  request: ExecSyncRequestInput;
  signal: AbortSignal | undefined;
  answer(exitCode: number, stdout?: string, stderr?: string): void;
  fail(error: Error): void;
}

/** Every call waits until the test answers it. */
function edge(places = 10): ExecEdge & { calls: Call[] } {
  const calls: Call[] = [];
  const execSync = (asked: ExecSyncRequestInput, options: CallOptions = {}): Promise<ExecSyncResponse> =>
    new Promise((resolve, reject) => {
      const { signal } = options;
      signal?.addEventListener('abort', () => reject(signal.reason));
      calls.push({
        request: asked,
        signal,
        answer: (exitCode, stdout = '', stderr = '') =>
          resolve({ exitCode, stdout: Buffer.from(stdout), stderr: Buffer.from(stderr) }),
        fail: reject,
      });
    });
  return { calls, places: createSemaphore(places), runtime: { execSync } };
}

test('the exit code decides, and the output tells', async (t) => {
  const exec = edge();
  const good = runExecProbe({ command: ['cat', '/x'] }, request(), exec);
  await settle();
  t.deepEqual(exec.calls[0]?.request, { containerId: 'id', cmd: ['cat', '/x'], timeout: 3 });
  exec.calls[0]?.answer(0, 'fine');
  t.deepEqual(await good, { result: 'success', output: 'fine' });
  const bad = runExecProbe({ command: ['cat', '/x'] }, request(), exec);
  await settle();
  exec.calls[1]?.answer(1, 'out ', "cat: can't open '/x'");
  t.deepEqual(await bad, { result: 'failure', output: "out cat: can't open '/x'" });
});

test('10 KiB of what a command prints are repeated', async (t) => {
  const exec = edge();
  const running = runExecProbe({ command: ['yes'] }, request(), exec);
  await settle();
  exec.calls[0]?.answer(1, 'o'.repeat(10_000), 'e'.repeat(1_000_000));
  t.is((await running).output, 'o'.repeat(10_000) + 'e'.repeat(240));
});

test('references to what the manifest itself sets are expanded', async (t) => {
  const exec = edge();
  void runExecProbe({ command: ['cat', '$(FILE)', '$(NODE)', '$(NONE)', '$$(FILE)'] }, request(), exec);
  await settle();
  t.deepEqual(exec.calls[0]?.request.cmd, ['cat', '/tmp/ready', '', '$(NONE)', '$(FILE)']);
});

test('running out of time is a failure, whatever else the runtime says is an error of the node', async (t) => {
  const exec = edge();
  const slow = runExecProbe({ command: ['sleep', '9'] }, request(), exec);
  await settle();
  exec.calls[0]?.fail(new CriError('CRI_DEADLINE', 'timeout 3s exceeded'));
  t.deepEqual(await slow, { result: 'failure', output: 'command timed out: "sleep 9" timed out after 3s' });
  const gone = runExecProbe({ command: ['x'] }, request(), exec);
  await settle();
  exec.calls[1]?.fail(new CriError('CRI_NOT_FOUND', 'no such container'));
  t.deepEqual(await gone, { result: 'error', state: 'unknown', output: 'no such container' });
});

test('an error of the node is tried three times, a failure once', async (t) => {
  const exec = edge();
  const run = createRunProbe(exec);
  const erring = run({ exec: { command: ['x'] } }, request());
  for (let index = 0; index < 3; index++) {
    await settle();
    exec.calls[index]?.fail(new CriError('CRI_UNAVAILABLE', 'no connection'));
  }
  t.is((await erring).result, 'error');
  t.is(exec.calls.length, 3);
  const failing = run({ exec: { command: ['x'] } }, request());
  await settle();
  exec.calls[3]?.answer(1);
  t.is((await failing).result, 'failure');
  t.is(exec.calls.length, 4);
  t.deepEqual(await run({}, request()), { result: 'error', state: 'unknown', output: 'the probe has no action' });
});

test('commands wait for a place, but one that hangs gives its place back', async (t) => {
  const exec = edge(2);
  const clock = new FakeClock();
  const runs = Array.from({ length: 5 }, () => runExecProbe({ command: ['x'] }, request({ clock }), exec));
  await settle();
  t.is(exec.calls.length, 2);
  exec.calls[0]?.answer(0);
  await settle();
  t.is(exec.calls.length, 3, 'one ended');
  await clock.advance(placePatienceMs);
  t.is(exec.calls.length, 5, 'two hang');
  for (const call of exec.calls) call.answer(0);
  t.deepEqual(new Set((await Promise.all(runs)).map(({ result }) => result)), new Set(['success']));
  await settle();
  t.is(exec.places.active, 0);
});

test('an aborted probe ends its command, or never starts it', async (t) => {
  const exec = edge(1);
  const scope = new AbortController();
  const running = runExecProbe({ command: ['x'] }, request({ signal: scope.signal }), exec);
  const waiting = runExecProbe({ command: ['y'] }, request({ signal: scope.signal }), exec);
  await settle();
  scope.abort(new Error('over'));
  await t.throwsAsync(running, { message: 'over' });
  await t.throwsAsync(waiting, { message: 'over' });
  t.is(exec.calls.length, 1);
  t.true(exec.calls[0]?.signal?.aborted);
});
