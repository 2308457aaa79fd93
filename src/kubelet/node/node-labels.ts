/**
 * The parts of a Node that are not status: labels, annotations and taints at creation, and what of them is put right on
 * a Node that exists. Layer: kubelet/node (pure). Rules: pkg/kubelet/kubelet_node_status.go (initialNode,
 * updateDefaultLabels, reconcileCMADAnnotationWithExistingNode, updateNode), ValidateKubeletFlags of cmd/kubelet,
 * staging/src/k8s.io/kubelet/pkg/apis/well_known_labels.go. Taints are written at creation only: the API server lets no
 * node change them later.
 */
import type { NewNode, Node, NodeStatus, Taint } from '../../api/node.ts';
import { checkLabelValue, checkQualifiedName } from '../../config/names.ts';
import type { NodeMetadataPatch } from './node-api.ts';

export interface NodeSettings {
  readonly name: string;
  readonly hostname: string;
  /** Go's name: amd64, arm64. */
  readonly architecture: string;
  /** --node-labels */
  readonly nodeLabels: ReadonlyMap<string, string>;
  /** KubeletConfiguration registerWithTaints, or --register-with-taints. */
  readonly registerWithTaints: readonly Taint[];
  /** KubeletConfiguration providerID; undefined for none. */
  readonly providerID: string | undefined;
  /** KubeletConfiguration enableControllerAttachDetach. */
  readonly enableControllerAttachDetach: boolean;
  readonly externalCloudProvider: boolean;
  /** --node-ip, as given; none when it is not. */
  readonly givenNodeIPs: readonly string[];
}

const attachDetachAnnotation = 'volumes.kubernetes.io/controller-managed-attach-detach';
const providedNodeIPAnnotation = 'alpha.kubernetes.io/provided-node-ip';
const osLabel = 'kubernetes.io/os';
const archLabel = 'kubernetes.io/arch';

/** Keys below kubernetes.io and k8s.io that a node may set on itself, and that it puts right when it registers again. */
const kubeletLabels = [
  'kubernetes.io/hostname',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'beta.kubernetes.io/instance-type',
  'node.kubernetes.io/instance-type',
  osLabel,
  archLabel,
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
];
const kubeletLabelNamespaces = ['kubelet.kubernetes.io', 'node.kubernetes.io'];

/** The Node to create. */
export function initialNode(settings: NodeSettings, status: NodeStatus): NewNode {
  const annotations = Object.fromEntries(
    [...initialAnnotations(settings)].flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])),
  );
  const taints = [
    ...settings.registerWithTaints,
    ...(settings.externalCloudProvider
      ? [{ key: 'node.cloudprovider.kubernetes.io/uninitialized', value: 'true', effect: 'NoSchedule' } as const]
      : []),
  ];
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: settings.name, labels: Object.fromEntries(initialLabels(settings)), annotations },
    spec: {
      ...(settings.providerID === undefined ? {} : { providerID: settings.providerID }),
      ...(taints.length > 0 ? { taints } : {}),
    },
    status,
  };
}

/**
 * What registering changes on a Node that exists: the well-known labels and the annotations, undefined when they are as
 * they should be. Other labels of --node-labels are set at creation only, as the kubelet does.
 */
export function reconcileMetadata(existing: Node, settings: NodeSettings): NodeMetadataPatch | undefined {
  const wanted = initialLabels(settings);
  const labels = kubeletLabels.flatMap((key): [string, string | undefined][] => {
    const value = wanted.get(key);
    // A label that is given without a value is taken off.
    return value === undefined ? [] : [[key, value === '' ? undefined : value]];
  });
  return metadataPatch(existing, new Map(labels), initialAnnotations(settings));
}

/** What each status sync puts right: the labels that pods are scheduled by, and the hint for a cloud provider. */
export function requiredMetadata(existing: Node, settings: NodeSettings): NodeMetadataPatch | undefined {
  const labels = new Map([
    [osLabel, 'linux'],
    [archLabel, settings.architecture],
  ]);
  return metadataPatch(existing, labels, new Map([[providedNodeIPAnnotation, providedNodeIP(settings)]]));
}

/** `key=value,key=value`, as --node-labels takes it. Every problem is one sentence. */
export function parseNodeLabels(text: string): { labels: Map<string, string>; problems: string[] } {
  const labels = new Map<string, string>();
  const problems: string[] = [];
  for (const pair of text === '' ? [] : text.split(',')) {
    const at = pair.indexOf('=');
    const key = (at < 0 ? pair : pair.slice(0, at)).trim();
    const value = at < 0 ? '' : pair.slice(at + 1).trim();
    if (at < 0) problems.push(`${JSON.stringify(pair)} must be written key=value`);
    else problems.push(...checkNodeLabel(key, value));
    labels.set(key, value);
  }
  return { labels, problems };
}

/** Reasons why a node may not or cannot give itself this label; NodeRestriction would refuse the whole Node. */
export function checkNodeLabel(key: string, value: string): string[] {
  const reasons = [...checkQualifiedName(key), ...checkLabelValue(value).map((reason) => `value ${reason}`)];
  if (isKubernetesLabel(key) && !isKubeletLabel(key)) {
    reasons.push(
      `is not one of the kubernetes.io and k8s.io labels that a node may set: ${kubeletLabels.join(', ')}, ` +
        `and those below ${kubeletLabelNamespaces.join(' and ')}`,
    );
  }
  return reasons.map((reason) => `${JSON.stringify(key)} ${reason}`);
}

const isKubernetesLabel = (key: string): boolean => isBelow(namespaceOf(key), ['kubernetes.io', 'k8s.io']);

const isKubeletLabel = (key: string): boolean =>
  kubeletLabels.includes(key) || isBelow(namespaceOf(key), kubeletLabelNamespaces);

const isBelow = (namespace: string, domains: readonly string[]): boolean =>
  domains.some((domain) => namespace === domain || namespace.endsWith(`.${domain}`));

const namespaceOf = (key: string): string => (key.includes('/') ? key.slice(0, key.indexOf('/')) : '');

const initialLabels = (settings: NodeSettings): Map<string, string> =>
  new Map([
    ['kubernetes.io/hostname', settings.hostname],
    [osLabel, 'linux'],
    [archLabel, settings.architecture],
    ['beta.kubernetes.io/os', 'linux'],
    ['beta.kubernetes.io/arch', settings.architecture],
    ...settings.nodeLabels,
  ]);

/** undefined: must not be there. */
const initialAnnotations = (settings: NodeSettings): Map<string, string | undefined> =>
  new Map([
    [attachDetachAnnotation, settings.enableControllerAttachDetach ? 'true' : undefined],
    [providedNodeIPAnnotation, providedNodeIP(settings)],
  ]);

function providedNodeIP({ externalCloudProvider, givenNodeIPs }: NodeSettings): string | undefined {
  return externalCloudProvider && givenNodeIPs.length > 0 ? givenNodeIPs.join(',') : undefined;
}

function metadataPatch(
  { metadata }: Node,
  labels: ReadonlyMap<string, string | undefined>,
  annotations: ReadonlyMap<string, string | undefined>,
): NodeMetadataPatch | undefined {
  const labelChanges = changes(metadata.labels, labels);
  const annotationChanges = changes(metadata.annotations, annotations);
  if (labelChanges === undefined && annotationChanges === undefined) return undefined;
  return {
    ...(labelChanges === undefined ? {} : { labels: labelChanges }),
    ...(annotationChanges === undefined ? {} : { annotations: annotationChanges }),
  };
}

function changes(
  current: Readonly<Record<string, string>> | undefined,
  wanted: ReadonlyMap<string, string | undefined>,
): Record<string, string | null> | undefined {
  const changed = [...wanted].filter(([key, value]) => current?.[key] !== value);
  if (changed.length === 0) return undefined;
  return Object.fromEntries(changed.map(([key, value]) => [key, value ?? null]));
}
