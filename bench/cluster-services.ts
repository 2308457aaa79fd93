/**
 * Services through a real API server: the daemon's start until a connection through a Service is answered, and an
 * EndpointSlice's change until one is. Layer: bench. The client is a process on the node that tries again each millisecond.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ClusterNode } from '../test/support/cluster-node.ts';
import { inNetns } from '../test/support/exec.ts';
import type { KeelsonOptions } from '../test/support/keelson.ts';
import type { BenchApi } from './cluster-api.ts';
import { sleep, usage } from './figures.ts';

const namespace = 'bench';
const services = `/api/v1/namespaces/${namespace}/services`;
const slices = (version: string): string => `/apis/discovery.k8s.io/${version}/namespaces/${namespace}/endpointslices`;

export interface ServiceFigures {
  reachableMs: number;
  cpuMsAtStart: number;
  rssMiB: number;
  peakMiB: number;
  /** From before the request until a connection succeeded; the answer to the request; the event at another client. */
  reachMs: number[];
  answerMs: number[];
  watchMs: number[];
  cpuMsEach: number;
  rssAfterMiB: number;
}

export class BenchServices {
  readonly #api: BenchApi;
  readonly #cluster: ClusterNode;
  readonly #sliceVersion: 'v1' | 'v1beta1';
  readonly #client: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #count = 0;
  #endpoints = 0;
  #version = 0;
  #markerIp = '';

  private constructor(api: BenchApi, cluster: ClusterNode, sliceVersion: 'v1' | 'v1beta1') {
    this.#api = api;
    this.#cluster = cluster;
    this.#sliceVersion = sliceVersion;
    const script = fileURLToPath(new URL('proxy-client.ts', import.meta.url));
    const [file, args] = inNetns(cluster.node.netns, process.execPath, [script]);
    this.#client = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#answers = createInterface({ input: this.#client.stdout! })[Symbol.asyncIterator]();
  }

  /** Makes the marker Service, which the bench connects through. */
  static async open(api: BenchApi, cluster: ClusterNode): Promise<BenchServices> {
    const { versions } = await api.request('GET', '/apis/discovery.k8s.io');
    const hasV1 = versions.some(({ version }: { version: string }) => version === 'v1');
    const bench = new BenchServices(api, cluster, hasV1 ? 'v1' : 'v1beta1');
    await api.request('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
    const marker = await api.request('POST', services, bench.#service('marker'));
    bench.#markerIp = marker.spec.clusterIP;
    await api.request('POST', slices(bench.#sliceVersion), bench.#markerSlice(true));
    return bench;
  }

  close(): void {
    this.#client.kill();
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

  /** Starts the daemon on a node without any rule of it. */
  async measure(options: Partial<KeelsonOptions>, changes: number): Promise<ServiceFigures> {
    const { node } = this.#cluster;
    // There is none at first.
    await node.exec('/usr/sbin/nft', 'delete', 'table', 'ip', 'keelson-proxy').catch(() => undefined);
    const reached = this.#ask(`until ${this.#markerIp} 80 1`);
    const begun = process.hrtime.bigint();
    await this.#cluster.start(options);
    const { keelson } = this.#cluster;
    const reachableMs = Number(BigInt(await reached) - begun) / 1e6;
    const cpuMsAtStart = usage(keelson.pid).cpuSeconds * 1000;
    await sleep(8000);
    const { rssMiB, peakMiB } = usage(keelson.pid);
    const figures: ServiceFigures = {
      reachableMs,
      cpuMsAtStart,
      rssMiB,
      peakMiB,
      reachMs: [],
      answerMs: [],
      watchMs: [],
      cpuMsEach: 0,
      rssAfterMiB: 0,
    };
    await this.#change(figures, changes);
    const before = usage(keelson.pid).cpuSeconds;
    await this.#changeOthers(changes);
    const after = usage(keelson.pid);
    figures.cpuMsEach = ((after.cpuSeconds - before) * 1000) / changes;
    figures.rssAfterMiB = after.rssMiB;
    return figures;
  }

  /** The marker loses its endpoint and gets it again. */
  async #change(figures: ServiceFigures, changes: number): Promise<void> {
    const path = `${slices(this.#sliceVersion)}/marker-1`;
    let told = (_at: bigint): void => undefined;
    const stop = await this.#api.watch(
      `${slices(this.#sliceVersion)}?fieldSelector=metadata.name%3Dmarker-1`,
      ({ object, at }) => {
        if ((object.endpoints ?? []).length > 0) told(at);
      },
    );
    for (let round = 0; round < changes; round++) {
      await this.#api.request('PUT', path, this.#markerSlice(false));
      await this.#ask(`while ${this.#markerIp} 80 1`);
      const reached = this.#ask(`until ${this.#markerIp} 80 1`);
      // Changes come at any moment, not in step with a timer.
      await sleep(30 + Math.random() * 20);
      const event = new Promise<bigint>((resolve) => {
        told = resolve;
      });
      const begun = process.hrtime.bigint();
      await this.#api.request('PUT', path, this.#markerSlice(true));
      const ms = (at: bigint): number => Number(at - begun) / 1e6;
      figures.answerMs.push(ms(process.hrtime.bigint()));
      figures.watchMs.push(ms(await event));
      figures.reachMs.push(ms(BigInt(await reached)));
    }
    stop();
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

  async #ask(line: string): Promise<string> {
    this.#client.stdin!.write(`${line}\n`);
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`not within 3 minutes: ${line}`)), 180_000);
    });
    try {
      return (await Promise.race([this.#answers.next(), tooLate])).value ?? '';
    } finally {
      clearTimeout(timer);
    }
  }

  #service(name: string): object {
    return {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, labels: { app: name } },
      spec: { ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    };
  }

  #markerSlice(isUp: boolean): object {
    return this.#sliceOf('marker', isUp ? [this.#cluster.node.outsideIp] : [], this.#api.backendPort);
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
