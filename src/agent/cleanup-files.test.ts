/** What cleanup takes of the disk, and what it leaves. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FakeMounts } from '../linux/fake-host.ts';
import { removeFiles, removePodDirectory, unmountBelow } from './cleanup-files.ts';

function lab(t: ExecutionContext) {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'cleanup-files-')));
  t.teardown(() => rmSync(base, { recursive: true, force: true }));
  const paths = {
    rootDir: join(base, 'root'),
    runDir: join(base, 'run'),
    podLogDir: join(base, 'log/pods'),
    containerLogLinkDir: join(base, 'log/containers'),
    files: [join(base, 'run/keelson.sock'), join(base, 'run/none.sock')],
  };
  const write = (...names: string[]): void => {
    for (const name of names) {
      mkdirSync(join(base, name, '..'), { recursive: true });
      writeFileSync(join(base, name), '');
    }
  };
  return { base, paths, write, mounts: new FakeMounts() };
}

test('certificates, sockets and emptied directories go', async (t) => {
  const { base, paths, write, mounts } = lab(t);
  write('root/pki/kubelet-client-2026-11-21-12-00-00.pem', 'root/pki/kubelet-server-pending.json', 'run/keelson.sock');
  write('root/pki/kubelet.crt', 'root/pki/kubelet.key', 'root/plugins/kubernetes.io/csi/d/x/vol_data.json');
  symlinkSync('kubelet-client-2026-11-21-12-00-00.pem', join(base, 'root/pki/kubelet-client-current.pem'));
  for (const name of ['root/pods', 'log/pods', 'log/containers']) mkdirSync(join(base, name), { recursive: true });
  const removed = await removeFiles(paths, mounts);
  t.true(removed.includes(`file ${join(base, 'root/pki/kubelet-client-current.pem')}`));
  t.true(removed.includes(`directory ${paths.rootDir}`));
  t.deepEqual(readdirSync(base), ['log']);
  t.deepEqual(readdirSync(join(base, 'log')), []);
  t.deepEqual(await removeFiles(paths, mounts), []);
});

test('what is somebody else’s stays: kubeadm’s files, other keys, a driver’s socket, a checkpoint', async (t) => {
  const { base, paths, write, mounts } = lab(t);
  const others = [
    'root/config.yaml',
    'root/pki/ca.crt',
    'root/pki/kubelet-client-notes.txt',
    'root/plugins/csi.example.org/csi.sock',
    'root/checkpoints/checkpoint-web.tar',
    'log/pods/other/x.log',
  ];
  write(...others);
  await removeFiles(paths, mounts);
  for (const name of others) t.true(existsSync(join(base, name)), name);
});

test('nothing is deleted through a mount', async (t) => {
  const { paths, write, mounts } = lab(t);
  write('root/plugins/kubernetes.io/csi/d/x/globalmount/data');
  const target = join(paths.rootDir, 'plugins/kubernetes.io/csi/d/x/globalmount');
  await mounts.mountTmpfs(target, {});
  await removeFiles(paths, mounts);
  t.true(existsSync(join(target, 'data')));
  t.deepEqual(await unmountBelow(paths.rootDir, mounts, new Set()), [`mount ${target}`]);
  await removeFiles(paths, mounts);
  t.false(existsSync(paths.rootDir));
});

test('mounts go deepest first; those of a pod that runs, and those outside, stay', async (t) => {
  const { base, paths, mounts } = lab(t);
  mkdirSync(join(paths.rootDir, 'pods'), { recursive: true });
  const below = (name: string): string => join(paths.rootDir, name);
  for (const name of ['plugins/a', 'plugins/a/b', 'pods/u1/volumes/v', 'pods/u10/volumes/v'])
    await mounts.mountTmpfs(below(name), {});
  await mounts.mountTmpfs(join(base, 'rooty'), {});
  t.deepEqual(await unmountBelow(paths.rootDir, mounts, new Set(['u1'])), [
    `mount ${below('pods/u10/volumes/v')}`,
    `mount ${below('plugins/a/b')}`,
    `mount ${below('plugins/a')}`,
  ]);
  t.deepEqual(
    mounts.mounts.map(({ target }) => target),
    [below('pods/u1/volumes/v'), join(base, 'rooty')],
  );
  t.deepEqual(await unmountBelow(join(base, 'nowhere'), mounts, new Set()), []);
});

test('the volumes of a container that still runs are not touched, and it is said what to do', async (t) => {
  const torn: string[] = [];
  const directories = {
    uids: async () => ['u1', 'u2'],
    teardown: async (uid: string) => void torn.push(uid),
    path: (uid: string) => `/r/pods/${uid}`,
  };
  const error = await t.throwsAsync(() => removePodDirectory('u1', directories, new Set(['u1'])));
  t.like(error, { code: 'CLEANUP_POD_RUNS', object: 'pod directory /r/pods/u1' });
  t.regex(String((error as { fix?: string }).fix), /start the container runtime and run keelson cleanup again/);
  t.deepEqual(await removePodDirectory('u2', directories, new Set(['u1'])), ['pod directory /r/pods/u2']);
  t.deepEqual(await removePodDirectory('u3', directories, new Set()), []);
  t.deepEqual(torn, ['u2']);
});
