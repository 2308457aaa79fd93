/**
 * The ConfigMaps and Secrets that a pod names: volumes, environments, image pulls.
 * Layer: kubelet/plan (pure). Rule: pkg/api/v1/pod/util.go (VisitPodConfigmapNames, VisitPodSecretNames), for the fields
 * that this version runs. What a node may read is decided by the same references (plugin/pkg/auth/authorizer/node).
 */
import type { Pod } from '../../api/core.ts';
import { containersOf } from './container-kind.ts';

export interface ObjectReference {
  kind: 'configMap' | 'secret';
  namespace: string;
  name: string;
}

/** `configMap/default/settings` */
export const referenceKey = ({ kind, namespace, name }: ObjectReference): string => `${kind}/${namespace}/${name}`;

/** Each once; without those whose name is empty. */
export function objectReferences(pod: Pod): ObjectReference[] {
  const found = new Map<string, ObjectReference>();
  const add = (kind: ObjectReference['kind'], name: string | undefined): void => {
    if (!name) return;
    const reference = { kind, namespace: pod.metadata.namespace, name };
    found.set(referenceKey(reference), reference);
  };
  for (const { configMap, secret, projected, csi } of pod.spec.volumes ?? []) {
    add('configMap', configMap?.name);
    add('secret', secret?.secretName);
    add('secret', csi?.nodePublishSecretRef?.name);
    for (const source of projected?.sources ?? []) {
      add('configMap', source.configMap?.name);
      add('secret', source.secret?.name);
    }
  }
  for (const { name } of pod.spec.imagePullSecrets ?? []) add('secret', name);
  for (const { container } of containersOf(pod)) {
    for (const { valueFrom } of container.env ?? []) {
      add('configMap', valueFrom?.configMapKeyRef?.name);
      add('secret', valueFrom?.secretKeyRef?.name);
    }
    for (const { configMapRef, secretRef } of container.envFrom ?? []) {
      add('configMap', configMapRef?.name);
      add('secret', secretRef?.name);
    }
  }
  return [...found.values()];
}
