/**
 * Settings -> properties of a systemd slice. Everything that systemd can say is said to it as well as written into the
 * files: at its next daemon-reload it writes again what it knows.
 * Layer: kubelet/cgroups (pure). Source: systemd.resource-control(5), opencontainers/cgroups systemd/v2.go (which
 * properties runtimes set on their scopes). Huge pages are not systemd's.
 */
import type { CgroupSettings, Limit } from './cgroup-settings.ts';
import { fileValues } from './cgroup-settings.ts';

/** `type` is the D-Bus signature of the value: b, s, t (64 bits), as, ay. */
export type SystemdProperty =
  | { readonly name: string; readonly type: 'b'; readonly value: boolean }
  | { readonly name: string; readonly type: 's'; readonly value: string }
  | { readonly name: string; readonly type: 't'; readonly value: bigint }
  | { readonly name: string; readonly type: 'as'; readonly value: readonly string[] }
  | { readonly name: string; readonly type: 'ay'; readonly value: readonly number[] };

const infinity = 2n ** 64n - 1n;
/** systemd keeps a quota as whole percents of one CPU: microseconds in each second. */
const percentUs = 10_000;

/** @param settings as `forSystemd` made them */
export function systemdProperties(settings: CgroupSettings): SystemdProperty[] {
  const { cpuWeight, cpuMax, memoryMax, pidsMax, cpus } = settings;
  const properties: SystemdProperty[] = [];
  const number = (name: string, value: bigint): void => void properties.push({ name, type: 't', value });
  if (cpus !== undefined) properties.push({ name: 'AllowedCPUs', type: 'ay', value: cpuBits(cpus) });
  if (cpuWeight !== undefined) number('CPUWeight', BigInt(cpuWeight));
  if (cpuMax !== undefined) {
    const { quotaUs, periodUs } = cpuMax;
    number('CPUQuotaPeriodUSec', BigInt(periodUs));
    number('CPUQuotaPerSecUSec', quotaUs === 'max' ? infinity : BigInt(perSecondUs(quotaUs, periodUs)));
  }
  if (memoryMax !== undefined) number('MemoryMax', limit(settings, 'memory.max', memoryMax));
  // 0 is refused.
  if (pidsMax !== undefined) number('TasksMax', pidsMax === 0 ? 1n : limit(settings, 'pids.max', pidsMax));
  return properties;
}

/** The settings that systemd can keep: a quota is rounded up to whole percents of a CPU. */
export function forSystemd(settings: CgroupSettings): CgroupSettings {
  const { cpuMax } = settings;
  if (cpuMax === undefined || cpuMax.quotaUs === 'max') return settings;
  const { quotaUs, periodUs } = cpuMax;
  return {
    ...settings,
    cpuMax: { quotaUs: Math.floor((perSecondUs(quotaUs, periodUs) * periodUs) / 1_000_000), periodUs },
  };
}

/** What a slice of ours is made with, beside its settings. */
export function sliceProperties(parentUnit: string): SystemdProperty[] {
  return [
    { name: 'Description', type: 's', value: 'Kubernetes pods (Keelson)' },
    // A slice lies in the parent that its name says; this keeps the parent from being taken for unused.
    { name: 'Wants', type: 'as', value: [parentUnit] },
    ...['CPUAccounting', 'MemoryAccounting', 'IOAccounting', 'TasksAccounting'].map(
      (name) => ({ name, type: 'b', value: true }) as const,
    ),
    // At shutdown pods end by their own ways.
    { name: 'DefaultDependencies', type: 'b', value: false },
  ];
}

function perSecondUs(quotaUs: number, periodUs: number): number {
  return Math.ceil(Math.floor((quotaUs * 1_000_000) / periodUs) / percentUs) * percentUs;
}

/** What is too much for the kernel's file is infinity here as well. */
function limit(settings: CgroupSettings, file: string, value: Limit): bigint {
  const text = fileValues(settings).find((entry) => entry.file === file)?.value;
  return value === 'max' || text === undefined || text === 'max' ? infinity : BigInt(text);
}

/** `0-2,9` -> one bit a CPU, the lowest first. Empty for a text that is no list. */
export function cpuBits(list: string): number[] {
  const bits: number[] = [];
  for (const part of list.split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    if (match === null) return [];
    for (let cpu = Number(match[1]); cpu <= Number(match[2] ?? match[1]); cpu++) {
      const byte = Math.floor(cpu / 8);
      while (bits.length <= byte) bits.push(0);
      bits[byte] = (bits[byte] ?? 0) | (1 << (cpu % 8));
    }
  }
  return bits;
}
