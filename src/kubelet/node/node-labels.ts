/**
 * The parts of a Node that are not status: labels, annotations and taints at creation, and what of them is put right on
 * a Node that exists. Layer: kubelet/node (pure). Rules: pkg/kubelet/kubelet_node_status.go (initialNode,
 * updateDefaultLabels, reconcileCMADAnnotationWithExistingNode, updateNode). Which labels a node may give itself is
 * config/node-labels.ts's to say. Taints are written at creation only: the API server lets no node change them later.
 */
import type { NewNode, Node, NodeStatus, Taint } from '../../api/node.ts';
import { kubeletLabels } from '../../config/node-labels.ts';
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
