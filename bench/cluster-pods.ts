/**
 * Pods through a real API server, as its clients see them: create -> Ready, delete -> gone, and what the daemon costs while
 * they idle. Layer: bench. The moments are those at which a watch tells the bench.
 */
import { busyboxImage } from '../test/images/build.ts';
import type { ClusterNode } from '../test/support/cluster-node.ts';
import type { Keelson } from '../test/support/keelson.ts';
import type { BenchApi } from './cluster-api.ts';
import { sleep, usage } from './figures.ts';

const collection = '/api/v1/namespaces/default/pods';
/** As its containers do not ignore SIGTERM, they end at once. */
const command = ['sh', '-c', 'trap "exit 0" TERM; sleep 1000000 & wait'];
const webCommand = [
  'sh',
  '-c',
  'mkdir /www; touch /www/index.html; httpd -h /www -p 8080; trap "exit 0" TERM; sleep 1000000 & wait',
];
/** One by HTTP and one by a process in the container, every 10 s, which is the default. */
const probes = {
  readinessProbe: { exec: { command: ['true'] }, periodSeconds: 10 },
  livenessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 10 },
};

export interface PodTimes {
  /** Milliseconds from the request to the event, one for each pod. */
  ready: number[];
  gone: number[];
}

export interface IdleUsage {
  rssMiB: number;
  pssMiB: number;
  cpuPercent: number;
}

export async function idleUsage(pid: number, seconds: number): Promise<IdleUsage> {
  const before = usage(pid);
  await sleep(seconds * 1000);
  const { rssMiB, pssMiB, cpuSeconds } = usage(pid);
  return { rssMiB, pssMiB, cpuPercent: ((cpuSeconds - before.cpuSeconds) / seconds) * 100 };
}

export class BenchPods {
  readonly #api: BenchApi;
  readonly #nodeName: string;
  readonly #withToken: boolean;
  /** Whether pods that are made from now on have probes. */
  withProbes = false;
  readonly #waiting = new Map<string, (at: bigint) => void>();
  #stop = (): void => undefined;

  private constructor(api: BenchApi, nodeName: string, withToken: boolean) {
    this.#api = api;
    this.#nodeName = nodeName;
    this.#withToken = withToken;
  }

  /** @param withToken mounts the service account's token, as every pod has it that does not ask for none */
  static async open(api: BenchApi, { nodeName }: ClusterNode, withToken: boolean): Promise<BenchPods> {
    const pods = new BenchPods(api, nodeName, withToken);
    pods.#stop = await api.watch(collection, ({ type, object, at }) => {
      const { name } = object.metadata;
      const isReady = (object.status?.conditions ?? []).some(
        (condition: { type: string; status: string }) => condition.type === 'Ready' && condition.status === 'True',
      );
      if (type === 'DELETED') pods.#tell(`${name} gone`, at);
      else if (isReady) pods.#tell(`${name} ready`, at);
    });
    return pods;
  }

  close(): void {
    this.#stop();
  }

  async serial(count: number): Promise<PodTimes> {
    const times: PodTimes = { ready: [], gone: [] };
    const names = Array.from({ length: count }, (_, index) => `serial-${index}`);
    for (const name of names) times.ready.push(await this.create(name));
    for (const name of names) times.gone.push(await this.remove(name));
    return times;
  }

  /** @param whileTheyRun what to measure between the last Ready and the deletions */
  async burst(count: number, whileTheyRun: () => Promise<void> = async () => undefined): Promise<PodTimes> {
    const names = Array.from({ length: count }, (_, index) => `burst-${index}`);
    const ready = await Promise.all(names.map((name) => this.create(name)));
    await whileTheyRun();
    return { ready, gone: await Promise.all(names.map((name) => this.remove(name))) };
  }

  async create(name: string): Promise<number> {
    const isReady = this.#heard(`${name} ready`);
    const begun = process.hrtime.bigint();
    await this.#api.request('POST', collection, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        nodeName: this.#nodeName,
        terminationGracePeriodSeconds: 1,
        automountServiceAccountToken: this.#withToken,
        containers: [
          {
            name: 'c',
            image: busyboxImage,
            imagePullPolicy: 'IfNotPresent',
            ...(this.withProbes ? { command: webCommand, ...probes } : { command }),
          },
        ],
      },
    });
    return Number((await isReady) - begun) / 1e6;
  }

  async remove(name: string): Promise<number> {
    const isGone = this.#heard(`${name} gone`);
    const begun = process.hrtime.bigint();
    await this.#api.request('DELETE', `${collection}/${name}`);
    return Number((await isGone) - begun) / 1e6;
  }

  #heard(what: string): Promise<bigint> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not within 3 minutes: ${what}`)), 180_000);
      this.#waiting.set(what, (at) => {
        clearTimeout(timer);
        resolve(at);
      });
    });
  }

  #tell(what: string, at: bigint): void {
    this.#waiting.get(what)?.(at);
    this.#waiting.delete(what);
  }
}

export interface EventLoopLag {
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** Since it was asked before; of a daemon with --event-loop-lag. */
export async function eventLoopLag(keelson: Keelson): Promise<EventLoopLag | undefined> {
  return (await keelson.status()).eventLoopLag;
}
