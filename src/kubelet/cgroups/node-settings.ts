/**
 * The machine and its reservations -> the settings of the cgroup of all pods, of the classes, and of the cgroups that are
 * reserved for the system and for Kubernetes.
 * Layer: kubelet/cgroups (pure). Source: pkg/kubelet/cm/node_container_manager_linux.go, qos_container_manager_linux.go;
 * node-contract section 6. The hard eviction thresholds are not subtracted here: pods may use that memory until they are
 * evicted for it.
 */
import { formatQuantity, type Quantity } from '../../config/quantity.ts';
import { cpuShares } from '../plan/resources.ts';
import { CgroupError } from './cgroup-error.ts';
import { type CgroupSettings, cpuWeight, type Limit } from './cgroup-settings.ts';

export interface MachineAmounts {
  readonly cores: number;
  readonly memoryBytes: number;
  /** The most processes that the kernel allows; undefined when unknown. */
  readonly pids: number | undefined;
  /** Bytes of huge pages by page size (`2MB`), each size that the kernel has. */
  readonly hugePages: ReadonlyMap<string, number>;
  /** CPUs that are online: `0-3`; undefined when unknown. */
  readonly cpus: string | undefined;
}

export interface Reservations {
  /** KubeletConfiguration systemReserved and kubeReserved, by resource. */
  readonly systemReserved: ReadonlyMap<string, Quantity>;
  readonly kubeReserved: ReadonlyMap<string, Quantity>;
}

const nano = 1_000_000_000n;

/** @param enforced enforceNodeAllocatable has `pods`: without it the pods together may use the whole machine */
export function podsSettings(machine: MachineAmounts, reservations: Reservations, enforced: boolean): CgroupSettings {
  const left = (name: string, capacity: number): bigint => {
    const less = enforced ? reserved(reservations, name) : 0n;
    const nanos = BigInt(Math.trunc(capacity)) * nano - less;
    return nanos < 0n ? 0n : nanos;
  };
  const { pids, cpus } = machine;
  return {
    cpuWeight: cpuWeight(cpuShares(roundUp(left('cpu', machine.cores), 1_000_000n))),
    memoryMax: roundUp(left('memory', machine.memoryBytes), nano),
    ...(pids === undefined ? {} : { pidsMax: roundUp(left('pid', pids), nano) }),
    hugetlbMax: new Map<string, Limit>(machine.hugePages),
    // Else systemd, which was not asked for CPUs, takes the controller away from what the runtime made below.
    ...(cpus === undefined ? {} : { cpus }),
  };
}

/** Of the class, from what its pods request together. */
export const burstableSettings = (milliCores: number, pageSizes: readonly string[]): CgroupSettings => ({
  cpuWeight: cpuWeight(cpuShares(milliCores)),
  hugetlbMax: unlimited(pageSizes),
});

export const bestEffortSettings = (pageSizes: readonly string[]): CgroupSettings => ({
  cpuWeight: 1,
  hugetlbMax: unlimited(pageSizes),
});

/**
 * @param compressible only what can be taken back at any time: CPU
 * @returns undefined when nothing is reserved that could be written
 */
export function reservedSettings(
  amounts: ReadonlyMap<string, Quantity>,
  compressible: boolean,
  pageSizes: readonly string[],
): CgroupSettings | undefined {
  const [cpu, memory, pid] = ['cpu', 'memory', 'pid'].map((name) => amounts.get(name)?.nanos);
  const settings: CgroupSettings = {
    ...(cpu === undefined ? {} : { cpuWeight: cpuWeight(cpuShares(roundUp(cpu, 1_000_000n))) }),
    ...(compressible || memory === undefined ? {} : { memoryMax: roundUp(memory, nano) }),
    ...(compressible || pid === undefined ? {} : { pidsMax: roundUp(pid, nano) }),
    ...(compressible ? {} : { hugetlbMax: new Map(pageSizes.map((size) => [size, 0])) }),
  };
  return amounts.size === 0 || Object.keys(settings).length === 0 ? undefined : settings;
}

/**
 * @param evictionMemoryBytes hard threshold of memory.available, which is reserved as well
 * @throws CgroupError CGROUP_RESERVATION when more is reserved than the machine has
 */
export function checkReservations(
  machine: Pick<MachineAmounts, 'cores' | 'memoryBytes'>,
  reservations: Reservations,
  evictionMemoryBytes: number,
): void {
  const capacities = [
    ['cpu', machine.cores, 0],
    ['memory', machine.memoryBytes, evictionMemoryBytes],
  ] as const;
  const wrong = capacities.flatMap(([name, capacity, eviction]) => {
    const sum = reserved(reservations, name) + BigInt(Math.trunc(eviction)) * nano;
    const has = BigInt(Math.trunc(capacity)) * nano;
    if (sum <= has) return [];
    const format = name === 'cpu' ? 'DecimalSI' : 'BinarySI';
    return [
      `${formatQuantity({ nanos: sum, format })} of ${name}, but there is ${formatQuantity({ nanos: has, format })}`,
    ];
  });
  if (wrong.length === 0) return;
  throw new CgroupError('CGROUP_RESERVATION', `more is reserved than the machine has: ${wrong.join('; ')}`, {
    object: 'node',
    fix: 'lower systemReserved, kubeReserved or evictionHard',
  });
}

const reserved = ({ systemReserved, kubeReserved }: Reservations, name: string): bigint =>
  (systemReserved.get(name)?.nanos ?? 0n) + (kubeReserved.get(name)?.nanos ?? 0n);

const roundUp = (nanos: bigint, unit: bigint): number => Number((nanos + unit - 1n) / unit);

const unlimited = (pageSizes: readonly string[]): Map<string, Limit> => new Map(pageSizes.map((size) => [size, 'max']));
