/**
 * The rules of KubeletConfiguration that span fields or look into lists: what ValidateKubeletConfiguration
 * (pkg/kubelet/apis/config/validation) and the start of the kubelet check beyond single values.
 * Layer: config (pure). Single values are the field table's; this reports by path and never throws.
 */

import type { KubeletConfigurationValues } from './kubelet-configuration-table.ts';
import { taintEffects } from './node-labels.ts';
import type { FieldPath, Report } from './schema.ts';

export interface RuleInput {
  readonly values: KubeletConfigurationValues;
  /** Paths that the file sets. */
  readonly set: ReadonlySet<string>;
  readonly report: Report;
}

type Rule = (input: RuleInput) => void;

function fault(report: Report, path: string | FieldPath, message: string, fix?: string): void {
  const at = typeof path === 'string' ? path.split('.') : path;
  report(at, fix === undefined ? { code: 'CONFIG_VALUE', message } : { code: 'CONFIG_VALUE', message, fix });
}

const images: Rule = ({ values, set, report }) => {
  const { imageGCLowThresholdPercent: low, imageGCHighThresholdPercent: high } = values;
  if (low >= high) {
    const field = set.has('imageGCLowThresholdPercent') ? 'imageGCLowThresholdPercent' : 'imageGCHighThresholdPercent';
    fault(report, field, `imageGCLowThresholdPercent (${low}) must be less than imageGCHighThresholdPercent (${high})`);
  }
  if (values.imageMaximumGCAge > 0 && values.imageMaximumGCAge <= values.imageMinimumGCAge) {
    fault(report, 'imageMaximumGCAge', 'must be greater than imageMinimumGCAge');
  }
  if (values.serializeImagePulls === true && (values.maxParallelImagePulls ?? 1) > 1) {
    const fix = 'set serializeImagePulls to false';
    fault(report, 'maxParallelImagePulls', 'cannot be above 1 while serializeImagePulls is true', fix);
  }
  if (
    set.has('preloadedImagesVerificationAllowlist') &&
    values.imagePullCredentialsVerificationPolicy !== 'NeverVerifyAllowlistedImages'
  ) {
    const message = 'needs imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages';
    fault(report, 'preloadedImagesVerificationAllowlist', message, 'remove it');
  }
};

const enforcements = [
  'none',
  'pods',
  'system-reserved',
  'system-reserved-compressible',
  'kube-reserved',
  'kube-reserved-compressible',
];

const allocatable: Rule = ({ values, set, report }) => {
  // The default [pods] is not held against cgroupsPerQOS: false, unlike in the kubelet: nobody asked for it.
  if (!set.has('enforceNodeAllocatable')) return;
  const listed = values.enforceNodeAllocatable;
  for (const [index, word] of listed.entries()) {
    if (!enforcements.includes(word)) {
      fault(report, ['enforceNodeAllocatable', index], `must be one of ${enforcements.join(', ')}, not ${word}`);
    } else if (listed.indexOf(word) < index) {
      fault(report, ['enforceNodeAllocatable', index], `${word} is listed twice`);
    }
  }
  for (const reserved of ['system-reserved', 'kube-reserved'] as const) {
    const words = listed.filter((word) => word === reserved || word === `${reserved}-compressible`);
    if (new Set(words).size > 1) {
      fault(report, 'enforceNodeAllocatable', `${words.join(' and ')} cannot be listed together`, 'remove one of them');
    }
    const field = reserved === 'system-reserved' ? 'systemReserved' : 'kubeReserved';
    const [word] = words;
    if (word !== undefined && !set.has(`${field}Cgroup`)) {
      fault(report, 'enforceNodeAllocatable', `${word} needs ${field}Cgroup`, `set ${field}Cgroup as well`);
    }
    if (word !== undefined && (values[field]?.size ?? 0) === 0) {
      fault(report, 'enforceNodeAllocatable', `${word} needs ${field}`, `say what is reserved in ${field}`);
    }
  }
  if (listed.includes('none') && listed.length > 1) {
    fault(report, 'enforceNodeAllocatable', 'none must stand alone');
  }
  if (!values.cgroupsPerQOS && listed.some((word) => word !== 'none')) {
    const fix = 'set enforceNodeAllocatable to []';
    fault(report, 'enforceNodeAllocatable', 'must be empty or none while cgroupsPerQOS is false', fix);
  }
};

const reservations: Rule = ({ values, set, report }) => {
  if (set.has('systemCgroups') && !set.has('cgroupRoot')) {
    fault(report, 'systemCgroups', 'needs cgroupRoot', 'set cgroupRoot as well');
  }
  if (set.has('reservedSystemCPUs') && (set.has('systemReservedCgroup') || set.has('kubeReservedCgroup'))) {
    fault(report, 'reservedSystemCPUs', 'cannot be used with systemReservedCgroup or kubeReservedCgroup');
  }
  const seen = new Set<string>();
  for (const [index, { numaNode, limits }] of (values.reservedMemory ?? []).entries()) {
    for (const [name, amount] of limits ?? []) {
      const at = ['reservedMemory', index, 'limits', name];
      if (amount.nanos === 0n) fault(report, at, 'must not be zero');
      if (seen.has(`${numaNode} ${name}`)) fault(report, at, `is given twice for NUMA node ${numaNode}`);
      seen.add(`${numaNode} ${name}`);
    }
  }
};

const eviction: Rule = ({ values, report }) => {
  for (const signal of values.evictionSoft?.keys() ?? []) {
    if (values.evictionSoftGracePeriod?.has(signal) !== true) {
      const fix = `add ${signal} to evictionSoftGracePeriod`;
      fault(report, ['evictionSoft', signal], 'has no grace period in evictionSoftGracePeriod', fix);
    }
  }
};

const shutdown: Rule = ({ values, set, report }) => {
  const { shutdownGracePeriod: total, shutdownGracePeriodCriticalPods: critical } = values;
  if (critical > total) {
    fault(report, 'shutdownGracePeriodCriticalPods', 'must not be longer than shutdownGracePeriod');
  }
  for (const field of ['shutdownGracePeriod', 'shutdownGracePeriodCriticalPods'] as const) {
    if (values[field] > 0 && values[field] < 1_000) fault(report, field, 'must be 0s or at least 1s');
  }
  if (set.has('shutdownGracePeriodByPodPriority') && (total > 0 || critical > 0)) {
    fault(report, 'shutdownGracePeriodByPodPriority', 'cannot be used together with shutdownGracePeriod');
  }
};

const node: Rule = ({ values, report }) => {
  if (values.enableSystemLogQuery && !values.enableSystemLogHandler) {
    fault(report, 'enableSystemLogQuery', 'needs enableSystemLogHandler: true');
  }
  if (values.memoryReservationPolicy !== 'None' && values.featureGates?.get('MemoryQoS') !== true) {
    fault(report, 'memoryReservationPolicy', 'needs the feature gate MemoryQoS');
  }
  if ((values['userNamespaces.idsPerPod'] ?? 0) % 65_536 !== 0) {
    fault(report, 'userNamespaces.idsPerPod', 'must be a multiple of 65536');
  }
  for (const [index, { key, effect, timeAdded }] of (values.registerWithTaints ?? []).entries()) {
    if (timeAdded !== undefined) fault(report, ['registerWithTaints', index, 'timeAdded'], 'must not be set');
    if (key === '') fault(report, ['registerWithTaints', index, 'key'], 'must not be empty');
    if (effect === undefined) {
      fault(report, ['registerWithTaints', index, 'effect'], `must be one of ${taintEffects.join(', ')}`);
    }
  }
  for (const [index, item] of (values['logging.vmodule'] ?? []).entries()) {
    const at = ['logging', 'vmodule', index, 'filePattern'];
    if (item.filePattern === '') fault(report, at, 'must not be empty');
    if (/[=,]/.test(item.filePattern ?? '')) fault(report, at, "must not contain '=' or ','");
  }
  if (values['logging.vmodule'] !== undefined && values['logging.format'] !== 'text') {
    fault(report, 'logging.vmodule', 'needs logging.format: text');
  }
};

const server: Rule = ({ values, set, report }) => {
  for (const [one, other] of [
    ['tlsCertFile', 'tlsPrivateKeyFile'],
    ['tlsPrivateKeyFile', 'tlsCertFile'],
  ] as const) {
    if (set.has(one) && !set.has(other)) fault(report, one, `needs ${other}`, `set ${other} as well`);
  }
  if (values.readOnlyPort !== 0 && values.readOnlyPort === values.port) {
    fault(report, 'readOnlyPort', 'must not be the port of the API of the kubelet');
  }
};

/** Reports every broken rule. Call it only when the single values were good: it trusts them. */
export function checkKubeletConfigurationRules(input: RuleInput): void {
  for (const rule of [images, allocatable, reservations, eviction, shutdown, server, node]) rule(input);
}
