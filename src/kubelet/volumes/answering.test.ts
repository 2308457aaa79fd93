/** A server that is gone is found out by a child; what is on the node's own disks is not asked for. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { MountInfo } from '../../linux/host.ts';
import { remoteMountOn, untilAnswering } from './answering.ts';
import type { CommandOutcome } from './host-command.ts';

function setup(t: ExecutionContext) {
  const top = realpathSync(mkdtempSync(join(tmpdir(), 'keelson-answering-')));
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  mkdirSync(join(top, 'a/b'), { recursive: true });
  const table: MountInfo[] = [];
  const mount = (target: string, fsType: string): void =>
    void table.push({
      mountId: table.length,
      root: '/',
      target: join(top, target),
      fsType,
      source: 'server:/export',
      readOnly: false,
      shared: false,
    });
  const commands: string[] = [];
  const server: { answer: CommandOutcome } = { answer: { outcome: 'ended', status: 0, stdout: '1', stderr: '' } };
  const run = async (file: string, args: readonly string[]): Promise<CommandOutcome> => {
    commands.push([file, ...args].join(' '));
    return server.answer;
  };
  const ask = (path: string): Promise<void> =>
    untilAnswering(join(top, path), 'volume x', { mounts: { list: async () => table }, run });
  return { top, table, mount, commands, server, ask };
}

test('nobody is asked for what is on a disk', async (t) => {
  const { mount, commands, ask } = setup(t);
  mount('other', 'nfs4');
  mount('a', 'ext4');
  await ask('a/b');
  await ask('missing/x');
  t.deepEqual(commands, []);
});

test('at and below a mount of a server a child asks; whatever it says is an answer', async (t) => {
  const { mount, commands, server, ask, top } = setup(t);
  mount('a', 'nfs4');
  await ask('a');
  server.answer = { outcome: 'ended', status: 1, stdout: '', stderr: 'Stale file handle' };
  await ask('a/b');
  t.deepEqual(commands, [`stat --dereference --format %i -- ${top}/a`, `stat --dereference --format %i -- ${top}/a/b`]);
});

test('no answer is an error that names the mount', async (t) => {
  const { mount, server, ask, top } = setup(t);
  mount('a', 'fuse.sshfs');
  server.answer = { outcome: 'killed', timedOut: true, stderr: '' };
  const error = await t.throwsAsync(ask('a/b'), { code: 'VOLUME_TIMEOUT' });
  t.is(error?.message, `what is mounted at ${top}/a (fuse.sshfs) does not answer`);
});

test('symlinks on the way are followed as the kernel would, up to the first such mount', async (t) => {
  const { top, table, mount } = setup(t);
  mount('a/b', 'nfs');
  symlinkSync('a', join(top, 'relative'));
  symlinkSync(join(top, 'relative/b'), join(top, 'absolute'));
  symlinkSync('loop', join(top, 'loop'));
  const found = async (path: string): Promise<string | undefined> =>
    (await remoteMountOn(join(top, path), table))?.target;
  t.is(await found('absolute/deep'), join(top, 'a/b'));
  t.is(await found('relative/../a/b'), join(top, 'a/b'));
  t.is(await found('relative/../a'), undefined);
  t.is(await found('loop'), undefined);
});

test('of mounts upon each other the uppermost counts', async (t) => {
  const { mount, commands, ask } = setup(t);
  mount('a', 'nfs4');
  mount('a', 'tmpfs');
  await ask('a/b');
  t.deepEqual(commands, []);
});
