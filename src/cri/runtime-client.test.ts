/** Which bytes go to which path with which deadline, over a transport that only remembers. */
import test from 'ava';
import type { ChannelCall } from './channel.ts';
import { CriError } from './cri-error.ts';
import { createServices } from './runtime-client.ts';

function recording(requestTimeoutMs?: number) {
  const calls: ChannelCall[] = [];
  const services = createServices(
    {
      unary: async (call) => {
        calls.push(call);
        return Buffer.alloc(0);
      },
      serverStream: (call) => {
        calls.push(call);
        return (async function* () {})();
      },
    },
    requestTimeoutMs,
  );
  return { ...services, calls };
}

test('default deadlines are those of the kubelet', async (t) => {
  const { runtime, image, calls } = recording();
  await runtime.version({});
  await runtime.runPodSandbox({});
  await runtime.stopContainer({ timeout: 30 });
  await runtime.stopContainer({});
  await runtime.execSync({ timeout: 3 });
  await runtime.execSync({});
  await runtime.checkpointContainer({ timeout: 7 });
  await image.pullImage({});
  t.deepEqual(
    calls.map((call) => [call.method, call.timeoutMs]),
    [
      ['Version', 120_000],
      ['RunPodSandbox', 240_000],
      ['StopContainer', 150_000],
      ['StopContainer', 120_000],
      ['ExecSync', 123_000],
      ['ExecSync', undefined],
      ['CheckpointContainer', 127_000],
      ['PullImage', undefined],
    ],
  );
});

test('runtimeRequestTimeout and the call options change them', async (t) => {
  const { runtime, image, calls } = recording(5_000);
  const { signal } = new AbortController();
  await runtime.status({});
  await runtime.stopContainer({ timeout: 2 }, { timeoutMs: 1 });
  await image.pullImage({}, { signal, timeoutMs: 9 });
  t.deepEqual(
    calls.map((call) => call.timeoutMs),
    [5_000, 1, 9],
  );
  t.is(calls[2]?.signal, signal);
});

test('every method of both services goes to a path of its own', async (t) => {
  const { runtime, image, calls } = recording();
  const { getContainerEvents, ...unary } = runtime;
  for (const call of [...Object.values(unary), ...Object.values(image)])
    await (call as (r: object) => Promise<unknown>)({});
  getContainerEvents({});
  const paths = calls.map((call) => call.path);
  t.is(new Set(paths).size, 33);
  t.true(paths.every((path) => /^\/runtime\.v1\.(Runtime|Image)Service\/[A-Z]\w+$/.test(path)));
  const names = [...Object.keys(unary), ...Object.keys(image), 'getContainerEvents'];
  t.deepEqual(
    calls.map((call) => call.path.split('/').at(-1)?.toLowerCase()),
    names.map((name) => name.toLowerCase()),
  );
});

test('a request that cannot be encoded is refused before it is sent', async (t) => {
  const { runtime, calls } = recording();
  const error = await t.throwsAsync(runtime.stopContainer({ timeout: 1.5 }), { instanceOf: CriError });
  t.is(error?.code, 'CRI_REQUEST');
  t.is(error?.object, 'StopContainerRequest.timeout');
  t.is(calls.length, 0);
});
