/**
 * One round of eviction: look, and when the node is short of something, make room without pods if that is possible, else
 * end the one pod that goes first.
 * Layer: kubelet/eviction (over injected edges). Who goes and what is said is decided in the pure files beside this one.
 * Far from every threshold a round costs the signals alone; what pods use is asked only when one of them has limits of
 * its own or a disk is nearly short. Source: pkg/kubelet/eviction/eviction_manager.go (synchronize).
 */
import type { Pod } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { type EvictionThreshold, thresholdUnits } from '../node/eviction-thresholds.ts';
import type { NodeEvent } from '../node/node-conditions.ts';
import type { NodePressure } from '../node/node-pressure.ts';
import { isAnyUnresolved, type SignalObservations } from '../node/pressure.ts';
import { isCriticalPod } from '../plan/critical-pod.ts';
import { type RecordPodEvent, warning } from '../pods/pod-events.ts';
import type { PodStats } from '../stats/summary-types.ts';
import type { PodVerdict } from '../status/pod-status.ts';
import { evictionText } from './eviction-message.ts';
import { exceededLimit, hasLocalLimits } from './local-storage-limits.ts';
import type { StatsOf } from './pod-usage.ts';
import { rankPods } from './rank-pods.ts';
import { type DiskLayout, mostUrgent, type ReclaimStep, reclaimSteps, resourceOfSignal } from './starved-resource.ts';

export interface EvictablePods {
  /** Pods that have not ended, also those that are being ended. */
  list(): readonly Pod[];
  /** Ends the pod for good, or hastens its end; false when there is nothing to end. */
  end(uid: string, verdict: PodVerdict): boolean;
}

export interface EvictionOptions {
  readonly pressure: NodePressure;
  /** KubeletConfiguration evictionMaxPodGracePeriod, seconds: for soft thresholds. */
  readonly maxPodGraceSeconds: number;
  /** KubeletConfiguration localStorageCapacityIsolation: pods' own limits count. */
  readonly localStorageIsolation: boolean;
  readonly measure: () => Promise<SignalObservations>;
  /** @throws when it is not known yet */
  readonly layout: () => Promise<DiskLayout>;
  /** What pods with something running use, by uid. */
  readonly usage: () => Promise<ReadonlyMap<string, PodStats>>;
  readonly pods: EvictablePods;
  /** Makes room without pods; what fails is told by throwing, and the round goes on. */
  readonly reclaim: Readonly<Record<ReclaimStep, () => Promise<unknown>>>;
  readonly recordPodEvent: RecordPodEvent;
  readonly recordNodeEvent: (event: NodeEvent) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Seconds; the runtime gives containers 2 at least. */
const hardGraceSeconds = 1;
/** A disk with less than this many times the threshold left is looked at closely: volumes take time to measure. */
const nearFactor = 1.5;

export class PodEvictor {
  readonly #options: EvictionOptions;
  /** By signal, for the metric kubelet_evictions. */
  readonly evictions = new Map<string, number>();

  constructor(options: EvictionOptions) {
    this.#options = options;
  }

  /** Resolves to the uids of the pods that end now. @throws CriError, errors of the measuring edges */
  async round(): Promise<string[]> {
    const { pressure, measure, layout, pods, localStorageIsolation } = this.#options;
    const observations = await measure();
    pressure.observe(observations);
    const { met } = pressure;
    const active = pods.list();
    const limited = localStorageIsolation ? active.filter(hasLocalLimits) : [];
    if (met.length === 0 && limited.length === 0) {
      if (isDiskNear(pressure.thresholds, observations)) await this.#statsOf();
      return [];
    }
    const disks = await layout();
    if (limited.length > 0) {
      const ended = await this.#enforceLimits(limited, disks);
      if (ended.length > 0) return ended;
    }
    const threshold = mostUrgent(met);
    return threshold === undefined ? [] : this.#relieve(threshold, observations, active, disks);
  }

  async #enforceLimits(limited: readonly Pod[], disks: DiskLayout): Promise<string[]> {
    const statsOf = await this.#statsOf();
    return limited.flatMap((pod) => {
      const stats = statsOf(pod);
      const exceeded = stats && exceededLimit(pod, stats, disks);
      if (exceeded === undefined) return [];
      const { message, signal } = exceeded;
      return this.#evict(pod, signal, { reason: 'Evicted', message, graceSeconds: hardGraceSeconds });
    });
  }

  async #relieve(
    threshold: EvictionThreshold,
    observations: SignalObservations,
    active: readonly Pod[],
    disks: DiskLayout,
  ): Promise<string[]> {
    const { log, recordNodeEvent, pressure } = this.#options;
    const { signal } = threshold;
    const resource = resourceOfSignal[signal];
    const message = `Attempting to reclaim ${resource}`;
    log.warn({ signal, available: observations[signal]?.available }, 'the node is short of something');
    recordNodeEvent({ type: 'Warning', reason: 'EvictionThresholdMet', message });
    if (await this.#reclaim(reclaimSteps(signal, disks))) return [];
    const statsOf = await this.#statsOf();
    const thresholds = pressure.met;
    for (const pod of rankPods(active, statsOf, signal, disks)) {
      const { message: why, annotations } = evictionText(pod, statsOf(pod), { resource, thresholds, observations });
      const graceSeconds = this.#graceOf(pod, threshold);
      const verdict: PodVerdict = { reason: 'Evicted', message: why, graceSeconds, disruption: why };
      const ended = this.#evict(pod, signal, verdict, annotations);
      if (ended.length > 0) return ended;
    }
    log.warn({ signal }, 'no pod can be evicted');
    return [];
  }

  /** Whether that was enough for every threshold. */
  async #reclaim(steps: readonly ReclaimStep[]): Promise<boolean> {
    const { reclaim, measure, pressure, log } = this.#options;
    for (const step of steps) {
      try {
        await reclaim[step]();
      } catch (error) {
        log.warn({ step, error: errorLine(error) }, 'room cannot be made');
      }
    }
    return steps.length > 0 && !isAnyUnresolved(pressure.thresholds, await measure());
  }

  /** @returns the pod's uid, or nothing when it stays */
  #evict(pod: Pod, signal: string, verdict: PodVerdict, annotations?: Readonly<Record<string, string>>): string[] {
    const { pods, log, recordPodEvent } = this.#options;
    const fields = { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, signal };
    if (isCriticalPod(pod)) {
      log.warn(fields, 'a critical pod is not evicted');
      return [];
    }
    if (!pods.end(pod.metadata.uid, verdict)) return [];
    log.warn({ ...fields, message: verdict.message }, 'pod evicted');
    recordPodEvent(pod, { ...warning('Evicted', verdict.message), ...(annotations ? { annotations } : {}) });
    this.evictions.set(signal, (this.evictions.get(signal) ?? 0) + 1);
    return [pod.metadata.uid];
  }

  #graceOf({ spec }: Pod, { gracePeriodMs }: EvictionThreshold): number {
    if (gracePeriodMs === 0) return hardGraceSeconds;
    const { maxPodGraceSeconds } = this.#options;
    return Math.max(1, Math.min(maxPodGraceSeconds, spec.terminationGracePeriodSeconds ?? maxPodGraceSeconds));
  }

  async #statsOf(): Promise<StatsOf> {
    const usage = await this.#options.usage();
    return ({ metadata }) => usage.get(metadata.uid);
  }
}

function isDiskNear(thresholds: readonly EvictionThreshold[], observations: SignalObservations): boolean {
  return thresholds.some(({ signal, value }) => {
    const observed = observations[signal];
    const resource = resourceOfSignal[signal];
    if (observed === undefined || resource === 'memory' || resource === 'pids') return false;
    return observed.available < thresholdUnits(value, observed.capacity) * nearFactor;
  });
}
