/**
 * Is the node under memory, disk or PID pressure? Decided from one measurement of each signal, the thresholds, and what
 * was seen before: a condition holds from the first sight of its threshold (soft ones too, whatever their grace period)
 * until nothing was seen for the whole transition period.
 * Layer: kubelet/node (pure; time is handed in). Rules: pkg/kubelet/eviction/{eviction_manager,helpers}.go.
 * Evicts nothing: `met` says what kubelet/eviction has to relieve.
 */
import { type EvictionSignal, type EvictionThreshold, thresholdUnits } from './eviction-thresholds.ts';

export type PressureCondition = 'MemoryPressure' | 'DiskPressure' | 'PIDPressure';

/** Bytes, inodes or process IDs; `available` may be negative when a limit was lowered below what is in use. */
export interface SignalObservation {
  readonly available: number;
  readonly capacity: number;
}

/** A signal that could not be measured is absent, and its thresholds then say nothing. */
export type SignalObservations = Partial<Readonly<Record<EvictionSignal, SignalObservation>>>;

/** What the next observation needs to know of the earlier ones. */
export interface PressureState {
  /** Epoch milliseconds at which a threshold of the condition was last met. */
  readonly lastMetMs: Partial<Readonly<Record<PressureCondition, number>>>;
  /** When each threshold that is met now was first met. */
  readonly firstMetMs: ReadonlyMap<EvictionThreshold, number>;
  /** Thresholds that are met and have been so for their grace period. */
  readonly met: readonly EvictionThreshold[];
}

export const noPressure: PressureState = { lastMetMs: {}, firstMetMs: new Map(), met: [] };

const conditionOf: Readonly<Record<EvictionSignal, PressureCondition>> = {
  'memory.available': 'MemoryPressure',
  'allocatableMemory.available': 'MemoryPressure',
  'nodefs.available': 'DiskPressure',
  'nodefs.inodesFree': 'DiskPressure',
  'imagefs.available': 'DiskPressure',
  'imagefs.inodesFree': 'DiskPressure',
  'containerfs.available': 'DiskPressure',
  'containerfs.inodesFree': 'DiskPressure',
  'pid.available': 'PIDPressure',
};

/**
 * The state after one observation at `nowMs`. `thresholds` must be the same objects each time: the state remembers them.
 */
export function observePressure(
  previous: PressureState,
  thresholds: readonly EvictionThreshold[],
  observations: SignalObservations,
  nowMs: number,
): PressureState {
  const wasMet = new Set(previous.met);
  const met = thresholds.filter((threshold) => isMet(threshold, observations, wasMet.has(threshold)));
  const lastMetMs = { ...previous.lastMetMs };
  for (const { signal } of met) lastMetMs[conditionOf[signal]] = nowMs;
  const firstMetMs = new Map(met.map((threshold) => [threshold, previous.firstMetMs.get(threshold) ?? nowMs] as const));
  return {
    lastMetMs,
    firstMetMs,
    met: met.filter((threshold) => nowMs - (firstMetMs.get(threshold) ?? nowMs) >= threshold.gracePeriodMs),
  };
}

/** Whether the condition holds at `nowMs`. `transitionPeriodMs`: KubeletConfiguration evictionPressureTransitionPeriod. */
export function isUnderPressure(
  state: PressureState,
  condition: PressureCondition,
  nowMs: number,
  transitionPeriodMs: number,
): boolean {
  const lastMetMs = state.lastMetMs[condition];
  return lastMetMs !== undefined && nowMs - lastMetMs < transitionPeriodMs;
}

/**
 * Whether any threshold is met, whatever its grace period, or its minimum reclaim is not reached: what an eviction asks
 * after it made room otherwise.
 */
export function isAnyUnresolved(thresholds: readonly EvictionThreshold[], observations: SignalObservations): boolean {
  return thresholds.some((threshold) => isMet(threshold, observations, true));
}

function isMet(threshold: EvictionThreshold, observations: SignalObservations, wasMet: boolean): boolean {
  const observed = observations[threshold.signal];
  if (observed === undefined) return false;
  const { value, minReclaim } = threshold;
  const reclaim = wasMet && minReclaim !== undefined ? thresholdUnits(minReclaim, observed.capacity) : 0;
  return observed.available < thresholdUnits(value, observed.capacity) + reclaim;
}
