/** Sysctls of a node: set, or only compared. */
import test from 'ava';
import { silentLogger } from '../../observe/logger.ts';
import { CgroupError } from './cgroup-error.ts';
import { ensureKernelSettings } from './kernel-settings.ts';

const right = {
  'vm.overcommit_memory': '1',
  'vm.panic_on_oom': '0',
  'kernel.panic': '10',
  'kernel.panic_on_oops': '1',
  'kernel.keys.root_maxkeys': '1000000',
  'kernel.keys.root_maxbytes': '25000000',
};

function sysctls(values: Record<string, string>, readOnly: string[] = []) {
  return {
    values,
    writes: [] as string[],
    async read(name: string) {
      const value = values[name];
      if (value === undefined) throw new Error(`no ${name}`);
      return value;
    },
    async write(name: string, value: string) {
      if (readOnly.includes(name)) throw new Error('EROFS');
      this.writes.push(name);
      values[name] = value;
    },
  };
}

test('what differs is set, and nothing else', async (t) => {
  const edge = sysctls({ ...right, 'kernel.panic': '0', 'vm.overcommit_memory': '0' });
  await ensureKernelSettings(edge, false, silentLogger);
  t.deepEqual(edge.values, right);
  t.deepEqual(edge.writes, ['vm.overcommit_memory', 'kernel.panic']);
});

test('one that cannot be set does not hold up the others', async (t) => {
  const edge = sysctls({ ...right, 'vm.overcommit_memory': '0', 'kernel.panic': '0' }, ['vm.overcommit_memory']);
  await ensureKernelSettings(edge, false, silentLogger);
  t.deepEqual(edge.writes, ['kernel.panic']);
  const { 'kernel.panic': _, ...missing } = right;
  await t.notThrowsAsync(ensureKernelSettings(sysctls(missing), false, silentLogger));
});

test('protected settings are never written, and each that differs is named', async (t) => {
  const edge = sysctls({ ...right, 'kernel.panic': '0', 'vm.overcommit_memory': '2' });
  const error = await t.throwsAsync(ensureKernelSettings(edge, true, silentLogger), { instanceOf: CgroupError });
  t.regex(error?.message ?? '', /vm\.overcommit_memory is 2, not 1; kernel\.panic is 0, not 10/);
  t.regex(error?.fix ?? '', /sysctl -w vm\.overcommit_memory=1 kernel\.panic=10/);
  t.deepEqual(edge.writes, []);
  await t.notThrowsAsync(ensureKernelSettings(sysctls({ ...right }), true, silentLogger));
});
