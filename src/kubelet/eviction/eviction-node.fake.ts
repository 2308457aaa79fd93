/**
 * A machine with memory and one or two disks that pods, images and dead containers fill: what ends or is removed gives
 * back what it took. Layer: kubelet/eviction (test support). Must not be imported by production code.
 */
import type { Pod } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { type EvictionSettings, evictionThresholds } from '../node/eviction-thresholds.ts';
import type { NodeEvent } from '../node/node-conditions.ts';
import { NodePressure } from '../node/node-pressure.ts';
import type { SignalObservations } from '../node/pressure.ts';
import type { PodEvent } from '../pods/pod-events.ts';
import type { PodStats } from '../stats/summary-types.ts';
import type { PodVerdict } from '../status/pod-status.ts';
import { containerStats, fs, memory, podStats } from './evictable-pod.fake.ts';
import type { StartEvictionOptions } from './start-eviction.ts';

export interface Uses {
  memory?: number;
  /** Of the container's layer. */
  disk?: number;
  volume?: number;
  processes?: number;
}

interface Running {
  pod: Pod;
  uses: Uses;
  /** Ended and still in the way. */
  verdict?: PodVerdict;
}

export class FakeNode {
  readonly clock = new FakeClock();
  readonly pressure: NodePressure;
  readonly pods = new Map<string, Running>();
  readonly verdicts = new Map<string, PodVerdict>();
  readonly events: string[] = [];
  readonly annotations: unknown[] = [];
  readonly calls: string[] = [];
  readonly warnings: object[] = [];
  images = 0;
  dead = 0;
  otherMemory = 0;
  measureFails: Error | undefined;
  reclaimFails: Error | undefined;
  readonly capacity = 1000;
  readonly #releases = new Map<string, () => void>();

  constructor(settings: EvictionSettings) {
    const { clock } = this;
    this.pressure = new NodePressure({ thresholds: evictionThresholds(settings), transitionMs: 300_000, clock });
  }

  run(pod: Pod, uses: Uses): void {
    this.pods.set(pod.metadata.uid, { pod, uses });
  }

  /** The pod's containers have ended and its volumes are gone. */
  release(name: string): void {
    const uid = `uid-${name}`;
    this.pods.delete(uid);
    this.#releases.get(uid)?.();
  }

  get ended(): string[] {
    return [...this.verdicts.keys()].map((uid) => uid.replace('uid-', ''));
  }

  options(change: Partial<StartEvictionOptions> = {}): StartEvictionOptions {
    const recordNodeEvent = ({ reason, message }: NodeEvent): void =>
      void this.events.push(`node ${reason}: ${message}`);
    const recordPodEvent = (pod: Pod, { reason, annotations }: PodEvent): void => {
      this.events.push(`${pod.metadata.name} ${reason}`);
      this.annotations.push(annotations);
    };
    return {
      pressure: this.pressure,
      maxPodGraceSeconds: 0,
      localStorageIsolation: true,
      measure: async () => this.#measure(),
      layout: async () => ({ dedicatedImageFs: false }),
      usage: async () => this.#usage(),
      pods: {
        list: () => [...this.pods.values()].map(({ pod }) => pod),
        end: (uid: string, verdict: PodVerdict) => this.#end(uid, verdict),
        released: (uid: string, signal: AbortSignal) =>
          new Promise<void>((resolve, reject) => {
            if (!this.pods.has(uid)) resolve();
            this.#releases.set(uid, resolve);
            signal.addEventListener('abort', () => reject(signal.reason));
          }),
      },
      reclaim: {
        deadContainers: async () => {
          this.calls.push('deadContainers');
          if (this.reclaimFails) throw this.reclaimFails;
          this.dead = 0;
        },
        unusedImages: async () => {
          this.calls.push('unusedImages');
          this.images = 0;
        },
      },
      recordPodEvent,
      recordNodeEvent,
      clock: this.clock,
      log: { ...silentLogger, warn: (fields: object) => void this.warnings.push(fields) },
      ...change,
    };
  }

  #end(uid: string, verdict: PodVerdict): boolean {
    const running = this.pods.get(uid);
    if (running === undefined || running.verdict) return false;
    running.verdict = verdict;
    this.verdicts.set(uid, verdict);
    return true;
  }

  #measure(): SignalObservations {
    if (this.measureFails) throw this.measureFails;
    const all = [...this.pods.values()];
    const sum = (of: (uses: Uses) => number | undefined): number =>
      all.reduce((total, { uses }) => total + (of(uses) ?? 0), 0);
    const observed = (used: number) => ({ available: this.capacity - used, capacity: this.capacity });
    return {
      'memory.available': observed(this.otherMemory + sum((uses) => uses.memory)),
      'nodefs.available': observed(this.images + this.dead + sum(({ disk = 0, volume = 0 }) => disk + volume)),
      'pid.available': observed(sum((uses) => uses.processes)),
    };
  }

  #usage(): ReadonlyMap<string, PodStats> {
    this.calls.push('usage');
    return new Map(
      [...this.pods.values()].map(({ pod, uses }) => {
        const { name, uid } = pod.metadata;
        const { disk = 0, volume = 0, processes = 0 } = uses;
        const stats = podStats(name, {
          memory: memory(uses.memory ?? 0),
          containers: [containerStats('main', { memory: memory(uses.memory ?? 0), rootfs: fs(disk), logs: fs(0) })],
          volume: [{ ...fs(volume), name: 'scratch' }],
          'ephemeral-storage': fs(disk + volume),
          process_stats: { process_count: processes },
        });
        return [uid, stats];
      }),
    );
  }
}
