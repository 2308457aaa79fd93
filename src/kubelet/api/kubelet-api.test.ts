/** The kubelet role with an API server: fake runtime, fake API server, and everything of Keelson's between them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { ConfigMap, Pod, PodSpec, PodStatus } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import { silentLogger } from '../../observe/logger.ts';
import { type Kubelet, startKubelet } from '../kubelet.ts';
import { fakeKubeletOptions, fakeNodeFacts } from '../kubelet-options.fake.ts';
import type { AdmittingNode } from '../plan/admission-checks.ts';
import type { PodSnapshot } from '../pod-source.ts';
import { noVolumes } from '../pods/no-volumes.fake.ts';
import { StatusBoard } from '../status/status-board.ts';
import { createApiPodSource } from './api-pod-source.ts';
import { ApiPods } from './api-pods.ts';
import { FakePodApi } from './fake-pod-api.ts';
import { ObjectWatches } from './object-watches.ts';
import { canonical } from './status-patch.ts';
import { startStatusSync } from './status-sync.ts';

const makePod = (name: string, spec: Partial<PodSpec> = {}, metadata: object = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', uid: `uid-${name}`, ...metadata },
  spec: {
    nodeName: 'n1',
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    containers: [{ name: 'c', image: 'busybox', imagePullPolicy: 'IfNotPresent' }],
    ...spec,
  },
});
const staticPod = (name: string): Pod =>
  makePod(
    name,
    {},
    {
      annotations: {
        'kubernetes.io/config.source': 'file',
        'kubernetes.io/config.hash': `uid-${name}`,
        'keelson.dev/config.file': `/m/${name}.yaml`,
      },
    },
  );

interface Daemon {
  kubelet: Kubelet;
  /** As `kill -9`: nothing of it reaches the runtime or the API server any more. */
  stop(): Promise<void>;
}

async function setUp(t: ExecutionContext) {
  const root = await mkdtemp(join(tmpdir(), 'keelson-api-'));
  const clock = new FakeClock();
  const fake = new FakeRuntime({ clock, generation: '1.7' });
  fake.setImage('docker.io/library/busybox:latest');
  fake.setImage('docker.io/library/busybox:2');
  const server = new FakePodApi(clock);
  const events: string[] = [];
  const torndown: string[] = [];
  const daemons: Daemon[] = [];
  const teardown = { allowed: Promise.resolve() };
  const objectListeners = new Map<string, { tell(object: ConfigMap): void; synced(): void }>();
  let node: AdmittingNode = { labels: { zone: 'a' }, taints: [], allocatable: { cpu: '2', memory: '4Gi' } };
  let freshNode = node;
  let manifests: PodSnapshot = {
    pods: [],
    configMaps: new Map(),
    secrets: new Map(),
    errors: [],
    brokenFiles: new Set(),
  };
  t.teardown(async () => {
    await Promise.all(daemons.map((daemon) => daemon.stop()));
    await rm(root, { recursive: true, force: true });
  });

  async function start(): Promise<Daemon> {
    const scope = new AbortController();
    const pods = new ApiPods(clock);
    const objects = new ObjectWatches({
      clock,
      follow: ({ name }, listener) =>
        void objectListeners.set(name, {
          tell: (object) => listener.events([{ type: 'set', key: `default/${name}`, uid: 'u', object }]),
          synced: () => listener.synced?.(),
        }),
    });
    const source = createApiPodSource({ pods, clock, manifests: { start: async (listener) => listener(manifests) } });
    pods.start(server.follow, scope.signal);
    // As in the cluster's kubelet: some pods end before startKubelet resolves.
    const board = new StatusBoard();
    let kubelet: Kubelet | undefined;
    const sync = startStatusSync({
      api: server,
      pods,
      board,
      mayRun: (uid) => kubelet?.mayRun(uid) ?? true,
      clock,
      log: silentLogger,
      random: () => 0.5,
    });
    kubelet = await startKubelet(
      fakeKubeletOptions(
        { root, clock, runtime: fake.runtime, image: fake.image },
        {
          source,
          volumes: () => ({
            ...noVolumes,
            teardown: async (uid) => {
              await teardown.allowed;
              torndown.push(uid);
            },
            orphans: async () => ['uid-left-behind'],
          }),
          node: fakeNodeFacts(root, {
            nodeName: 'n1',
            clusterDns: { servers: ['10.96.0.10'], domain: 'cluster.local' },
          }),
          objects,
          admission: {
            node: () => node,
            refresh: async () => {
              node = freshNode;
            },
            allowedUnsafeSysctls: [],
          },
          recordEvent: (pod, { reason, container }) =>
            void events.push(`${pod.metadata.name}${container ? `/${container}` : ''} ${reason}`),
          board,
        },
      ),
      scope.signal,
    );
    const started = kubelet;
    const daemon = {
      kubelet: started,
      async stop() {
        sync.stop();
        scope.abort(new Error('killed'));
        await started.stop();
      },
    };
    daemons.push(daemon);
    return daemon;
  }

  return {
    clock,
    fake,
    server,
    events,
    torndown,
    objectListeners,
    start,
    /** Volumes are busy until the returned function is called. */
    holdTeardown(): () => void {
      const { promise, resolve } = Promise.withResolvers<void>();
      teardown.allowed = promise;
      return resolve;
    },
    setManifests(pods: Pod[]): void {
      manifests = { ...manifests, pods };
    },
    setFreshNode(next: AdmittingNode): void {
      freshNode = next;
    },
    status: (name: string): PodStatus | undefined => server.get(`default/${name}`)?.status,
    running: (name: string) =>
      fake.containers.filter(
        ({ state, config }) =>
          state === 'CONTAINER_RUNNING' && config.labels?.['io.kubernetes.pod.uid'] === `uid-${name}`,
      ),
    async until(what: string, condition: () => boolean, stepMs = 10): Promise<void> {
      for (let i = 0; i < 600; i++) {
        if (condition()) {
          t.pass(what);
          return;
        }
        await clock.advance(stepMs);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      t.fail(`never happened: ${what}`);
    },
  };
}

const isReady = (status: PodStatus | undefined): boolean =>
  status?.conditions.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false;

test('a bound pod runs, its status arrives; deleted with its grace it goes, and only then from the API server', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.server.bind(makePod('web'));
  await node.until('ready', () => isReady(node.status('web')));
  t.truthy(node.status('web')?.podIP);
  t.deepEqual(node.events, ['web/c Pulled', 'web/c Created', 'web/c Started']);
  node.fake.calls.length = 0;
  node.server.askToDelete('default/web', 7);
  await node.until('gone', () => node.server.keys().length === 0);
  t.deepEqual(
    node.fake.calls
      .filter(({ method }) => method === 'stopContainer')
      .map(({ request }) => (request as { timeout: number }).timeout),
    [7],
  );
  t.deepEqual(node.fake.sandboxes, []);
  t.true(node.torndown.includes('uid-web'));
  t.is(node.events.at(-1), 'web/c Killing');
});

test('while a pod is ended, each container that has ended is told of', async (t) => {
  const node = await setUp(t);
  await node.start();
  const containers = ['quick', 'slow'].map((name) => ({ name, image: 'busybox' }));
  node.server.bind(makePod('web', { containers }));
  await node.until('ready', () => isReady(node.status('web')));
  node.fake.onStop = ({ config }) => (config.metadata?.name === 'quick' ? 0 : undefined);
  node.server.askToDelete('default/web', 100);
  const state = (index: number) => node.status('web')?.containerStatuses?.[index]?.state;
  await node.until('told', () => state(0)?.terminated !== undefined && state(1)?.running !== undefined);
  t.is(node.status('web')?.phase, 'Running');
  await node.until('gone', () => node.server.keys().length === 0, 1_000);
});

test('statuses that come back are no work: the source tells nothing', async (t) => {
  const clock = new FakeClock();
  const server = new FakePodApi(clock);
  const pods = new ApiPods(clock);
  const { signal } = new AbortController();
  const snapshots: PodSnapshot[] = [];
  pods.start(server.follow, signal);
  await createApiPodSource({ pods, clock, manifests: undefined }).start((next) => snapshots.push(next), signal);
  server.bind(makePod('web'));
  await clock.advance(10);
  const before = snapshots.length;
  server.change('default/web', (pod) => Object.assign(pod, { status: { phase: 'Running', conditions: [] } }));
  await clock.advance(10);
  t.is(snapshots.length, before);
  server.change('default/web', (pod) => Object.assign(pod.metadata, { labels: { a: 'b' } }));
  await clock.advance(10);
  t.is(snapshots.length, before + 1);
  t.is(pods.get('uid-web')?.pod.status?.phase, 'Running');
});

test('a shortened grace asks the containers anew', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.server.bind(makePod('web'));
  await node.until('ready', () => isReady(node.status('web')));
  const release = node.fake.holdNext('stopContainer');
  node.server.askToDelete('default/web', 600);
  await node.until('asked', () => node.fake.calls.some(({ method }) => method === 'stopContainer'));
  node.server.askToDelete('default/web', 3);
  await node.until('gone', () => node.server.keys().length === 0);
  const timeouts = node.fake.calls
    .filter(({ method }) => method === 'stopContainer')
    .map(({ request }) => (request as { timeout: number }).timeout);
  t.deepEqual(timeouts, [600, 3]);
  release();
});

test('a pod that the API server has let go of is ended here, and nobody is told', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.server.bind(makePod('web'));
  await node.until('ready', () => isReady(node.status('web')));
  const before = node.server.requests.length;
  node.server.askToDelete('default/web', 0, true);
  await node.until('ended', () => node.fake.sandboxes.length === 0);
  await node.clock.advance(60_000);
  t.is(node.server.requests.length, before);
});

test('a pod deleted by force is ended with the grace of that request, which only its last version has', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.server.bind(makePod('web', { terminationGracePeriodSeconds: 600 }));
  await node.until('ready', () => isReady(node.status('web')));
  node.server.askToDelete('default/web', 0, true);
  await node.until('ended', () => node.fake.sandboxes.length === 0);
  const stop = node.fake.calls.find(({ method }) => method === 'stopContainer')!;
  t.is((stop.request as { timeout: number }).timeout, 2);
});

test('restarted while the API server is away: everything goes on; what is really gone ends when it is back', async (t) => {
  const node = await setUp(t);
  node.setManifests([staticPod('etcd')]);
  const first = await node.start();
  node.server.bind(makePod('keep'));
  node.server.bind(makePod('drop'));
  await node.until('all run', () => ['keep', 'drop', 'etcd'].every((name) => node.running(name).length === 1));
  await first.stop();
  node.server.goDown();
  const ids = node.fake.containers.map(({ id }) => id).sort();
  node.setManifests([staticPod('etcd'), staticPod('late')]);
  node.torndown.length = 0;
  await node.start();
  await node.until('a manifest needs no API server', () => node.running('late').length === 1);
  await node.clock.advance(120_000);
  t.true(ids.every((id) => node.fake.containers.some((container) => container.id === id)));
  t.deepEqual(node.torndown, [], 'no leftover is known before the first list');
  node.server.network = 'up';
  node.server.askToDelete('default/drop', 0, true);
  node.server.comeBack();
  await node.until('ended', () => node.running('drop').length === 0);
  t.is(node.running('keep').length, 1);
  t.true(ids.filter((id) => node.running('keep').some((container) => container.id === id)).length === 1);
  await node.until('leftovers are removed now', () => node.torndown.includes('uid-left-behind'));
});

test('an outage: a crash is restarted meanwhile, its count arrives afterwards', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.server.bind(makePod('web'));
  await node.until('ready', () => isReady(node.status('web')));
  node.server.goDown();
  node.fake.exitContainer(node.running('web')[0]!.id, 1);
  await node.until('restarted', () => node.running('web').length === 1);
  await node.clock.advance(60_000);
  t.is(node.status('web')?.containerStatuses?.[0]?.restartCount, 0);
  node.server.comeBack();
  await node.until('told', () => node.status('web')?.containerStatuses?.[0]?.restartCount === 1);
});

test('what the node refuses is Failed with the reason, and can be deleted', async (t) => {
  const node = await setUp(t);
  await node.start();
  const huge = { name: 'c', image: 'busybox', resources: { requests: { cpu: '64' } } };
  node.server.bind(makePod('huge', { containers: [huge] }));
  node.server.bind(makePod('claims', { resourceClaims: [{ name: 'gpu' }] } as object));
  node.server.bind(makePod('odd', { restartPolicy: 'Sometimes' } as object));
  for (const [name, reason] of [
    ['huge', 'OutOfcpu'],
    ['claims', 'PodFeatureUnsupported'],
    ['odd', 'PodFeatureUnsupported'],
  ] as const) {
    await node.until(reason, () => node.status(name)?.phase === 'Failed');
    t.is(node.status(name)?.reason, reason);
    t.true(node.events.includes(`${name} ${reason}`));
  }
  t.regex(node.status('claims')?.message ?? '', /^Pod was rejected: .*spec\.resourceClaims$/);
  t.regex(node.status('odd')?.message ?? '', /spec\.restartPolicy.*Sometimes/);
  await node.clock.advance(5_000);
  t.is(node.status('huge')?.reason, 'OutOfcpu', 'it stays so');
  t.deepEqual(node.fake.sandboxes, []);
  t.is(node.server.requests.length, 3, 'one request each');
  for (const name of ['huge', 'claims', 'odd']) node.server.askToDelete(`default/${name}`, 30);
  await node.until('all gone', () => node.server.keys().length === 0);
});

test('labels that the scheduler knew first: the Node is read anew before a pod is refused', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.setFreshNode({ labels: { zone: 'a', disk: 'ssd' }, taints: [], allocatable: {} });
  node.server.bind(makePod('web', { nodeSelector: { disk: 'ssd' } }));
  node.server.bind(makePod('gpu', { nodeSelector: { gpu: 'yes' } }));
  await node.until('ready', () => isReady(node.status('web')));
  await node.until('refused', () => node.status('gpu')?.reason === 'NodeAffinity');
});

test('a completed pod keeps its status and logs over a restart; its volumes go at once', async (t) => {
  const node = await setUp(t);
  const first = await node.start();
  node.server.bind(makePod('job', { restartPolicy: 'Never' }));
  await node.until('ready', () => isReady(node.status('job')));
  const ip = node.status('job')?.podIP;
  node.fake.exitContainer(node.running('job')[0]!.id, 0);
  await node.until('succeeded', () => node.status('job')?.phase === 'Succeeded');
  await node.until('volumes gone', () => node.torndown.includes('uid-job'));
  await node.until('sandbox stopped', () => node.fake.sandboxes.every(({ state }) => state === 'SANDBOX_NOTREADY'));
  await node.clock.advance(1_000);
  const said = canonical(node.status('job'));
  t.is(node.status('job')?.podIP, ip, 'an ended pod keeps its address');
  await first.stop();
  const requests = node.server.requests.length;
  await node.start();
  await node.clock.advance(120_000);
  t.is(canonical(node.status('job')), said);
  t.is(node.server.requests.length, requests);
  t.is(node.fake.containers.length, 1, 'kubectl logs still finds it');
  node.server.askToDelete('default/job', 30);
  await node.until('gone', () => node.server.keys().length === 0 && node.fake.containers.length === 0);
});

test('the daemon dies between the end of the containers and the last request: nothing said is lost', async (t) => {
  const node = await setUp(t);
  const first = await node.start();
  node.server.bind(makePod('web'));
  await node.until('ready', () => isReady(node.status('web')));
  const release = node.holdTeardown();
  node.server.askToDelete('default/web', 5);
  await node.until('the end is told', () => node.status('web')?.phase !== 'Running');
  const said = node.status('web')?.containerStatuses;
  node.server.failures.push(500, 500, 500, 500, 500, 500, 500, 500);
  release();
  await node.until('nothing of it is left here', () => node.fake.sandboxes.length === 0);
  await first.stop();
  t.deepEqual(node.server.keys(), ['default/web']);
  node.server.failures.length = 0;
  await node.start();
  const phases = new Set<string | undefined>();
  await node.until('gone', () => {
    if (node.status('web')) phases.add(canonical(node.status('web')?.containerStatuses));
    return node.server.keys().length === 0;
  });
  t.true([...phases].every((told) => told === canonical(said)));
});

test('a pod that was deleted before anything of it was started', async (t) => {
  const node = await setUp(t);
  node.server.bind(makePod('web', {}, { deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 30 }));
  await node.start();
  await node.until('gone', () => node.server.keys().length === 0);
  t.deepEqual(
    node.fake.calls.map(({ method }) => method).filter((method) => /^(run|create|start)/.test(method)),
    [],
  );
});

test('a pod that cannot be read, deleted before anybody could refuse it', async (t) => {
  const node = await setUp(t);
  const deletion = { deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 30 };
  node.server.bind(makePod('odd', { restartPolicy: 'Sometimes' } as object, deletion));
  await node.start();
  await node.until('gone', () => node.server.keys().length === 0);
});

test('a pod that ended here is ended once, however long the API server keeps it', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.server.bind(makePod('web'));
  await node.until('ready', () => isReady(node.status('web')));
  node.server.failures.push(...Array.from({ length: 6 }, () => 500));
  node.server.askToDelete('default/web', 2);
  await node.until('nothing of it is left here', () => node.torndown.includes('uid-web'));
  node.server.bind(makePod('other'));
  await node.until('gone', () => !node.server.keys().includes('default/web'), 100);
  t.is(node.torndown.filter((uid) => uid === 'uid-web').length, 1);
});

test('what no kubelet made is left alone; what one made and the API server does not know is ended', async (t) => {
  const node = await setUp(t);
  const run = (name: string, annotations: Record<string, string>) => {
    const labels = {
      'io.kubernetes.pod.name': name,
      'io.kubernetes.pod.namespace': 'default',
      'io.kubernetes.pod.uid': `uid-${name}`,
    };
    const metadata = { name, namespace: 'default', uid: `uid-${name}`, attempt: 0 };
    return node.fake.runtime.runPodSandbox({ config: { metadata, labels, annotations } });
  };
  await run('by-hand', {});
  await run('by-kubelet', { 'kubernetes.io/config.source': 'api' });
  await node.start();
  await node.until('ended', () => node.fake.sandboxes.length === 1);
  await node.clock.advance(70_000);
  t.deepEqual(
    node.fake.sandboxes.map(({ config }) => config.metadata?.name),
    ['by-hand'],
  );
});

test('another image for a container that runs: it is made anew, its neighbour is not', async (t) => {
  const node = await setUp(t);
  await node.start();
  const containers = ['a', 'b'].map((name) => ({ name, image: 'busybox', imagePullPolicy: 'IfNotPresent' as const }));
  node.server.bind(makePod('web', { containers }));
  await node.until('ready', () => isReady(node.status('web')));
  const idOf = (name: string) => node.running('web').find(({ config }) => config.metadata?.name === name)?.id;
  const [a, b] = [idOf('a'), idOf('b')];
  node.server.change('default/web', (pod) => {
    pod.spec.containers[0]!.image = 'busybox:2';
    pod.metadata.generation = 2;
  });
  await node.until('new image', () => node.status('web')?.containerStatuses?.[0]?.image.endsWith(':2') ?? false);
  await node.until('ready', () => isReady(node.status('web')));
  t.not(idOf('a'), a);
  t.is(idOf('b'), b);
});

test('a readiness gate holds Ready back until somebody opens it; that condition is never lost', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.server.bind(makePod('web', { readinessGates: [{ conditionType: 'example.com/lb' }] }));
  const ready = () => node.status('web')?.conditions.find(({ type }) => type === 'Ready');
  await node.until('held', () => ready()?.reason === 'ReadinessGatesNotReady');
  node.server.change(
    'default/web',
    (pod) => void pod.status!.conditions.push({ type: 'example.com/lb', status: 'True' }),
  );
  await node.until('ready', () => ready()?.status === 'True');
  t.true(node.status('web')?.conditions.some(({ type }) => type === 'example.com/lb'));
});

test('a pod waits for its ConfigMap: unknown, missing, there', async (t) => {
  const node = await setUp(t);
  await node.start();
  const env = [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'conf', key: 'x' } } }];
  node.server.bind(makePod('web', { containers: [{ name: 'c', image: 'busybox', env }] }));
  await node.until('not known', () => node.events.includes('web FailedMount'));
  t.deepEqual(node.fake.sandboxes, []);
  node.objectListeners.get('conf')?.synced();
  const waiting = () => node.status('web')?.containerStatuses?.[0]?.state.waiting?.reason;
  await node.until('missing', () => waiting() === 'CreateContainerConfigError');
  const metadata = { name: 'conf', namespace: 'default', uid: 'u' };
  node.objectListeners.get('conf')?.tell({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { x: '1' } });
  await node.until('ready', () => isReady(node.status('web')));
});

test('a deadline ends the pod for good', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.server.bind(makePod('web', { activeDeadlineSeconds: 20 }));
  await node.until('ready', () => isReady(node.status('web')));
  await node.until('failed', () => node.status('web')?.phase === 'Failed', 1_000);
  t.is(node.status('web')?.reason, 'DeadlineExceeded');
  t.is(node.running('web').length, 0);
});

test('a mirror pod is not run, whatever its spec says', async (t) => {
  const node = await setUp(t);
  await node.start();
  node.server.bind(makePod('mirror', {}, { annotations: { 'kubernetes.io/config.mirror': 'x' } }));
  node.server.bind(makePod('web'));
  await node.until('ready', () => isReady(node.status('web')));
  t.is(node.running('mirror').length, 0);
});

test('killed at many instants: no container is started twice, no status is lost', async (t) => {
  const node = await setUp(t);
  let daemon = await node.start();
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  let seed = 7;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  node.server.latencyMs = () => random(20);
  for (let round = 0; round < 40; round++) {
    const name = names[round % names.length]!;
    const key = `default/${name}`;
    const there = node.server.get(key);
    if (!there) node.server.bind(makePod(name, {}, { uid: `uid-${name}` }));
    else if (there.metadata.deletionTimestamp === undefined && random(2) === 0) node.server.askToDelete(key, 2);
    await node.clock.advance(random(120));
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (random(3) === 0) {
      await daemon.stop();
      daemon = await node.start();
    }
  }
  const alive = () => names.filter((name) => node.server.get(`default/${name}`) !== undefined);
  await node.until('settled', () =>
    alive().every((name) => {
      const pod = node.server.get(`default/${name}`);
      return pod?.metadata.deletionTimestamp === undefined && isReady(pod?.status) && node.running(name).length === 1;
    }),
  );
  for (const name of alive()) {
    const running = node.running(name)[0];
    t.is(node.status(name)?.containerStatuses?.[0]?.containerID, `containerd://${running?.id}`);
  }
  const expected = alive().length;
  await node.until('only those', () => node.fake.sandboxes.length === expected);
});

test('a critical pod has others end when there is no room, and starts once they have', async (t) => {
  const node = await setUp(t);
  await node.start();
  const asking = (cpu: string): Partial<PodSpec> => ({
    containers: [{ name: 'c', image: 'busybox', imagePullPolicy: 'IfNotPresent', resources: { requests: { cpu } } }],
  });
  node.server.bind(makePod('old', asking('1500m')));
  node.server.bind(makePod('small', asking('100m')));
  await node.until('both run', () => isReady(node.status('old')) && isReady(node.status('small')));
  node.server.bind(makePod('vital', { ...asking('1'), priority: 2_000_000_000 }));
  await node.until('the old one failed', () => node.status('old')?.phase === 'Failed');
  t.is(node.status('old')?.reason, 'Preempting');
  t.true(node.events.includes('old Preempting'));
  await node.until('the critical one runs', () => isReady(node.status('vital')));
  t.deepEqual(node.running('old'), []);
  t.true(isReady(node.status('small')), 'the others are left alone');
  const target = node.status('old')?.conditions.find(({ type }) => type === 'DisruptionTarget');
  t.is(target?.reason, 'TerminationByKubelet');
});
