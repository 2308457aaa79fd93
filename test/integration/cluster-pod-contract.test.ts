/**
 * What a pod spec can ask of the node, as the API's clients see it: init containers, restart policies, probes with their events
 * and Services, hooks, environment from what is missing, readiness gates, deadlines; and a daemon that is killed meanwhile.
 * Layer: test (integration, root). One cluster and one node. What Kubernetes 1.20 cannot store is in pod-probes.test.ts and
 * pod-hooks.test.ts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { busyboxImage } from '../images/build.ts';
import type { Census } from '../support/census.ts';
import { census, censusDifference } from '../support/census.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import {
  type ApiObject,
  type ClusterPods,
  clusterPods,
  condition,
  containerIds,
  fetchFrom,
  restarts,
  service,
  webContainer,
} from '../support/cluster-pods.ts';
import { container, type Manifest, sleeper } from '../support/daemon.ts';
import { eventually } from '../support/exec.ts';

let on: ClusterNode;
let pods: ClusterPods;
let before: Census;
/** On the node; pods see it as /out. */
let out: string;

test.before(async () => {
  on = await startClusterNode({ images: ['pause', 'busybox'] });
  await on.waitForReady();
  pods = clusterPods(on);
  out = join(on.node.run.path, 'out');
  mkdirSync(out);
  await pods.createPod('warm-up');
  await pods.waitForReady('warm-up');
  await pods.remove('warm-up');
  await pods.waitForNoPods();
  before = await census(on.node);
});
test.afterEach.always(async () => {
  for (const pod of await pods.list()) await pods.remove(pod.metadata.name, true);
  await pods.waitForNoPods();
});
test.after.always(() => on?.end());

const path = (name: string): string => `/api/v1/namespaces/default/pods/${name}`;
const waitFor = <T>(name: string, what: string, look: (pod: ApiObject) => T | undefined): Promise<T> =>
  on.waitFor(`pod ${name}: ${what}`, path(name), look);
const outVolume = (): Manifest => ({ volumes: [{ name: 'out', hostPath: { path: out } }] });
const mount = { volumeMounts: [{ name: 'out', mountPath: '/out' }] };
const shell = (name: string, script: string, more: Manifest = {}): Manifest =>
  container(name, ['sh', '-c', script], { ...mount, ...more });
const exec = (command: string): Manifest => ({ exec: { command: ['sh', '-c', command] } });
const fast = { periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 10 };
const touch = (name: string): void => writeFileSync(join(out, name), '');
const whole = (pod: ApiObject, type: string): ApiObject =>
  pod.status.conditions.find((one: ApiObject) => one.type === type);
const statusOf = (pod: ApiObject, name: string): ApiObject =>
  [...(pod.status.initContainerStatuses ?? []), ...(pod.status.containerStatuses ?? [])].find(
    (status) => status.name === name,
  );
/** Waits for an event of the pod. */
const waitForEvent = (name: string, reason: string, message: RegExp): Promise<ApiObject> =>
  on.waitFor(
    `event ${reason} of ${name}: ${message}`,
    `/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=${name}`,
    ({ items }) => items.find((event: ApiObject) => event.reason === reason && message.test(event.message)),
  );

test.serial('init containers run one after the other, and the conditions say for what the pod waits', async (t) => {
  await pods.createPod('inits', {
    ...outVolume(),
    initContainers: [shell('first', 'until test -e /out/inits-go; do sleep 0.1; done'), shell('second', 'true')],
    containers: [shell('main', 'trap "exit 0" TERM; while :; do sleep 0.2; done')],
  });
  const waiting = await waitFor('inits', 'the first runs', (pod) =>
    statusOf(pod, 'first')?.state.running ? pod : undefined,
  );
  t.is(waiting.status.phase, 'Pending');
  t.like(whole(waiting, 'Initialized'), {
    status: 'False',
    reason: 'ContainersNotInitialized',
    message: 'containers with incomplete status: [first second]',
  });
  t.like(whole(waiting, 'Ready'), {
    status: 'False',
    reason: 'ContainersNotReady',
    message: 'containers with unready status: [main]',
  });
  for (const name of ['second', 'main']) t.is(statusOf(waiting, name).state.waiting.reason, 'PodInitializing', name);
  touch('inits-go');
  const [ready] = await pods.waitForReady('inits');
  t.is(condition(ready, 'Initialized'), 'True');
  const [first, second] = ['first', 'second'].map((name) => statusOf(ready, name).state.terminated);
  t.is(first.reason, 'Completed');
  t.true(Date.parse(first.finishedAt) <= Date.parse(second.startedAt));
  t.true(Date.parse(second.finishedAt) <= Date.parse(statusOf(ready, 'main').state.running.startedAt));
});

test.serial('an init container that fails: the pod fails under Never, tries again under the others', async (t) => {
  for (const restartPolicy of ['Never', 'OnFailure', 'Always']) {
    const name = `init-${restartPolicy.toLowerCase()}`;
    const initContainers = [shell('init', 'exit 3')];
    await pods.createPod(name, { ...outVolume(), restartPolicy, initContainers });
  }
  const failed = await waitFor('init-never', 'Failed', (pod) => (pod.status.phase === 'Failed' ? pod : undefined));
  t.is(statusOf(failed, 'init').state.terminated.exitCode, 3);
  t.is(condition(failed, 'Initialized'), 'False');
  for (const name of ['init-onfailure', 'init-always']) {
    const again = await waitFor(name, 'waits for its next try', (pod) =>
      statusOf(pod, 'init')?.state.waiting?.reason === 'CrashLoopBackOff' ? pod : undefined,
    );
    t.is(again.status.phase, 'Pending');
    t.true(statusOf(again, 'init').restartCount >= 1);
    await waitForEvent(name, 'BackOff', /^Back-off restarting failed container init in pod init-/);
  }
});

test.serial('a container that ends: the phase by restart policy and exit code', async (t) => {
  const cases = [
    ['Never', 0, 'Succeeded'],
    ['Never', 1, 'Failed'],
    ['OnFailure', 0, 'Succeeded'],
    ['OnFailure', 1, 'Running'],
    ['Always', 0, 'Running'],
  ] as const;
  const nameOf = (policy: string, code: number): string => `ends-${policy.toLowerCase()}-${code}`;
  for (const [restartPolicy, code] of cases)
    await pods.createPod(nameOf(restartPolicy, code), {
      ...outVolume(),
      restartPolicy,
      containers: [shell('main', `exit ${code}`)],
    });
  for (const [policy, code, phase] of cases) {
    const pod = await waitFor(nameOf(policy, code), phase, (now) =>
      now.status.phase === phase && (phase !== 'Running' || restarts(now) > 0) ? now : undefined,
    );
    const { state, lastState } = statusOf(pod, 'main');
    t.is((state.terminated ?? lastState.terminated).exitCode, code);
    if (phase === 'Succeeded') t.is(whole(pod, 'Ready').reason, 'PodCompleted');
    if (phase === 'Failed') t.is(whole(pod, 'Ready').reason, 'PodFailed');
  }
});

test.serial('probes say in events what they found, and what follows from it', async (t) => {
  await pods.createPod('probed', {
    ...outVolume(),
    containers: [
      shell('main', 'touch /tmp/alive; trap "exit 0" TERM; while :; do sleep 0.2; done', {
        livenessProbe: {
          ...exec('test -e /tmp/alive || { echo not alive; exit 1; }'),
          ...fast,
          initialDelaySeconds: 2,
        },
        readinessProbe: { httpGet: { port: 4, path: '/healthz' }, ...fast },
      }),
    ],
  });
  await waitForEvent('probed', 'Unhealthy', /^Readiness probe failed: Get "http:\/\/[\d.]+:4\/healthz": dial tcp /);
  const running = await waitFor('probed', 'started', (pod) => (statusOf(pod, 'main')?.started ? pod : undefined));
  t.false(statusOf(running, 'main').ready);
  t.is((await pods.exec(running, 'rm /tmp/alive')).code, 0);
  await waitForEvent('probed', 'Unhealthy', /^Liveness probe failed: not alive\n?$/);
  await waitForEvent('probed', 'Killing', /^Container main failed liveness probe, will be restarted$/);
  const again = await waitFor('probed', 'restarted', (pod) => (restarts(pod) === 1 ? pod : undefined));
  t.is(statusOf(again, 'main').lastState.terminated.exitCode, 0);
});

test.serial('readiness decides over the endpoints: requests reach ready pods only', async (t) => {
  const names = ['web-a', 'web-b', 'web-c'];
  const web = { ...webContainer, readinessProbe: { ...exec('test -e /tmp/ready'), ...fast } };
  for (const name of names)
    await pods.createPod(name, { terminationGracePeriodSeconds: 1, containers: [web] }, { labels: { app: 'flip' } });
  const { spec } = await pods.create(service('flip', { app: 'flip' }));
  const addresses = async (): Promise<string[]> => {
    const { subsets = [] } = (await on.get('/api/v1/namespaces/default/endpoints/flip')) ?? {};
    return subsets.flatMap(({ addresses: ready = [] }: ApiObject) =>
      ready.map(({ targetRef }: ApiObject) => targetRef.name),
    );
  };
  const url = `http://${spec.clusterIP}/`;
  /** Until the Endpoints name these and all of these answer; then nobody else does. */
  const served = async (...wanted: string[]): Promise<void> => {
    await eventually(`the endpoints are ${wanted}`, async () => (await addresses()).sort().join() === wanted.join());
    const seen = new Set<string>();
    await eventually(`all of ${wanted} answer, and only they`, async () => {
      const answer = await fetchFrom(on, url);
      if (answer !== undefined && !wanted.includes(answer)) seen.clear();
      else if (answer !== undefined) seen.add(answer);
      return seen.size === wanted.length;
    });
    const answers = new Set<string | undefined>();
    for (let asked = 0; asked < 30; asked++) answers.add(await fetchFrom(on, url));
    t.deepEqual([...answers].sort(), wanted);
  };
  const flip = async (name: string, ready: boolean): Promise<void> => {
    const pod = await waitFor(name, 'runs', (now) => (statusOf(now, 'web')?.state.running ? now : undefined));
    t.is((await pods.exec(pod, ready ? 'touch /tmp/ready' : 'rm /tmp/ready')).code, 0);
  };
  for (const name of names) await flip(name, true);
  await served('web-a', 'web-b', 'web-c');
  await flip('web-b', false);
  await served('web-a', 'web-c');
  await flip('web-a', false);
  await served('web-c');
  await flip('web-b', true);
  await served('web-b', 'web-c');
  for (const name of names) t.is(restarts(await pods.get(name)), 0);
  await on.cluster.request('DELETE', '/api/v1/namespaces/default/services/flip');
});

test.serial('env from what is missing: CreateContainerConfigError, and mended it runs', async (t) => {
  const secretKeyRef = { name: 'later', key: 'password' };
  const env = [
    { name: 'PASSWORD', valueFrom: { secretKeyRef } },
    { name: 'OPTIONAL', valueFrom: { configMapKeyRef: { name: 'never', key: 'x', optional: true } } },
  ];
  await pods.createPod('wants', { containers: [container('main', sleeper, { env })] });
  const reason = (pod: ApiObject): ApiObject => statusOf(pod, 'main')?.state.waiting;
  const waiting = await waitFor('wants', 'CreateContainerConfigError', (pod) =>
    reason(pod)?.reason === 'CreateContainerConfigError' ? pod : undefined,
  );
  t.regex(reason(waiting).message, /secret "later" not found/);
  t.is(waiting.status.phase, 'Pending');
  await waitForEvent('wants', 'Failed', /secret "later" not found/);
  const secret = (stringData: Manifest): Manifest => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'later', namespace: 'default' },
    stringData,
  });
  await on.cluster.apply(secret({ other: 'x' }));
  await waitFor('wants', 'says which key', (pod) =>
    /couldn't find key password in Secret default\/later/.test(reason(pod)?.message ?? '') ? pod : undefined,
  );
  await on.cluster.apply(secret({ password: 'open' }));
  const [ready] = await pods.waitForReady('wants');
  t.is((await pods.exec(ready, 'echo $PASSWORD; env | grep -c OPTIONAL')).stdout, 'open\n0\n');
  t.is(restarts(ready), 0);
  await on.cluster.request('DELETE', '/api/v1/namespaces/default/secrets/later');
});

test.serial('hooks that fail are told in events; postStart ends the container', async (t) => {
  const bye = 'trap "echo bye >> /out/hooks; exit 0" TERM; while :; do sleep 0.2; done';
  await pods.createPod('post', {
    ...outVolume(),
    restartPolicy: 'Never',
    containers: [shell('main', bye, { lifecycle: { postStart: exec('exit 7') } })],
  });
  await waitForEvent('post', 'FailedPostStartHook', /^PostStartHook failed$/);
  await waitFor('post', 'ended', (pod) => (['Failed', 'Succeeded'].includes(pod.status.phase) ? pod : undefined));
  await pods.createPod('pre', {
    ...outVolume(),
    containers: [shell('main', bye, { lifecycle: { preStop: exec('exit 8') } })],
  });
  await pods.waitForReady('pre');
  await pods.remove('pre');
  await waitForEvent('pre', 'FailedPreStopHook', /^PreStopHook failed$/);
  await pods.waitForGone('pre');
  t.pass();
});

test.serial('a readiness gate holds Ready back until somebody opens it', async (t) => {
  await pods.createPod('gated', { readinessGates: [{ conditionType: 'example.com/open' }] });
  const held = await waitFor('gated', 'its container is ready', (pod) =>
    condition(pod, 'ContainersReady') === 'True' ? pod : undefined,
  );
  t.like(whole(held, 'Ready'), { status: 'False', reason: 'ReadinessGatesNotReady' });
  t.regex(whole(held, 'Ready').message, /example\.com\/open/);
  const open = async (status: string): Promise<void> => {
    const patch = { status: { conditions: [{ type: 'example.com/open', status }] } };
    const contentType = 'application/strategic-merge-patch+json';
    const { code } = await on.cluster.request('PATCH', `${path('gated')}/status`, patch, { contentType });
    t.is(code, 200);
  };
  await open('True');
  const [ready] = await pods.waitForReady('gated');
  t.is(condition(ready, 'example.com/open'), 'True', 'the condition of somebody else stays');
  await open('False');
  await waitFor('gated', 'unready again', (pod) => condition(pod, 'Ready') === 'False' || undefined);
});

test.serial('activeDeadlineSeconds ends the pod: DeadlineExceeded', async (t) => {
  await pods.createPod('deadline', { activeDeadlineSeconds: 3 });
  const pod = await waitFor('deadline', 'Failed', (now) => (now.status.phase === 'Failed' ? now : undefined));
  t.is(pod.status.reason, 'DeadlineExceeded');
  t.is(pod.status.message, 'Pod was active on the node longer than the specified deadline');
  await waitFor('deadline', 'its container ended', (now) => statusOf(now, 'main')?.state.terminated);
});

test.serial('an edited image: the container is made anew in its pod', async (t) => {
  await pods.createPod('edited');
  const [first] = await pods.waitForReady('edited');
  const image = 'docker.io/library/busybox:latest';
  t.not(image, busyboxImage);
  const patch = { spec: { containers: [{ name: 'main', image }] } };
  const contentType = 'application/strategic-merge-patch+json';
  t.is((await on.cluster.request('PATCH', path('edited'), patch, { contentType })).code, 200);
  await waitForEvent('edited', 'Killing', /^Container main definition changed, will be restarted$/);
  const again = await waitFor('edited', 'runs again', (pod) =>
    restarts(pod) === 1 && statusOf(pod, 'main').state.running ? pod : undefined,
  );
  t.is(statusOf(again, 'main').image, image);
  t.is(again.status.podIP, first.status.podIP, 'its sandbox stays');
});

test.serial('huge last words: 4096 bytes of one container, 12 KiB of a pod', async (t) => {
  const huge = 'head -c 10000000 /dev/zero | tr "\\0" y > /dev/termination-log; exit 1';
  const several = Array.from({ length: 6 }, (_, index) => shell(`c${index}`, huge));
  for (const [name, containers] of [
    ['words', [shell('main', huge)]],
    ['many-words', several],
  ] as const)
    await pods.createPod(name, { ...outVolume(), restartPolicy: 'Never', containers });
  const messages = async (name: string): Promise<string[]> => {
    const pod = await waitFor(name, 'Failed', (now) => (now.status.phase === 'Failed' ? now : undefined));
    return pod.status.containerStatuses.map(({ state }: ApiObject) => state.terminated.message);
  };
  t.deepEqual(await messages('words'), ['y'.repeat(4096)]);
  t.deepEqual(
    await messages('many-words'),
    Array.from(several, () => 'y'.repeat(2048)),
  );
});

test.serial(
  'the daemon is killed five times: probed pods stay ready throughout, and their Service answers',
  async (t) => {
    const names = Array.from({ length: 12 }, (_, index) => `steady-${index}`);
    const actions = [
      { httpGet: { path: '/', port: 8080 } },
      { tcpSocket: { port: 8080 } },
      exec('test -e /www/index.html'),
    ];
    const web = (index: number): Manifest => ({
      ...webContainer,
      startupProbe: { ...actions[index % 3], ...fast, failureThreshold: 100 },
      livenessProbe: { ...actions[(index + 1) % 3], periodSeconds: 2, failureThreshold: 1, timeoutSeconds: 20 },
      readinessProbe: { ...actions[(index + 2) % 3], periodSeconds: 2, failureThreshold: 1, timeoutSeconds: 20 },
    });
    for (const [index, name] of names.entries())
      await pods.createPod(
        name,
        { terminationGracePeriodSeconds: 1, containers: [web(index)] },
        { labels: { app: 'steady' } },
      );
    const { spec } = await pods.create(service('steady', { app: 'steady' }));
    const first = await pods.waitForReady(...names);
    const url = `http://${spec.clusterIP}/`;
    await eventually('the Service answers', () => fetchFrom(on, url));
    // A change is seen by its time, which has whole seconds.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    // A startup probe may have asked too early; later nothing does.
    const unhealthy = async (): Promise<unknown[]> =>
      Promise.all(names.map(async (name) => (await pods.events(name)).Unhealthy));
    const unhealthyBefore = await unhealthy();
    let unanswered = 0;
    for (let kill = 1; kill <= 5; kill++) {
      await on.keelson.kill9();
      if ((await fetchFrom(on, url)) === undefined) unanswered++;
      await on.start();
      await on.keelson.waitFor('all pods are known', ({ pods: known }) => known.length === names.length);
      // Once before they were asked again, once after.
      await new Promise((resolve) => setTimeout(resolve, kill % 2 === 0 ? 0 : 5000));
      if ((await fetchFrom(on, url)) === undefined) unanswered++;
    }
    await on.keelson.waitFor('every status is told', ({ node }) => node?.pendingStatuses === 0);
    t.is(unanswered, 0);
    const now = await pods.waitForReady(...names);
    t.deepEqual(now.map(containerIds), first.map(containerIds));
    const since = (list: ApiObject[]): string[] => list.map((pod) => whole(pod, 'Ready').lastTransitionTime);
    t.deepEqual(since(now), since(first), 'none was unready in between');
    t.deepEqual(await unhealthy(), unhealthyBefore);
    await on.cluster.request('DELETE', '/api/v1/namespaces/default/services/steady');
  },
);

test.serial('nothing is left of all these pods', async (t) => {
  await pods.waitForNoPods();
  const left = async (): Promise<string[]> => censusDifference(before, await census(on.node));
  await eventually('nothing left', async () => (await left()).length === 0, 20_000, 500).catch(() => undefined);
  t.deepEqual(await left(), []);
});
