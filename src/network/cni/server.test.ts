import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { silentLogger } from '../../observe/logger.ts';
import { NetworkError } from '../network-error.ts';
import { type CniServer, type ServerLimits, startCniServer } from './server.ts';
import type { CniAnswer, CniCall } from './verbs.ts';

interface Started {
  path: string;
  server: CniServer;
}

async function start(
  t: ExecutionContext,
  handle: (call: CniCall) => Promise<CniAnswer>,
  limits: Partial<ServerLimits> = {},
): Promise<Started> {
  const dir = await mkdtemp(join(tmpdir(), 'keelson-sock-'));
  const path = join(dir, 'run', 'cni.sock');
  const server = await startCniServer({ socketPath: path, handle, log: silentLogger, limits });
  t.teardown(async () => {
    await server.close();
    await rm(dir, { recursive: true, force: true });
  });
  return { path, server };
}

/** As the plugin binary does it: send, half-close, read to the end. */
function ask(path: string, request: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: (string | Buffer)[] = [];
    const socket = connect({ path, allowHalfOpen: true }, () => socket.end(request));
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => resolve(chunks.map(String).join('')));
    socket.on('error', reject);
  });
}

function parse(answer: string): { exit: number; body: { code?: number; msg?: string } } {
  const end = answer.indexOf('\n');
  const body = answer.slice(end + 1);
  return { ...(JSON.parse(answer.slice(0, end)) as { exit: number }), body: body === '' ? {} : JSON.parse(body) };
}

const echo = async (call: CniCall): Promise<CniAnswer> => ({ exit: 0, stdout: JSON.stringify(call) });

test('hands over CNI variables and stdin, answers exit and stdout', async (t) => {
  const { path } = await start(t, echo);
  const answer = await ask(path, JSON.stringify({ env: { CNI_COMMAND: 'ADD', PATH: '/bin' }, stdin: '{"ä":"\\n"}' }));
  t.is(answer, `{"exit":0}\n${JSON.stringify({ env: { CNI_COMMAND: 'ADD' }, stdin: '{"ä":"\\n"}' })}`);
});

test('only the owner can connect', async (t) => {
  const { path } = await start(t, echo);
  t.is((await stat(path)).mode & 0o777, 0o600);
  t.is((await stat(join(path, '..'))).mode & 0o777, 0o700);
});

const bad: [string, string, number][] = [
  ['nothing', '', 6],
  ['not JSON', '{', 6],
  ['no object', '3', 6],
  ['no env', '{"stdin":""}', 6],
  ['no stdin', '{"env":{}}', 6],
  ['env as list', '{"env":[],"stdin":""}', 6],
  ['a variable that is no text', '{"env":{"CNI_IFNAME":3},"stdin":""}', 6],
];
for (const [name, request, code] of bad) {
  test(`bad request: ${name}`, async (t) => {
    const { path } = await start(t, echo);
    const { exit, body } = parse(await ask(path, request));
    t.is(exit, 1);
    t.is(body.code, code);
  });
}

test('a request that is too large is refused, and still gets its answer', async (t) => {
  const { path } = await start(t, echo, { requestBytes: 1000 });
  const { exit, body } = parse(await ask(path, Buffer.alloc(300_000, 'x')));
  t.is(exit, 1);
  t.is(body.code, 5);
  t.regex(body.msg ?? '', /larger than 1000/);
});

test('a request that does not end is refused in time', async (t) => {
  const { path } = await start(t, echo, { arrivalMs: 50 });
  const answer = await new Promise<string>((resolve) => {
    let text = '';
    const socket = connect({ path, allowHalfOpen: true }, () => socket.write('{"env"'));
    socket.on('data', (chunk) => {
      text += chunk.toString();
    });
    socket.on('end', () => {
      socket.destroy();
      resolve(text);
    });
    socket.on('error', () => undefined);
  });
  t.is(parse(answer).body.code, 5);
});

test('too many calls at once are told to try again', async (t) => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { path } = await start(
    t,
    async () => {
      await gate;
      return { exit: 0, stdout: '' };
    },
    { connections: 2 },
  );
  const request = JSON.stringify({ env: {}, stdin: '' });
  const first = [ask(path, request), ask(path, request)];
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(parse(await ask(path, request)).body.code, 11);
  release();
  t.deepEqual(await Promise.all(first), ['{"exit":0}\n', '{"exit":0}\n']);
});

test('closing lets a call under way finish and removes the socket', async (t) => {
  let entered = (): void => undefined;
  const inside = new Promise<void>((resolve) => {
    entered = resolve;
  });
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { path, server } = await start(t, async () => {
    entered();
    await gate;
    return { exit: 0, stdout: 'done' };
  });
  const answer = ask(path, JSON.stringify({ env: {}, stdin: '' }));
  await inside;
  const closed = server.close();
  release();
  t.is(await answer, '{"exit":0}\ndone');
  await closed;
  await t.throwsAsync(stat(path), { code: 'ENOENT' });
});

test('the socket of a dead predecessor is replaced, that of a live one is not', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'keelson-sock-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const path = join(dir, 'cni.sock');
  // Bound but not listening any more, as after kill -9: rename keeps libuv from unlinking it on close.
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(join(dir, 'x'), () => resolve()));
  const { rename } = await import('node:fs/promises');
  await rename(join(dir, 'x'), path);
  await new Promise((resolve) => dead.close(resolve));
  t.true((await stat(path)).isSocket());

  const server = await startCniServer({ socketPath: path, handle: echo, log: silentLogger });
  const error = await t.throwsAsync(startCniServer({ socketPath: path, handle: echo, log: silentLogger }), {
    instanceOf: NetworkError,
  });
  t.is(error?.code, 'NETWORK_SOCKET_IN_USE');
  t.is(parse(await ask(path, '{"env":{},"stdin":""}')).exit, 0);
  await server.close();

  await writeFile(path, 'a file');
  await t.throwsAsync(startCniServer({ socketPath: path, handle: echo, log: silentLogger }), {
    message: /not a socket/,
  });
});

test('a path that the kernel would cut is refused with its length', async (t) => {
  const error = await t.throwsAsync(
    startCniServer({ socketPath: `/tmp/${'x'.repeat(103)}`, handle: echo, log: silentLogger }),
    { instanceOf: NetworkError, message: /108 bytes, the kernel takes 107/ },
  );
  t.is(error?.code, 'NETWORK_SOCKET_PATH_TOO_LONG');
});

test('a client that hangs up disturbs nobody', async (t) => {
  const { path } = await start(t, echo);
  for (const text of ['', '{"env"']) {
    const socket = await new Promise<Socket>((resolve) => {
      const opened = connect({ path, allowHalfOpen: true }, () => resolve(opened));
    });
    socket.write(text);
    socket.destroy();
  }
  t.is(parse(await ask(path, '{"env":{},"stdin":""}')).exit, 0);
});
