/** What a machine offers to containers, from files of machines with cgroup v1, v2 and nothing at all. */
import test from 'ava';
import { readContainerHost } from './container-host.ts';

function machine(files: Record<string, string>, directories: Record<string, string[]> = {}) {
  const missing = (path: string): Promise<never> => Promise.reject(new Error(`ENOENT ${path}`));
  return readContainerHost({
    readText: (path) => (path in files ? Promise.resolve(files[path] ?? '') : missing(path)),
    names: (path) => (path in directories ? Promise.resolve(directories[path] ?? []) : missing(path)),
  });
}
const swap = { '/proc/meminfo': 'MemTotal: 8 kB\nSwapTotal:       2048 kB\n' };

test('cgroup v2 with swap, huge pages, AppArmor', async (t) => {
  const files = {
    ...swap,
    '/sys/fs/cgroup/cgroup.controllers': 'cpu memory',
    '/proc/self/cgroup': '0::/system.slice/keelson.service\n',
    '/sys/fs/cgroup/system.slice/keelson.service/memory.swap.max': 'max\n',
    '/sys/module/apparmor/parameters/enabled': 'Y\n',
  };
  const directories = {
    '/sys/kernel/mm/hugepages': ['hugepages-2048kB', 'hugepages-1048576kB', 'other'],
    '/sys/devices/system/cpu': ['cpu0', 'cpu1', 'cpufreq'],
    '/sys/devices/system/cpu/cpu0': ['topology', 'thermal_throttle'],
    '/sys/devices/system/cpu/cpu1': ['topology'],
  };
  t.deepEqual(await machine(files, directories), {
    unifiedCgroups: true,
    swapController: true,
    swapBytes: 2_097_152,
    hugePageSizes: ['2MB', '1GB'],
    thermalThrottlePaths: ['/sys/devices/system/cpu/cpu0/thermal_throttle'],
    appArmor: true,
  });
});

test('cgroup v1 with and without swap accounting', async (t) => {
  const memsw = { '/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes': '1' };
  t.like(await machine({ ...swap, ...memsw }), { unifiedCgroups: false, swapController: true });
  t.like(await machine(swap), { unifiedCgroups: false, swapController: false });
});

test('a machine that shows nothing has nothing', async (t) => {
  t.deepEqual(await machine({}), {
    unifiedCgroups: false,
    swapController: false,
    swapBytes: 0,
    hugePageSizes: [],
    thermalThrottlePaths: [],
    appArmor: false,
  });
});
