/**
 * The Debian package runs from where dpkg unpacks it: the program in its own files with its own Node.js, on a real
 * containerd; a restart, an upgrade for the daemon, disturbs no container. What dpkg itself does (install, upgrade,
 * remove, purge in fresh systems) is test/lab/package's.
 * Layer: test (integration, root).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { daemonOn, podManifest } from '../support/daemon.ts';
import { exec, execResult, repositoryRoot } from '../support/exec.ts';
import { createTestNode, type TestNode } from '../support/node.ts';

let node: TestNode;
let tree: string;
let file: string;

test.before(async () => {
  node = await createTestNode({ images: ['pause', 'busybox'] });
  const { path } = node.run;
  const args = ['--output', join(path, 'deb'), '--compression', '0'];
  file = (await exec(join(repositoryRoot, 'script/package-deb'), args, { timeoutMs: 540_000 })).trim();
  tree = join(path, 'unpacked');
  await exec('dpkg-deb', ['-x', file, tree]);
});

test.after.always(() => node?.stop());

test('its own Node.js and its own libatomic, and no file of the clone', async (t) => {
  const needed = await exec('ldd', [join(tree, 'usr/lib/keelson/bin/node')]);
  t.regex(needed, new RegExp(`libatomic\\.so\\.1 => ${tree}/usr/lib/keelson/`));
  const result = await execResult(join(tree, 'usr/bin/keelson'), ['doctor', '-o', 'json', '--run-dir', node.dirs.run], {
    netns: node.netns,
  });
  const checks = JSON.parse(result.stdout) as { name: string; level: string; finding: string }[];
  const find = (name: string): string => checks.find((check) => check.name === name)?.finding ?? '';
  t.is(find('native addon'), 'loads');
  t.is(find('CNI plugin'), join(tree, 'usr/lib/keelson/native/build/keelson-cni'));
  const names = await exec('grep', ['-rlF', repositoryRoot, tree]).catch(() => '');
  t.is(names, '', 'the package must not know where it was built');
});

test('two names, one program', async (t) => {
  const run = (name: string, ...args: string[]): Promise<string> => exec(join(tree, 'usr/bin', name), args);
  t.regex(await run('keelson', '--version'), /^Keelson \d+\.\d+\.\d+\n$/);
  t.regex(await run('kubelet', '--version'), /^Kubernetes v1\.36\.\d+\n$/, 'as kubeadm reads it');
});

test('runs a pod; a daemon that is replaced finds it again and disturbs it not', async (t) => {
  const daemon = await daemonOn(node, { keelson: { binary: join(tree, 'usr/bin/keelson') } });
  t.teardown(() => daemon.clear());
  daemon.write('web.yaml', podManifest('web'));
  const [before] = await daemon.waitForReady('web');
  const executable = await exec('readlink', [`/proc/${daemon.keelson.pid}/exe`]);
  t.is(executable.trim(), join(tree, 'usr/lib/keelson/bin/node'));
  t.is(readFileSync(`/proc/${daemon.keelson.pid}/cmdline`, 'utf8').split('\0')[0], 'keelson', 'ps names it');
  t.is(await daemon.stop(), 0);
  await daemon.start();
  const [after] = await daemon.waitForReady('web');
  t.is(after?.status.containerStatuses?.[0]?.containerID, before?.status.containerStatuses?.[0]?.containerID);
  t.is(after?.restarts, 0);
});

test('its parts: owned by root, nothing writable by others, what it says it needs', async (t) => {
  const listing = (await exec('dpkg-deb', ['-c', file])).trim().split('\n');
  for (const line of listing) t.regex(line, /^(d|-)rwxr-xr-x root\/root|^-rw-r--r-- root\/root|^lrwxrwxrwx root\/root/);
  const field = async (name: string): Promise<string> => (await exec('dpkg-deb', ['-f', file, name])).trim();
  t.regex(await field('Depends'), /^libc6 \(>= 2\.\d+\), libgcc-s1, libstdc\+\+6 \(>= [\d.]+\)$/);
  t.regex(await field('Provides'), /^kubelet \(= 1\.36\.\d+\)$/);
});

/** exec_needs_mount_namespace() of systemd (src/core/execute.c): settings that would hide our mounts from the runtime. */
const mountNamespace =
  /^(Root(Directory|Image)|(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)(Paths|Directories)|Bind(ReadOnly)?Paths|TemporaryFileSystem|MountImages|MountFlags|Extension(Images|Directories)|Private(Mounts|Tmp|Devices|IPC|Users|Network|PIDs)|Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Hostname|Proc|Clock)|ProcSubset|DynamicUser|LogNamespace|(Load|Set|Import)Credential\w*|RestrictNamespaces|RestrictSUIDSGID|MemoryDenyWriteExecute)=/m;

test('the units: no mount namespace, and the same service under both names', (t) => {
  const texts = ['keelson', 'kubelet'].map((name) =>
    readFileSync(join(tree, `usr/lib/systemd/system/${name}.service`), 'utf8'),
  );
  for (const text of texts) {
    t.notRegex(text.replaceAll(/^#.*$/gm, ''), mountNamespace);
    t.regex(text, /^Type=notify$/m);
    t.regex(text, /^KillMode=process$/m);
  }
  const common = (text: string): string => text.slice(text.indexOf('Type=notify'));
  t.is(common(texts[0] ?? ''), common(texts[1] ?? ''));
});
