/**
 * Which mirror pods to make and which to remove, so that the API server shows the pods of this node's manifests.
 * Layer: kubelet/api (pure). Sources: pkg/kubelet/pod/mirror_client.go, pod_manager.go (IsMirrorPodOf), kubelet.go
 * (tryReconcileMirrorPods); what a node may create: plugin/pkg/admission/noderestriction.
 */
import type { Pod } from '../../api/core.ts';
import { manifestFileAnnotation } from '../plan/annotations.ts';
import { configHashAnnotation, configMirrorAnnotation, isApiPod, isMirrorPod } from '../plan/pod-origin.ts';
import type { NewPod } from './pod-api.ts';

export type MirrorOperation =
  | { op: 'create'; key: string; pod: NewPod }
  /** A mirror that is wrong is made anew once the API server has let go of it. */
  | { op: 'delete'; key: string; namespace: string; name: string; uid: string; reason: string };

export interface MirrorState {
  /** Pods of this node's manifests. */
  manifests: readonly Pod[];
  /** Manifests that were never readable since the start: mirrors that came from them are left alone. */
  unreadable: ReadonlySet<string>;
  /** The API server's pods of this node, complete. */
  known: readonly Pod[];
  node: { name: string; uid: string };
}

export function mirrorPlan({ manifests, unreadable, known, node }: MirrorState): MirrorOperation[] {
  const byKey = new Map(known.map((pod) => [keyOf(pod), pod]));
  const wanted = new Map(manifests.filter((pod) => !isApiPod(pod)).map((pod) => [keyOf(pod), pod]));
  const operations: MirrorOperation[] = [];
  for (const [key, pod] of wanted) {
    const present = byKey.get(key);
    if (present === undefined) {
      operations.push({ op: 'create', key, pod: mirrorOf(pod, node) });
      continue;
    }
    const reason = isMirrorPod(present) ? difference(present, pod, node.uid) : undefined;
    if (reason !== undefined) operations.push(removal(present, reason));
  }
  for (const pod of known) {
    if (!isMirrorPod(pod) || wanted.has(keyOf(pod))) continue;
    if (unreadable.has(pod.metadata.annotations?.[manifestFileAnnotation] ?? '')) continue;
    operations.push(removal(pod, 'its manifest is gone'));
  }
  return operations;
}

/** Pods of the API server, not mirrors, that have the name of a manifest's pod: the manifest's has no mirror then. */
export function nameConflicts({ manifests, known }: Pick<MirrorState, 'manifests' | 'known'>): string[] {
  const names = new Set(manifests.map(keyOf));
  return known.filter((pod) => !isMirrorPod(pod) && names.has(keyOf(pod))).map(keyOf);
}

const keyOf = ({ metadata }: Pod): string => `${metadata.namespace}/${metadata.name}`;

function removal({ metadata }: Pod, reason: string): MirrorOperation {
  const { namespace, name, uid } = metadata;
  return { op: 'delete', key: `${namespace}/${name}`, namespace, name, uid, reason };
}

/** Why this mirror does not show that pod. */
function difference(mirror: Pod, pod: Pod, nodeUid: string): string | undefined {
  const { annotations = {}, deletionTimestamp, ownerReferences = [] } = mirror.metadata;
  if (deletionTimestamp !== undefined) return 'it was asked to be deleted';
  if (annotations[configMirrorAnnotation] !== pod.metadata.annotations?.[configHashAnnotation]) {
    return 'the manifest changed';
  }
  if (!ownerReferences.some(({ uid, controller }) => uid === nodeUid && controller)) return 'the Node was made anew';
  return imagesOf(mirror) === imagesOf(pod) ? undefined : 'it was edited';
}

const imagesOf = ({ spec }: Pod): string => JSON.stringify(spec.containers.map(({ name, image }) => [name, image]));

function mirrorOf(pod: Pod, node: MirrorState['node']): NewPod {
  const { name, namespace, labels, annotations = {} } = pod.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      ...(labels === undefined ? {} : { labels }),
      annotations: { ...annotations, [configMirrorAnnotation]: annotations[configHashAnnotation] ?? pod.metadata.uid },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node.name, uid: node.uid, controller: true }],
    },
    spec: { ...pod.spec, nodeName: node.name },
  };
}
