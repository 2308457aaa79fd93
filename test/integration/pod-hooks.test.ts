/**
 * Hooks, sidecars, restart rules and last words on a real runtime: what containers say they did, and what their pods' status is.
 * Layer: test (integration, root). Pods come from manifests: the API server of the tests knows neither sidecars nor sleep hooks.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { PodReport } from '../../src/agent/status-report.ts';
import type { ContainerStatus } from '../../src/api/core.ts';
import type { Census } from '../support/census.ts';
import { container, type Daemon, type Manifest, podManifest, startDaemon } from '../support/daemon.ts';
import { eventually } from '../support/exec.ts';
import { probedPod, probePorts } from '../support/probed-pod.ts';

let daemon: Daemon;
let out: string;
let before: Census;

test.before(async () => {
  daemon = await startDaemon({ images: ['pause', 'busybox'] });
  before = await daemon.warmCensus();
  // Not below the folders that the census counts.
  out = join(daemon.node.run.path, 'out');
  mkdirSync(out);
});
test.afterEach.always(() => daemon.clear());
test.after.always(() => daemon?.end());

const mount = { volumeMounts: [{ name: 'out', mountPath: '/out' }] };
const volumes = () => [{ name: 'out', hostPath: { path: out } }];
/** Each line with its time in seconds before it. */
const say = (pod: string, words: string): string => `echo $(date +%s) ${words} >> /out/${pod}`;
const run = (pod: string, name: string, script: string, more: Manifest = {}): Manifest =>
  container(name, ['sh', '-c', `${say(pod, `${name} begins`)}; ${script}`], { ...mount, ...more });
/** Runs until it is told to end, and says so. */
const stays = (pod: string, name: string): string =>
  `trap '${say(pod, `${name} ends`)}; exit 0' TERM; while :; do sleep 0.2; done`;
const exec = (command: string): Manifest => ({ exec: { command: ['sh', '-c', command] } });
const lines = (pod: string): string[] =>
  existsSync(join(out, pod)) ? readFileSync(join(out, pod), 'utf8').trim().split('\n') : [];
const said = (pod: string): string[] => lines(pod).map((line) => line.slice(line.indexOf(' ') + 1));
const secondsOf = (pod: string, words: string): number =>
  Number(
    lines(pod)
      .find((line) => line.endsWith(` ${words}`))
      ?.split(' ')[0],
  );
const count = (pod: string, words: string): number => said(pod).filter((line) => line === words).length;
const statusOf = (pod: PodReport, name: string): ContainerStatus | undefined =>
  [...(pod.status.initContainerStatuses ?? []), ...(pod.status.containerStatuses ?? [])].find(
    (status) => status.name === name,
  );
const write = (name: string, spec: Manifest): void =>
  daemon.write(`${name}.yaml`, podManifest(name, { volumes: volumes(), ...spec }));
const ended = (pod: PodReport): boolean => ['Succeeded', 'Failed'].includes(pod.status.phase);

test.serial(
  'an init container that fails is tried again under Always and OnFailure, and the next one waits',
  async (t) => {
    for (const restartPolicy of ['Always', 'OnFailure'] as const) {
      const pod = `again-${restartPolicy.toLowerCase()}`;
      write(pod, {
        restartPolicy,
        initContainers: [
          run(pod, 'first', `test $(grep -c 'first begins' /out/${pod}) = 2 || exit 1`),
          run(pod, 'second', 'true'),
        ],
        containers: [run(pod, 'main', stays(pod, 'main'))],
      });
      const failing = await daemon.waitForPod(pod, 'first fails', (report) => {
        const first = statusOf(report, 'first');
        return (
          first?.restartCount === 1 || first?.lastState.terminated !== undefined || first?.state.waiting !== undefined
        );
      });
      t.is(failing.status.phase, 'Pending');
      t.is(statusOf(failing, 'main')?.state.waiting?.reason, 'PodInitializing');
      const [ready] = await daemon.waitForReady(pod);
      t.is(statusOf(ready!, 'first')?.restartCount, 1);
      t.deepEqual(said(pod), ['first begins', 'first begins', 'second begins', 'main begins']);
    }
  },
);

test.serial(
  'a sidecar is restarted under Never, also while the pod initializes; it ends after main, which decides the phase',
  async (t) => {
    const pod = 'sidecar';
    write(pod, {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 20,
      initContainers: [
        // Its first instance ends by itself while the next init container still runs.
        run(pod, 'side', `test $(grep -c 'side begins' /out/${pod}) = 1 && exit 3; ${stays(pod, 'side')}`, {
          restartPolicy: 'Always',
        }),
        run(pod, 'init', `until test $(grep -c 'side begins' /out/${pod}) = 2; do sleep 0.1; done`),
      ],
      containers: [run(pod, 'main', `until test -e /out/${pod}-go; do sleep 0.1; done; ${say(pod, 'main ends')}`)],
    });
    const [ready] = await daemon.waitForReady(pod);
    t.is(statusOf(ready!, 'side')?.restartCount, 1);
    t.is(statusOf(ready!, 'side')?.lastState.terminated?.exitCode, 3);
    writeFileSync(join(out, `${pod}-go`), '');
    const report = await daemon.waitForPod(pod, 'ended', ended);
    t.is(report.status.phase, 'Succeeded');
    const last = await daemon.waitForPod(
      pod,
      'the sidecar ended',
      (now) => statusOf(now, 'side')?.state.terminated !== undefined,
    );
    t.is(statusOf(last, 'side')?.restartCount, 1, 'it is not restarted for a pod that ended');
    t.deepEqual(said(pod).slice(-2), ['main ends', 'side ends']);
  },
);

test.serial('postStart that fails ends the container: PostStartHookError, then by the restart policy', async (t) => {
  const pod = 'post-start';
  const lifecycle = { postStart: exec(`${say(pod, 'hook')}; exit 7`), preStop: exec(say(pod, 'preStop')) };
  write(pod, { containers: [run(pod, 'main', stays(pod, 'main'), { lifecycle })] });
  const failed = await daemon.waitForPod(
    pod,
    'PostStartHookError',
    (report) => statusOf(report, 'main')?.state.waiting?.reason === 'PostStartHookError',
  );
  t.regex(statusOf(failed, 'main')?.state.waiting?.message ?? '', /exited with 7/);
  t.false(statusOf(failed, 'main')?.ready);
  await daemon.waitForPod(pod, 'tried again', (report) => (statusOf(report, 'main')?.restartCount ?? 0) >= 1);
  t.true(said(pod).includes('main ends'), 'it was asked to end');
  t.true(said(pod).includes('preStop'));
  daemon.remove(`${pod}.yaml`);
  await daemon.waitForNoPods();

  write('never', {
    restartPolicy: 'Never',
    containers: [run('never', 'main', stays('never', 'main'), { lifecycle: { postStart: exec('exit 7') } })],
  });
  await daemon.waitForPod('never', 'ended', ended);
  t.is(count('never', 'main begins'), 1);
});

test.serial('preStop by exec, HTTP and sleep comes before the signal', async (t) => {
  const pod = 'pre-stop';
  const probed = probedPod(join(daemon.node.run.path, 'probed', pod));
  const httpGet = { path: '/pre-stop?x=1', port: probePorts.http };
  write(pod, {
    volumes: [...volumes(), ...probed.volumes],
    terminationGracePeriodSeconds: 60,
    initContainers: [probed.server('server', { restartPolicy: 'Always' })],
    containers: [
      run(pod, 'exec', stays(pod, 'exec'), { lifecycle: { preStop: exec(say(pod, 'exec preStop')) } }),
      run(pod, 'http', stays(pod, 'http'), { lifecycle: { preStop: { httpGet } } }),
      run(pod, 'sleep', stays(pod, 'sleep'), { lifecycle: { preStop: { sleep: { seconds: 4 } } } }),
    ],
  });
  await daemon.waitForReady(pod);
  await eventually('the server serves', () =>
    daemon
      .status()
      .then(({ pods }) =>
        daemon.node.exec('curl', '-sf', `http://${pods[0]?.status.podIP}:${probePorts.http}/`).catch(() => undefined),
      ),
  );
  const removed = Math.floor(Date.now() / 1000);
  daemon.remove(`${pod}.yaml`);
  await daemon.waitForNoPods();
  const words = said(pod);
  t.true(words.indexOf('exec preStop') < words.indexOf('exec ends'));
  t.is(probed.asked('pre-stop').length, 1);
  t.like(probed.asked('pre-stop')[0], { url: '/pre-stop?x=1', headers: { 'user-agent': 'kube-lifecycle/1.36' } });
  t.true(words.includes('http ends'));
  t.true(secondsOf(pod, 'sleep ends') >= removed + 4);
});

test.serial('a preStop hook that hangs or fails: the grace goes on, the container is ended all the same', async (t) => {
  const pod = 'hangs';
  write(pod, {
    terminationGracePeriodSeconds: 2,
    containers: [
      run(pod, 'hangs', stays(pod, 'hangs'), { lifecycle: { preStop: exec(`${say(pod, 'hook')}; sleep 1000`) } }),
      run(pod, 'fails', stays(pod, 'fails'), { lifecycle: { preStop: exec('exit 1') } }),
      run(pod, 'sleeps', stays(pod, 'sleeps'), { lifecycle: { preStop: { sleep: { seconds: 2 } } } }),
      // Nobody listens there.
      run(pod, 'http', stays(pod, 'http'), { lifecycle: { preStop: { httpGet: { port: 4 } } } }),
    ],
  });
  await daemon.waitForReady(pod);
  daemon.remove(`${pod}.yaml`);
  await daemon.waitForNoPods();
  t.deepEqual(
    said(pod)
      .filter((line) => !line.endsWith('begins'))
      .sort(),
    ['fails ends', 'hangs ends', 'hook', 'http ends', 'sleeps ends'],
  );
});

test.serial("restart policy of a container and its rules go before the pod's", async (t) => {
  const pod = 'rules';
  const restart = (operator: string, values: number[]): Manifest[] => [
    { action: 'Restart', exitCodes: { operator, values } },
  ];
  const exits = (name: string, code: number, more: Manifest): Manifest =>
    run(pod, name, `test $(grep -c '${name} begins' /out/${pod}) = 1 && exit ${code}; ${stays(pod, name)}`, more);
  write(pod, {
    restartPolicy: 'Never',
    containers: [
      exits('always', 0, { restartPolicy: 'Always' }),
      exits('in', 42, { restartPolicy: 'Never', restartPolicyRules: restart('In', [41, 42]) }),
      exits('not-listed', 43, { restartPolicy: 'Never', restartPolicyRules: restart('In', [41, 42]) }),
      exits('not-in', 43, { restartPolicy: 'Never', restartPolicyRules: restart('NotIn', [0]) }),
      exits('on-failure', 1, { restartPolicy: 'OnFailure' }),
      exits('plain', 1, {}),
    ],
  });
  const restarted = ['always', 'in', 'not-in', 'on-failure'];
  const ends = ['not-listed', 'plain'];
  const report = await daemon.waitForPod(
    pod,
    'four restarted, two ended',
    (now) =>
      restarted.every((name) => statusOf(now, name)?.state.running && statusOf(now, name)?.restartCount === 1) &&
      ends.every((name) => statusOf(now, name)?.state.terminated),
  );
  t.is(report.status.phase, 'Running');
  for (const [name, code] of [
    ['not-listed', 43],
    ['plain', 1],
  ] as const) {
    t.is(statusOf(report, name)?.restartCount, 0, name);
    t.is(statusOf(report, name)?.state.terminated?.exitCode, code, name);
  }
});

test.serial('termination messages: a path of their own, cut to what fits, the log when there is none', async (t) => {
  const pod = 'words';
  const more = { ...mount };
  const speak = (name: string, script: string, fields: Manifest = {}): Manifest =>
    container(name, ['sh', '-c', script], { ...more, ...fields });
  const huge = 'yes 0123456789abcde | head -c 1000000 > /dev/termination-log; exit 1';
  write(pod, {
    restartPolicy: 'Never',
    containers: [
      speak('path', 'printf "of its own" > /tmp/words', { terminationMessagePath: '/tmp/words' }),
      speak('huge', huge),
      speak('log', 'yes "last line" | head -n 500; exit 1', { terminationMessagePolicy: 'FallbackToLogsOnError' }),
      speak('well', 'echo not said', { terminationMessagePolicy: 'FallbackToLogsOnError' }),
      speak('silent', 'echo not said; exit 1'),
      speak('link', 'rm /dev/termination-log; ln -s /etc/shadow /dev/termination-log; exit 1'),
    ],
  });
  const report = await daemon.waitForPod(pod, 'ended', ended);
  const message = (name: string): string => statusOf(report, name)?.state.terminated?.message ?? '';
  t.is(message('path'), 'of its own');
  t.true(message('huge').startsWith('0123456789abcde\n'));
  t.is(message('huge').length, 4096);
  t.is(message('log'), 'last line\n'.repeat(80));
  t.is(message('well'), '');
  t.is(message('silent'), '');
  t.is(message('link'), '');
});

test.serial('shareProcessNamespace: containers see and signal each other', async (t) => {
  const pod = 'shared';
  // The one whose command line has the trap; the brackets keep this command line from being found.
  const signal = `kill -TERM $(grep -l "trap.*patient[ ]ends" /proc/[0-9]*/cmdline | cut -d/ -f3)`;
  write(pod, {
    shareProcessNamespace: true,
    restartPolicy: 'Never',
    containers: [
      run(pod, 'patient', stays(pod, 'patient')),
      run(pod, 'signals', `until test $(grep -c 'patient ends' /out/${pod}) = 1; do ${signal}; sleep 0.5; done`),
    ],
  });
  const report = await daemon.waitForPod(pod, 'ended', ended);
  t.is(statusOf(report, 'patient')?.state.terminated?.exitCode, 0);
  t.true(said(pod).includes('patient ends'));
});

test.serial('nothing is left of all these pods', async (t) => {
  await daemon.waitForNoPods();
  t.deepEqual(await daemon.difference(before), []);
});
