/** The gRPC edge against a gRPC server on a socket: statuses, deadlines, cancellation, restarts, streams, sizes. */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js';
import test, { type ExecutionContext } from 'ava';
import { CriChannel } from './channel.ts';
import { connectRuntime } from './connect.ts';
import { CriError, GrpcStatus } from './cri-error.ts';

type UnaryHandler = (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => void;
type StreamHandler = (call: ServerWritableStream<Buffer, Buffer>) => void;

const identity = (bytes: Buffer): Buffer => bytes;
const servicePath = '/runtime.v1.RuntimeService/';
const describe = (method: string, responseStream: boolean) => ({
  path: servicePath + method,
  requestStream: false,
  responseStream,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
});

async function serve(socket: string, unary: Record<string, UnaryHandler>, streams: Record<string, StreamHandler> = {}) {
  const server = new Server({ 'grpc.max_send_message_length': -1 });
  const all = [
    ...Object.keys(unary).map((m) => [m, false] as const),
    ...Object.keys(streams).map((m) => [m, true] as const),
  ];
  server.addService(Object.fromEntries(all.map(([m, stream]) => [m, describe(m, stream)])), { ...unary, ...streams });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
  return server;
}

async function scratch(t: ExecutionContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'keelson-channel-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  return join(dir, 'c.sock');
}

async function open(
  t: ExecutionContext,
  unary: Record<string, UnaryHandler>,
  streams: Record<string, StreamHandler> = {},
) {
  const socket = await scratch(t);
  const server = await serve(socket, unary, streams);
  const channel = new CriChannel(socket);
  t.teardown(() => {
    channel.close();
    server.forceShutdown();
  });
  return { socket, server, channel };
}

const call = (method: string, options: object = {}) => ({ method, path: servicePath + method, ...options });
const nothing = Buffer.alloc(0);

async function failureOf(t: ExecutionContext, promise: Promise<unknown>): Promise<CriError> {
  const error = await t.throwsAsync(promise, { instanceOf: CriError });
  if (!error) throw new Error('no error');
  return error;
}

test('bytes go there and back; a status becomes a CriError', async (t) => {
  const { channel } = await open(t, {
    Echo: ({ request }, reply) => reply(null, request),
    Fail: (_, reply) => reply({ code: GrpcStatus.notFound, details: 'an error occurred: not found' }),
  });
  t.is((await channel.unary(call('Echo'), Buffer.from('hello'))).toString(), 'hello');
  const error = await failureOf(t, channel.unary(call('Fail'), nothing));
  t.deepEqual([error.code, error.grpcStatus, error.method], ['CRI_NOT_FOUND', 5, 'Fail']);
  t.is(error.toLine(), 'CRI Fail: an error occurred: not found');
  t.true((await failureOf(t, channel.unary(call('Missing'), nothing))).isUnimplemented());
});

test('the deadline ends the call on both sides', async (t) => {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  const { channel } = await open(t, { Hang: (c) => void c.on('cancelled', () => resolve()) });
  const error = await failureOf(t, channel.unary(call('Hang', { timeoutMs: 1000 }), nothing));
  t.is(error.code, 'CRI_DEADLINE');
  t.regex(error.message, /no answer within 1000 ms/);
  await cancelled;
});

test('the signal cancels the call on both sides, and its reason is what the caller gets', async (t) => {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  const { channel } = await open(t, {
    Hang: (c) => {
      c.on('cancelled', () => resolve());
      arrive();
    },
  });
  const controller = new AbortController();
  const pending = channel.unary(call('Hang', { signal: controller.signal }), nothing);
  await arrived;
  controller.abort(new Error('pod deleted'));
  await t.throwsAsync(pending, { message: 'pod deleted' });
  await cancelled;
  await t.throwsAsync(channel.unary(call('Hang', { signal: controller.signal }), nothing), { message: 'pod deleted' });
});

test('messages up to 16 MiB come through, larger ones are refused', async (t) => {
  const { channel } = await open(t, {
    Big: ({ request }, reply) => reply(null, Buffer.alloc(Number(request.toString()))),
  });
  t.is((await channel.unary(call('Big'), Buffer.from(String(15 << 20)))).length, 15 << 20);
  t.is((await failureOf(t, channel.unary(call('Big'), Buffer.from(String(17 << 20))))).code, 'CRI_EXHAUSTED');
});

test('while the runtime is down calls fail at once; soon after it is back they work', async (t) => {
  const echo: Record<string, UnaryHandler> = { Echo: ({ request }, reply) => reply(null, request) };
  const { channel, server, socket } = await open(t, echo);
  await channel.unary(call('Echo'), nothing);
  server.forceShutdown();
  await delay(400);
  const before = Date.now();
  const error = await failureOf(t, channel.unary(call('Echo', { timeoutMs: 5000 }), nothing));
  t.true(error.isUnavailable());
  t.true(Date.now() - before < 1000);
  await failureOf(t, channel.waitUntilReady(200));
  await delay(1500);
  const again = await serve(socket, echo);
  t.teardown(() => again.forceShutdown());
  const back = Date.now();
  await channel.waitUntilReady(10_000);
  await channel.unary(call('Echo'), nothing);
  t.true(Date.now() - back < 3000, `${Date.now() - back} ms`);
});

test('waitUntilReady ends with the signal', async (t) => {
  const channel = new CriChannel(await scratch(t));
  const pending = channel.waitUntilReady(10_000, AbortSignal.timeout(50));
  await t.throwsAsync(pending, { name: 'TimeoutError' });
  await t.throwsAsync(channel.waitUntilReady(10_000, AbortSignal.abort(new Error('no'))), { message: 'no' });
  channel.close();
});

test('a stream starts at once and ends by throwing, whatever ended it', async (t) => {
  const { channel } = await open(
    t,
    {},
    {
      Events: (c) => {
        c.write(Buffer.from('a'));
        c.write(Buffer.from('b'));
        c.end();
      },
      Old: (c) => void c.emit('error', { code: GrpcStatus.unimplemented, details: 'no' }),
    },
  );
  const seen: string[] = [];
  const read = async (stream: AsyncIterable<Buffer>): Promise<void> => {
    for await (const bytes of stream) seen.push(bytes.toString());
  };
  const ended = await failureOf(t, read(channel.serverStream(call('Events'), nothing)));
  t.true(ended.isUnavailable());
  t.deepEqual(seen, ['a', 'b']);
  t.true((await failureOf(t, read(channel.serverStream(call('Old'), nothing)))).isUnimplemented());
  // The failure comes before anybody iterates: it must wait, not crash the process.
  const early = channel.serverStream(call('Old'), nothing);
  await delay(200);
  t.true((await failureOf(t, read(early))).isUnimplemented());
});

test('leaving a stream, aborting it and losing the server all end it on both sides', async (t) => {
  let serving = 0;
  const { channel } = await open(
    t,
    {},
    {
      Events: (c) => {
        serving++;
        c.write(Buffer.from('x'));
        c.on('cancelled', () => serving--);
      },
    },
  );
  for await (const _ of channel.serverStream(call('Events'), nothing)) break;
  const controller = new AbortController();
  const aborted = (async () => {
    for await (const _ of channel.serverStream(call('Events', { signal: controller.signal }), nothing)) {
      controller.abort(new Error('stop'));
    }
  })();
  await t.throwsAsync(aborted, { message: 'stop' });
  const gone = (async () => {
    for await (const _ of channel.serverStream(call('Events', { signal: controller.signal }), nothing)) t.fail();
  })();
  await t.throwsAsync(gone, { message: 'stop' });
  await delay(100);
  t.is(serving, 0);
});

test('a connection that breaks under a call and a stream is CRI_UNAVAILABLE to both', async (t) => {
  const socket = await scratch(t);
  const behind = `${socket}.real`;
  const server = await serve(behind, { Hang: () => undefined }, { Events: (c) => void c.write(Buffer.from('x')) });
  const connections: Socket[] = [];
  const proxy = createServer((client) => {
    const real = connect(behind);
    client.pipe(real).pipe(client);
    for (const end of [client, real]) end.on('error', () => undefined);
    connections.push(client, real);
  });
  await new Promise<void>((resolve) => proxy.listen(socket, resolve));
  const channel = new CriChannel(socket);
  const hanging = failureOf(t, channel.unary(call('Hang'), nothing));
  const lost = failureOf(
    t,
    (async () => {
      for await (const _ of channel.serverStream(call('Events'), nothing)) for (const end of connections) end.destroy();
    })(),
  );
  t.is((await lost).code, 'CRI_UNAVAILABLE');
  t.is((await hanging).code, 'CRI_UNAVAILABLE');
  channel.close();
  proxy.close();
  server.forceShutdown();
});

test('connectRuntime asks for the version and explains who does not answer', async (t) => {
  const version =
    (api: string): UnaryHandler =>
    (_, reply) =>
      reply(null, Buffer.concat([Buffer.from([0x22, api.length]), Buffer.from(api)]));
  const socket = await scratch(t);
  const server = await serve(socket, { Version: version('v1') });
  const connection = await connectRuntime(`unix://${socket}`);
  t.is(connection.version.runtimeApiVersion, 'v1');
  t.is((await connection.runtime.version({})).runtimeApiVersion, 'v1');
  await connection.waitUntilReady(1000);
  connection.close();
  server.forceShutdown();

  const lineOf = async (unary: Record<string, UnaryHandler>): Promise<string> => {
    const other = await scratch(t);
    const wrong = await serve(other, unary);
    const error = await failureOf(t, connectRuntime(other, { connectTimeoutMs: 300 }));
    wrong.forceShutdown();
    return `${error.code} ${error.toLine().replace(other, 'SOCKET')}`;
  };
  t.regex(await lineOf({ Version: version('v2') }), /^CRI_ENDPOINT SOCKET: speaks CRI v2 \(use containerd/);
  t.regex(await lineOf({ Other: version('v1') }), /^CRI_ENDPOINT SOCKET: answers, but not as a CRI v1 runtime/);
  t.regex(await lineOf({ Version: () => undefined }), /^CRI_DEADLINE SOCKET: nobody answers: .*\(start the container/);
});
