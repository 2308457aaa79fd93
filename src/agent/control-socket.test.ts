import { lstat, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, request } from 'node:http';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { KeelsonError } from '../observe/keelson-error.ts';
import { ControlSocketError, controlSocketPath, queryControl, serveControl } from './control-socket.ts';

async function makeRunDir(t: ExecutionContext): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'keelson-control-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  return join(root, 'run');
}

async function serve(t: ExecutionContext, runDir: string, status: () => unknown = () => ({ ok: true })) {
  const server = await serveControl(runDir, status);
  t.teardown(() => server.close());
  return server;
}

/** Something that listens where the daemon would. */
async function pose(t: ExecutionContext, runDir: string, server: Server): Promise<void> {
  await mkdir(runDir, { recursive: true });
  await new Promise<void>((resolve) => server.listen(controlSocketPath(runDir), resolve));
  t.teardown(() => server.close());
}

const code = async (promise: Promise<unknown>): Promise<string> => {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof ControlSocketError ? error.code : String(error);
};

function get(runDir: string, path: string, method = 'GET'): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: controlSocketPath(runDir), path, method }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

test('a question is answered with what holds now, as JSON', async (t) => {
  const runDir = await makeRunDir(t);
  let asked = 0;
  await serve(t, runDir, () => ({ asked: ++asked, text: 'grün' }));
  t.deepEqual(await queryControl(runDir), { asked: 1, text: 'grün' });
  t.deepEqual(await queryControl(runDir), { asked: 2, text: 'grün' });
});

test('a long answer arrives whole', async (t) => {
  const runDir = await makeRunDir(t);
  const pods = Array.from({ length: 20_000 }, (_, i) => `pod-${i}-ä`);
  await serve(t, runDir, () => pods);
  t.deepEqual(await queryControl(runDir), pods);
});

test('further questions are answered, and refused in words', async (t) => {
  const runDir = await makeRunDir(t);
  const server = await serveControl(runDir, () => ({}), {
    '/sum': (query) => Number(query.get('a')) + Number(query.get('b')),
    '/wrong': () => {
      throw new KeelsonError('SOME_CODE', 'is odd', { object: 'it', fix: 'ask better' });
    },
    '/broken': () => {
      throw new Error('a mistake of ours');
    },
  });
  t.teardown(() => server.close());
  t.is(await queryControl(runDir, 5000, '/sum?a=1&b=2'), 3);
  const refused = await t.throwsAsync(queryControl(runDir, 5000, '/wrong?x=1'), { instanceOf: ControlSocketError });
  t.like(refused, { code: 'CONTROL_QUESTION', message: 'it: is odd (ask better)' });
  t.is(await code(queryControl(runDir, 5000, '/broken')), 'DAEMON_NOT_ANSWERING');
  t.is(await get(runDir, '/sum?a=1', 'POST'), 404);
  t.is(await get(runDir, '/toString'), 404);
});

test('only root may reach it', async (t) => {
  const runDir = await makeRunDir(t);
  await serve(t, runDir);
  t.is((await stat(runDir)).mode & 0o777, 0o700);
  t.is((await stat(controlSocketPath(runDir))).mode & 0o777, 0o600);
});

for (const [method, path] of [
  ['GET', '/'],
  ['GET', '/status/x'],
  ['GET', '/../status'],
  ['POST', '/status'],
  ['DELETE', '/status'],
] as const) {
  test(`${method} ${path} is no question`, async (t) => {
    const runDir = await makeRunDir(t);
    await serve(t, runDir);
    t.is(await get(runDir, path, method), 404);
  });
}

test('a status that cannot be made is an error of that question only: the daemon lives on', async (t) => {
  const runDir = await makeRunDir(t);
  let broken = true;
  await serve(t, runDir, () => (broken ? { big: 1n } : { ok: true }));
  t.is(await get(runDir, '/status'), 500);
  t.is(await code(queryControl(runDir)), 'DAEMON_NOT_ANSWERING');
  broken = false;
  t.deepEqual(await queryControl(runDir), { ok: true });
});

test('a second daemon on the same directory is refused, and the first is not disturbed', async (t) => {
  const runDir = await makeRunDir(t);
  await serve(t, runDir, () => 'first');
  t.is(await code(serveControl(runDir, () => 'second')), 'DAEMON_RUNNING');
  t.is(await queryControl(runDir), 'first');
});

test('the socket of a dead predecessor is replaced', async (t) => {
  const runDir = await makeRunDir(t);
  const dead = createServer();
  await pose(t, runDir, dead);
  // Closing removes the file, so a second name keeps it as a killed process leaves it.
  const { link } = await import('node:fs/promises');
  await link(controlSocketPath(runDir), join(runDir, 'kept'));
  await new Promise((resolve) => dead.close(resolve));
  await link(join(runDir, 'kept'), controlSocketPath(runDir));
  t.true((await lstat(controlSocketPath(runDir))).isSocket());
  t.is(await code(queryControl(runDir)), 'DAEMON_NOT_RUNNING');
  await serve(t, runDir);
  t.deepEqual(await queryControl(runDir), { ok: true });
});

test('a file that is no socket is left where it is', async (t) => {
  const runDir = await makeRunDir(t);
  await mkdir(runDir);
  await writeFile(controlSocketPath(runDir), 'precious');
  t.is(await code(serveControl(runDir, () => 1)), 'CONTROL_SOCKET');
  t.true((await lstat(controlSocketPath(runDir))).isFile());
});

test('closing removes the socket; then nobody runs here', async (t) => {
  const runDir = await makeRunDir(t);
  const server = await serveControl(runDir, () => 1);
  await server.close();
  await t.throwsAsync(lstat(controlSocketPath(runDir)), { code: 'ENOENT' });
  t.is(await code(queryControl(runDir)), 'DAEMON_NOT_RUNNING');
});

test('closing does not wait for a client that never asks', async (t) => {
  const runDir = await makeRunDir(t);
  const server = await serveControl(runDir, () => 1);
  const { connect } = await import('node:net');
  const idle = connect(controlSocketPath(runDir));
  await new Promise((resolve) => idle.once('connect', resolve));
  const closed = new Promise((resolve) => idle.once('close', resolve));
  idle.on('error', () => {});
  await server.close();
  await closed;
  t.pass();
});

test('no directory, or a file in its place: no daemon runs there', async (t) => {
  const runDir = await makeRunDir(t);
  t.is(await code(queryControl(runDir)), 'DAEMON_NOT_RUNNING');
  await writeFile(runDir, '');
  t.is(await code(queryControl(runDir)), 'DAEMON_NOT_RUNNING');
});

test('a daemon that hangs runs: it does not count as absent', async (t) => {
  const runDir = await makeRunDir(t);
  await pose(
    t,
    runDir,
    createHttpServer(() => {}),
  );
  t.is(await code(queryControl(runDir, 100)), 'DAEMON_NOT_ANSWERING');
});

for (const [what, answer] of [
  ['no JSON', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'],
  ['an answer that breaks off', 'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{'],
  ['no HTTP', 'SSH-2.0-x\r\n'],
  ['nothing at all', ''],
] as const) {
  test(`${what} is told as such`, async (t) => {
    const runDir = await makeRunDir(t);
    await pose(
      t,
      runDir,
      createServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => socket.end(answer));
      }),
    );
    t.is(await code(queryControl(runDir, 2_000)), 'DAEMON_NOT_ANSWERING');
  });
}
