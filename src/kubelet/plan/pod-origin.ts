/**
 * Where a pod comes from, as the annotations say that the kubelet itself writes when it takes the pod in.
 * Layer: kubelet/plan (pure). Source of the names: pkg/kubelet/types/constants.go, pod_update.go.
 */
import type { Pod } from '../../api/core.ts';

/** `api`, or `file` for a pod of a manifest. On sandboxes, only a kubelet's have it. */
export const configSourceAnnotation = 'kubernetes.io/config.source';
/** On the API server's copy of a static pod: the static pod's own hash. */
export const configMirrorAnnotation = 'kubernetes.io/config.mirror';
/** When the kubelet first saw the pod, RFC 3339. */
export const configSeenAnnotation = 'kubernetes.io/config.seen';
/** Identity of a static pod's content. */
export const configHashAnnotation = 'kubernetes.io/config.hash';

export const isApiPod = (pod: Pod): boolean => pod.metadata.annotations?.[configSourceAnnotation] === 'api';

export const isMirrorPod = (pod: Pod): boolean => pod.metadata.annotations?.[configMirrorAnnotation] !== undefined;

export const isTerminal = (phase: string | undefined): boolean => phase === 'Succeeded' || phase === 'Failed';
