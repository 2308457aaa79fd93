/**
 * Eviction thresholds: the statements of KubeletConfiguration (`memory.available: 100Mi`, `nodefs.available: 10%`) as
 * plain data, and what a threshold means for a given capacity.
 * Layer: kubelet/node (pure). Rules: pkg/kubelet/eviction/helpers.go (ParseThresholdConfig) and eviction/api/types.go
 * (GetThresholdQuantity). Texts were checked when the configuration was read; a bad one throws QuantityError here.
 */
import { evictionSignals } from '../../config/kubelet-configuration-fields-resources.ts';
import { formatQuantity, parseQuantity, quantityToUnits } from '../../config/quantity.ts';

export type EvictionSignal = (typeof evictionSignals)[number];

/** An amount (bytes, inodes, process IDs), with its canonical text, or a share of the capacity. */
export type ThresholdValue = { readonly units: number; readonly text: string } | { readonly fraction: number };

export interface EvictionThreshold {
  readonly signal: EvictionSignal;
  readonly value: ThresholdValue;
  /** Milliseconds that the signal must stay below the value before pods are evicted; 0 for a hard threshold. */
  readonly gracePeriodMs: number;
  /** Once met, the threshold stays met until the signal is this much above the value. */
  readonly minReclaim: ThresholdValue | undefined;
}

/** The fields of KubeletConfiguration; texts as `config/schema-kubernetes.ts` threshold() takes them. */
export interface EvictionSettings {
  readonly evictionHard: ReadonlyMap<string, string>;
  readonly evictionSoft?: ReadonlyMap<string, string> | undefined;
  /** Milliseconds by signal. */
  readonly evictionSoftGracePeriod?: ReadonlyMap<string, number> | undefined;
  readonly evictionMinimumReclaim?: ReadonlyMap<string, string> | undefined;
}

/**
 * Hard thresholds, then soft ones. `0%` and `100%` switch a signal off. containerfs thresholds are left out: the kubelet
 * overrides them with those of nodefs or imagefs, whose filesystem it is, so they can add nothing.
 */
export function evictionThresholds(settings: EvictionSettings): EvictionThreshold[] {
  const read = (statements: ReadonlyMap<string, string> | undefined, soft: boolean): EvictionThreshold[] =>
    [...(statements ?? [])].flatMap(([signal, text]) => {
      if (!isSignal(signal) || signal.startsWith('containerfs.') || text === '0%' || text === '100%') return [];
      const reclaim = settings.evictionMinimumReclaim?.get(signal);
      return {
        signal,
        value: thresholdValue(text),
        gracePeriodMs: soft ? (settings.evictionSoftGracePeriod?.get(signal) ?? 0) : 0,
        minReclaim: reclaim === undefined ? undefined : thresholdValue(reclaim),
      };
    });
  return [...read(settings.evictionHard, false), ...read(settings.evictionSoft, true)];
}

/** The amount below which a signal with this capacity is under pressure; a whole number. */
export function thresholdUnits(value: ThresholdValue, capacity: number): number {
  return 'units' in value ? value.units : Math.trunc(capacity * value.fraction);
}

function thresholdValue(text: string): ThresholdValue {
  if (!text.endsWith('%')) {
    const quantity = parseQuantity(text);
    return { units: Number(quantityToUnits(quantity)), text: formatQuantity(quantity) };
  }
  // The kubelet keeps shares as float32, and the last digits show in a Node's allocatable: 10 % is 0.10000000149.
  return { fraction: Math.fround(Math.fround(Number(text.slice(0, -1))) / 100) };
}

const signals: ReadonlySet<string> = new Set(evictionSignals);

const isSignal = (text: string): text is EvictionSignal => signals.has(text);
