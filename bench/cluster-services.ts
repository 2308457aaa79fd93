/**
 * Services through a real API server: a proxy's start until a connection through a Service is answered, and an
 * EndpointSlice's change until one is. Layer: bench. The client is a process on the node that tries again each millisecond;
 * whose proxy it is, and how it is started, is the caller's to say.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { inNetns } from '../test/support/exec.ts';
import type { BenchApi } from './cluster-api.ts';
import { sleep, usage } from './figures.ts';

const namespace = 'bench';
const services = `/api/v1/namespaces/${namespace}/services`;
const slices = (version: string): string => `/apis/discovery.k8s.io/${version}/namespaces/${namespace}/endpointslices`;

export interface ServiceFigures {
  reachableMs: number;
  /** Until then, and eight seconds later, when children (iptables-restore) have ended, too. */
  cpuMsAtStart: number;
  cpuMsSettled: number;
  rssMiB: number;
  peakMiB: number;
  /** From before the request until a connection succeeded; the answer to the request; the event at another client. */
  reachMs: number[];
  answerMs: number[];
  watchMs: number[];
  /** Of the changes that were waited for, with ended children (iptables-restore). */
  cpuMsAwaited: number;
  /** Of changes that follow each other after 10 ms; NaN when there were none. */
  cpuMsEach: number;
  rssAfterMiB: number;
}

export interface ServiceMeasurement {
  /** The node's. */
  netns: string;
  /** Starts the proxy, of which the node has no rule yet; its process id. */
  start(): Promise<number>;
  /** Services without endpoints that get one, each waited for. */
  changes: number;
  /** Before each of them: at least, and by chance up to so much more. 30 and 20 unless given. */
  pauseMs?: readonly [number, number];
  /** Of other endpoints, 10 ms apart; as many as `changes` unless given. */
  others?: number;
  /** No further change is begun after so long; no limit unless given. */
  seconds?: number;
  /** How long the first sync and a change may take; 180 s unless given. */
  patienceSeconds?: number;
}

export class BenchServices {
  readonly #api: BenchApi;
  readonly #backendIp: string;
  readonly #sliceVersion: 'v1' | 'v1beta1';
  #count = 0;
  #endpoints = 0;
  #version = 0;
  #markerIp = '';
  readonly #markerIps: string[] = [];

  private constructor(api: BenchApi, backendIp: string, sliceVersion: 'v1' | 'v1beta1') {
    this.#api = api;
    this.#backendIp = backendIp;
    this.#sliceVersion = sliceVersion;
  }

  /** Makes the marker Service, which the bench connects through. */
  static async open(api: BenchApi, backendIp: string): Promise<BenchServices> {
    const { versions } = await api.request('GET', '/apis/discovery.k8s.io');
    const hasV1 = versions.some(({ version }: { version: string }) => version === 'v1');
    const bench = new BenchServices(api, backendIp, hasV1 ? 'v1' : 'v1beta1');
    await api.request('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
    const marker = await api.request('POST', services, bench.#service('marker'));
    bench.#markerIp = marker.spec.clusterIP;
    await api.request('POST', slices(bench.#sliceVersion), bench.#sliceOf('marker', [backendIp], api.backendPort));
    return bench;
  }

  /** Makes what is missing up to `count` Services with `endpoints` each; none has a selector, so no controller acts. */
  async grow(count: number, endpoints: number): Promise<void> {
    this.#endpoints = endpoints;
    const next = (): number | undefined => (this.#count < count ? this.#count++ : undefined);
    const work = async (): Promise<void> => {
      for (let index = next(); index !== undefined; index = next()) {
        const name = `service-${index}`;
        await Promise.all([
          this.#api.request('POST', services, this.#service(name)),
          this.#api.request('POST', slices(this.#sliceVersion), this.#slice(name, index)),
        ]);
      }
    };
    await Promise.all(Array.from({ length: 16 }, work));
  }

  async measure(measurement: ServiceMeasurement): Promise<ServiceFigures> {
    const { netns, changes, others = changes } = measurement;
    await this.#makeMarkers(changes);
    const client = new MarkerClient(netns, measurement.patienceSeconds ?? 180);
    try {
      const reached = client.until(this.#markerIp);
      const begun = process.hrtime.bigint();
      const pid = await Promise.race([measurement.start(), failed(reached)]);
      const reachableMs = Number((await reached) - begun) / 1e6;
      const cpuMs = (): number => usage(pid).cpuSecondsWithChildren * 1000;
      const cpuMsAtStart = cpuMs();
      await sleep(8000);
      const { rssMiB, peakMiB } = usage(pid);
      const times = { reachMs: [], answerMs: [], watchMs: [] };
      const before = cpuMs();
      await this.#change(client, times, measurement);
      const between = cpuMs();
      await this.#changeOthers(others);
      const after = cpuMs();
      return {
        reachableMs,
        cpuMsAtStart,
        cpuMsSettled: before,
        rssMiB,
        peakMiB,
        ...times,
        cpuMsAwaited: (between - before) / times.reachMs.length,
        cpuMsEach: others > 0 ? (after - between) / others : Number.NaN,
        rssAfterMiB: usage(pid).rssMiB,
      };
    } finally {
      client.close();
    }
  }

  /**
   * One Service after the other, which had none, gets an endpoint. Each is a Service of its own: one that loses its endpoint
   * and gets it again is answered too early by a proxy that is still busy with what was before.
   */
  async #change(
    client: MarkerClient,
    times: Pick<ServiceFigures, 'reachMs' | 'answerMs' | 'watchMs'>,
    { changes, pauseMs = [30, 20], seconds = Number.POSITIVE_INFINITY }: ServiceMeasurement,
  ): Promise<void> {
    const path = slices(this.#sliceVersion);
    const made: string[] = [];
    const last = performance.now() + seconds * 1000;
    for (let round = 0; round < changes && (round === 0 || performance.now() < last); round++) {
      const name = `marker-${round}`;
      const told = Promise.withResolvers<bigint>();
      const query = `?fieldSelector=metadata.name%3D${name}-1`;
      const stop = await this.#api.watch(`${path}${query}`, ({ at }) => told.resolve(at));
      const reached = client.until(this.#markerIps[round] ?? '');
      // Changes come at any moment, not in step with a timer.
      await sleep(pauseMs[0] + Math.random() * pauseMs[1]);
      const begun = process.hrtime.bigint();
      await this.#api.request('POST', path, this.#sliceOf(name, [this.#backendIp], this.#api.backendPort));
      const ms = (at: bigint): number => Number(at - begun) / 1e6;
      made.push(name);
      times.answerMs.push(ms(process.hrtime.bigint()));
      times.watchMs.push(ms(await told.promise));
      times.reachMs.push(ms(await reached));
      stop();
    }
    for (const name of made) await this.#api.request('DELETE', `${path}/${name}-1`);
  }

  /** Services that wait for an endpoint. */
  async #makeMarkers(count: number): Promise<void> {
    while (this.#markerIps.length < count) {
      const { spec } = await this.#api.request('POST', services, this.#service(`marker-${this.#markerIps.length}`));
      this.#markerIps.push(spec.clusterIP);
    }
  }

  /** One endpoint of one Service after the other, for what it costs. */
  async #changeOthers(changes: number): Promise<void> {
    for (let round = 1; round <= changes; round++) {
      const index = (round * 7919) % this.#count;
      const name = `service-${index}`;
      const slice = this.#slice(name, index, ++this.#version);
      await this.#api.request('PUT', `${slices(this.#sliceVersion)}/${name}-1`, slice);
      await sleep(10);
    }
    await sleep(100);
  }

  #service(name: string): object {
    return {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, labels: { app: name } },
      spec: { ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    };
  }

  /** @param version changes the address of one endpoint */
  #slice(name: string, index: number, version = 0): object {
    const octets = (value: number): string => `${(value >> 16) & 255}.${(value >> 8) & 255}.${value & 255}`;
    const addresses = Array.from({ length: this.#endpoints }, (_, part) => {
      const host = part === 3 && version > 0 ? 0xe00000 + version : 0x800000 + index * this.#endpoints + part;
      return `10.${octets(host)}`;
    });
    return this.#sliceOf(name, addresses, 8080);
  }

  /** With the fields that the controller fills in. */
  #sliceOf(service: string, addresses: readonly string[], port: number): object {
    return {
      apiVersion: `discovery.k8s.io/${this.#sliceVersion}`,
      kind: 'EndpointSlice',
      metadata: { name: `${service}-1`, labels: { 'kubernetes.io/service-name': service } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port, protocol: 'TCP' }],
      endpoints: addresses.map((address, index) => ({
        addresses: [address],
        conditions: { ready: true, serving: true, terminating: false },
        targetRef: {
          kind: 'Pod',
          namespace,
          name: `${service}-5d4f8c7b9-${index}`,
          uid: `0b7cbb37-6c5c-4b0e-9a4d-${String(index).padStart(12, '0')}`,
        },
        ...(this.#sliceVersion === 'v1'
          ? { nodeName: `node-${index}` }
          : { topology: { 'kubernetes.io/hostname': `node-${index}` } }),
      })),
    };
  }
}

/** A process on the node that connects; answers are process.hrtime. */
class MarkerClient {
  readonly #process: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #patienceSeconds: number;

  constructor(netns: string, patienceSeconds: number) {
    const script = fileURLToPath(new URL('proxy-client.ts', import.meta.url));
    const [file, args] = inNetns(netns, process.execPath, [script]);
    this.#process = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#answers = createInterface({ input: this.#process.stdout! })[Symbol.asyncIterator]();
    this.#patienceSeconds = patienceSeconds;
  }

  /** When a connection succeeded. @throws TooSlowError */
  async until(clusterIP: string): Promise<bigint> {
    this.#process.stdin!.write(`until ${clusterIP} 80 1\n`);
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_resolve, reject) => {
      const error = new TooSlowError(`not within ${this.#patienceSeconds} s`);
      timer = setTimeout(() => reject(error), this.#patienceSeconds * 1000);
    });
    try {
      return BigInt((await Promise.race([this.#answers.next(), tooLate])).value ?? 0);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#process.kill();
  }
}

/** A proxy did not get there in the time that the bench gives it. */
export class TooSlowError extends Error {}

/** Settles only when the promise fails. */
const failed = (promise: Promise<unknown>): Promise<never> =>
  new Promise((_resolve, reject) => {
    promise.catch(reject);
  });
