import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { FakeClock } from '../../../base/fake-clock.ts';
import { type JoinEnd, joinStreams } from './join-streams.ts';

interface Wire {
  /** The far end. */
  peer: Socket;
  /** The end that is joined. */
  near: Socket;
}

/** A TCP connection; neither side ends because the other does. */
async function wire(t: ExecutionContext): Promise<Wire> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const [near] = (await once(server, 'connection')) as [Socket];
  server.close();
  for (const socket of [peer, near]) socket.on('error', () => {});
  t.teardown(() => {
    peer.destroy();
    near.destroy();
  });
  return { peer, near };
}

interface Joint {
  client: Wire;
  runtime: Wire;
  clock: FakeClock;
  stop: AbortController;
  end: Promise<JoinEnd>;
}

async function join(t: ExecutionContext, idleTimeoutMs = 60_000): Promise<Joint> {
  const [client, runtime] = [await wire(t), await wire(t)];
  const clock = new FakeClock();
  const stop = new AbortController();
  const end = joinStreams(client.near, runtime.near, { clock, idleTimeoutMs, signal: stop.signal });
  return { client, runtime, clock, stop, end };
}

/** Until the far end's end; the socket can still be written to. */
function readAll(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  return new Promise((resolve) => socket.once('end', () => resolve(text)));
}

const firstData = (socket: Socket): Promise<unknown> => new Promise((resolve) => socket.once('data', resolve));

const closed = async (socket: Socket): Promise<void> => {
  socket.resume();
  if (socket.readableEnded) socket.end();
  else socket.once('end', () => socket.end());
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
};

test('bytes both ways', async (t) => {
  const { client, runtime } = await join(t);
  client.peer.write('to the runtime');
  t.is(String((await once(runtime.peer, 'data'))[0]), 'to the runtime');
  runtime.peer.write('to the client');
  t.is(String((await once(client.peer, 'data'))[0]), 'to the client');
});

test("the runtime's end reaches the client after all that it sent, and ends both", async (t) => {
  const { client, runtime, end } = await join(t);
  const read = readAll(client.peer);
  runtime.peer.end('x'.repeat(5_000_000));
  t.is((await read).length, 5_000_000);
  client.peer.end();
  t.is(await end, 'over');
});

test('a runtime that breaks off after its last words: the client still gets those that came', async (t) => {
  const { client, runtime, end } = await join(t);
  const read = readAll(client.peer);
  runtime.peer.write('last words');
  await once(runtime.near, 'data');
  runtime.peer.resetAndDestroy();
  t.is(await read, 'last words');
  client.peer.end();
  t.is(await end, 'over');
});

test('what the client sends after the end goes nowhere and hurts nobody', async (t) => {
  const { client, runtime, end } = await join(t);
  runtime.peer.end();
  client.peer.resume();
  await once(client.peer, 'end');
  client.peer.write('x'.repeat(1_000_000));
  client.peer.end();
  t.is(await end, 'over');
});

test("the client's end is passed on, and the runtime's answer still arrives", async (t) => {
  const { client, runtime, end } = await join(t);
  client.peer.end('question');
  t.is(await readAll(runtime.peer), 'question');
  runtime.peer.end('answer');
  t.is(await readAll(client.peer), 'answer');
  t.is(await end, 'over');
});

test('a client that breaks off ends the runtime at once', async (t) => {
  const { client, runtime, end } = await join(t);
  client.peer.resetAndDestroy();
  await closed(runtime.peer);
  t.is(await end, 'over');
});

test('a client that breaks off while the runtime floods it', async (t) => {
  const { client, runtime, end } = await join(t);
  const chunk = Buffer.alloc(65_536);
  const flood = (): void => {
    while (!runtime.peer.destroyed && runtime.peer.write(chunk));
  };
  runtime.peer.on('drain', flood);
  flood();
  await firstData(client.peer);
  client.peer.destroy();
  await closed(runtime.peer);
  t.is(await end, 'over');
});

test('a client that ends in order and closes at once: the runtime gets its last words, however slowly it reads', async (t) => {
  const { client, runtime, end, stop } = await join(t);
  const chunk = Buffer.alloc(65_536);
  const flood = (): void => {
    while (!runtime.peer.destroyed && runtime.peer.write(chunk));
  };
  runtime.peer.on('drain', flood);
  flood();
  // What a TLS connection does that is not half open: its own end follows the other side's. The server sees it gone.
  client.near.once('end', () => client.near.destroy());
  client.near.once('close', () => stop.abort());
  client.peer.resume();
  client.peer.end('x'.repeat(8_000_000));
  t.is((await readAll(runtime.peer)).length, 8_000_000);
  await closed(runtime.peer);
  t.is(await end, 'over');
});

test('nobody is there to receive: a runtime that ignores the end is cut', async (t) => {
  const { client, runtime, clock, end } = await join(t);
  client.near.once('end', () => client.near.destroy());
  client.peer.resume();
  client.peer.end();
  await readAll(runtime.peer);
  runtime.peer.write('still here');
  if (!client.near.closed) await once(client.near, 'close');
  await clock.advance(1_000);
  t.is(await end, 'over');
});

test('one that was gone before they were joined', async (t) => {
  for (const gone of ['client', 'runtime'] as const) {
    const wires = { client: await wire(t), runtime: await wire(t) };
    wires[gone].near.destroy();
    await once(wires[gone].near, 'close');
    const options = { clock: new FakeClock(), idleTimeoutMs: 0, signal: new AbortController().signal };
    const end = joinStreams(wires.client.near, wires.runtime.near, options);
    const other = wires[gone === 'client' ? 'runtime' : 'client'].peer;
    await closed(other);
    t.is(await end, 'over');
  }
});

test('a client that does not end after the runtime did is cut', async (t) => {
  const { client, runtime, clock, end } = await join(t);
  runtime.peer.end('bye');
  t.is(await readAll(client.peer), 'bye');
  await clock.advance(9_999);
  t.false(client.near.destroyed);
  await clock.advance(1);
  t.is(await end, 'over');
});

test('a runtime that says nothing more after the client ended is cut, one that goes on is not', async (t) => {
  const { client, runtime, clock, end } = await join(t);
  client.peer.end();
  await readAll(runtime.peer);
  for (let i = 0; i < 5; i++) {
    runtime.peer.write('more');
    await once(client.peer, 'data');
    await clock.advance(10_000);
    t.false(runtime.near.destroyed);
  }
  await clock.advance(10_000);
  t.is(await end, 'over');
});

test('silence both ways cuts both; a byte either way is none', async (t) => {
  const { client, runtime, clock, end } = await join(t, 4_000);
  for (const [from, to] of [
    [client, runtime],
    [runtime, client],
  ] as const) {
    await clock.advance(3_000);
    from.peer.write('.');
    await once(to.peer, 'data');
  }
  await clock.advance(3_999);
  t.false(client.near.destroyed);
  await clock.advance(1_001);
  t.is(await end, 'idle');
  await Promise.all([closed(client.peer), closed(runtime.peer)]);
});

test('no idle timeout: silence lasts', async (t) => {
  const { client, runtime, clock } = await join(t, 0);
  await clock.advance(1e9);
  t.false(client.near.destroyed || runtime.near.destroyed);
});

test('stopped: both are cut', async (t) => {
  const { client, runtime, stop, end } = await join(t);
  stop.abort();
  t.is(await end, 'stopped');
  await Promise.all([closed(client.peer), closed(runtime.peer)]);
});

test('stopped before they were joined', async (t) => {
  const [client, runtime] = [await wire(t), await wire(t)];
  const options = { clock: new FakeClock(), idleTimeoutMs: 0, signal: AbortSignal.abort() };
  t.is(await joinStreams(client.near, runtime.near, options), 'stopped');
});

test('a slow reader holds back the writer, and memory stays small', async (t) => {
  const { client, runtime } = await join(t);
  client.peer.pause();
  const chunk = Buffer.alloc(65_536);
  let written = 0;
  const pour = (): void => {
    while (written < 200e6) {
      written += chunk.length;
      if (!runtime.peer.write(chunk)) return;
    }
    runtime.peer.end();
  };
  runtime.peer.on('drain', pour);
  pour();
  // Until nothing moves any more: kernel and streams are full.
  for (let before = -1, still = 0; still < 200; ) {
    still = runtime.near.bytesRead === before ? still + 1 : 0;
    before = runtime.near.bytesRead;
    await nextTurn();
  }
  t.true(written < 50e6, `${written} bytes were taken from a writer whose reader stands still`);
  t.true(runtime.near.readableLength + client.near.writableLength <= 1e6);
  let read = 0;
  client.peer.on('data', (data) => {
    read += data.length;
  });
  client.peer.resume();
  await once(client.peer, 'end');
  t.is(read, written);
  t.true(written >= 200e6);
  client.peer.end();
});

test('no listener stays on the signal', async (t) => {
  const [client, runtime] = [await wire(t), await wire(t)];
  const stop = new AbortController();
  let listeners = 0;
  const { signal } = stop;
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = ((...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  }) as typeof signal.addEventListener;
  signal.removeEventListener = ((...args: Parameters<typeof remove>) => {
    listeners--;
    remove(...args);
  }) as typeof signal.removeEventListener;
  const end = joinStreams(client.near, runtime.near, { clock: new FakeClock(), idleTimeoutMs: 0, signal });
  client.peer.destroy();
  runtime.peer.destroy();
  await end;
  t.is(listeners, 0);
});
