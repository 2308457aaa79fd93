/**
 * `kill -9` of the daemon at random instants while pods come and go through the API server: in the end exactly the wanted
 * pods run, none that ran on was restarted, the API server's status is what the runtime has, the kernel serves what a new
 * daemon would make, nothing leaks.
 * Layer: test (integration, root). CLUSTER_KILLS and SEED change the run; the seed is printed.
 */
import test, { type ExecutionContext } from 'ava';
import type { ContainerStatus } from '../../src/api/core.ts';
import { connectRuntime } from '../../src/cri/connect.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { type Census, census, censusDifference } from '../support/census.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import {
  type ClusterPods,
  clusterPods,
  containerIds,
  fetchFrom,
  isReady,
  restarts,
  service,
  webContainer,
} from '../support/cluster-pods.ts';
import type { Manifest } from '../support/daemon.ts';
import { eventually } from '../support/exec.ts';
import { stateDifference, stateWithoutIndexes } from '../support/table-state.ts';

const kills = Number(process.env.CLUSTER_KILLS ?? 15);
const stable = ['stable-0', 'stable-1', 'stable-2'];
const podCount = 12;

/** Mulberry32: a small generator, so that a failing run can be repeated by its seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** With a service account's token and a tmpfs: volumes that must go as well. */
const spec = (): Manifest => ({
  terminationGracePeriodSeconds: 2,
  containers: [{ ...webContainer, volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }] }],
  volumes: [{ name: 'scratch', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } }],
});

/** What the storm asked the API server for: the truth that all is compared with in the end. */
class Wish {
  /** uid by name. */
  readonly wanted = new Map<string, string>();
  /** Pods on their way out, whose names are not free yet. */
  readonly #ending = new Set<string>();
  readonly #pods: ClusterPods;

  constructor(pods: ClusterPods) {
    this.#pods = pods;
  }

  async create(name: string, labels: Record<string, string>): Promise<void> {
    const pod = await this.#pods.createPod(name, spec(), { labels: { app: 'all', ...labels } });
    this.wanted.set(name, pod.metadata.uid);
  }

  async remove(name: string, force: boolean): Promise<void> {
    await this.#pods.remove(name, force);
    this.wanted.delete(name);
    if (!force) this.#ending.add(name);
  }

  /** One random change to a pod that is not stable. */
  async change(random: () => number): Promise<void> {
    const name = `pod-${Math.floor(random() * podCount)}`;
    const [isRemoved, isForced, comesAgain] = [random() < 0.5, random() < 0.3, random() < 0.5];
    if (this.#ending.has(name)) {
      if ((await this.#pods.get(name)) !== undefined) return;
      this.#ending.delete(name);
    }
    if (!this.wanted.has(name)) return this.create(name, {});
    if (!isRemoved) return;
    await this.remove(name, isForced);
    // At once, under the name of one that may still run.
    if (isForced && comesAgain) await this.create(name, {});
  }
}

let on: ClusterNode;
let pods: ClusterPods;
let before: Census;

test.before(async () => {
  on = await startClusterNode({ images: ['pause', 'busybox'] });
  pods = clusterPods(on);
  await on.waitForReady();
  await pods.createPod('warm-up', spec());
  await pods.waitForReady('warm-up');
  await pods.remove('warm-up');
  await pods.waitForNoPods();
  before = await census(on.node);
});
test.after.always(() => on?.end());

async function serviceTable(): Promise<string[]> {
  const nftables = await kernelNftables.open(`/run/netns/${on.node.netns}`);
  try {
    const dump = await nftables.dump({ family: 'ip', name: 'keelson-proxy' });
    return dump === undefined ? [] : stateWithoutIndexes(dump);
  } finally {
    nftables.close();
  }
}

// biome-ignore lint/suspicious/noExplicitAny: a pod as the API server has it.
type Pod = any;

/** Without the fields that an API server of 1.20 does not know, and drops. */
const storable = (statuses: readonly ContainerStatus[]): unknown =>
  JSON.parse(JSON.stringify(statuses.map((status) => ({ ...status, ...dropped }))));
const dropped = { resources: undefined, allocatedResources: undefined, user: undefined, volumeMounts: undefined };

/** The API server's pod says what the runtime and the daemon have. */
async function compareWithNode(t: ExecutionContext, known: readonly Pod[]): Promise<void> {
  const cri = await connectRuntime(on.node.containerd.endpoint);
  try {
    // A pod counts as gone a moment before its records are removed.
    const { pods: reports } = await eventually('nothing ends any more', async () => {
      const report = await on.keelson.status();
      return report.ending.length === 0 ? report : undefined;
    });
    const { containers } = await cri.runtime.listContainers({});
    const { items: sandboxes } = await cri.runtime.listPodSandbox({});
    t.is(sandboxes.length, known.length);
    t.is(containers.length, known.length);
    for (const pod of known) {
      const { name, uid } = pod.metadata;
      const [sandbox] = sandboxes.filter(({ metadata }) => metadata?.uid === uid);
      const status = (await cri.runtime.podSandboxStatus({ podSandboxId: sandbox?.id ?? '' })).status;
      t.is(pod.status.podIP, status?.network?.ip, name);
      const own = containers.filter(({ podSandboxId }) => podSandboxId === sandbox?.id);
      t.deepEqual(
        containerIds(pod).map((id) => id.replace('containerd://', '')),
        own.map(({ id }) => id),
        name,
      );
      const report = reports.find((one) => one.uid === uid);
      t.deepEqual(pod.status.containerStatuses, storable(report?.status.containerStatuses ?? []), name);
      t.is(pod.status.phase, report?.status.phase, name);
    }
  } finally {
    cri.close();
  }
}

test.serial('the daemon is killed at random instants while pods come and go through the API server', async (t) => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  t.log(`seed ${seed}, ${kills} kills`);
  const random = randomFrom(seed);
  const wish = new Wish(pods);
  for (const name of stable) await wish.create(name, { stable: 'yes' });
  const stableService = await pods.create(service('stable', { stable: 'yes' }, { type: 'NodePort' }));
  const allService = await pods.create(service('all', { app: 'all' }, { sessionAffinity: 'ClientIP' }));
  const stableBefore = await pods.waitForReady(...stable);
  await Promise.all(
    stable.map((name) =>
      eventually(`the events of ${name} arrived`, async () => (await pods.events(name)).Started === 1),
    ),
  );
  const stableUrl = `http://${stableService.spec.clusterIP}/`;
  await eventually('the Service answers', () => fetchFrom(on, stableUrl));

  let refused = 0;
  for (let i = 0; i < kills; i++) {
    const until = Date.now() + random() * 1500;
    while (Date.now() < until) {
      await wish.change(random);
      await new Promise((resolve) => setTimeout(resolve, random() * 100));
    }
    await on.keelson.kill9();
    if ((await fetchFrom(on, stableUrl)) === undefined) refused++;
    await on.start();
  }
  t.is(refused, 0, 'a Service did not answer while no daemon ran');

  let known: Pod[] = [];
  const settled = await eventually(
    () => {
      const seen = known.map(({ metadata, status }) => {
        const states = status.containerStatuses?.map(({ state }: { state: object }) => JSON.stringify(state));
        return `${metadata.name} ${metadata.uid} ${metadata.deletionTimestamp ?? ''} ${status.phase} ${states}`;
      });
      const wanted = [...wish.wanted].map(([name, uid]) => `${name} ${uid}`);
      const log = on.keelson.logs().split('\n').slice(-25);
      return ['everything wanted runs:', ...wanted, 'the API server has:', ...seen, 'log:', ...log].join('\n');
    },
    async () => {
      known = await pods.list();
      const isWanted = known.length === wish.wanted.size && known.every(isReady);
      return isWanted && known.every(({ metadata }) => wish.wanted.get(metadata.name) === metadata.uid) && known;
    },
    120_000,
    200,
  );
  // A call that outlived its daemon may make a sandbox that nobody wants any more: it is found and ended a moment later.
  await on.keelson.waitFor(
    'nothing ends or waits',
    ({ ending, node }) => ending.length === 0 && node?.pendingStatuses === 0,
  );
  await eventually('the runtime has no other sandboxes', async () => {
    const { sandboxes } = await census(on.node);
    return sandboxes.length === settled.length;
  }).catch(() => undefined);
  await compareWithNode(t, await pods.list());

  const addresses = settled.map(({ status }) => status.podIP);
  t.is(new Set(addresses).size, addresses.length, `addresses held twice: ${addresses.join(' ')}`);
  const now = await pods.waitForReady(...stable);
  t.deepEqual(now.map(containerIds), stableBefore.map(containerIds), 'a pod that nobody touched was restarted');
  for (const pod of settled) {
    const { name } = pod.metadata;
    // An instance that was lost between create and start never ran; its successor counts as a restart all the same.
    const ran = pod.status.containerStatuses.filter(
      ({ lastState }: { lastState: Pod }) => lastState?.terminated?.startedAt !== undefined,
    );
    t.deepEqual(ran, [], `${name} was restarted`);
  }
  for (const name of stable) {
    const { Scheduled = 0, Started = 0, ...others } = await pods.events(name);
    t.deepEqual({ Scheduled, Started }, { Scheduled: 1, Started: 1 }, `${name}: ${JSON.stringify(others)}`);
    t.is(restarts(now.find(({ metadata }) => metadata.name === name)), 0);
  }

  await eventually(
    'the Services answer',
    async () => (await fetchFrom(on, `http://${allService.spec.clusterIP}/`)) && (await fetchFrom(on, stableUrl)),
  );
  const grown = await eventually('the table has come to rest', async () => {
    const first = await serviceTable();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return stateDifference(await serviceTable(), first).length === 0 && first;
  });
  await on.keelson.stop();
  await on.node.exec('/usr/sbin/nft', 'delete', 'table', 'ip', 'keelson-proxy');
  await on.start();
  await on.keelson.waitFor('all roles', ({ waiting }) => waiting.length === 0);
  t.deepEqual(stateDifference(grown, await serviceTable()), [], 'a new daemon makes other Services');

  for (const name of [...wish.wanted.keys()]) await pods.remove(name);
  for (const name of ['stable', 'all'])
    await on.cluster.request('DELETE', `/api/v1/namespaces/default/services/${name}`);
  await pods.waitForNoPods();
  const left = async (): Promise<string[]> => censusDifference(before, await census(on.node));
  await eventually('nothing left', async () => (await left()).length === 0, 20_000, 500).catch(() => undefined);
  t.deepEqual(await left(), []);
  t.is(await on.keelson.stop(), 0);
});
