/**
 * A container that always fails is started again at once, then after 10, 20 and 40 s, never earlier, and a killed
 * daemon's successor goes on counting. Layer: test (integration, root). Takes the 70 s that the waits add up to.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { PodReport } from '../../src/agent/status-report.ts';
import { container, type Daemon, podManifest, startDaemon } from '../support/daemon.ts';
import { eventually } from '../support/exec.ts';

/** Seconds from the end of one instance to the start of the next. */
const waits = [0, 10, 20, 40] as const;
/** /proc/uptime counts hundredths. */
const grain = 0.02;

let daemon: Daemon;

test.before(async () => {
  daemon = await startDaemon();
});
test.after.always(() => daemon?.end());

test.serial('restarts after 0, 10, 20 and 40 s, also across kill -9', async (t) => {
  const out = join(daemon.node.run.path, 'out');
  mkdirSync(out);
  /** Uptimes at which instances of a pod started, as they wrote them down. */
  const starts = (name: string): number[] =>
    existsSync(join(out, name)) ? readFileSync(join(out, name), 'utf8').trim().split('\n').map(Number) : [];
  const noting = (name: string, code: number, restartPolicy: string) =>
    podManifest(name, {
      restartPolicy,
      volumes: [{ name: 'out', hostPath: { path: out } }],
      containers: [
        container('main', ['sh', '-c', `cut -d ' ' -f 1 /proc/uptime >> /out/${name}; echo try; exit ${code}`], {
          volumeMounts: [{ name: 'out', mountPath: '/out' }],
        }),
      ],
    });
  daemon.write('crash.yaml', noting('crash', 3, 'Always'));
  daemon.write('done.yaml', noting('done', 0, 'OnFailure'));
  daemon.write('failed.yaml', noting('failed', 1, 'Never'));
  daemon.write('steady.yaml', podManifest('steady'));
  const [steady] = (await daemon.waitForReady('steady')) as [PodReport];

  const inBackOff = (restarts: number): Promise<PodReport> =>
    daemon.waitForPod('crash', `waits after ${restarts} restarts`, (pod) => {
      return pod.restarts === restarts && pod.summary === 'CrashLoopBackOff';
    });
  const checkState = (pod: PodReport, restarts: number): void => {
    const [status] = pod.status.containerStatuses ?? [];
    t.is(status?.restartCount, restarts);
    t.is(status?.lastState.terminated?.exitCode, 3);
    t.true(status?.state.waiting?.message?.startsWith(`back-off ${waits[restarts]}s restarting failed container=main`));
    t.is(pod.status.phase, 'Running');
    t.is(pod.status.conditions.find(({ type }) => type === 'Ready')?.status, 'False');
  };
  for (const restarts of [1, 2, 3] as const) {
    const waiting = await inBackOff(restarts);
    checkState(waiting, restarts);
    await daemon.kill9();
    await daemon.start();
    const adopted = await inBackOff(restarts);
    checkState(adopted, restarts);
    t.is(adopted.uid, waiting.uid);
  }
  await daemon.waitForPod('crash', 'the fourth restart', (pod) => pod.restarts === 4);

  const times = starts('crash');
  t.is(times.length, waits.length + 1, times.join(' '));
  for (const [index, wait] of waits.entries()) {
    const waited = (times[index + 1] ?? 0) - (times[index] ?? 0);
    t.log(`restart ${index + 1} after ${waited.toFixed(2)} s`);
    t.true(waited >= wait - grain, `restart ${index + 1} came after ${waited} s instead of ${wait}`);
  }
  // Of the instances that ended, the last one and its log are kept.
  const last = await inBackOff(4);
  t.regex(daemon.log(last, 'main', 4), / stdout F try\n/);
  const logs = (): string[] => readdirSync(join(daemon.logDir(last), 'main'));
  await eventually(
    () => `the logs of older instances are gone, but: ${logs()}`,
    () => logs().join() === '4.log',
  );

  const after = await daemon.status();
  t.is(daemon.find(after, 'done')?.status.phase, 'Succeeded');
  t.is(daemon.find(after, 'failed')?.status.phase, 'Failed');
  t.is(starts('done').length, 1, 'what succeeded does not run again');
  t.is(starts('failed').length, 1);
  const same = daemon.find(after, 'steady');
  t.is(same?.status.containerStatuses?.[0]?.containerID, steady.status.containerStatuses?.[0]?.containerID);
});
