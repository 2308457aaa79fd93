/**
 * Fields of spec.containers[] and of the security contexts. Layer: kubelet/static (pure data).
 * Source: Container, SecurityContext in staging/src/k8s.io/api/core/v1/types.go; rules that compare fields are in
 * container-rules.ts.
 */
import {
  checkConfigMapKey,
  checkDns1123Label,
  checkDns1123Subdomain,
  checkEnvironmentName,
  checkPortName,
  checkQualifiedName,
} from '../../config/names.ts';
import { checkAbsolutePath, checkLocalDescendingPath } from '../../config/paths.ts';
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
  refused,
  required,
  text,
} from './field-spec.ts';

const probes = 'probes come in a later version';
const lsm = 'security modules are not configured by this version';
const subPaths = 'mounts of a part of a volume come in a later version';

/** User and group ids, IsValidUserID. */
export const id = integer(0, maxInt32);

export const seccompProfile = object({
  type: required(oneOf('RuntimeDefault', 'Unconfined', 'Localhost')),
  localhostProfile: read(text(checkLocalDescendingPath)),
});

const keySelector = object({
  name: required(text(checkDns1123Subdomain)),
  key: required(text(checkConfigMapKey)),
  optional: read(boolean),
});

const objectReference = object({ name: required(text(checkDns1123Subdomain)), optional: read(boolean) });

const env: ObjectSpec = {
  name: required(text(checkEnvironmentName)),
  value: read(text()),
  valueFrom: read(
    object({
      fieldRef: read(object({ apiVersion: read(oneOf('v1')), fieldPath: required(text()) })),
      resourceFieldRef: read(
        object({ containerName: read(text()), resource: required(text()), divisor: read(quantity) }),
      ),
      configMapKeyRef: read(keySelector),
      secretKeyRef: read(keySelector),
      fileKeyRef: refused('environment files come in a later version'),
    }),
  ),
};

const volumeMount: ObjectSpec = {
  name: required(text(checkDns1123Label)),
  mountPath: required(text(checkAbsolutePath)),
  readOnly: read(boolean),
  mountPropagation: refused('mount propagation comes in a later version', 'None'),
  recursiveReadOnly: refused('recursive read-only mounts come in a later version', 'Disabled'),
  subPath: refused(subPaths),
  subPathExpr: refused(subPaths),
};

const securityContext: ObjectSpec = {
  capabilities: read(object({ add: read(list(text())), drop: read(list(text())) })),
  privileged: read(boolean),
  runAsUser: read(id),
  runAsGroup: read(id),
  runAsNonRoot: read(boolean),
  readOnlyRootFilesystem: read(boolean),
  allowPrivilegeEscalation: read(boolean),
  procMount: refused('Unmasked needs a user namespace (hostUsers: false), which comes in a later version', 'Default'),
  seccompProfile: read(seccompProfile),
  appArmorProfile: refused(lsm),
  seLinuxOptions: refused(lsm),
  windowsOptions: refused('this is a Linux node'),
};

export const containerFields: ObjectSpec = {
  name: required(text(checkDns1123Label)),
  image: required(text()),
  imagePullPolicy: read(oneOf('Always', 'IfNotPresent', 'Never')),
  command: read(list(text())),
  args: read(list(text())),
  workingDir: read(text()),
  ports: read(
    list(
      object({
        name: read(text(checkPortName)),
        containerPort: required(integer(1, 65535)),
        hostPort: read(integer(0, 65535)),
        hostIP: read(text()),
        protocol: read(oneOf('TCP', 'UDP', 'SCTP')),
      }),
    ),
  ),
  env: read(list(object(env))),
  envFrom: read(
    list(
      object({
        prefix: read(text(checkEnvironmentName)),
        configMapRef: read(objectReference),
        secretRef: read(objectReference),
      }),
    ),
  ),
  resources: read(
    object({
      limits: read(map(quantity, checkQualifiedName)),
      requests: read(map(quantity, checkQualifiedName)),
      claims: refused('dynamic resource allocation needs an API server'),
    }),
  ),
  volumeMounts: read(list(object(volumeMount))),
  securityContext: read(object(securityContext)),
  terminationMessagePath: read(text()),
  terminationMessagePolicy: read(oneOf('File', 'FallbackToLogsOnError')),
  stdin: read(boolean),
  stdinOnce: read(boolean),
  tty: read(boolean),
  livenessProbe: refused(probes),
  readinessProbe: refused(probes),
  startupProbe: refused(probes),
  lifecycle: refused('lifecycle hooks come in a later version'),
  restartPolicy: refused('restart rules of single containers come in a later version'),
  restartPolicyRules: refused('restart rules of single containers come in a later version'),
  volumeDevices: refused('block volumes need an API server'),
  resizePolicy: ignored('a changed manifest makes a new pod, nothing is resized in place'),
};
