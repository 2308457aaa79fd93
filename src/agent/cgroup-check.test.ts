/** Doctor tells the version of cgroups, and what pods would lack. */
import test from 'ava';
import { checkCgroups } from './cgroup-check.ts';

const machine = (text: string | Error) => async (): Promise<string> => {
  if (text instanceof Error) throw text;
  return text;
};
const errno = (code: string): Error => Object.assign(new Error(code), { code });

test('v2 with all controllers is right', async (t) => {
  const result = await checkCgroups(machine('cpuset cpu io memory hugetlb pids rdma misc\n'));
  t.is(result.level, 'ok');
  t.notRegex(result.finding, /without/);
});

test('what only some pods need is named', async (t) => {
  const result = await checkCgroups(machine('cpu memory pids\n'));
  t.is(result.level, 'ok');
  t.regex(result.finding, /without cpuset, hugetlb, io$/);
});

test('v2 that does not have what limits pods would stop the start', async (t) => {
  const result = await checkCgroups(machine('hugetlb cpu\n'));
  t.is(result.level, 'fail');
  t.regex(result.finding, /without memory, pids$/);
});

test('v1 is a warning that says what a configuration file needs', async (t) => {
  const result = await checkCgroups(machine(errno('ENOENT')));
  t.is(result.level, 'warn');
  t.regex(result.fix ?? '', /cgroupsPerQOS: false/);
  t.is((await checkCgroups(machine(errno('EACCES')))).level, 'fail');
});
