/**
 * Fields of a Pod document: all that Kubernetes 1.36 has, each read, refused with the reason, or ignored with the reason.
 * Layer: kubelet/static (pure data). Source: PodSpec in staging/src/k8s.io/api/core/v1/types.go; rules that compare
 * fields are in pod-rules.ts.
 */
import { checkDns1123Label, checkDns1123Subdomain, checkQualifiedName } from '../../config/names.ts';
import { containerFields, id, profiles } from './container-fields.ts';
import type { ObjectSpec } from './field-spec.ts';
import {
  boolean,
  ignored,
  integer,
  list,
  map,
  maxInt32,
  object,
  oneOf,
  quantity,
  read,
  readAlike,
  refused,
  required,
  text,
} from './field-spec.ts';
import { metadataFields } from './object-fields.ts';
import { volumeFields } from './volume-fields.ts';

const scheduling = 'nothing is scheduled: the folder is for this node';
const serviceAccounts = 'service accounts need an API server';

/** HOST_NAME_MAX of Linux. */
const maxHostname = 64;

function checkHostname(name: string): readonly string[] {
  const reasons = checkDns1123Subdomain(name);
  return name.length > maxHostname ? [...reasons, `must be no more than ${maxHostname} characters`] : reasons;
}

const podSecurityContext: ObjectSpec = {
  runAsUser: read(id),
  runAsGroup: read(id),
  runAsNonRoot: read(boolean),
  supplementalGroups: read(list(id)),
  fsGroup: read(id),
  ...profiles,
  sysctls: read(list(object({ name: required(text()), value: required(text()) }))),
  fsGroupChangePolicy: read(oneOf('OnRootMismatch', 'Always')),
  supplementalGroupsPolicy: read(oneOf('Merge', 'Strict')),
  seLinuxChangePolicy: ignored('no volume is relabelled'),
  windowsOptions: refused('this is a Linux node'),
};

const podSpecFields: ObjectSpec = {
  containers: required(list(object(containerFields))),
  initContainers: readAlike(list(object(containerFields))),
  volumes: read(list(object(volumeFields))),
  restartPolicy: read(oneOf('Always', 'OnFailure', 'Never')),
  terminationGracePeriodSeconds: read(integer(0, Number.MAX_SAFE_INTEGER)),
  activeDeadlineSeconds: read(integer(1, maxInt32)),
  dnsPolicy: read(oneOf('ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None')),
  dnsConfig: read(
    object({
      nameservers: read(list(text())),
      searches: read(list(text())),
      options: read(list(object({ name: required(text()), value: read(text()) }))),
    }),
  ),
  hostNetwork: read(boolean),
  hostPID: read(boolean),
  hostIPC: read(boolean),
  shareProcessNamespace: read(boolean),
  securityContext: read(object(podSecurityContext)),
  imagePullSecrets: read(list(object({ name: required(text(checkDns1123Subdomain)) }))),
  hostname: read(text(checkDns1123Label)),
  subdomain: read(text(checkDns1123Label)),
  hostnameOverride: read(text(checkHostname)),
  setHostnameAsFQDN: read(boolean),
  hostUsers: read(boolean),
  runtimeClassName: read(text(checkDns1123Subdomain)),
  overhead: read(map(quantity, checkQualifiedName)),
  resources: read(
    object({ limits: read(map(quantity, checkQualifiedName)), requests: read(map(quantity, checkQualifiedName)) }),
  ),
  hostAliases: read(list(object({ ip: required(text()), hostnames: read(list(text(checkDns1123Subdomain))) }))),
  enableServiceLinks: read(boolean),
  priority: read(integer(-maxInt32 - 1, maxInt32)),
  priorityClassName: read(text()),
  // On one node these three decide nothing; they are kept so that `keelson status` and evictions show them as written.
  nodeSelector: read(map(text())),
  tolerations: read(
    list(
      object({
        key: read(text()),
        operator: read(oneOf('Exists', 'Equal', 'Lt', 'Gt')),
        value: read(text()),
        effect: read(oneOf('NoSchedule', 'PreferNoSchedule', 'NoExecute')),
        tolerationSeconds: read(integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)),
      }),
    ),
  ),
  automountServiceAccountToken: read(boolean),

  ephemeralContainers: refused('they are added to running pods through an API server'),
  serviceAccountName: refused(serviceAccounts, 'default'),
  serviceAccount: refused(serviceAccounts, 'default'),
  readinessGates: refused('nothing would ever set their conditions'),
  schedulingGates: refused('nothing would ever remove them'),
  resourceClaims: refused('dynamic resource allocation needs an API server'),
  os: refused('this is a Linux node', { name: 'linux' }),

  nodeName: ignored('the pod runs on the node whose folder holds it'),
  affinity: ignored(scheduling),
  topologySpreadConstraints: ignored(scheduling),
  schedulerName: ignored(scheduling),
  preemptionPolicy: ignored(scheduling),
  schedulingGroup: ignored(scheduling),
  workloadRef: ignored(scheduling),
};

export const podFields: ObjectSpec = {
  apiVersion: required(text()),
  kind: required(text()),
  metadata: required(object(metadataFields)),
  spec: required(object(podSpecFields)),
  status: ignored('it is what the node reports'),
};
