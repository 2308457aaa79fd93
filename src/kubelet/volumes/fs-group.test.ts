/** Volumes given to an fsGroup: what changes, and what a tree full of symlinks must not change. Root only. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Directory } from './directory.ts';
import { type FsGroupOptions, giveToFsGroup } from './fs-group.ts';
import { VolumeError } from './volume-error.ts';

const asRoot = process.getuid?.() === 0 ? test : test.skip;
const group = 4321;

function scratch(t: ExecutionContext): { volume: string; outside: string } {
  const top = mkdtempSync(join(tmpdir(), 'keelson-group-'));
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  const [volume, outside] = [join(top, 'volume'), join(top, 'outside')];
  for (const directory of [volume, outside]) mkdirSync(directory, { mode: 0o700 });
  writeFileSync(join(outside, 'shadow'), 'x', { mode: 0o600 });
  return { volume, outside };
}

async function give(volume: string, change: Partial<FsGroupOptions> = {}, signal = new AbortController().signal) {
  await using root = await Directory.open(volume);
  const options = { group, policy: 'Always', readOnly: false, subject: 'volume v', ...change } as const;
  return await giveToFsGroup(root, options, signal);
}

const told = (path: string): string => {
  const { mode, uid, gid } = lstatSync(path);
  return `${(mode & 0o7777).toString(8)} ${uid} ${gid}`;
};

asRoot('files can be read and written by the group, directories also entered, and pass it on', async (t) => {
  const { volume } = scratch(t);
  mkdirSync(join(volume, 'a'), { mode: 0o700 });
  writeFileSync(join(volume, 'a/f'), '', { mode: 0o604 });
  chownSync(join(volume, 'a/f'), 77, 88);
  writeFileSync(join(volume, 'suid'), '');
  chmodSync(join(volume, 'suid'), 0o4755);
  execFileSync('mkfifo', ['-m', '600', join(volume, 'pipe')]);
  t.is(await give(volume), 5);
  t.is(told(volume), `2770 0 ${group}`);
  t.is(told(join(volume, 'a')), `2770 0 ${group}`);
  t.is(told(join(volume, 'a/f')), `664 77 ${group}`);
  t.is(told(join(volume, 'suid')), `4775 0 ${group}`);
  t.is(told(join(volume, 'pipe')), `660 0 ${group}`);
});

asRoot('a volume that is only read: the group reads', async (t) => {
  const { volume } = scratch(t);
  writeFileSync(join(volume, 'f'), '', { mode: 0o600 });
  await give(volume, { readOnly: true });
  t.is(told(join(volume, 'f')), `640 0 ${group}`);
  t.is(told(volume), `2750 0 ${group}`);
});

asRoot('a volume full of symlinks: none of their targets changes', async (t) => {
  const { volume, outside } = scratch(t);
  symlinkSync(join(outside, 'shadow'), join(volume, 'file'));
  symlinkSync(outside, join(volume, 'directory'));
  symlinkSync('/etc/shadow', join(volume, 'shadow'));
  symlinkSync('..', join(volume, 'up'));
  symlinkSync('loop', join(volume, 'loop'));
  symlinkSync('gone', join(volume, 'dangling'));
  mkdirSync(join(volume, 'd'));
  for (let index = 0; index < 200; index++) symlinkSync(`${outside}/shadow`, join(volume, 'd', String(index)));
  const before = [outside, join(outside, 'shadow'), '/etc', '/etc/shadow'].map(told);
  await give(volume);
  t.deepEqual([outside, join(outside, 'shadow'), '/etc', '/etc/shadow'].map(told), before);
  t.is(lstatSync(join(volume, 'directory')).gid, group);
  t.is(lstatSync(join(volume, 'd/7')).gid, group);
});

asRoot('OnRootMismatch looks at the root alone, which is given last', async (t) => {
  const { volume } = scratch(t);
  writeFileSync(join(volume, 'f'), '', { mode: 0o600 });
  t.is(await give(volume, { policy: 'OnRootMismatch' }), 2);
  t.is(told(join(volume, 'f')), `660 0 ${group}`);
  writeFileSync(join(volume, 'later'), '', { mode: 0o600 });
  chownSync(join(volume, 'later'), 0, 0);
  t.is(await give(volume, { policy: 'OnRootMismatch' }), 0);
  t.is(told(join(volume, 'later')), '600 0 0');
  for (const spoil of [
    () => chmodSync(volume, 0o770),
    () => chownSync(volume, 0, 5),
    () => chmodSync(volume, 0o2760),
  ]) {
    spoil();
    t.true((await give(volume, { policy: 'OnRootMismatch' })) > 0);
    t.is(statSync(volume).gid, group);
  }
  t.is(told(join(volume, 'later')), `660 0 ${group}`);
});

asRoot('ended in the middle, the root still says that something is to do', async (t) => {
  const { volume } = scratch(t);
  writeFileSync(join(volume, 'f'), '');
  const ended = new AbortController();
  ended.abort(new Error('the daemon stops'));
  await t.throwsAsync(give(volume, {}, ended.signal), { message: 'the daemon stops' });
  t.not(statSync(volume).gid, group);
});

asRoot('a tree deeper than any descriptor table is refused, not followed to the end', async (t) => {
  const { volume } = scratch(t);
  mkdirSync(join(volume, 'd/'.repeat(300)), { recursive: true });
  const error = await t.throwsAsync(give(volume), { instanceOf: VolumeError });
  t.is((error as VolumeError).code, 'VOLUME_OWNERSHIP');
});

asRoot('a hard link inside the volume is given like the file that it is', async (t) => {
  const { volume } = scratch(t);
  writeFileSync(join(volume, 'f'), '', { mode: 0o600 });
  linkSync(join(volume, 'f'), join(volume, 'g'));
  await give(volume);
  t.is(told(join(volume, 'g')), `660 0 ${group}`);
});
