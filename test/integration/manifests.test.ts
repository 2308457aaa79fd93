/**
 * What happens to a pod when its manifest changes, breaks, moves or goes, also across a restart of the daemon; and that
 * what a manifest asks of a container is what the container gets.
 * Layer: test (integration, root). One node, the tests run in order; each has pods of its own.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { PodReport, StandaloneReport } from '../../src/agent/status-report.ts';
import { entrypointImage } from '../images/build.ts';
import type { Census } from '../support/census.ts';
import {
  container,
  type Daemon,
  isReady,
  type Manifest,
  podManifest,
  sleeper,
  startDaemon,
  waitingReason,
} from '../support/daemon.ts';
import { eventually } from '../support/exec.ts';

let daemon: Daemon;
let before: Census;

test.before(async () => {
  daemon = await startDaemon();
  before = await daemon.warmCensus();
});
test.afterEach.always(() => daemon.clear());
test.after.always(() => daemon?.end());

const containerIdOf = (pod: PodReport | undefined): string | undefined =>
  pod?.status.containerStatuses?.[0]?.containerID;
const terminatedOf = (pod: PodReport) => pod.status.containerStatuses?.[0]?.state.terminated;
const sh = (script: string): string[] => ['sh', '-c', script];
const errorsOf = (status: StandaloneReport, file: string): string[] =>
  status.manifestErrors.filter((entry) => entry.file === daemon.path(file)).map(({ error }) => error);

/** A folder of the run that a pod mounts at /out. */
function outFolder(name: string): { path: string; spec: Manifest; mount: Manifest } {
  const path = join(daemon.node.run.path, name);
  mkdirSync(path);
  return {
    path,
    spec: { volumes: [{ name: 'out', hostPath: { path } }] },
    mount: { volumeMounts: [{ name: 'out', mountPath: '/out' }] },
  };
}

const appears = (file: string): Promise<boolean> => eventually(file, () => existsSync(file));

/** Sandboxes of a pod's name that the runtime has. */
async function sandboxesOf(name: string): Promise<{ uid: string | undefined; ready: boolean }[]> {
  const { items } = await daemon.cri.runtime.listPodSandbox({
    filter: { labelSelector: { 'io.kubernetes.pod.name': daemon.fullName(name) } },
  });
  return items.map(({ metadata, state }) => ({ uid: metadata?.uid, ready: state === 'SANDBOX_READY' }));
}

test.serial('a changed manifest: the old pod goes entirely, then the new one comes', async (t) => {
  const out = outFolder('changed');
  const version = (number: number): Manifest =>
    podManifest('changed', {
      ...out.spec,
      terminationGracePeriodSeconds: 30,
      containers: [
        container(
          'main',
          sh(`trap "sleep 1; touch /out/ended-${number}; exit 0" TERM
            ls /out > /tmp/seen; mv /tmp/seen /out/seen-by-${number}
            while :; do sleep 1 & wait $!; done`),
          out.mount,
        ),
      ],
    });
  daemon.write('changed.yaml', version(1));
  const [old] = await daemon.waitForReady('changed');
  await appears(join(out.path, 'seen-by-1'));
  daemon.write('changed.yaml', version(2));
  const fresh = await daemon.waitForPod(
    'changed',
    'the new one is ready',
    (pod) => pod.uid !== old?.uid && isReady(pod),
  );
  await appears(join(out.path, 'seen-by-2'));
  t.true(readFileSync(join(out.path, 'seen-by-2'), 'utf8').split('\n').includes('ended-1'));
  t.deepEqual(await sandboxesOf('changed'), [{ uid: fresh.uid, ready: true }]);
  t.false(existsSync(daemon.logDir(old!)), 'the logs of the old one went with it');

  // The same content, written anew and in another order of keys, is the same pod.
  const { apiVersion, kind, metadata, spec } = version(2);
  daemon.write('changed.yaml', JSON.stringify({ spec, metadata, kind, apiVersion }));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const [same] = await daemon.waitForReady('changed');
  t.is(containerIdOf(same), containerIdOf(fresh));

  daemon.remove('changed.yaml');
  await daemon.waitForNoPods();
  t.deepEqual(await sandboxesOf('changed'), []);
});

test.serial('a broken manifest is named and changes nothing; restored, nothing has happened', async (t) => {
  const good = podManifest('fragile');
  daemon.write('fragile.yaml', good);
  const [running] = await daemon.waitForReady('fragile');
  const broken = async (text: string, expected: RegExp): Promise<void> => {
    daemon.write('fragile.yaml', text);
    const status = await daemon.waitFor('the error', (now) =>
      errorsOf(now, 'fragile.yaml').some((e) => expected.test(e)),
    );
    t.is(containerIdOf(daemon.find(status, 'fragile')), containerIdOf(running));
    const table = await daemon.keelson.command('status');
    t.is(table.code, 0);
    t.regex(table.stdout, expected);
    t.true(table.stdout.includes('fragile.yaml:'), table.stdout);
  };
  await broken('kind: [Pod\n', /fragile\.yaml:\d+: /);
  await broken(
    'apiVersion: v1\nkind: Pod\nmetadata: {name: fragile}\nspec:\n  containers:\n  - image: x\n',
    /containers\[0\]\.name/,
  );
  await broken(
    'apiVersion: v1\nkind: Pod\nmetadata: {name: other}\nspec: {containers: [{name: c, image: x, imag: y}]}\n',
    /imag\b/,
  );
  t.is((await sandboxesOf('other')).length, 0);

  daemon.write('fragile.yaml', good);
  const status = await daemon.waitFor('no error', (now) => now.manifestErrors.length === 0);
  const restored = daemon.find(status, 'fragile');
  t.is(restored?.uid, running?.uid);
  t.is(containerIdOf(restored), containerIdOf(running));
  t.is(restored?.restarts, 0);
});

test.serial('a daemon that starts on a broken file spares its pod, and adopts it when it is mended', async (t) => {
  const good = podManifest('fragile');
  daemon.write('fragile.yaml', good);
  const [running] = await daemon.waitForReady('fragile');
  const isAlive = async (): Promise<boolean> => (await sandboxesOf('fragile')).some(({ ready }) => ready);

  await daemon.kill9();
  daemon.write('fragile.yaml', 'apiVersion: v1\nkind: Pod\n  bad indentation: {\n');
  daemon.write('other.yaml', podManifest('other'));
  await daemon.start();
  await daemon.waitFor('the error', (now) => errorsOf(now, 'fragile.yaml').length > 0);
  // When another pod has been started, the daemon has long looked at what is left over.
  await daemon.waitForReady('other');
  t.true(await isAlive());

  daemon.write('fragile.yaml', good);
  const [adopted] = await daemon.waitForReady('fragile');
  t.is(adopted?.uid, running?.uid);
  t.is(containerIdOf(adopted), containerIdOf(running));
  t.is(adopted?.restarts, 0);
  t.deepEqual((await daemon.status()).manifestErrors, []);

  // Stopped in peace and started again, without any change: the same.
  t.is(await daemon.stop(), 0);
  t.true(await isAlive());
  await daemon.start();
  const [again, other] = await daemon.waitForReady('fragile', 'other');
  t.is(containerIdOf(again), containerIdOf(running));
  t.is(other?.restarts, 0);

  // Gone while the daemon was away: an orphan, to be ended.
  await daemon.kill9();
  daemon.remove('fragile.yaml');
  await daemon.start();
  await eventually('the orphan is gone', async () => (await sandboxesOf('fragile')).length === 0);
});

test.serial('renamed, a file is another one: its pod is replaced', async (t) => {
  daemon.write('first.yaml', podManifest('moved'));
  const [old] = await daemon.waitForReady('moved');
  renameSync(daemon.path('first.yaml'), daemon.path('second.yaml'));
  const fresh = await daemon.waitForPod('moved', 'replaced', (pod) => pod.uid !== old?.uid && isReady(pod));
  t.deepEqual(await sandboxesOf('moved'), [{ uid: fresh.uid, ready: true }]);
  t.deepEqual((await daemon.status()).manifestErrors, []);
});

test.serial('two pods of one name: the first file wins, the other takes over', async (t) => {
  const withLabel = (value: string): Manifest => podManifest('twin', {}, { labels: { file: value } });
  daemon.write('a.yaml', withLabel('a'));
  const [first] = await daemon.waitForReady('twin');
  daemon.write('b.yaml', withLabel('b'));
  const status = await daemon.waitFor('the error', (now) => errorsOf(now, 'b.yaml').length > 0);
  const [error = ''] = errorsOf(status, 'b.yaml');
  t.true(error.includes(`${daemon.path('b.yaml')}:`) && error.includes(`${daemon.path('a.yaml')}:`), error);
  t.is(containerIdOf(daemon.find(status, 'twin')), containerIdOf(first));
  daemon.remove('a.yaml');
  const second = await daemon.waitForPod('twin', 'taken over', (pod) => pod.uid !== first?.uid && isReady(pod));
  t.deepEqual(await sandboxesOf('twin'), [{ uid: second.uid, ready: true }]);
  t.deepEqual((await daemon.status()).manifestErrors, []);
});

test.serial('one file may hold many documents: each is for itself, one bad one stops all', async (t) => {
  const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' }, data: { color: 'green' } };
  const env = [{ name: 'COLOR', valueFrom: { configMapKeyRef: { name: 'settings', key: 'color' } } }];
  const reader = podManifest('reader', { containers: [container('main', sleeper, { env })] });
  daemon.write('many.yaml', '# nothing\n', configMap, podManifest('plain'), reader, '');
  const [plain, pod] = await daemon.waitForReady('plain', 'reader');
  t.is(await daemon.output(pod!, 'echo $COLOR'), 'green');

  daemon.write('many.yaml', configMap, podManifest('plain'), podManifest('third'), { ...reader, kind: 'Deployment' });
  const status = await daemon.waitFor('the error', (now) => errorsOf(now, 'many.yaml').length > 0);
  t.regex(errorsOf(status, 'many.yaml')[0] ?? '', /many\.yaml:\d+: kind: Deployment/);
  t.is(containerIdOf(daemon.find(status, 'reader')), containerIdOf(pod));
  t.is(daemon.find(status, 'third'), undefined);

  // One document less: its pod goes, its neighbour stays as it is.
  daemon.write('many.yaml', configMap, podManifest('plain'));
  await daemon.waitFor('reader is gone', (now) => now.pods.length === 1 && now.ending.length === 0);
  const [kept] = await daemon.waitForReady('plain');
  t.is(containerIdOf(kept), containerIdOf(plain));
});

test.serial(
  'what a ConfigMap and a Secret hold comes into the environment, and a missing one is waited for',
  async (t) => {
    const env = [
      { name: 'KEY', valueFrom: { secretKeyRef: { name: 'keys', key: 'main' } } },
      { name: 'MAYBE', valueFrom: { secretKeyRef: { name: 'none', key: 'x', optional: true } } },
    ];
    const envFrom = [{ prefix: 'APP_', configMapRef: { name: 'app' } }, { secretRef: { name: 'keys' } }];
    daemon.write('env.yaml', podManifest('env', { containers: [container('main', sleeper, { env, envFrom })] }));
    const waiting = await daemon.waitForPod('env', 'waits', (p) => waitingReason(p) === 'CreateContainerConfigError');
    t.regex(waiting.status.containerStatuses?.[0]?.state.waiting?.message ?? '', /configmap "app" not found/);
    daemon.write(
      'objects.yaml',
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'app' }, data: { MODE: 'test' } },
      { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'keys' }, stringData: { main: 's3cret', OTHER: 'a b' } },
    );
    const [pod] = await daemon.waitForReady('env');
    t.is(await daemon.output(pod!, 'echo "$KEY|$APP_MODE|$OTHER|$main|$MAYBE"'), 's3cret|test|a b|s3cret|');
    t.false(
      readFileSync(join(daemon.node.run.path, 'keelson.log'), 'utf8').includes('s3cret'),
      'secrets are not logged',
    );
  },
);

test.serial('restart policies and exit codes', async (t) => {
  const policies = ['Never', 'OnFailure', 'Always'] as const;
  const nameOf = (policy: string, code: number): string => `exit-${policy.toLowerCase()}-${code}`;
  const documents = policies.flatMap((restartPolicy) =>
    [0, 3].map((code) =>
      podManifest(nameOf(restartPolicy, code), { restartPolicy, containers: [container('main', sh(`exit ${code}`))] }),
    ),
  );
  daemon.write('exits.yaml', ...documents);
  const ended = (name: string, phase: string): Promise<PodReport> =>
    daemon.waitForPod(name, phase, (pod) => pod.status.phase === phase);
  const restarted = (name: string): Promise<PodReport> =>
    daemon.waitForPod(name, 'restarted', (pod) => pod.restarts > 0);

  for (const [policy, code, phase, reason] of [
    ['Never', 0, 'Succeeded', 'Completed'],
    ['Never', 3, 'Failed', 'Error'],
    ['OnFailure', 0, 'Succeeded', 'Completed'],
  ] as const) {
    const pod = await ended(nameOf(policy, code), phase);
    t.like(terminatedOf(pod), { exitCode: code, reason });
    t.is(pod.restarts, 0);
    t.is(pod.summary, reason);
  }
  for (const [policy, code] of [
    ['OnFailure', 3],
    ['Always', 0],
    ['Always', 3],
  ] as const) {
    const pod = await restarted(nameOf(policy, code));
    t.is(pod.status.phase, 'Running');
    t.is(pod.status.containerStatuses?.[0]?.lastState.terminated?.exitCode, code);
  }
  // A completed pod has given its sandbox back, and its address with it.
  await eventually('the sandbox has stopped', async () =>
    (await sandboxesOf('exit-never-0')).every(({ ready }) => !ready),
  );
});

test.serial('the last words of a container are in its status', async (t) => {
  const ending = (name: string, script: string, more: Manifest = {}): Manifest =>
    podManifest(name, { restartPolicy: 'Never', containers: [container('main', sh(script), more)] });
  daemon.write(
    'words.yaml',
    ending('words-file', 'echo "the disk is full" > /dev/termination-log; exit 7'),
    ending('words-elsewhere', 'echo bye > /tmp/last; exit 0', { terminationMessagePath: '/tmp/last' }),
    ending('words-log', 'echo "one"; echo "two" >&2; exit 1', { terminationMessagePolicy: 'FallbackToLogsOnError' }),
    ending('words-none', 'echo "only logged"; exit 1'),
  );
  const message = async (name: string, phase: string): Promise<string | undefined> =>
    terminatedOf(await daemon.waitForPod(name, phase, (pod) => pod.status.phase === phase))?.message;
  t.is((await message('words-file', 'Failed'))?.trim(), 'the disk is full');
  t.is((await message('words-elsewhere', 'Succeeded'))?.trim(), 'bye');
  t.deepEqual((await message('words-log', 'Failed'))?.trim().split('\n').sort(), ['one', 'two']);
  t.is(await message('words-none', 'Failed'), undefined);
});

test.serial('who obeys SIGTERM gets its time, who does not is killed after its grace', async (t) => {
  const out = outFolder('grace');
  const pod = (name: string, grace: number, script: string): Manifest =>
    podManifest(name, {
      ...out.spec,
      terminationGracePeriodSeconds: grace,
      containers: [container('main', sh(script), out.mount)],
    });
  daemon.write(
    'slow.yaml',
    pod(
      'slow',
      30,
      'trap "sleep 3; touch /out/slow-said-bye; exit 0" TERM; touch /out/slow-ready; while :; do sleep 1 & wait $!; done',
    ),
  );
  daemon.write(
    'deaf.yaml',
    pod('deaf', 4, 'trap "touch /out/deaf-heard" TERM; while :; do touch /out/deaf-alive; sleep 0.1; done'),
  );
  await daemon.waitForReady('slow', 'deaf');
  await appears(join(out.path, 'slow-ready'));
  await appears(join(out.path, 'deaf-alive'));
  const askedMs = Date.now();
  daemon.remove('slow.yaml');
  daemon.remove('deaf.yaml');
  await daemon.waitFor('both end', ({ ending }) => ending.length === 2);
  await daemon.waitForNoPods();
  t.true(existsSync(join(out.path, 'slow-said-bye')));
  t.true(existsSync(join(out.path, 'deaf-heard')));
  const aliveMs = statSync(join(out.path, 'deaf-alive')).mtimeMs - askedMs;
  t.true(aliveMs > 3500, `killed after ${aliveMs} ms although it had 4 s`);
});

/** The value of a cgroup file of a container's first process, by its name in cgroup v1 or v2. */
function cgroupValue(pid: string, controller: string, v1File: string, v2File: string): string {
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(':'));
  const v1 = lines.find(([, controllers = '']) => controllers.split(',').includes(controller));
  if (v1) return readFileSync(join('/sys/fs/cgroup', controller, v1[2] ?? '', v1File), 'utf8').trim();
  const v2 = lines.find(([hierarchy]) => hierarchy === '0');
  return readFileSync(join('/sys/fs/cgroup', v2?.[2] ?? '', v2File), 'utf8').trim();
}

test.serial('limits and requests are in the cgroup of the container', async (t) => {
  const resources = { limits: { cpu: '250m', memory: '64Mi' }, requests: { cpu: '100m', memory: '32Mi' } };
  daemon.write('limits.yaml', podManifest('limits', { containers: [container('main', sleeper, { resources })] }));
  const [pod] = await daemon.waitForReady('limits');
  const id = containerIdOf(pod)?.split('//')[1];
  const tasks = (await daemon.node.containerd.ctr('tasks', 'ls')).split('\n').map((line) => line.split(/\s+/));
  const pid = tasks.find(([task]) => task === id)?.[1] ?? '';
  t.is(cgroupValue(pid, 'memory', 'memory.limit_in_bytes', 'memory.max'), String(64 * 2 ** 20));
  const isV1 = existsSync('/sys/fs/cgroup/cpu');
  t.is(cgroupValue(pid, 'cpu', 'cpu.cfs_quota_us', 'cpu.max'), isV1 ? '25000' : '25000 100000');
  if (isV1) t.is(cgroupValue(pid, 'cpu', 'cpu.shares', ''), '102');
  t.is(pod?.status.qosClass, 'Burstable');
});

test.serial('the security context is what the container runs with', async (t) => {
  const secured = (name: string, securityContext: Manifest, podContext: Manifest = {}): Manifest =>
    podManifest(name, {
      securityContext: podContext,
      containers: [container('main', sleeper, { securityContext })],
    });
  daemon.write(
    'secured.yaml',
    secured('ordinary', {}),
    secured('user', { runAsUser: 1234 }, { runAsUser: 99, runAsGroup: 5678, supplementalGroups: [4321] }),
    secured('read-only', { readOnlyRootFilesystem: true }),
    secured('dropped', { capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] } }),
    secured('no-escalation', { allowPrivilegeEscalation: false }),
    secured('privileged', { privileged: true }),
    secured('not-root', { runAsNonRoot: true }),
  );
  const [ordinary, user, readOnly, dropped, noEscalation, privileged] = (await daemon.waitForReady(
    'ordinary',
    'user',
    'read-only',
    'dropped',
    'no-escalation',
    'privileged',
  )) as [PodReport, PodReport, PodReport, PodReport, PodReport, PodReport];
  const statusField = (pod: PodReport, field: string): Promise<string> =>
    daemon.output(pod, `grep ${field}: /proc/1/status | cut -f 2`);
  const capabilities = async (pod: PodReport): Promise<bigint> => BigInt(`0x${await statusField(pod, 'CapEff')}`);
  const [netBindService, sysAdmin, chown] = [1n << 10n, 1n << 21n, 1n];

  t.is(await daemon.output(ordinary, 'id -u; id -g; touch /x && echo written'), '0\n0\nwritten');
  t.is((await capabilities(ordinary)) & (sysAdmin | chown), chown);
  t.is(await statusField(ordinary, 'NoNewPrivs'), '0');
  t.is(await daemon.output(user, 'id -u; id -g'), '1234\n5678');
  t.true((await daemon.output(user, 'id -G')).split(' ').includes('4321'));
  t.regex((await daemon.exec(readOnly, 'touch /x')).stderr, /Read-only file system/);
  t.is(await capabilities(dropped), netBindService);
  t.is(await statusField(noEscalation, 'NoNewPrivs'), '1');
  t.is((await capabilities(privileged)) & sysAdmin, sysAdmin);
  t.true((await daemon.output(privileged, 'ls /dev')).split('\n').length > 20, 'it sees the devices of the node');
  const refused = await daemon.waitForPod(
    'not-root',
    'refused',
    (pod) => waitingReason(pod) === 'CreateContainerConfigError',
  );
  t.regex(refused.status.containerStatuses?.[0]?.state.waiting?.message ?? '', /root/);
});

test.serial('command, args, environment and working directory', async (t) => {
  const field = (name: string, fieldPath: string): Manifest => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  const env = [
    { name: 'WHO', value: 'world' },
    { name: 'GREETING', value: 'hello $(WHO)' },
    { name: 'LITERAL', value: '$$(WHO) $(NOBODY)' },
    field('POD', 'metadata.name'),
    field('POD_UID', 'metadata.uid'),
    field('POD_IP', 'status.podIP'),
    field('HOST_IP', 'status.hostIP'),
    field('NODE', 'spec.nodeName'),
    field('TIER', "metadata.labels['tier']"),
    { name: 'MEMORY', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
  ];
  const script = 'echo "$0|$1|$GREETING|$LITERAL|$TIER|$MEMORY"; pwd; exec sleep 1000';
  const spec = {
    terminationGracePeriodSeconds: 1,
    containers: [
      container('main', ['sh', '-c'], {
        args: [script, 'zero', '$(GREETING)'],
        env,
        workingDir: '/var/www',
        resources: { limits: { memory: '48Mi' } },
      }),
      // ENTRYPOINT and CMD of the image, and its CMD replaced.
      { name: 'image', image: entrypointImage, imagePullPolicy: 'IfNotPresent' },
      { name: 'args', image: entrypointImage, imagePullPolicy: 'IfNotPresent', args: ['a', 'b c'] },
    ],
  };
  daemon.write('args.yaml', podManifest('args', spec, { labels: { tier: 'front' } }));
  const [pod] = (await daemon.waitForReady('args')) as [PodReport];
  const lines = async (name: string, count: number): Promise<string[]> =>
    eventually(`${count} lines of ${name}`, () => {
      const found = daemon
        .log(pod, name)
        .trimEnd()
        .split('\n')
        .map((line) => line.split(' ').slice(3).join(' '));
      return found.length >= count && found[0] !== '' ? found : undefined;
    });
  t.deepEqual(await lines('main', 2), ['zero|hello world|hello world|$(WHO) $(NOBODY)|front|48', '/var/www']);
  t.deepEqual(await lines('image', 1), ['entry from-image']);
  t.deepEqual(await lines('args', 1), ['entry a b c']);
  const environment = await daemon.output(pod, 'echo "$POD|$POD_UID|$POD_IP|$HOST_IP|$NODE"', 'main');
  const { name, uid, status } = pod;
  t.is(environment, [name, uid, status.podIP, daemon.node.nodeIp, `node-${daemon.node.run.id}`].join('|'));
  t.is(await daemon.output(pod, 'id -u; pwd', 'image'), '1000\n/home');
});

test.serial('the folder emptied, no trace is left', async (t) => {
  t.deepEqual(await daemon.difference(before), []);
  t.is(await daemon.stop(), 0);
});
