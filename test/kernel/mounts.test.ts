/** Mounts, and sd_notify, on the real kernel, in a temporary directory that is left as it was found. Root only. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kernelMounts } from '../../src/kernel/mounts.ts';
import { sdNotify } from '../../src/kernel/notify.ts';
import { isBusy, KernelError } from '../../src/linux/kernel-error.ts';

function scratch(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'keelson mounts-'));
  t.teardown(async () => {
    for (const { target } of (await kernelMounts.list()).reverse()) {
      if (target.startsWith(`${directory}/`)) await kernelMounts.unmount(target, { lazy: true });
    }
    rmSync(directory, { recursive: true });
  });
  return directory;
}

function directoryIn(parent: string, name: string): string {
  const path = join(parent, name);
  mkdirSync(path);
  return path;
}

const mountedAt = async (target: string) => (await kernelMounts.list()).filter((mount) => mount.target === target);

test.serial('tmpfs: size, mode, nosuid and nodev, a target with a space', async (t) => {
  const target = directoryIn(scratch(t), 'a b');
  await kernelMounts.mountTmpfs(target, { sizeBytes: 64 * 1024, mode: 0o1777, noswap: true });
  const { bsize, blocks } = statfsSync(target);
  t.is(bsize * blocks, 64 * 1024);
  t.is(statSync(target).mode & 0o7777, 0o1777);
  t.throws(() => writeFileSync(join(target, 'big'), Buffer.alloc(128 * 1024)), { code: 'ENOSPC' });
  const [mount] = await mountedAt(target);
  t.like(mount, { fsType: 'tmpfs', source: 'tmpfs', root: '/', readOnly: false });
  const options = execFileSync('findmnt', ['-no', 'OPTIONS', target], { encoding: 'utf8' });
  t.regex(options, /nosuid/);
  t.regex(options, /nodev/);
  await kernelMounts.unmount(target);
  t.deepEqual(await mountedAt(target), []);
});

test.serial('unmount: busy, lazy, nothing there, never through a symlink', async (t) => {
  const directory = scratch(t);
  const target = directoryIn(directory, 'm');
  await kernelMounts.mountTmpfs(target, {});
  const user = spawn('sleep', ['30'], { cwd: target });
  await once(user, 'spawn');
  const busy = await t.throwsAsync(kernelMounts.unmount(target), { instanceOf: KernelError });
  t.true(isBusy(busy));
  t.is(busy.syscall, 'umount2');
  t.is(busy.object, `umount ${target}`);
  await kernelMounts.unmount(target, { lazy: true });
  t.deepEqual(await mountedAt(target), []);
  user.kill();
  await once(user, 'exit');

  const absent = await t.throwsAsync(kernelMounts.unmount(target), { instanceOf: KernelError });
  t.is(absent.errnoName, 'EINVAL');
  await kernelMounts.mountTmpfs(target, {});
  symlinkSync(target, join(directory, 'link'));
  const link = await t.throwsAsync(kernelMounts.unmount(join(directory, 'link')), { instanceOf: KernelError });
  t.is(link.errnoName, 'EINVAL');
  t.is((await mountedAt(target)).length, 1);
});

test.serial('mounts refuse what is wrong and leave nothing', async (t) => {
  const directory = scratch(t);
  const target = directoryIn(directory, 'm');
  for (const [call, errnoName] of [
    [kernelMounts.mountTmpfs(join(directory, 'none'), {}), 'ENOENT'],
    [kernelMounts.mountTmpfs(target, { sizeBytes: 0 }), 'EINVAL'],
    [kernelMounts.mountTmpfs(target, { sizeBytes: 1.5 }), 'EINVAL'],
    [kernelMounts.bind(join(directory, 'none'), target), 'ENOENT'],
    [kernelMounts.bind(target, join(directory, 'none'), { readOnly: true }), 'ENOENT'],
  ] as const) {
    t.is((await t.throwsAsync(call, { instanceOf: KernelError })).errnoName, errnoName);
  }
  await t.throwsAsync(kernelMounts.mountTmpfs(`${target}\0x`, {}), { instanceOf: TypeError });
  t.false((await kernelMounts.list()).some((mount) => mount.target.startsWith(directory)));
});

test.serial('bind: plain, read-only, recursive', async (t) => {
  const directory = scratch(t);
  const source = directoryIn(directory, 'source');
  await kernelMounts.mountTmpfs(source, {});
  await kernelMounts.mountTmpfs(directoryIn(source, 'inner'), {});
  writeFileSync(join(source, 'inner', 'file'), 'x');
  const [plain, readOnly, recursive] = ['plain', 'ro', 'rec'].map((name) => directoryIn(directory, name)) as [
    string,
    string,
    string,
  ];
  await kernelMounts.bind(source, plain);
  await kernelMounts.bind(source, readOnly, { readOnly: true });
  await kernelMounts.bind(source, recursive, { readOnly: true, recursive: true });
  writeFileSync(join(plain, 'new'), '1');
  t.throws(() => statSync(join(plain, 'inner', 'file')), { code: 'ENOENT' }, 'without the mounts below');
  t.throws(() => writeFileSync(join(readOnly, 'new'), '2'), { code: 'EROFS' });
  t.is(statSync(join(recursive, 'inner', 'file')).size, 1);
  t.throws(() => writeFileSync(join(recursive, 'inner', 'file'), '2'), { code: 'EROFS' });
  t.true((await mountedAt(readOnly))[0]?.readOnly);
  t.false((await mountedAt(plain))[0]?.readOnly);
  t.false((await mountedAt(source))[0]?.readOnly, 'the source is as it was');
});

test.serial('sd_notify reaches a file socket and an abstract one', async (t) => {
  const directory = scratch(t);
  // Node has no unix datagram sockets; perl is on every Debian.
  const receiver = `use Socket; $| = 1; my $a = $ARGV[0]; $a =~ s/^@/\\0/;
    socket(S, AF_UNIX, SOCK_DGRAM, 0) or die; bind(S, pack_sockaddr_un($a)) or die $!; print "bound\\n";
    recv(S, my $m, 4096, 0); print "$m\\n"`;
  for (const address of [join(directory, 'notify'), `@keelson-test-${process.pid}`]) {
    const child = spawn('perl', ['-e', receiver, address], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    await once(child.stdout, 'data');
    t.true(sdNotify('READY=1\nSTATUS=fine', { NOTIFY_SOCKET: address }));
    await once(child, 'exit');
    t.is(output, 'bound\nREADY=1\nSTATUS=fine\n');
  }
  const error = t.throws(() => sdNotify('READY=1', { NOTIFY_SOCKET: join(directory, 'none') }), {
    instanceOf: KernelError,
  });
  t.is(error?.errnoName, 'ENOENT');
  t.is(
    t.throws(() => sdNotify('x', { NOTIFY_SOCKET: '/'.repeat(200) }), { instanceOf: KernelError })?.errnoName,
    'EINVAL',
  );
});
