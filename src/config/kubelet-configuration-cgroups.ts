/**
 * The part of KubeletConfiguration that the cgroups of the node and of pods need, from the field values.
 * Layer: config (pure). Ranges and defaults are the field table's, rules between fields kubelet-configuration-rules.ts'.
 */

import type { KubeletConfigurationValues } from './kubelet-configuration-table.ts';

/** Complete: nothing is left to default later. */
export interface KubeletCgroupsConfig {
  readonly perQOS: boolean;
  /** Where the runtime does not tell its own. */
  readonly driver: 'cgroupfs' | 'systemd';
  /** In cgroupfs terms: `/`. */
  readonly root: string;
  /** `none` is left out. */
  readonly enforce: ReadonlySet<string>;
  readonly systemReservedCgroup: string | undefined;
  readonly kubeReservedCgroup: string | undefined;
  /** 0 or less: no limit. */
  readonly podPidsLimit: number;
  readonly singleProcessOOMKill: boolean;
  readonly swapBehavior: 'NoSwap' | 'LimitedSwap';
  readonly protectKernelDefaults: boolean;
}

export function toCgroupsConfig(values: KubeletConfigurationValues): KubeletCgroupsConfig {
  return {
    perQOS: values.cgroupsPerQOS,
    driver: values.cgroupDriver,
    root: values.cgroupRoot ?? '/',
    enforce: new Set(values.enforceNodeAllocatable.filter((word) => word !== 'none')),
    systemReservedCgroup: values.systemReservedCgroup,
    kubeReservedCgroup: values.kubeReservedCgroup,
    podPidsLimit: values.podPidsLimit,
    singleProcessOOMKill: values.singleProcessOOMKill ?? false,
    swapBehavior: values['memorySwap.swapBehavior'] ?? 'NoSwap',
    protectKernelDefaults: values.protectKernelDefaults,
  };
}
