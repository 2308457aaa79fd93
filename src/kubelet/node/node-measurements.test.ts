import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { hostReader } from './host-reader.ts';
import {
  countCpus,
  type HostReader,
  measureNode,
  parseMeminfo,
  prettyName,
  readNodeIdentity,
} from './node-measurements.ts';

const meminfo = [
  'MemTotal:        8000000 kB',
  'MemFree:         1000000 kB',
  'Buffers:           10000 kB',
  'Cached:          3000000 kB',
  'SwapCached:            0 kB',
  'Inactive(file):  2000000 kB',
  'SwapTotal:        500000 kB',
  'AnonPages:       1500000 kB',
].join('\n');

const files: Record<string, string> = {
  '/proc/meminfo': meminfo,
  '/proc/loadavg': '1.36 3.49 4.53 2/3518 3715089\n',
  '/proc/sys/kernel/pid_max': '32768\n',
  '/proc/sys/kernel/threads-max': '31000\n',
  '/sys/devices/system/cpu/online': '0-3,8\n',
  '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '12\n',
  '/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages': '0\n',
  '/var/lib/dbus/machine-id': 'dbus-id\n',
  '/proc/sys/kernel/random/boot_id': 'boot-id\n',
  '/proc/device-tree/vm,uuid': 'uuid\0',
  '/usr/lib/os-release': 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
};

const gib = 1024 ** 3;

function fakeHost(bend: Record<string, string | undefined> = {}, inodes = 1000): HostReader {
  const missing = (path: string): Error => Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
  const all: Record<string, string | undefined> = { ...files, ...bend };
  return {
    async readText(path) {
      const text = all[path];
      if (text === undefined) throw missing(path);
      return text;
    },
    names: async () => ['hugepages-2048kB', 'hugepages-1048576kB', 'stranger'],
    async filesystem(path) {
      if (path === '/gone') throw missing(path);
      return { capacityBytes: 10 * gib, availableBytes: gib, inodes, inodesFree: inodes / 2 };
    },
    kernelVersion: () => '6.12.0',
    architecture: () => 'arm64',
  };
}

test('a measurement', async (t) => {
  const measured = await measureNode(fakeHost(), '/var/lib/kubelet', '/images');
  t.deepEqual(measured.machine, {
    cores: 5,
    memoryBytes: 8_000_000 * 1024,
    ephemeralStorageBytes: 10 * gib,
    hugePages: [
      { pageBytes: 2 * 1024 ** 2, pages: 12 },
      { pageBytes: gib, pages: 0 },
    ],
  });
  t.is(measured.swapBytes, 500_000 * 1024);
  const filesystem = { available: gib, capacity: 10 * gib };
  t.deepEqual(measured.observations, {
    'memory.available': { available: (8_000_000 - 2_510_000) * 1024, capacity: 8_000_000 * 1024 },
    'nodefs.available': filesystem,
    'nodefs.inodesFree': { available: 500, capacity: 1000 },
    'imagefs.available': filesystem,
    'imagefs.inodesFree': { available: 500, capacity: 1000 },
    'pid.available': { available: 31_000 - 3518, capacity: 31_000 },
  });
  t.deepEqual(measured.problems, []);
});

test('a part that cannot be read is named, the others are there', async (t) => {
  const host = fakeHost({ '/proc/meminfo': 'nonsense', '/sys/devices/system/cpu/online': 'x' });
  const measured = await measureNode(host, '/gone', undefined);
  t.deepEqual(Object.keys(measured.observations), ['pid.available']);
  t.is(measured.machine.memoryBytes, undefined);
  t.is(measured.machine.cores, undefined);
  t.is(measured.problems.length, 3);
  t.true(measured.problems.some((line) => line.startsWith('filesystem of /gone: ENOENT')));
});

test('a filesystem that counts no inodes is under no pressure of them', async (t) => {
  const { observations } = await measureNode(fakeHost({}, 0), '/', '/images');
  t.false('nodefs.inodesFree' in observations);
  t.false('imagefs.inodesFree' in observations);
});

test('identity, with the files that stand in for missing ones', async (t) => {
  t.deepEqual(await readNodeIdentity(fakeHost()), {
    machineID: 'dbus-id',
    systemUUID: 'uuid',
    bootID: 'boot-id',
    kernelVersion: '6.12.0',
    osImage: 'Debian GNU/Linux 13 (trixie)',
    architecture: 'arm64',
  });
  const bare = fakeHost(Object.fromEntries(Object.keys(files).map((path) => [path, undefined])));
  const identity = await readNodeIdentity(bare);
  t.is(identity.machineID, '');
  t.is(identity.osImage, 'Unknown');
});

test('parsers', (t) => {
  t.is(countCpus('0\n'), 1);
  t.is(countCpus('0-1,4-7,9'), 7);
  t.throws(() => countCpus(''));
  t.is(prettyName('NAME=x\n'), 'Linux');
  t.is(prettyName("PRETTY_NAME=Plain\nPRETTY_NAME='second'"), 'Plain');
  t.throws(() => parseMeminfo('MemTotal: 1 kB'), { message: /AnonPages/ });
});

test('this machine', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-measure-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const { machine, observations, problems } = await measureNode(hostReader, directory, directory);
  t.deepEqual(problems, []);
  t.true((machine.cores ?? 0) >= 1);
  const memory = observations['memory.available'];
  t.true(memory !== undefined && memory.available > 0 && memory.available <= memory.capacity);
  const disk = observations['nodefs.available'];
  t.true(disk !== undefined && disk.available <= disk.capacity && disk.capacity > 0);
  const { bootID, architecture, osImage } = await readNodeIdentity(hostReader);
  t.regex(bootID, /^[0-9a-f-]{36}$/);
  t.regex(architecture, /^(amd64|arm64)$/);
  t.not(osImage, '');
});
