/** Whole pods on the fake runtime: init containers, sidecars, probes, hooks, ephemeral containers, beginning anew. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import type { ContainerRestartRule } from '../../api/core.ts';
import { busybox, podNode, staticPod } from './pod-node.fake.ts';

const never = { restartPolicy: 'Never' } as const;
const side = (name: string, more = {}) => busybox(name, { restartPolicy: 'Always', ...more });
const execProbe = (command: string, more = {}) => ({ exec: { command: [command] }, periodSeconds: 1, ...more });

test('init containers run one by one, then the main ones', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { initContainers: [busybox('i1'), busybox('i2')], containers: [busybox('a')] }));
  await node.start();
  await node.until('the first runs', () => node.running('i1') !== undefined);
  await node.until('told', () => node.container('web', 'i1')?.state.running !== undefined);
  t.is(node.status('web')?.phase, 'Pending');
  t.is(node.container('web', 'a')?.state.waiting?.reason, 'PodInitializing');
  t.like(node.condition('web', 'Initialized'), {
    status: 'False',
    reason: 'ContainersNotInitialized',
    message: 'containers with incomplete status: [i1 i2]',
  });
  node.exit('i1', 0);
  await node.until('the second runs', () => node.running('i2') !== undefined);
  t.is(node.running('a'), undefined);
  node.exit('i2', 0);
  await node.until('ready', () => node.isReady('web'));
  t.deepEqual(node.called('startContainer'), ['i1', 'i2', 'a']);
  t.is(node.condition('web', 'Initialized')?.status, 'True');
  t.true(node.container('web', 'i2')?.ready);
});

test('an init container that fails runs again after its backoff; under Never the pod fails', async (t) => {
  const node = await podNode(t);
  const spec = { initContainers: [busybox('i')], containers: [busybox('a')] };
  node.set(staticPod('web', spec));
  await node.start();
  await node.until('runs', () => node.running('i') !== undefined);
  node.exit('i', 1);
  await node.until('runs again', () => node.running('i')?.config.metadata?.attempt === 1);
  node.exit('i', 1);
  await node.until('waits', () => node.container('web', 'i')?.state.waiting?.reason === 'CrashLoopBackOff');
  t.is(node.status('web')?.phase, 'Pending');
  await node.clock.advance(10_000);
  await node.until('a third time', () => node.running('i')?.config.metadata?.attempt === 2);
  node.set(staticPod('job', { ...spec, ...never }));
  await node.until('the other one', () => node.container('job', 'i')?.state.running !== undefined);
  node.exit('i', 1);
  await node.until('failed', () => node.status('job')?.phase === 'Failed');
  t.is(node.called('startContainer').filter((name) => name === 'a').length, 0);
  await node.until('its sandbox is stopped', () =>
    node.fake.sandboxes.every(({ state, config }) => config.metadata?.name !== 'job' || state !== 'SANDBOX_READY'),
  );
});

test('sidecars come first, are made again beside the others, and end after them in reverse order', async (t) => {
  const node = await podNode(t);
  const startupProbe = execProbe('up', { failureThreshold: 100 });
  let up = false;
  node.fake.onExec = () => ({ exitCode: up ? 0 : 1 });
  const spec = { initContainers: [side('s1'), side('s2', { startupProbe })], containers: [busybox('a')], ...never };
  node.set(staticPod('job', spec));
  await node.start();
  await node.until('both sidecars run', () => node.running('s2') !== undefined);
  await node.clock.advance(3_000);
  t.is(node.running('a'), undefined, 'the second one has not started');
  up = true;
  await node.until('the main one runs', () => node.running('a') !== undefined, 100);
  node.exit('s1', 0);
  await node.until('the sidecar is back', () => node.running('s1')?.config.metadata?.attempt === 1);
  t.is(node.status('job')?.phase, 'Running');
  node.fake.calls.length = 0;
  node.exit('a', 0);
  await node.until('done', () => node.status('job')?.phase === 'Succeeded');
  t.deepEqual(node.called('stopContainer'), ['s2', 's1']);
});

test('a pod that is ended: the main container first, sidecars in reverse order within the same grace', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { initContainers: [side('s1'), side('s2')], containers: [busybox('a')] }));
  const kubelet = await node.start();
  await node.until('ready', () => node.isReady('web'));
  node.fake.calls.length = 0;
  const release = node.fake.holdNext('stopContainer');
  node.set();
  await node.until('asked', () => node.called('stopContainer').length > 0);
  await node.clock.advance(4_000);
  t.deepEqual(node.called('stopContainer'), ['a']);
  release();
  await node.until('gone', () => kubelet.board.list().length === 0);
  t.deepEqual(node.called('stopContainer'), ['a', 's2', 's1']);
  t.deepEqual(node.timeouts(), [10, 6, 6]);
});

test('sidecars do not wait beyond the grace for a main container that does not end', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { initContainers: [side('s')], containers: [busybox('a')] }));
  await node.start();
  await node.until('ready', () => node.isReady('web'));
  node.fake.calls.length = 0;
  node.fake.holdNext('stopContainer');
  node.set();
  await node.until('asked', () => node.called('stopContainer').length > 0);
  await node.clock.advance(10_000);
  await node.until('the sidecar, too', () => node.called('stopContainer').includes('s'));
  t.deepEqual(node.timeouts(), [10, 2]);
});

test('a failed liveness probe ends the container, which starts again', async (t) => {
  const node = await podNode(t);
  let healthy = true;
  node.fake.onExec = () => ({ exitCode: healthy ? 0 : 1 });
  const livenessProbe = execProbe('ok', { failureThreshold: 1, terminationGracePeriodSeconds: 3 });
  node.set(staticPod('web', { containers: [busybox('a', { livenessProbe })] }));
  await node.start();
  await node.until('ready', () => node.isReady('web'));
  await node.clock.advance(5_000);
  t.is(node.container('web', 'a')?.restartCount, 0);
  healthy = false;
  await node.until('killed', () => node.called('stopContainer').length > 0, 100);
  healthy = true;
  await node.until('runs again', () => node.container('web', 'a')?.restartCount === 1 && node.isReady('web'));
  t.deepEqual(node.timeouts(), [3]);
  t.true(node.events.includes('a Killing: Container a failed liveness probe, will be restarted'));
});

test('readiness decides over Ready, also while a pass is busy with another container', async (t) => {
  const node = await podNode(t);
  let ready = true;
  node.fake.onExec = () => ({ exitCode: ready ? 0 : 1 });
  const readinessProbe = execProbe('ready', { failureThreshold: 1 });
  const containers = [busybox('a', { readinessProbe }), busybox('b')];
  node.set(staticPod('web', { containers }));
  await node.start();
  await node.until('ready', () => node.isReady('web'), 100);
  const release = node.fake.holdNext('createContainer');
  node.exit('b', 1);
  await node.until('busy', () => node.called('createContainer').length === 3);
  ready = false;
  await node.until('not ready', () => node.container('web', 'a')?.ready === false, 100);
  t.like(node.condition('web', 'ContainersReady'), {
    status: 'False',
    message: 'containers with unready status: [a b]',
  });
  release();
  ready = true;
  await node.until('ready again', () => node.isReady('web'), 100);
});

test('a postStart hook that fails ends the container; it waits with the reason and starts again', async (t) => {
  const node = await podNode(t);
  let works = false;
  node.fake.onExec = () => ({ exitCode: works ? 0 : 1, stderr: 'secret words' });
  const lifecycle = { postStart: { exec: { command: ['hook'] } } };
  node.set(staticPod('web', { containers: [busybox('a', { lifecycle }), busybox('b')] }));
  const kubelet = await node.start();
  const reasons = new Set<string | undefined>();
  kubelet.board.onChange(() => reasons.add(node.container('web', 'a')?.state.waiting?.reason));
  await node.until('told', () => reasons.has('PostStartHookError') || reasons.has('CrashLoopBackOff'));
  await node.until('the other one runs', () => node.running('b') !== undefined);
  works = true;
  await node.until('ready', () => node.isReady('web'), 500);
  t.true(reasons.has('PostStartHookError'));
  t.true(node.events.includes('a FailedPostStartHook: PostStartHook failed'));
  t.true(node.events.includes('a Killing: FailedPostStartHook'));
  t.false(node.events.some((event) => event.includes('secret')));
});

test('a postStart hook that hangs holds back its own pod only, and does not outlive its end', async (t) => {
  const node = await podNode(t);
  const release = node.fake.holdNext('execSync');
  const lifecycle = { postStart: { exec: { command: ['hook'] } } };
  node.set(staticPod('slow', { containers: [busybox('a', { lifecycle }), busybox('b')] }));
  const kubelet = await node.start();
  await node.until('the hook runs', () => node.called('execSync').length === 1);
  node.set(...[...kubelet.board.list().map(({ pod }) => pod), staticPod('fast', { containers: [busybox('c')] })]);
  await node.until('the other pod is ready', () => node.isReady('fast'));
  t.is(node.running('b'), undefined);
  t.truthy(node.container('slow', 'a')?.state.waiting, 'it does not count as running yet');
  node.set(staticPod('fast', { containers: [busybox('c')] }));
  await node.until('gone', () => node.status('slow') === undefined);
  release();
  await node.clock.advance(1_000);
  t.is(node.running('b'), undefined);
});

const preStop = { preStop: { exec: { command: ['bye'] } } };

test('a preStop hook comes before the signal, and its time is taken off the grace', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { containers: [busybox('a', { lifecycle: preStop })] }));
  const kubelet = await node.start();
  await node.until('ready', () => node.isReady('web'));
  const release = node.fake.holdNext('execSync');
  node.set();
  await node.until('hook', () => node.called('execSync').length === 1);
  await node.clock.advance(4_500);
  t.deepEqual(node.called('stopContainer'), []);
  release();
  await node.until('gone', () => kubelet.board.list().length === 0);
  t.deepEqual(node.timeouts(), [6]);
});

test('a preStop hook that hangs ends with the grace; one that fails is told of', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { containers: [busybox('a', { lifecycle: preStop })] }));
  const kubelet = await node.start();
  await node.until('ready', () => node.isReady('web'));
  node.fake.holdNext('execSync');
  node.set();
  await node.until('hook', () => node.called('execSync').length === 1);
  await node.until('gone', () => kubelet.board.list().length === 0, 500);
  t.deepEqual(node.timeouts(), [2]);
  node.fake.onExec = () => ({ exitCode: 1 });
  node.set(staticPod('web', { containers: [busybox('a', { lifecycle: preStop })] }, 'uid-2'));
  await node.until('ready', () => node.isReady('web'));
  node.set();
  await node.until('gone', () => kubelet.board.list().length === 0);
  t.true(node.events.includes('a FailedPreStopHook: PreStopHook failed'));
});

test('an orphan whose container has a preStop hook: it still runs', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { containers: [busybox('a', { lifecycle: preStop })] }));
  const first = await node.start();
  await node.until('ready', () => node.isReady('web'));
  await first.stop();
  node.set();
  await node.start();
  await node.until('gone', () => node.fake.containers.length === 0);
  t.deepEqual(node.called('execSync'), ['a']);
});

test('an ephemeral container joins a running pod once, in the pid namespace of its target', async (t) => {
  const node = await podNode(t);
  const pod = staticPod('web', { containers: [busybox('a')] });
  node.set(pod);
  const first = await node.start();
  await node.until('ready', () => node.isReady('web'));
  const debugged = {
    ...pod,
    spec: { ...pod.spec, ephemeralContainers: [{ ...busybox('debug'), targetContainerName: 'a' }] },
  };
  node.set(debugged);
  await node.until('told', () => node.container('web', 'debug')?.state.running !== undefined);
  const options = node.running('debug')?.config.linux?.securityContext?.namespaceOptions;
  t.like(options, { pid: 'TARGET', targetId: node.running('a')?.id });
  t.true(node.isReady('web'));
  node.exit('debug', 1);
  await node.until('ended', () => node.container('web', 'debug')?.state.terminated?.exitCode === 1);
  await node.clock.advance(60_000);
  await first.stop();
  await node.start();
  await node.clock.advance(60_000);
  t.is(node.called('startContainer').filter((name) => name === 'debug').length, 1);
});

test('an ephemeral container whose target does not exist says so and is tried again', async (t) => {
  const node = await podNode(t);
  const pod = staticPod('web', { containers: [busybox('a')] });
  node.set(pod);
  await node.start();
  await node.until('ready', () => node.isReady('web'));
  const ephemeralContainers = [{ ...busybox('debug'), targetContainerName: 'nobody' }];
  node.set({ ...pod, spec: { ...pod.spec, ephemeralContainers } });
  const waiting = () => node.container('web', 'debug')?.state.waiting;
  await node.until('told', () => waiting()?.reason === 'CreateContainerConfigError');
  t.regex(waiting()?.message ?? '', /unable to find target container nobody/);
  t.true(node.isReady('web'));
});

test('RestartAllContainers: everything begins anew in the same sandbox, counts go on', async (t) => {
  const node = await podNode(t);
  const rule: ContainerRestartRule = { action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [88] } };
  const asks = busybox('a', { restartPolicy: 'Never', restartPolicyRules: [rule] });
  node.set(staticPod('web', { initContainers: [busybox('i'), side('s')], containers: [asks, busybox('b')], ...never }));
  const kubelet = await node.start();
  const conditions = new Set<string | undefined>();
  const reasons = new Set<string | undefined>();
  kubelet.board.onChange(() => {
    conditions.add(node.condition('web', 'AllContainersRestarting')?.status);
    reasons.add(node.container('web', 'b')?.state.waiting?.reason);
  });
  await node.until('initializes', () => node.running('i') !== undefined);
  node.exit('i', 0);
  await node.until('ready', () => node.isReady('web'));
  const sandbox = node.fake.sandboxes[0]?.id;
  node.fake.calls.length = 0;
  node.exit('a', 88);
  await node.until('initializes again', () => node.running('i') !== undefined);
  t.deepEqual(node.called('stopContainer'), ['b', 's']);
  t.is(node.called('removeContainer').at(-1), 'a', 'the cause goes last');
  t.is(node.container('web', 'a')?.restartCount, 1);
  node.exit('i', 0);
  await node.until('ready again', () => node.isReady('web'));
  t.is(node.fake.sandboxes[0]?.id, sandbox);
  t.is(node.fake.sandboxes.length, 1);
  t.deepEqual([...conditions], ['False', 'True']);
  t.true(reasons.has('RestartingAllContainers'));
  t.is(node.container('web', 'b')?.restartCount, 1);
});

test('a lost sandbox: init containers run again, counts go on', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { initContainers: [busybox('i')], containers: [busybox('a')] }));
  await node.start();
  await node.until('initializes', () => node.running('i') !== undefined);
  node.exit('i', 0);
  await node.until('ready', () => node.isReady('web'));
  node.fake.exitSandbox(node.fake.sandboxes[0]!.id);
  await node.until('initializes again', () => node.running('i')?.config.metadata?.attempt === 1);
  t.is(node.running('a'), undefined);
  node.exit('i', 0);
  await node.until('ready', () => node.isReady('web'));
  t.is(node.container('web', 'a')?.restartCount, 1);
  t.is(node.container('web', 'i')?.restartCount, 1);
});

test('a runtime that lost its records: counts go on where the logs end', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { containers: [busybox('a')] }));
  const first = await node.start();
  await node.until('ready', () => node.isReady('web'));
  await first.stop();
  const directory = join(node.root, 'logs', 'team_web_uid-web', 'a');
  await mkdir(directory, { recursive: true });
  for (const name of ['2.log', '3.log.20260101-000000.gz', 'x.log', '99999999999.log']) {
    await writeFile(join(directory, name), '');
  }
  await node.fake.runtime.removePodSandbox({ podSandboxId: node.fake.sandboxes[0]!.id });
  await node.start();
  await node.until('runs', () => node.running('a') !== undefined);
  t.is(node.running('a')?.config.metadata?.attempt, 4);
  t.is(node.running('a')?.config.logPath, 'a/4.log');
});

test('a pod counts as gone before its records are removed, and a successor of its name starts', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { containers: [busybox('a')] }, 'old'));
  const kubelet = await node.start();
  await node.until('ready', () => node.isReady('web'));
  const release = node.fake.holdNext('removePodSandbox');
  const deleted: string[] = [];
  kubelet.board.onChange(({ pod }, change) => change === 'deleted' && deleted.push(pod.metadata.uid));
  node.set(staticPod('web', { containers: [busybox('a')] }, 'new'));
  await node.until('told', () => deleted.includes('old'));
  await node.until('the successor is ready', () => node.isReady('web'));
  t.is(kubelet.status().ending.length, 1, 'what is left of it is still to go');
  t.is(node.fake.sandboxes.length, 2);
  release();
  await node.until('removed', () => node.fake.sandboxes.length === 1 && kubelet.status().ending.length === 0);
  await node.until('logs', async () => (await readdir(join(node.root, 'logs'))).length === 1);
});

test('killed between telling the end and removing the records: the next one removes them', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { containers: [busybox('a')] }));
  const first = await node.start();
  await node.until('ready', () => node.isReady('web'));
  node.fake.holdNext('removePodSandbox');
  node.set();
  await node.until('told', () => first.board.list().length === 0);
  await first.stop();
  t.is(node.fake.sandboxes.length, 1);
  const second = await node.start();
  await node.until('removed', () => node.fake.sandboxes.length === 0 && second.status().ending.length === 0);
  t.deepEqual(await readdir(join(node.root, 'logs')), []);
  t.deepEqual(await readdir(join(node.root, 'containers')), []);
});

test('the same pod put back while its records are removed starts after that', async (t) => {
  const node = await podNode(t);
  const pod = staticPod('web', { containers: [busybox('a')] });
  node.set(pod);
  const kubelet = await node.start();
  await node.until('ready', () => node.isReady('web'));
  const release = node.fake.holdNext('removePodSandbox');
  node.set();
  await node.until('told', () => kubelet.board.list().length === 0);
  node.set(pod);
  await node.clock.advance(1_000);
  t.is(node.running('a'), undefined);
  release();
  await node.until('ready', () => node.isReady('web'));
  t.is(node.fake.sandboxes.length, 1);
});

test('a daemon that is killed while a pod initializes: nothing starts twice', async (t) => {
  const node = await podNode(t);
  node.set(staticPod('web', { initContainers: [busybox('i'), side('s')], containers: [busybox('a')] }));
  const first = await node.start();
  await node.until('initializes', () => node.running('i') !== undefined);
  await first.stop();
  node.exit('i', 0);
  const second = await node.start();
  await node.until('ready', () => node.isReady('web'));
  await second.stop();
  await node.start();
  await node.until('ready', () => node.isReady('web'));
  await node.clock.advance(5_000);
  t.deepEqual(node.called('startContainer'), ['i', 's', 'a']);
});

test('the API shows each pod by name, uid or the uid of its mirror, with what the runtime has', async (t) => {
  const node = await podNode(t, { mirrorUidOf: ({ metadata }) => `mirror-of-${metadata.uid}` });
  node.set(staticPod('web', { containers: [busybox('a')] }), staticPod('db', { containers: [busybox('b')] }));
  const { served } = await node.start();
  await node.until('ready', () => node.isReady('web') && node.isReady('db'));
  t.deepEqual(
    served.list().map(({ pod }) => pod.metadata.name),
    ['db', 'web'],
  );
  t.is(served.find('team', 'web')?.state.containers[0]?.id, node.running('a')?.id);
  t.is(served.find('team', 'web', 'uid-web')?.status.phase, 'Running');
  t.is(served.find('team', 'web', 'mirror-of-uid-web')?.pod.metadata.uid, 'uid-web');
  t.is(served.find('team', 'web', 'uid-db'), undefined);
  t.is(served.find('other', 'web'), undefined);
});

test('static pods get the variables of Services that are known, and wait for none', async (t) => {
  const services = {
    known: () => new Promise<void>(() => {}),
    variables: () => new Map([['WEB_SERVICE_HOST', '10.96.0.7']]),
  };
  const node = await podNode(t, { services });
  node.set(staticPod('web', { containers: [busybox('a')] }));
  await node.start();
  await node.until('ready', () => node.isReady('web'));
  const env = node.running('a')?.config.envs ?? [];
  t.is(env.find(({ key }) => key === 'WEB_SERVICE_HOST')?.value.toString(), '10.96.0.7');
});
