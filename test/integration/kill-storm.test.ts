/**
 * `kill -9` at random instants while pods come and go: in the end exactly the wanted pods run, none that ran on was
 * restarted, no address is held twice, nothing leaks. Then the same with containerd as the victim.
 * Layer: test (integration, root). KILLS and SEED change the run; the seed is printed.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { StandaloneReport } from '../../src/agent/status-report.ts';
import { busyboxImage } from '../images/build.ts';
import { type Census, census, censusDifference } from '../support/census.ts';
import { eventually } from '../support/exec.ts';
import type { Keelson } from '../support/keelson.ts';
import { createTestNode, type TestNode } from '../support/node.ts';

const podCount = 20;
const stablePods = 4;

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

const manifest = (name: string, generation: number): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { generation: String(generation) } },
    spec: {
      terminationGracePeriodSeconds: 2,
      containers: [
        {
          name: 'c',
          image: busyboxImage,
          imagePullPolicy: 'IfNotPresent',
          command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done'],
          volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
        },
      ],
      volumes: [{ name: 'scratch', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } }],
    },
  });

/** The folder of manifests as the storm changes it: the truth that the node is compared with in the end. */
class Folder {
  readonly wanted = new Map<string, number>();
  readonly #node: TestNode;
  readonly #staging: string;

  constructor(node: TestNode) {
    this.#node = node;
    this.#staging = join(node.run.path, 'staging');
    mkdirSync(this.#staging, { recursive: true });
    mkdirSync(node.dirs.manifests, { recursive: true });
  }

  write(name: string, generation: number): void {
    const staged = join(this.#staging, name);
    writeFileSync(staged, manifest(name, generation));
    renameSync(staged, this.#path(name));
    this.wanted.set(name, generation);
  }

  remove(name: string): void {
    rmSync(this.#path(name), { force: true });
    this.wanted.delete(name);
  }

  /** One random change to the pods that are allowed to change. */
  change(random: () => number): void {
    const name = `pod-${stablePods + Math.floor(random() * (podCount - stablePods))}`;
    const generation = this.wanted.get(name);
    if (generation === undefined) this.write(name, Math.floor(random() * 1e6));
    else if (random() < 0.5) this.remove(name);
    else this.write(name, generation + 1);
  }

  #path(name: string): string {
    return join(this.#node.dirs.manifests, `${name}.json`);
  }
}

const settled =
  (folder: Folder) =>
  (status: StandaloneReport): boolean =>
    status.pods.length === folder.wanted.size &&
    status.ending.length === 0 &&
    status.pods.every(({ summary, ready }) => summary === 'Running' && ready === 1);

const baseName = (node: TestNode, name: string): string => name.replace(`-node-${node.run.id}`, '');

async function compareWithWanted(
  t: ExecutionContext,
  node: TestNode,
  status: StandaloneReport,
  folder: Folder,
  isForeign: (leftover: string) => boolean,
): Promise<void> {
  t.deepEqual(status.pods.map(({ name }) => baseName(node, name)).sort(), [...folder.wanted.keys()].sort());
  const ips = status.pods.map(({ status: podStatus }) => podStatus.podIP);
  t.is(new Set(ips).size, ips.length, `addresses held twice: ${ips.join(' ')}`);
  // A call that outlived its daemon may make a sandbox that nobody wants any more: it is found and ended a moment later.
  const wanted = folder.wanted.size;
  const counts = async () => {
    const now = await census(node);
    return {
      sandboxes: now.sandboxes.length,
      tasks: now.tasks.length,
      netns: isForeign('netns: + any') ? wanted : now.netns.length,
      links: now.links.filter((name) => name.startsWith('kl')).length,
      tmpfs: now.mounts.filter((path) => path.includes('kubernetes.io~empty-dir')).length,
    };
  };
  const expected = { sandboxes: wanted, tasks: 2 * wanted, netns: wanted, links: wanted, tmpfs: wanted };
  await eventually(
    'exactly what is wanted',
    async () => JSON.stringify(await counts()) === JSON.stringify(expected),
  ).catch(() => undefined);
  t.deepEqual(await counts(), expected);
}

/** containerID of each pod that the storm does not touch. */
const stableContainers = (node: TestNode, status: StandaloneReport): Record<string, string | undefined> =>
  Object.fromEntries(
    status.pods
      .map((pod) => [baseName(node, pod.name), pod.status.containerStatuses?.[0]?.containerID] as const)
      .filter(([name]) => Number(name.slice('pod-'.length)) < stablePods),
  );

async function storm(
  t: ExecutionContext,
  kills: number,
  kill: (node: TestNode, keelson: Keelson) => Promise<Keelson>,
  isForeign: (leftover: string) => boolean = () => false,
): Promise<void> {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  t.log(`seed ${seed}, ${kills} kills`);
  const random = randomFrom(seed);
  const node = await createTestNode();
  t.teardown(() => node.stop());
  const folder = new Folder(node);
  let keelson = await node.startKeelson();
  folder.write('warm-up', 0);
  await keelson.waitFor('the first pod', settled(folder));
  folder.remove('warm-up');
  await keelson.waitFor('the first pod gone', settled(folder));
  const before = await census(node);
  const leftSince = async (start: Census): Promise<string[]> =>
    censusDifference(start, await census(node)).filter((line) => !isForeign(line));

  for (let i = 0; i < stablePods; i++) folder.write(`pod-${i}`, 0);
  const stable = stableContainers(node, await keelson.waitFor('stable pods', settled(folder)));
  for (let i = stablePods; i < podCount; i++) folder.write(`pod-${i}`, 0);

  for (let i = 0; i < kills; i++) {
    const until = Date.now() + random() * 600;
    while (Date.now() < until) {
      folder.change(random);
      await new Promise((resolve) => setTimeout(resolve, random() * 150));
    }
    keelson = await kill(node, keelson);
  }
  const after = await keelson.waitFor('everything wanted runs', settled(folder), 240_000);
  await compareWithWanted(t, node, after, folder, isForeign);
  t.deepEqual(stableContainers(node, after), stable, 'a pod that nobody touched was restarted');
  for (const pod of after.pods) {
    // An instance that was lost between create and start never ran; its successor counts as a restart all the same.
    const ran = pod.status.containerStatuses?.filter(({ lastState }) => lastState.terminated?.startedAt !== undefined);
    t.deepEqual(ran, [], `${pod.name} was restarted`);
  }

  for (const name of [...folder.wanted.keys()]) folder.remove(name);
  await keelson.waitFor('all gone', settled(folder), 120_000);
  const left = await eventually('nothing left', async () => {
    const difference = await leftSince(before);
    return difference.length === 0 ? { difference } : undefined;
  }).catch(async () => ({ difference: await leftSince(before) }));
  t.deepEqual(left.difference, []);
  t.is(await keelson.stop(), 0);
}

test.serial('the daemon is killed at random instants', async (t) => {
  await storm(t, Number(process.env.KILLS ?? 50), async (node, keelson) => {
    await keelson.kill9();
    return node.startKeelson();
  });
});

/**
 * A containerd that dies while it makes a sandbox forgets the network namespace (1.6), the shim and runc that it just
 * started, the snapshot and the empty cgroup; nothing that CRI can name is left, so there is nothing that a node agent could
 * remove.
 */
const runtimeLeftover = (leftover: string): boolean =>
  /^processes: \+ (containerd-shim|runc:\[2:INIT\])$/.test(leftover) ||
  leftover.startsWith('snapshots: + ') ||
  leftover.startsWith('netns: + ') ||
  (leftover.startsWith('mounts: + ') && leftover.includes('/netns/cni-')) ||
  (leftover.startsWith('cgroups: + ') && leftover.includes('/k8s.io/'));

test.serial('containerd is killed and restarted at random instants', async (t) => {
  const restartContainerd = async (node: TestNode, keelson: Keelson): Promise<Keelson> => {
    await node.containerd.restart();
    return keelson;
  };
  await storm(t, Number(process.env.CONTAINERD_KILLS ?? 6), restartContainerd, runtimeLeftover);
});
