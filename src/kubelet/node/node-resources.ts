/**
 * What a Node offers: capacity from the machine's facts, and allocatable, which is capacity less what is reserved.
 * Layer: kubelet/node (pure). Rules: pkg/kubelet/nodestatus/setters.go (MachineInfo), pkg/kubelet/cadvisor/util.go,
 * pkg/kubelet/cm/node_container_manager_linux.go (GetNodeAllocatableReservation). Reserves nothing by itself: no cgroup
 * is touched here.
 */
import type { ResourceList } from '../../api/core.ts';
import { formatQuantity, parseQuantity, type Quantity } from '../../config/quantity.ts';
import { type EvictionThreshold, thresholdUnits } from './eviction-thresholds.ts';

/** What the machine has; for a part that could not be read the Node's last value stays, if it has one. */
export interface MachineCapacity {
  /** Online CPUs. */
  readonly cores: number | undefined;
  readonly memoryBytes: number | undefined;
  /** The size of the filesystem below the root directory. */
  readonly ephemeralStorageBytes: number | undefined;
  /** Every page size that the kernel has, also with no page. */
  readonly hugePages: readonly { readonly pageBytes: number; readonly pages: number }[];
}

export interface ResourceSettings {
  readonly maxPods: number;
  /** 0 for no limit. */
  readonly podsPerCore: number;
  readonly systemReserved: ReadonlyMap<string, Quantity>;
  readonly kubeReserved: ReadonlyMap<string, Quantity>;
  /** Those of evictionHard; only memory.available and nodefs.available reserve something. */
  readonly evictionHard: readonly EvictionThreshold[];
}

export interface NodeResources {
  readonly capacity: ResourceList;
  readonly allocatable: ResourceList;
}

const hugePagesPrefix = 'hugepages-';
const zero: Quantity = { nanos: 0n, format: 'DecimalSI' };

/**
 * Capacity and allocatable of the Node. Resources of `previous` that are nobody else's here (extended resources, set by
 * device plugins or by hand) stay as they are; huge pages of a size that is gone go. Amounts that are equal keep the
 * text that `previous` has.
 */
export function nodeResources(
  machine: MachineCapacity,
  settings: ResourceSettings,
  previous: { readonly capacity?: ResourceList; readonly allocatable?: ResourceList } = {},
): NodeResources {
  const own = machineQuantities(machine, settings);
  const capacity = new Map([...foreign(previous.capacity, own), ...own]);
  const reserved = reservations(machine, settings);
  const allocatable = new Map(
    [...capacity].map(([name, amount]) => [name, subtract(amount, reserved.get(name) ?? zero)] as const),
  );
  for (const [name, amount] of capacity) {
    const memory = allocatable.get('memory');
    // Huge pages are taken from memory whether they are used or not.
    if (name.startsWith(hugePagesPrefix) && memory !== undefined) allocatable.set('memory', subtract(memory, amount));
  }
  return { capacity: toList(capacity, previous.capacity), allocatable: toList(allocatable, previous.allocatable) };
}

/** Equal amounts, however they are written; texts that are no quantities are compared as texts. */
export function sameQuantity(a: string | undefined, b: string | undefined): boolean {
  if (a === b || a === undefined || b === undefined) return a === b;
  return asQuantity(a)?.nanos === asQuantity(b)?.nanos && asQuantity(a) !== undefined;
}

function machineQuantities(machine: MachineCapacity, settings: ResourceSettings): Map<string, Quantity> {
  const own = new Map<string, Quantity>();
  const set = (name: string, amount: number | undefined, format: Quantity['format']): void => {
    if (amount !== undefined) own.set(name, whole(amount, format));
  };
  const { cores } = machine;
  set('cpu', cores, 'DecimalSI');
  set('memory', machine.memoryBytes, 'BinarySI');
  set('ephemeral-storage', machine.ephemeralStorageBytes, 'BinarySI');
  for (const { pageBytes, pages } of machine.hugePages) {
    set(`${hugePagesPrefix}${formatQuantity(whole(pageBytes, 'BinarySI'))}`, pageBytes * pages, 'BinarySI');
  }
  const limited = settings.podsPerCore > 0 && cores !== undefined;
  set('pods', limited ? Math.min(cores * settings.podsPerCore, settings.maxPods) : settings.maxPods, 'DecimalSI');
  return own;
}

/** What others wrote into the Node: neither ours now, nor of the names that only a node writes. */
function foreign(list: ResourceList | undefined, own: ReadonlyMap<string, Quantity>): [string, Quantity][] {
  return Object.entries(list ?? {}).flatMap(([name, text]) => {
    const amount = asQuantity(text);
    return own.has(name) || name.startsWith(hugePagesPrefix) || amount === undefined ? [] : [[name, amount]];
  });
}

function reservations(machine: MachineCapacity, settings: ResourceSettings): Map<string, Quantity> {
  const reserved = new Map<string, Quantity>();
  const add = (name: string, amount: Quantity): void =>
    void reserved.set(name, { ...amount, nanos: (reserved.get(name)?.nanos ?? 0n) + amount.nanos });
  for (const [name, amount] of [...settings.systemReserved, ...settings.kubeReserved]) add(name, amount);
  for (const { signal, value } of settings.evictionHard) {
    if (signal === 'memory.available' && machine.memoryBytes !== undefined) {
      add('memory', whole(thresholdUnits(value, machine.memoryBytes), 'BinarySI'));
    }
    if (signal === 'nodefs.available' && machine.ephemeralStorageBytes !== undefined) {
      add('ephemeral-storage', whole(thresholdUnits(value, machine.ephemeralStorageBytes), 'BinarySI'));
    }
  }
  return reserved;
}

function subtract(amount: Quantity, less: Quantity): Quantity {
  const nanos = amount.nanos - less.nanos;
  return { nanos: nanos < 0n ? 0n : nanos, format: amount.format };
}

const whole = (amount: number, format: Quantity['format']): Quantity => ({
  nanos: BigInt(Math.trunc(amount)) * 1_000_000_000n,
  format,
});

function toList(amounts: ReadonlyMap<string, Quantity>, previous: ResourceList | undefined): ResourceList {
  return Object.fromEntries(
    [...amounts].map(([name, amount]) => {
      const text = formatQuantity(amount);
      const before = previous !== undefined && Object.hasOwn(previous, name) ? previous[name] : undefined;
      return [name, before !== undefined && sameQuantity(before, text) ? before : text];
    }),
  );
}

function asQuantity(text: string): Quantity | undefined {
  try {
    return parseQuantity(text);
  } catch {
    // No API server stores such a text.
    return undefined;
  }
}
