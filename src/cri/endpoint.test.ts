/** What is accepted as an endpoint, and the one line that each wrong one gets. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { CriError } from './cri-error.ts';
import { checkSocket, socketPathOf } from './endpoint.ts';

test('unix:///path and a bare absolute path', (t) => {
  t.is(socketPathOf('unix:///run/containerd/containerd.sock'), '/run/containerd/containerd.sock');
  t.is(socketPathOf('/run/containerd/containerd.sock'), '/run/containerd/containerd.sock');
});

test('anything else is refused with the form that works', (t) => {
  for (const endpoint of [
    '',
    'containerd.sock',
    'unix://run/c.sock',
    'tcp://127.0.0.1:1',
    'npipe:////./pipe/x',
    '/a\0b',
  ]) {
    const error = t.throws(() => socketPathOf(endpoint), { instanceOf: CriError });
    t.is(error?.code, 'CRI_ENDPOINT');
    t.regex(error?.toLine() ?? '', /write it as unix:\/\/\/run/);
  }
  t.throws(() => socketPathOf(`unix:///${'x'.repeat(107)}`), { message: /107 bytes/ });
  t.notThrows(() => socketPathOf(`unix:///${'x'.repeat(106)}`));
});

test('the socket is looked at', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'keelson-endpoint-'));
  const socket = join(dir, 's');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const file = join(dir, 'file');
  await writeFile(file, '');
  await t.notThrowsAsync(checkSocket(socket));
  const line = async (path: string): Promise<string> =>
    (await t.throwsAsync(checkSocket(path), { instanceOf: CriError }))?.toLine() ?? '';
  t.regex(await line(join(dir, 'none')), /none: no such socket \(start the container runtime/);
  t.regex(await line(join(file, 'below')), /no such socket/);
  t.regex(await line(file), /file: is not a socket/);
  t.regex(await line(dir), /is not a socket/);
  server.close();
  await rm(dir, { recursive: true });
});
