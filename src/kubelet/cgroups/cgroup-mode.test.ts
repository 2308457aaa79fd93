/** Which machines and configurations give pods cgroups, and by which driver. */
import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { CriError } from '../../cri/cri-error.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { silentLogger } from '../../observe/logger.ts';
import { CgroupError } from './cgroup-error.ts';
import { cgroupDriver, podsHaveCgroups } from './cgroup-mode.ts';

const base = { unified: false, configured: true, perQOS: true };

test('on cgroup v2 it is as the configuration says', (t) => {
  t.true(podsHaveCgroups({ ...base, unified: true }));
  t.true(podsHaveCgroups({ ...base, unified: true, configured: false }));
  t.false(podsHaveCgroups({ ...base, unified: true, perQOS: false }));
});

test('on cgroup v1 it is off without a file or when the file says so, else an error says what to set', (t) => {
  t.false(podsHaveCgroups({ ...base, configured: false }));
  t.false(podsHaveCgroups({ ...base, perQOS: false }));
  const error = t.throws(() => podsHaveCgroups(base), { instanceOf: CgroupError });
  t.is(error?.code, 'CGROUP_V1');
  t.regex(error?.fix ?? '', /cgroupsPerQOS: false/);
});

const runtime = (...answers: (cri.RuntimeConfigResponse | CriError)[]) => {
  let calls = 0;
  return {
    get calls() {
      return calls;
    },
    async runtimeConfig(): Promise<cri.RuntimeConfigResponse> {
      const answer = answers[Math.min(calls++, answers.length - 1)];
      if (answer === undefined || answer instanceof Error) throw answer;
      return answer;
    },
  };
};
const signal = new AbortController().signal;
const ask = (from: ReturnType<typeof runtime>, clock = new FakeClock()) =>
  cgroupDriver(from, 'cgroupfs', { clock, log: silentLogger }, signal);

test("the runtime's driver goes before the configured one", async (t) => {
  t.is(await ask(runtime({ linux: { cgroupDriver: 'SYSTEMD' } })), 'systemd');
  t.is(await ask(runtime({ linux: { cgroupDriver: 'CGROUPFS' } })), 'cgroupfs');
  t.is(await ask(runtime({ linux: undefined })), 'cgroupfs');
});

test('an old runtime does not tell; one in trouble is asked three times', async (t) => {
  t.is(await ask(runtime(new CriError('CRI_UNIMPLEMENTED', 'unknown method'))), 'cgroupfs');
  const trouble = new CriError('CRI_FAILED', 'not now');
  const clock = new FakeClock();
  const recovers = ask(runtime(trouble, trouble, { linux: { cgroupDriver: 'SYSTEMD' } }), clock);
  await clock.advance(5000);
  t.is(await recovers, 'systemd');
  const broken = runtime(trouble);
  const failing = ask(broken, clock);
  failing.catch(() => undefined);
  await clock.advance(5000);
  await t.throwsAsync(failing, { is: trouble });
  t.is(broken.calls, 3);
});
