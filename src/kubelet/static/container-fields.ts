/**
 * Fields of spec.containers[], spec.initContainers[] and of the security contexts. Layer: kubelet/static (pure data).
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
import { lifecycle, probe, resizePolicy, restartPolicyRules } from './lifecycle-fields.ts';

/** User and group ids, IsValidUserID. */
export const id = integer(0, maxInt32);

const profileType = oneOf('RuntimeDefault', 'Unconfined', 'Localhost');

/** Of pods and of containers. */
export const profiles: ObjectSpec = {
  seccompProfile: read(object({ type: required(profileType), localhostProfile: read(text(checkLocalDescendingPath)) })),
  appArmorProfile: read(object({ type: required(profileType), localhostProfile: read(text()) })),
  seLinuxOptions: read(object({ user: read(text()), role: read(text()), type: read(text()), level: read(text()) })),
};

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
      fileKeyRef: read(
        object({
          volumeName: required(text(checkDns1123Label)),
          path: required(text(checkLocalDescendingPath)),
          key: required(text(checkEnvironmentName)),
          optional: read(boolean),
        }),
      ),
    }),
  ),
};

const volumeMount: ObjectSpec = {
  name: required(text(checkDns1123Label)),
  mountPath: required(text(checkAbsolutePath)),
  readOnly: read(boolean),
  mountPropagation: read(oneOf('None', 'HostToContainer', 'Bidirectional')),
  recursiveReadOnly: read(oneOf('Disabled', 'IfPossible', 'Enabled')),
  subPath: read(text(checkLocalDescendingPath)),
  subPathExpr: read(text(checkLocalDescendingPath)),
};

const securityContext: ObjectSpec = {
  capabilities: read(object({ add: read(list(text())), drop: read(list(text())) })),
  privileged: read(boolean),
  runAsUser: read(id),
  runAsGroup: read(id),
  runAsNonRoot: read(boolean),
  readOnlyRootFilesystem: read(boolean),
  allowPrivilegeEscalation: read(boolean),
  procMount: read(oneOf('Default', 'Unmasked')),
  ...profiles,
  windowsOptions: refused('this is a Linux node'),
};

/** Of main and of init containers. */
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
  livenessProbe: read(probe),
  readinessProbe: read(probe),
  startupProbe: read(probe),
  lifecycle: read(lifecycle),
  restartPolicy: read(oneOf('Always', 'OnFailure', 'Never')),
  restartPolicyRules: read(restartPolicyRules),
  resizePolicy: read(resizePolicy),
  volumeDevices: refused('block volumes need an API server'),
};
