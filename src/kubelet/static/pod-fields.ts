/**
 * Fields of a Pod document: all that Kubernetes 1.36 has, each read, refused with the reason, or ignored with the reason.
 * Layer: kubelet/static (pure data). Source: PodSpec in staging/src/k8s.io/api/core/v1/types.go; rules that compare
 * fields are in pod-rules.ts.
 */
import { checkDns1123Label, checkDns1123Subdomain } from '../../config/names.ts';
import { containerFields, id, seccompProfile } from './container-fields.ts';
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
  read,
  refused,
  required,
  text,
} from './field-spec.ts';
import { metadataFields } from './object-fields.ts';
import { volumeFields } from './volume-fields.ts';

const scheduling = 'nothing is scheduled: the folder is for this node';
const serviceAccounts = 'service accounts need an API server';
const lsm = 'security modules are not configured by this version';

const podSecurityContext: ObjectSpec = {
  runAsUser: read(id),
  runAsGroup: read(id),
  runAsNonRoot: read(boolean),
  supplementalGroups: read(list(id)),
  fsGroup: read(id),
  seccompProfile: read(seccompProfile),
  sysctls: read(list(object({ name: required(text()), value: required(text()) }))),
  fsGroupChangePolicy: ignored('the volumes of this version get their group when they are made'),
  supplementalGroupsPolicy: refused('only the default, Merge, is implemented', 'Merge'),
  seLinuxChangePolicy: ignored('no volume is relabelled'),
  appArmorProfile: refused(lsm),
  seLinuxOptions: refused(lsm),
  windowsOptions: refused('this is a Linux node'),
};

const podSpecFields: ObjectSpec = {
  containers: required(list(object(containerFields))),
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

  initContainers: refused('init containers and sidecars come in a later version'),
  ephemeralContainers: refused('they are added to running pods through an API server'),
  serviceAccountName: refused(serviceAccounts, 'default'),
  serviceAccount: refused(serviceAccounts, 'default'),
  runtimeClassName: refused('runtime classes need an API server'),
  overhead: refused('it belongs to runtime classes, which need an API server'),
  hostUsers: refused('user namespaces come in a later version', true),
  readinessGates: refused('nothing would ever set their conditions'),
  schedulingGates: refused('nothing would ever remove them'),
  resourceClaims: refused('dynamic resource allocation needs an API server'),
  resources: refused('pod-level resources come in a later version'),
  setHostnameAsFQDN: refused('there is no cluster domain without an API server', false),
  hostnameOverride: refused('it comes in a later version'),
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
