/**
 * Pod create -> Ready, one at a time and in a burst, and what the daemon costs while pods idle: Keelson standalone beside
 * raw CRI calls with Debian's bridge chain, each on a containerd of its own, in one run.
 * Usage: sudo script/bench pods   (KEELSON_CONTAINERD_VERSION=2.1, BURST=30, SERIAL=15, IDLE_SECONDS=20)
 * "create" is the rename of the manifest into the folder; "Ready" the moment the daemon logs the Ready status.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { watch } from 'node:fs/promises';
import { join } from 'node:path';
import { connectRuntime } from '../src/cri/connect.ts';
import { busyboxImage } from '../test/images/build.ts';
import type { Keelson } from '../test/support/keelson.ts';
import { createTestNode, type TestNode } from '../test/support/node.ts';
import { debianCniBinDir, type RawPod, runRawPod, writeBridgeConflist } from '../test/support/raw-cri.ts';
import { median, percentile, printRows, type Row, sleep, usage } from './figures.ts';

const burst = Number(process.env.BURST ?? 30);
const serial = Number(process.env.SERIAL ?? 15);
const idleSeconds = Number(process.env.IDLE_SECONDS ?? 20);

interface Figures {
  serial: number[];
  burst: number[];
  burstAll: number;
}

const manifest = (name: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'c', image: busyboxImage, imagePullPolicy: 'IfNotPresent', command: ['sleep', '1000000'] }],
    },
  });

/** Follows the daemon's log and remembers when each pod was first reported ready. */
class ReadyWatch {
  readonly #keelson: Keelson;
  readonly #waiters = new Map<string, (at: number) => void>();
  #seen = 0;
  #stop = new AbortController();

  constructor(keelson: Keelson, logFile: string) {
    this.#keelson = keelson;
    void this.#follow(logFile);
  }

  ready(name: string): Promise<number> {
    return new Promise((resolve) => this.#waiters.set(name, resolve));
  }

  stop(): void {
    this.#stop.abort();
  }

  async #follow(logFile: string): Promise<void> {
    try {
      for await (const _ of watch(logFile, { signal: this.#stop.signal })) this.#read();
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
    }
  }

  #read(): void {
    const text = this.#keelson.logs();
    const fresh = text.slice(this.#seen);
    const end = fresh.lastIndexOf('\n') + 1;
    this.#seen += end;
    for (const line of fresh.slice(0, end).split('\n')) {
      // Static pods carry the node's name at their end.
      const match = /^(\S+) .*\bpod=default\/(\S+?)-node-\S+ .*\bready=true/.exec(line);
      if (!match) continue;
      const [, time = '', name = ''] = match;
      // The daemon's own time stamp: when the status was published, not when this process got to read it.
      this.#waiters.get(name)?.(Date.parse(time));
      this.#waiters.delete(name);
    }
  }
}

async function measureKeelson(node: TestNode): Promise<{ figures: Figures; rows: Row[] }> {
  const logFile = join(node.run.path, 'keelson.log');
  // Sampling the event loop wakes the process, so idle figures come from a daemon that does not.
  const quiet = await node.startKeelson();
  await quiet.waitFor('the daemon answers', () => true);
  await sleep(3000);
  const idle0 = await idleUsage(quiet.pid);
  await quiet.stop();
  const keelson = await node.startKeelson({ args: ['--event-loop-lag'] });
  await keelson.waitFor('the daemon answers', () => true);
  const ready = new ReadyWatch(keelson, logFile);
  const staging = join(node.run.path, 'staging');
  mkdirSync(staging, { recursive: true });
  const create = (name: string): { at: number; ready: Promise<number> } => {
    const becameReady = ready.ready(name);
    const staged = join(staging, `${name}.json`);
    writeFileSync(staged, manifest(name));
    const at = Date.now();
    renameSync(staged, join(node.dirs.manifests, `${name}.json`));
    return { at, ready: becameReady };
  };
  const removeAll = async (names: string[]): Promise<void> => {
    for (const name of names) rmSync(join(node.dirs.manifests, `${name}.json`));
    await keelson.waitFor('no pods', (status) => status.pods.length === 0 && status.ending.length === 0, 120_000);
  };

  const figures: Figures = { serial: [], burst: [], burstAll: 0 };
  for (let i = 0; i < serial; i++) {
    const pod = create(`serial-${i}`);
    figures.serial.push((await pod.ready) - pod.at);
  }
  await removeAll(Array.from({ length: serial }, (_, i) => `serial-${i}`));
  await keelson.status();
  const names = Array.from({ length: burst }, (_, i) => `burst-${i}`);
  const began = Date.now();
  const pods = names.map(create);
  const times = await Promise.all(pods.map(({ ready: becameReady }) => becameReady));
  figures.burst = times.map((at) => at - began);
  figures.burstAll = Math.max(...figures.burst);
  const { eventLoopLag } = (await keelson.status()) as {
    eventLoopLag?: { p50Ms: number; p99Ms: number; maxMs: number };
  };
  const afterBurst = usage(keelson.pid).rssMiB;
  ready.stop();
  await keelson.stop();
  // The pods stay; a new daemon adopts them.
  const successor = await node.startKeelson();
  await successor.waitFor('the pods are adopted', (status) => status.pods.length === burst, 60_000);
  await sleep(5000);
  const idle30 = await idleUsage(successor.pid);
  for (const name of names) rmSync(join(node.dirs.manifests, `${name}.json`));
  await successor.waitFor('no pods', (status) => status.pods.length === 0 && status.ending.length === 0, 120_000);
  await successor.stop();
  const rows: Row[] = [
    { what: 'RSS, 0 pods', ours: idle0.rssMiB, unit: 'MiB' },
    { what: 'CPU, 0 pods', ours: idle0.cpuPercent, unit: '%' },
    { what: `RSS right after the burst of ${burst}`, ours: afterBurst, unit: 'MiB' },
    { what: `RSS, ${burst} idle pods`, ours: idle30.rssMiB, unit: 'MiB' },
    { what: `CPU, ${burst} idle pods`, ours: idle30.cpuPercent, unit: '%' },
    { what: 'event-loop lag in the burst, p50', ours: eventLoopLag?.p50Ms ?? Number.NaN, unit: 'ms' },
    { what: 'event-loop lag in the burst, p99', ours: eventLoopLag?.p99Ms ?? Number.NaN, unit: 'ms' },
    { what: 'event-loop lag in the burst, max', ours: eventLoopLag?.maxMs ?? Number.NaN, unit: 'ms' },
  ];
  return { figures, rows };
}

async function idleUsage(pid: number): Promise<{ rssMiB: number; cpuPercent: number }> {
  const before = usage(pid);
  await sleep(idleSeconds * 1000);
  const after = usage(pid);
  return { rssMiB: after.rssMiB, cpuPercent: ((after.cpuSeconds - before.cpuSeconds) / idleSeconds) * 100 };
}

async function measureRaw(node: TestNode): Promise<Figures> {
  writeBridgeConflist(node.containerd.cniConfDir, '10.88.0.0/16', join(node.run.path, 'host-local'));
  const connection = await connectRuntime(node.containerd.endpoint);
  await sleep(1000);
  const run = (name: string): Promise<RawPod> =>
    runRawPod(connection, { name, runId: node.run.id, command: ['sleep', '1000000'] });
  const figures: Figures = { serial: [], burst: [], burstAll: 0 };
  const pods: RawPod[] = [];
  for (let i = 0; i < serial; i++) {
    const at = performance.now();
    pods.push(await run(`serial-${i}`));
    figures.serial.push(performance.now() - at);
  }
  await Promise.all(pods.splice(0).map((pod) => pod.remove()));
  const began = performance.now();
  await Promise.all(
    Array.from({ length: burst }, async (_, i) => {
      pods.push(await run(`burst-${i}`));
      figures.burst.push(performance.now() - began);
    }),
  );
  figures.burstAll = performance.now() - began;
  await Promise.all(pods.map((pod) => pod.remove()));
  connection.close();
  return figures;
}

async function onNode<T>(
  options: Parameters<typeof createTestNode>[0],
  measure: (node: TestNode) => Promise<T>,
): Promise<T> {
  const node = await createTestNode(options);
  try {
    return await measure(node);
  } finally {
    await node.stop();
  }
}

const raw = await onNode({ cniBinDir: debianCniBinDir }, measureRaw);
const { figures, rows } = await onNode({}, measureKeelson);
printRows(`Pods on containerd ${process.env.KEELSON_CONTAINERD_VERSION ?? '1.6'}`, 'Keelson', 'raw CRI', [
  { what: 'create -> Ready, serial, p50', ours: median(figures.serial), theirs: median(raw.serial), unit: 'ms' },
  {
    what: 'create -> Ready, serial, p90',
    ours: percentile(figures.serial, 0.9),
    theirs: percentile(raw.serial, 0.9),
    unit: 'ms',
  },
  { what: `burst of ${burst}, first`, ours: Math.min(...figures.burst), theirs: Math.min(...raw.burst), unit: 'ms' },
  { what: `burst of ${burst}, median`, ours: median(figures.burst), theirs: median(raw.burst), unit: 'ms' },
  { what: `burst of ${burst}, all`, ours: figures.burstAll, theirs: raw.burstAll, unit: 'ms' },
  ...rows,
]);
