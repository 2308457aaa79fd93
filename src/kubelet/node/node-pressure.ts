/**
 * What is known of the pressure on the node, in one place: whoever measures feeds it, and the Node's conditions, the
 * admission of pods and evictions read it.
 * Layer: kubelet/node. Keeps; pressure.ts decides.
 */
import type { Clock } from '../../base/clock.ts';
import type { EvictionThreshold } from './eviction-thresholds.ts';
import {
  isUnderPressure,
  noPressure,
  observePressure,
  type PressureCondition,
  type PressureState,
  type SignalObservations,
} from './pressure.ts';

export interface NodePressureOptions {
  /** Hard and soft ones. */
  readonly thresholds: readonly EvictionThreshold[];
  /** KubeletConfiguration evictionPressureTransitionPeriod, milliseconds. */
  readonly transitionMs: number;
  readonly clock: Clock;
}

const all: readonly PressureCondition[] = ['MemoryPressure', 'DiskPressure', 'PIDPressure'];

export class NodePressure {
  readonly thresholds: readonly EvictionThreshold[];
  readonly #options: NodePressureOptions;
  readonly #listeners = new Set<() => void>();
  #state: PressureState = noPressure;
  #told = '';

  constructor(options: NodePressureOptions) {
    this.#options = options;
    this.thresholds = options.thresholds;
  }

  observe(observations: SignalObservations): void {
    this.#state = observePressure(this.#state, this.thresholds, observations, this.#options.clock.now());
    const now = this.conditions().join();
    if (now === this.#told) return;
    this.#told = now;
    for (const listener of this.#listeners) listener();
  }

  /** Thresholds that are met and have been so for their grace period. */
  get met(): readonly EvictionThreshold[] {
    return this.#state.met;
  }

  isUnder(condition: PressureCondition): boolean {
    const { clock, transitionMs } = this.#options;
    return isUnderPressure(this.#state, condition, clock.now(), transitionMs);
  }

  /** Those that hold now. */
  conditions(): PressureCondition[] {
    return all.filter((condition) => this.isUnder(condition));
  }

  /** Called after an observation that changed the conditions; returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
