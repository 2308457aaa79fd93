import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../base/clock.ts';
import { closedPort, listen } from './fake-listener.ts';
import { healthCheckPath } from './health-message.ts';
import { runGrpcProbe } from './run-grpc.ts';
import type { ProbeRequest } from './run-probe.ts';

const request = (overrides: Partial<ProbeRequest> = {}): ProbeRequest => ({
  container: { name: 'c', image: 'i' },
  containerId: 'id',
  host: '127.0.0.1',
  timeoutSeconds: 20,
  clock: systemClock,
  signal: new AbortController().signal,
  ...overrides,
});
const identity = (bytes: Buffer): Buffer => bytes;

type Answer = Buffer | { code: status; details: string } | 'none';
interface Asked {
  service: string;
  agent: string;
}

async function healthServer(t: ExecutionContext, answer: Answer, path = healthCheckPath) {
  const asked: Asked[] = [];
  const cancelled = Promise.withResolvers<void>();
  const server = new Server();
  const check = (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>): void => {
    asked.push({ service: call.request.subarray(2).toString(), agent: String(call.metadata.get('user-agent')) });
    call.on('cancelled', () => cancelled.resolve());
    if (answer === 'none') return;
    if ('code' in answer) reply(answer);
    else reply(null, answer);
  };
  server.addService(
    {
      check: {
        path,
        requestStream: false,
        responseStream: false,
        requestSerialize: identity,
        requestDeserialize: identity,
        responseSerialize: identity,
        responseDeserialize: identity,
      },
    },
    { check },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  t.teardown(() => server.forceShutdown());
  return { port, asked, cancelled: cancelled.promise };
}

test('SERVING is success, and the service is asked by its name', async (t) => {
  const { port, asked } = await healthServer(t, Buffer.from([8, 1]));
  t.deepEqual(await runGrpcProbe({ port, service: 'db' }, request()), { result: 'success', output: 'service healthy' });
  t.deepEqual(await runGrpcProbe({ port }, request()), { result: 'success', output: 'service healthy' });
  t.deepEqual(
    asked.map(({ service }) => service),
    ['db', ''],
  );
  t.regex(asked[0]?.agent ?? '', /^kube-probe\/1\.36 /);
});

test('every other status is a failure that names it', async (t) => {
  const said: [number[], string][] = [
    [[], 'UNKNOWN'],
    [[8, 2], 'NOT_SERVING'],
    [[8, 3], 'SERVICE_UNKNOWN'],
    [[8, 9], '9'],
  ];
  for (const [bytes, name] of said) {
    const { port } = await healthServer(t, Buffer.from(bytes));
    const output = `service unhealthy (responded with "${name}")`;
    t.deepEqual(await runGrpcProbe({ port }, request()), { result: 'failure', output });
  }
});

test('a server without the health service, an error and a damaged answer are failures', async (t) => {
  const other = await healthServer(t, Buffer.from([8, 1]), '/other.Service/Check');
  const { result, output } = await runGrpcProbe({ port: other.port }, request());
  t.is(result, 'failure');
  t.regex(output, /^error: this server does not implement the grpc health protocol \(grpc\.health\.v1\.Health\): /);
  const unknown = await healthServer(t, { code: status.NOT_FOUND, details: 'unknown service' });
  t.deepEqual(await runGrpcProbe({ port: unknown.port }, request()), {
    result: 'failure',
    output: 'error: health rpc probe failed: rpc error: code = NotFound desc = unknown service',
  });
  const damaged = await healthServer(t, Buffer.from([8]));
  t.regex((await runGrpcProbe({ port: damaged.port }, request())).output, /the message is cut off$/);
});

test('nobody there, and an answer that does not come, fail at the timeout', async (t) => {
  const closed = await closedPort();
  t.deepEqual(await runGrpcProbe({ port: closed }, request({ timeoutSeconds: 1 })), {
    result: 'failure',
    output: `timeout: failed to connect service "127.0.0.1:${closed}" within 1s: context deadline exceeded`,
  });
  const { port } = await healthServer(t, 'none');
  t.deepEqual(await runGrpcProbe({ port }, request({ timeoutSeconds: 1 })), {
    result: 'failure',
    output: 'timeout: health rpc did not complete within 1s',
  });
});

test('a server that does not speak HTTP/2 fails the probe', async (t) => {
  const babbling = await listen((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  t.teardown(() => babbling.close());
  t.is((await runGrpcProbe({ port: babbling.port }, request({ timeoutSeconds: 1 }))).result, 'failure');
});

test('a pod without an address is an error of the node; an aborted probe rejects with the reason', async (t) => {
  t.is((await runGrpcProbe({ port: 1 }, request({ host: undefined }))).result, 'error');
  const { port, cancelled } = await healthServer(t, 'none');
  for (const at of [await closedPort(), port]) {
    const scope = new AbortController();
    const waiting = runGrpcProbe({ port: at }, request({ signal: scope.signal, timeoutSeconds: 10_000 }));
    setTimeout(() => scope.abort(new Error('over')), 100);
    await t.throwsAsync(waiting, { message: 'over' });
  }
  await cancelled;
});
