/**
 * Init containers, sidecars, hooks and probes on a real runtime: the order in which containers say what they do.
 * Layer: test (integration, root). One node; each container appends its words to one file per pod.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { PodReport } from '../../src/agent/status-report.ts';
import type { ContainerStatus } from '../../src/api/core.ts';
import { container, type Daemon, type Manifest, podManifest, startDaemon } from '../support/daemon.ts';
import { eventually } from '../support/exec.ts';

let daemon: Daemon;
let out: string;

test.before(async () => {
  daemon = await startDaemon({ images: ['pause', 'busybox'] });
  out = join(daemon.node.run.path, 'out');
  mkdirSync(out);
});
test.afterEach.always(() => daemon.clear());
test.after.always(() => daemon?.end());

const mount = { volumeMounts: [{ name: 'out', mountPath: '/out' }] };
const volumes = () => [{ name: 'out', hostPath: { path: out } }];
const say = (pod: string, words: string): string => `echo ${words} >> /out/${pod}`;
const run = (pod: string, name: string, script: string, more: Manifest = {}): Manifest =>
  container(name, ['sh', '-c', `${say(pod, `${name} begins`)}; ${script}`], { ...mount, ...more });
/** Runs until it is told to end, and says so. */
const stays = (pod: string, name: string): string =>
  `trap '${say(pod, `${name} ends`)}; exit 0' TERM; while :; do sleep 1 & wait $!; done`;
const said = (pod: string): string[] =>
  existsSync(join(out, pod)) ? readFileSync(join(out, pod), 'utf8').trim().split('\n') : [];
const statusOf = (pod: PodReport, name: string): ContainerStatus | undefined =>
  [...(pod.status.initContainerStatuses ?? []), ...(pod.status.containerStatuses ?? [])].find(
    (status) => status.name === name,
  );
const exec = (command: string): Manifest => ({ exec: { command: ['sh', '-c', command] } });

test.serial('init containers, a sidecar with a startup probe, main container; ended in reverse order', async (t) => {
  const pod = 'order';
  daemon.write(
    'order.yaml',
    podManifest(pod, {
      volumes: volumes(),
      terminationGracePeriodSeconds: 20,
      initContainers: [
        run(pod, 'first', say(pod, 'first done')),
        run(pod, 'side', `sleep 2; ${say(pod, 'side up')}; touch /tmp/up; ${stays(pod, 'side')}`, {
          restartPolicy: 'Always',
          startupProbe: { ...exec('test -e /tmp/up'), periodSeconds: 1, failureThreshold: 60 },
        }),
        run(pod, 'second', say(pod, 'second done')),
      ],
      containers: [
        run(pod, 'main', stays(pod, 'main'), {
          lifecycle: { postStart: exec(say(pod, 'main postStart')), preStop: exec(say(pod, 'main preStop')) },
        }),
      ],
    }),
  );
  const [ready] = await daemon.waitForReady(pod);
  t.is(statusOf(ready!, 'first')?.state.terminated?.reason, 'Completed');
  t.true(statusOf(ready!, 'side')?.ready);
  daemon.remove('order.yaml');
  await daemon.waitForNoPods();
  const words = said(pod);
  t.deepEqual(
    words.filter((line) => line !== 'main begins' && line !== 'main postStart'),
    [
      'first begins',
      'first done',
      'side begins',
      'side up',
      'second begins',
      'second done',
      'main preStop',
      'main ends',
      'side ends',
    ],
  );
  t.true(words.includes('main postStart'));
});

test.serial('a killed daemon comes back while a pod initializes: nothing runs twice', async (t) => {
  const pod = 'again';
  daemon.write(
    'again.yaml',
    podManifest(pod, {
      volumes: volumes(),
      initContainers: [run(pod, 'wait', 'while ! test -e /out/go; do sleep 0.1; done'), run(pod, 'next', 'true')],
      containers: [run(pod, 'main', stays(pod, 'main'))],
    }),
  );
  await daemon.waitForPod(pod, 'initializes', (report) => statusOf(report, 'wait')?.state.running !== undefined);
  await daemon.kill9();
  await daemon.start();
  await daemon.waitForPod(pod, 'initializes', (report) => statusOf(report, 'wait')?.state.running !== undefined);
  await daemon.kill9();
  await daemon.node.exec('touch', join(out, 'go'));
  await daemon.start();
  await daemon.waitForReady(pod);
  t.deepEqual(said(pod), ['wait begins', 'next begins', 'main begins']);
});

test.serial('probes: a liveness probe restarts, a readiness probe decides over Ready', async (t) => {
  const pod = 'probed';
  daemon.write(
    'probed.yaml',
    podManifest(pod, {
      volumes: volumes(),
      terminationGracePeriodSeconds: 2,
      containers: [
        run(pod, 'main', 'touch /tmp/alive; while :; do sleep 1; done', {
          livenessProbe: { ...exec('test -e /tmp/alive'), periodSeconds: 1, failureThreshold: 1 },
          readinessProbe: { ...exec(`test -e /out/${pod}-ready`), periodSeconds: 1, failureThreshold: 1 },
        }),
      ],
    }),
  );
  const running = await daemon.waitForPod(pod, 'runs', (report) => statusOf(report, 'main')?.started === true);
  t.false(statusOf(running, 'main')?.ready);
  await daemon.node.exec('touch', join(out, `${pod}-ready`));
  const [ready] = await daemon.waitForReady(pod);
  await daemon.exec(ready!, 'rm /tmp/alive');
  const restarted = await daemon.waitForPod(pod, 'restarted', (report) => report.restarts === 1);
  t.is(statusOf(restarted, 'main')?.lastState.terminated?.exitCode, 137);
});

test.serial('a failed init container under Never: the pod fails, its sandbox is stopped', async (t) => {
  daemon.write(
    'failed.yaml',
    podManifest('failed', {
      restartPolicy: 'Never',
      volumes: volumes(),
      initContainers: [run('failed', 'init', 'exit 3')],
      containers: [run('failed', 'main', 'true')],
    }),
  );
  const pod = await daemon.waitForPod('failed', 'Failed', (report) => report.status.phase === 'Failed');
  t.is(statusOf(pod, 'init')?.state.terminated?.exitCode, 3);
  t.is(statusOf(pod, 'main')?.state.waiting?.reason, 'PodInitializing');
  await eventually('its sandbox is stopped', async () => {
    const { items } = await daemon.cri.runtime.listPodSandbox({
      filter: { labelSelector: { 'io.kubernetes.pod.uid': pod.uid } },
    });
    return items.every(({ state }) => state === 'SANDBOX_NOTREADY');
  });
  t.deepEqual(said('failed'), ['init begins']);
});

test.serial('RestartAllContainers: the pod begins anew in its sandbox', async (t) => {
  const pod = 'anew';
  const rule = { action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [88] } };
  daemon.write(
    'anew.yaml',
    podManifest(pod, {
      volumes: volumes(),
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 2,
      initContainers: [run(pod, 'init', 'true')],
      containers: [
        run(
          pod,
          'main',
          `if test -e /out/${pod}-done; then while :; do sleep 1; done; fi; sleep 2; touch /out/${pod}-done; exit 88`,
          {
            restartPolicy: 'Never',
            restartPolicyRules: [rule],
          },
        ),
        run(pod, 'other', 'while :; do sleep 1; done'),
      ],
    }),
  );
  await daemon.waitForReady(pod);
  const again = await daemon.waitForPod(pod, 'began anew', (report) => {
    const { containerStatuses = [] } = report.status;
    return containerStatuses.every(({ state, restartCount }) => state.running && restartCount === 1);
  });
  t.is(again.status.phase, 'Running');
  t.is(said(pod).filter((line) => line === 'init begins').length, 2);
});
