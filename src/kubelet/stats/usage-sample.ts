/**
 * One look at what the node, its pods and their containers use of CPU, memory and network: cgroup files and /proc only.
 * Layer: kubelet/stats. The runtime is asked only about instances that are new, or when it names no process of a
 * container (a VM's): then its own figures count. Yields to the event loop; must not touch disks.
 * Which pods are shown: those with a running container, as pkg/kubelet/stats/cri_stats_provider.go does.
 */
import type { Clock } from '../../base/clock.ts';
import type { RuntimeService } from '../../cri/service.ts';
import type { ContainerRecord, SandboxRecord } from '../plan/runtime-state.ts';
import type { ServedPods } from '../server/served-pods.ts';
import { type CgroupMounts, podCgroupOf, podsCgroupOf } from './cgroup-paths.ts';
import { CgroupReader } from './cgroup-reader.ts';
import type { CgroupSample, SampleDepth } from './cgroup-sample.ts';
import { ContainerPlaces, type Placed } from './container-places.ts';
import { CpuRates } from './cpu-rates.ts';
import { Breather, type HostFiles } from './host-files.ts';
import { type NetworkDevice, parseNetworkDevices } from './network-devices.ts';
import { type NodeUsage, ownProcess, sampleNode } from './node-usage.ts';
import { runtimeSample } from './runtime-figures.ts';

/** A cgroup's figures with what can only be told from several looks. */
export interface MeasuredCgroup {
  /** Path of the cgroup; '' for figures of the runtime's. */
  readonly path: string;
  readonly sample: CgroupSample;
  readonly usageNanoCores: number | undefined;
}

export interface ContainerUsage {
  readonly record: ContainerRecord;
  /** undefined when it ended meanwhile. */
  readonly measured: MeasuredCgroup | undefined;
}

export interface PodUsage {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly sandbox: SandboxRecord;
  readonly sandboxCgroup: string | undefined;
  readonly sandboxImage: string | undefined;
  readonly containers: readonly ContainerUsage[];
  /** Its own cgroup, where it has one. */
  readonly own: MeasuredCgroup | undefined;
  /** undefined for hostNetwork pods: their traffic is the node's. */
  readonly network: readonly NetworkDevice[] | undefined;
}

export interface SystemCgroup {
  readonly name: 'kubelet' | 'runtime' | 'pods';
  readonly measured: MeasuredCgroup;
}

export interface UsageSample {
  readonly timeMs: number;
  readonly depth: SampleDepth;
  readonly node: NodeUsage;
  readonly nodeNanoCores: number | undefined;
  readonly system: readonly SystemCgroup[];
  readonly pods: readonly PodUsage[];
}

export interface UsageSamplerOptions {
  readonly pods: ServedPods;
  readonly runtime: Pick<RuntimeService, 'containerStatus' | 'podSandboxStatus' | 'listContainerStats'>;
  readonly files: HostFiles;
  readonly clock: Clock;
  /** KubeletConfiguration and flag runtimeCgroups: the cgroup of the container runtime's daemon. */
  readonly runtimeCgroup?: string | undefined;
}

const callTimeoutMs = 10_000;

export class UsageSampler {
  readonly #options: UsageSamplerOptions;
  readonly #places: ContainerPlaces;
  readonly #rates = new CpuRates();
  readonly #reader: CgroupReader;

  constructor(options: UsageSamplerOptions) {
    this.#options = options;
    this.#places = new ContainerPlaces(options.runtime, options.files);
    this.#reader = new CgroupReader(options.files);
  }

  /** One call at a time. @throws CriError when new instances cannot be asked about */
  async sample(depth: SampleDepth): Promise<UsageSample> {
    const { clock, files } = this.#options;
    const mounts = this.#reader.mounts();
    const shown = this.#shownPods();
    await this.#places.learn(shown.flatMap(placed), mounts, clock.now());
    const look: Look = {
      mounts,
      depth,
      figures: await this.#figuresOfUnplaced(shown),
      live: new Set(['node']),
      breather: new Breather(),
    };
    const pods: PodUsage[] = [];
    for (const pod of shown) pods.push(await this.#samplePod(pod, look));
    const node = sampleNode(files, mounts, this.#reader, depth, clock.now());
    const nodeNanoCores = node.cpu && this.#rates.observe('node', node.timeMs, node.cpu.usageNs, node.bootMs);
    const system = this.#sampleSystem(shown, look);
    this.#rates.retain(look.live);
    return { timeMs: node.timeMs, depth, node, nodeNanoCores, system, pods };
  }

  async #samplePod(pod: ShownPod, look: Look): Promise<PodUsage> {
    const { name, namespace, uid, sandbox } = pod;
    const containers: ContainerUsage[] = [];
    let podCgroup: string | undefined;
    for (const record of pod.containers) {
      const { id, startedAtMs } = record;
      const cgroup = this.#places.get(id)?.cgroup;
      const figures = look.figures.get(id);
      if (cgroup !== undefined) {
        podCgroup ??= podCgroupOf(cgroup, uid);
        containers.push({ record, measured: this.#measure(look, id, cgroup, startedAtMs) });
      } else {
        containers.push({ record, measured: figures && this.#measured(look, id, '', figures, startedAtMs) });
      }
      await look.breather.breathe();
    }
    const place = this.#places.get(sandbox.id);
    return {
      name,
      namespace,
      uid,
      sandbox,
      sandboxCgroup: place?.cgroup,
      sandboxImage: place?.image,
      containers,
      own: podCgroup === undefined ? undefined : this.#measure(look, uid, podCgroup, sandbox.createdAtMs),
      network: sandbox.hostNetwork ? undefined : this.#network(pod),
    };
  }

  #sampleSystem(shown: readonly ShownPod[], look: Look): SystemCgroup[] {
    const { mounts, depth } = look;
    const nowMs = this.#options.clock.now();
    const path = this.#reader.own(mounts);
    const process = ownProcess(nowMs);
    // In the root cgroup its figures would be the machine's; on v1 it may have a cgroup for memory and none for CPU.
    const own = path === undefined || path === '/' ? undefined : this.#reader.sample(mounts, path, depth, nowMs);
    const sample = own === undefined ? process : { ...own, cpu: own.cpu ?? process.cpu };
    const measured = this.#measured(look, 'system kubelet', (own && path) ?? '', sample, undefined);
    const podsCgroup = shown
      .flatMap(({ containers }) => containers)
      .map(({ id }) => podsCgroupOf(this.#places.get(id)?.cgroup ?? ''))
      .find((found) => found !== undefined);
    const others = [
      { name: 'runtime', path: this.#options.runtimeCgroup },
      { name: 'pods', path: podsCgroup },
    ] as const;
    return [
      { name: 'kubelet', measured },
      ...others.flatMap((other): SystemCgroup[] => {
        const found = other.path && this.#measure(look, `system ${other.name}`, other.path, undefined);
        return found ? [{ name: other.name, measured: found }] : [];
      }),
    ];
  }

  #measure(look: Look, key: string, path: string, startedMs: number | undefined): MeasuredCgroup | undefined {
    const sample = this.#reader.sample(look.mounts, path, look.depth, this.#options.clock.now());
    return sample && this.#measured(look, key, path, sample, startedMs);
  }

  #measured(
    { live }: Look,
    key: string,
    path: string,
    sample: CgroupSample,
    startedMs: number | undefined,
  ): MeasuredCgroup {
    live.add(key);
    const usageNanoCores = sample.cpu && this.#rates.observe(key, sample.timeMs, sample.cpu.usageNs, startedMs);
    return { path, sample, usageNanoCores };
  }

  #shownPods(): ShownPod[] {
    return this.#options.pods.list().flatMap(({ pod, state }) => {
      const sandbox = state.sandboxes[0];
      const containers = state.containers.filter(({ phase }) => phase === 'running');
      if (sandbox === undefined || containers.length === 0) return [];
      const { name, namespace, uid } = pod.metadata;
      return [{ name, namespace, uid, sandbox, containers }];
    });
  }

  /** The network of the sandbox, seen through its process or, should the runtime name none, a container's. */
  #network({ sandbox, containers }: ShownPod): NetworkDevice[] | undefined {
    for (const { id } of [sandbox, ...containers]) {
      const place = this.#places.get(id);
      if (place === undefined || !this.#places.isCurrent(place)) continue;
      const text = this.#options.files.read(`/proc/${place.pid}/net/dev`);
      if (text !== undefined) return parseNetworkDevices(text);
    }
    return undefined;
  }

  async #figuresOfUnplaced(shown: readonly ShownPod[]): Promise<Map<string, CgroupSample>> {
    const figures = new Map<string, CgroupSample>();
    const isPlaced = ({ id }: ContainerRecord): boolean => this.#places.get(id) !== undefined;
    if (shown.every(({ containers }) => containers.every(isPlaced))) return figures;
    const { stats } = await this.#options.runtime.listContainerStats({}, { timeoutMs: callTimeoutMs });
    const nowMs = this.#options.clock.now();
    for (const entry of stats) if (entry.attributes) figures.set(entry.attributes.id, runtimeSample(entry, nowMs));
    return figures;
  }
}

/** What one call of sample() works with. */
interface Look {
  readonly mounts: CgroupMounts;
  readonly depth: SampleDepth;
  /** The runtime's own, of containers without a place. */
  readonly figures: ReadonlyMap<string, CgroupSample>;
  /** Keys of all that was measured. */
  readonly live: Set<string>;
  readonly breather: Breather;
}

interface ShownPod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly sandbox: SandboxRecord;
  readonly containers: readonly ContainerRecord[];
}

const placed = ({ sandbox, containers }: ShownPod): Placed[] => [
  { id: sandbox.id, kind: 'sandbox' },
  ...containers.map(({ id }): Placed => ({ id, kind: 'container' })),
];
