/**
 * The kubelet's own metrics, for /metrics, by the stock names where they mean the same. Read from what is kept anyway
 * when somebody scrapes; counted on the way only where that costs nothing (calls to the runtime, changes of phase).
 * Layer: kubelet/stats. Source: pkg/kubelet/metrics/metrics.go.
 */
import type { Clock } from '../../base/clock.ts';
import { Counter, createRegistry, Gauge, Histogram, type Registry } from '../../observe/metrics.ts';
import { isApiPod, isTerminal } from '../plan/pod-origin.ts';
import type { ServedPods } from '../server/served-pods.ts';
import type { StatusBoard } from '../status/status-board.ts';
import { RuntimeOperations } from './runtime-operations.ts';

/** Seconds; the kubelet's podStartupDurationBuckets. */
const podStartBuckets = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
];

export interface KubeletMetricsOptions {
  /** Keelson's own. */
  readonly version: string;
  /** `v1.36.0` */
  readonly kubernetesVersion: string;
  readonly nodeName: string;
  readonly clock: Clock;
}

export class KubeletMetrics {
  readonly registry: Registry;
  /** Wraps the runtime's services before anything uses them. */
  readonly runtimeOperations: RuntimeOperations;
  readonly #podStart: Histogram;
  readonly #requests: Counter;
  readonly #clock: Clock;

  constructor({ version, kubernetesVersion, nodeName, clock }: KubeletMetricsOptions) {
    this.registry = createRegistry(version);
    this.#clock = clock;
    const registers = [this.registry];
    this.runtimeOperations = new RuntimeOperations(this.registry);
    this.#podStart = new Histogram({
      name: 'kubelet_pod_start_duration_seconds',
      help: 'From the first sight of a pod to its running, in seconds.',
      buckets: podStartBuckets,
      registers,
    });
    this.#requests = new Counter({
      name: 'kubelet_http_requests_total',
      help: 'Requests to the API of the kubelet.',
      labelNames: ['method', 'path', 'code'],
      registers,
    });
    new Gauge({
      name: 'kubelet_node_name',
      help: 'Always 1; the label is the name of the node.',
      labelNames: ['node'],
      registers,
    }).set({ node: nodeName }, 1);
    const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(kubernetesVersion) ?? [];
    new Gauge({
      name: 'kubernetes_build_info',
      help: 'Always 1; the labels say which Kubernetes this node behaves as.',
      labelNames: ['git_version', 'major', 'minor', 'platform'],
      registers,
    }).set({ git_version: kubernetesVersion, major, minor, platform: `linux/${goArchitecture()}` }, 1);
  }

  /** @param path the route's pattern, so that clients cannot make series without end */
  answered({ method, path, status }: { method: string; path: string; status: number }): void {
    this.#requests.inc({ method: knownMethods.has(method) ? method : 'other', path, code: String(status) });
  }

  /** From now on counts how long pods take to run; tell it of the board before the first pod. Returns how to stop. */
  watch(board: StatusBoard): () => void {
    const seen = new Map<string, number>();
    return board.onChange(({ pod, status }, change) => {
      const { uid } = pod.metadata;
      if (change === 'deleted' || isTerminal(status.phase)) seen.delete(uid);
      else if (status.phase === 'Pending') {
        if (!seen.has(uid)) seen.set(uid, this.#clock.now());
      } else {
        const firstMs = seen.get(uid);
        if (firstMs === undefined) return;
        seen.delete(uid);
        this.#podStart.observe(Math.max(0, this.#clock.now() - firstMs) / 1000);
      }
    });
  }

  /** What was ended or removed to make room, by signal and by reason. Once. */
  readRoomMade(made: {
    evictions: () => ReadonlyMap<string, number>;
    imagesRemoved: () => Readonly<Record<string, number>>;
  }): void {
    const registers = [this.registry];
    new Counter({
      name: 'kubelet_evictions',
      help: 'Pods evicted, by the signal that they were evicted for.',
      labelNames: ['eviction_signal'],
      registers,
      collect() {
        this.reset();
        for (const [signal, count] of made.evictions()) this.inc({ eviction_signal: signal }, count);
      },
    });
    new Counter({
      name: 'kubelet_image_garbage_collected_total',
      help: 'Images removed by garbage collection, by reason.',
      labelNames: ['reason'],
      registers,
      collect() {
        this.reset();
        for (const [reason, count] of Object.entries(made.imagesRemoved())) this.inc({ reason }, count);
      },
    });
  }

  /** Gauges of what runs. Once. */
  read(pods: ServedPods): void {
    const registers = [this.registry];
    new Gauge({
      name: 'kubelet_running_pods',
      help: 'Pods with a sandbox that runs.',
      registers,
      collect() {
        this.set(pods.list().filter(({ state }) => state.sandboxes.some(({ ready }) => ready)).length);
      },
    });
    new Gauge({
      name: 'kubelet_running_containers',
      help: 'Containers by state.',
      labelNames: ['container_state'],
      registers,
      collect() {
        const counts = { created: 0, exited: 0, running: 0, unknown: 0 };
        for (const { state } of pods.list()) for (const { phase } of state.containers) counts[phase]++;
        for (const [phase, count] of Object.entries(counts)) this.set({ container_state: phase }, count);
      },
    });
    for (const [name, help, counts] of [
      ['kubelet_desired_pods', 'Pods that this node is told to run.', () => true],
      [
        'kubelet_active_pods',
        'Pods that are not finished.',
        (phase: string) => phase !== 'Succeeded' && phase !== 'Failed',
      ],
    ] as const) {
      new Gauge({
        name,
        help,
        labelNames: ['static'],
        registers,
        collect() {
          const counted = { true: 0, false: 0 };
          for (const { pod, status } of pods.list()) {
            if (counts(status.phase)) counted[isApiPod(pod) ? 'false' : 'true']++;
          }
          for (const [isStatic, count] of Object.entries(counted)) this.set({ static: isStatic }, count);
        },
      });
    }
  }
}

const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

const goArchitecture = (): string => (process.arch === 'x64' ? 'amd64' : process.arch);
