/**
 * Fields of the objects that a manifest folder may hold, besides pod specs: metadata, ConfigMap, Secret; and what is
 * said of every other kind. Layer: kubelet/static (pure data).
 * Source of the rules: pkg/apis/core/validation (ValidateObjectMeta, ValidateConfigMap, ValidateSecret).
 */
import {
  checkAnnotationKey,
  checkConfigMapKey,
  checkDns1123Label,
  checkDns1123Subdomain,
  checkLabelValue,
  checkQualifiedName,
} from '../../config/names.ts';
import type { ObjectSpec } from './field-spec.ts';
import { boolean, ignored, map, object, read, required, text } from './field-spec.ts';

const byApiServer = 'the API server sets it';

/** metadata.uid becomes a directory name: letters, digits, `-`, `_`, `.`; at most 63, none of them a lone dot. */
export function checkUid(value: string): string[] {
  if (/^[A-Za-z0-9][-A-Za-z0-9_.]{0,62}$/.test(value)) return [];
  return ["must be at most 63 letters, digits, '-', '_' or '.', and start with a letter or digit"];
}

export const metadataFields: ObjectSpec = {
  name: required(text(checkDns1123Subdomain)),
  namespace: read(text(checkDns1123Label)),
  uid: read(text(checkUid)),
  labels: read(map(text(checkLabelValue), checkQualifiedName)),
  annotations: read(map(text(), checkAnnotationKey)),
  generateName: ignored('names are given, not generated, without an API server'),
  creationTimestamp: ignored(byApiServer),
  deletionTimestamp: ignored(byApiServer),
  deletionGracePeriodSeconds: ignored(byApiServer),
  resourceVersion: ignored(byApiServer),
  generation: ignored(byApiServer),
  selfLink: ignored(byApiServer),
  managedFields: ignored(byApiServer),
  ownerReferences: ignored('no owner exists outside an API server'),
  finalizers: ignored('nothing waits for the removal of a file'),
};

const typeMeta: ObjectSpec = { apiVersion: required(text()), kind: required(text()) };

export const configMapFields: ObjectSpec = {
  ...typeMeta,
  metadata: required(object(metadataFields)),
  data: read(map(text(), checkConfigMapKey)),
  binaryData: read(map(text(), checkConfigMapKey)),
  immutable: read(boolean),
};

export const secretFields: ObjectSpec = {
  ...typeMeta,
  metadata: required(object(metadataFields)),
  type: read(text()),
  data: read(map(text(), checkConfigMapKey)),
  stringData: read(map(text(), checkConfigMapKey)),
  immutable: read(boolean),
};

/** Largest sum of the values of one ConfigMap or Secret, bytes (MaxSecretSize). */
export const maxObjectDataBytes = 1024 * 1024;

/** Largest sum of the annotations' keys and values, bytes (TotalAnnotationSizeLimitB). */
export const maxAnnotationBytes = 256 * 1024;

/** Kinds that a file may hold; lists of them are unfolded. */
export const acceptedKinds = ['Pod', 'ConfigMap', 'Secret', 'Service', 'EndpointSlice'] as const;

export type AcceptedKind = (typeof acceptedKinds)[number];

export const apiVersionOf = (kind: AcceptedKind): string => (kind === 'EndpointSlice' ? 'discovery.k8s.io/v1' : 'v1');

/** What to say of kinds that people put beside their pods; any other kind is refused without a reason of its own. */
export const refusedKinds: ReadonlyMap<string, string> = new Map([
  ['Endpoints', 'is out of date: write an EndpointSlice of discovery.k8s.io/v1'],
  ['NetworkPolicy', 'comes with the network policies'],
  ['Deployment', 'needs a control plane: write out its pods'],
  ['ReplicaSet', 'needs a control plane: write out its pods'],
  ['ReplicationController', 'needs a control plane: write out its pods'],
  ['StatefulSet', 'needs a control plane: write out its pods'],
  ['DaemonSet', 'needs a control plane: write out its pod'],
  ['Job', 'needs a control plane: write a pod with restartPolicy OnFailure or Never'],
  ['CronJob', 'needs a control plane'],
  ['PodTemplate', 'needs a control plane: write out its pods'],
  ['PersistentVolume', 'needs a control plane: use a hostPath volume'],
  ['PersistentVolumeClaim', 'needs a control plane: use a hostPath volume'],
  ['StorageClass', 'needs a control plane'],
  ['Namespace', 'is not needed: a namespace exists when an object names it'],
  ['ServiceAccount', 'needs an API server'],
  ['Node', 'is the machine itself'],
  ['Ingress', 'needs a controller'],
]);
