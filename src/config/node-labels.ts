/**
 * The texts of `--node-labels` and `--register-with-taints`, and which labels a node may give itself.
 * Layer: config (pure). Rules: ValidateKubeletFlags (cmd/kubelet/app/options), well_known_labels.go of
 * staging/src/k8s.io/kubelet/pkg/apis, ParseTaints of pkg/util/taints.
 */

import { checkLabelValue, checkQualifiedName } from './names.ts';

/** Keys below kubernetes.io and k8s.io that a node may set on itself. */
export const kubeletLabels: readonly string[] = [
  'kubernetes.io/hostname',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'beta.kubernetes.io/instance-type',
  'node.kubernetes.io/instance-type',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
];
const kubeletLabelNamespaces = ['kubelet.kubernetes.io', 'node.kubernetes.io'];

export const taintEffects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'] as const;

/** A taint as registering writes it. */
export interface RegisteredTaint {
  readonly key: string;
  readonly value?: string;
  readonly effect: (typeof taintEffects)[number];
}

/** `key=value,key=value`. Every problem is one sentence; a key that is given twice has its last value. */
export function parseNodeLabels(text: string): { labels: Map<string, string>; problems: string[] } {
  const labels = new Map<string, string>();
  const problems: string[] = [];
  for (const pair of parts(text)) {
    const at = pair.indexOf('=');
    if (at < 0) {
      problems.push(`${JSON.stringify(pair)} must be written key=value`);
      continue;
    }
    const key = pair.slice(0, at).trim();
    const value = pair.slice(at + 1).trim();
    problems.push(...checkNodeLabel(key, value));
    labels.set(key, value);
  }
  return { labels, problems };
}

/** Reasons why a node may not or cannot give itself this label; NodeRestriction would refuse the whole Node. */
export function checkNodeLabel(key: string, value: string): string[] {
  const reasons = [...checkQualifiedName(key), ...checkLabelValue(value).map((reason) => `value ${reason}`)];
  if (isBelow(namespaceOf(key), ['kubernetes.io', 'k8s.io']) && !isKubeletLabel(key)) {
    reasons.push(
      `is not one of the kubernetes.io and k8s.io labels that a node may set: ${kubeletLabels.join(', ')}, ` +
        `and those below ${kubeletLabelNamespaces.join(' and ')}`,
    );
  }
  return reasons.map((reason) => `${JSON.stringify(key)} ${reason}`);
}

/** `key=value:effect,key:effect`. Every problem is one sentence. */
export function parseTaints(text: string): { taints: RegisteredTaint[]; problems: string[] } {
  const taints: RegisteredTaint[] = [];
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const part of parts(text)) {
    const [, key = '', value, effectText] = /^([^=:]*)(?:=([^=:]*))?:([^=:]*)$/.exec(part.trim()) ?? [];
    const effect = taintEffects.find((candidate) => candidate === effectText);
    if (effectText === undefined) problems.push(`${JSON.stringify(part)} must be written key=value:effect`);
    else if (effect === undefined) {
      problems.push(`${JSON.stringify(part)} must have one of the effects ${taintEffects.join(', ')}`);
    } else {
      problems.push(...checkTaint(key, value ?? '').map((reason) => `${JSON.stringify(part)} ${reason}`));
      if (seen.has(`${key}:${effect}`)) problems.push(`${key}:${effect} is given twice`);
      seen.add(`${key}:${effect}`);
      taints.push({ key, ...(value ? { value } : {}), effect });
    }
  }
  return { taints, problems };
}

const checkTaint = (key: string, value: string): string[] => [
  ...checkQualifiedName(key),
  ...checkLabelValue(value).map((reason) => `value ${reason}`),
];

const parts = (text: string): string[] => text.split(',').filter((part) => part.trim() !== '');

const isKubeletLabel = (key: string): boolean =>
  kubeletLabels.includes(key) || isBelow(namespaceOf(key), kubeletLabelNamespaces);

const isBelow = (namespace: string, domains: readonly string[]): boolean =>
  domains.some((domain) => namespace === domain || namespace.endsWith(`.${domain}`));

const namespaceOf = (key: string): string => (key.includes('/') ? key.slice(0, key.indexOf('/')) : '');
