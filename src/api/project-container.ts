/**
 * From decoded JSON to the fields of a Pod's container that the kubelet reads: main, init and ephemeral ones alike.
 * Layer: api (pure). Names that become paths are checked, quantities parse, numbers are bounded; the rest is as the API
 * server validated it.
 */
import { checkDns1123Label } from '../config/names.ts';
import type {
  Container,
  ContainerRestartRule,
  EnvFromSource,
  EnvVar,
  EnvVarSource,
  EphemeralContainer,
  KeySelector,
  VolumeMount,
} from './core.ts';
import { projectLifecycle, projectProbe } from './project-probe.ts';
import { projectSecurityContext } from './project-security.ts';
import {
  boundedInteger,
  checkedText,
  optionalCheckedText,
  projectFieldRef,
  projectResourceFieldRef,
  projectResources,
  requiredBoundedInteger,
} from './project-values.ts';
import { ObjectShapeError, type RawObject } from './raw-object.ts';

const protocols = ['TCP', 'UDP', 'SCTP'] as const;
const ports = [1, 65535] as const;
// Of validateContainerRestartPolicy in pkg/apis/core/validation.
const maxRestartRules = 20;
const maxExitCodes = 255;

/** @param path `spec.containers[0]`, for errors. @throws ObjectShapeError */
export function projectContainer(raw: RawObject, path: string): Container {
  return {
    name: checkedText(raw, 'name', checkDns1123Label, path),
    image: raw.text('image') ?? '',
    imagePullPolicy: raw.word('imagePullPolicy', ['Always', 'IfNotPresent', 'Never']),
    command: raw.texts('command'),
    args: raw.texts('args'),
    workingDir: raw.text('workingDir'),
    ports: raw.objects('ports').map((port, index) => ({
      name: port.text('name'),
      containerPort: requiredBoundedInteger(port, 'containerPort', ports, `${path}.ports[${index}]`),
      hostPort: boundedInteger(port, 'hostPort', [0, 65535], `${path}.ports[${index}]`),
      hostIP: port.text('hostIP'),
      protocol: port.word('protocol', protocols),
    })),
    env: raw.objects('env').map((entry, index) => projectEnv(entry, `${path}.env[${index}]`)),
    envFrom: raw.objects('envFrom').map(projectEnvFrom),
    resources: projectResources(raw.object('resources'), `${path}.resources`),
    resizePolicy: raw.objects('resizePolicy').map((policy) => ({
      resourceName: policy.requiredText('resourceName'),
      restartPolicy: policy.word('restartPolicy', ['NotRequired', 'RestartContainer']) ?? 'NotRequired',
    })),
    volumeMounts: raw.objects('volumeMounts').map(projectVolumeMount),
    volumeDevices: raw.objects('volumeDevices').map((device) => ({
      name: device.requiredText('name'),
      devicePath: device.requiredText('devicePath'),
    })),
    securityContext: projectSecurityContext(raw.object('securityContext'), `${path}.securityContext`),
    terminationMessagePath: raw.text('terminationMessagePath') || '/dev/termination-log',
    terminationMessagePolicy: raw.word('terminationMessagePolicy', ['File', 'FallbackToLogsOnError']),
    stdin: raw.boolean('stdin'),
    stdinOnce: raw.boolean('stdinOnce'),
    tty: raw.boolean('tty'),
    livenessProbe: projectProbe(raw.object('livenessProbe'), `${path}.livenessProbe`),
    readinessProbe: projectProbe(raw.object('readinessProbe'), `${path}.readinessProbe`),
    startupProbe: projectProbe(raw.object('startupProbe'), `${path}.startupProbe`),
    lifecycle: projectLifecycle(raw.object('lifecycle'), `${path}.lifecycle`),
    restartPolicy: raw.word('restartPolicy', ['Always', 'OnFailure', 'Never']),
    restartPolicyRules: projectRestartRules(raw, path),
  };
}

/** @param path `spec.ephemeralContainers[0]`, for errors. @throws ObjectShapeError */
export function projectEphemeralContainer(raw: RawObject, path: string): EphemeralContainer {
  return {
    ...projectContainer(raw, path),
    targetContainerName: optionalCheckedText(raw, 'targetContainerName', checkDns1123Label, path),
  };
}

function projectRestartRules(raw: RawObject, path: string): ContainerRestartRule[] {
  const rules = raw.objects('restartPolicyRules');
  const tooMany = (at: string, count: number, most: number): never => {
    throw new ObjectShapeError(at, `a list of at most ${most}`, count);
  };
  if (rules.length > maxRestartRules) tooMany(`${path}.restartPolicyRules`, rules.length, maxRestartRules);
  return rules.map((rule, index) => {
    const at = `${path}.restartPolicyRules[${index}].exitCodes`;
    const exitCodes = rule.object('exitCodes');
    const values = exitCodes?.values('values') ?? [];
    if (values.length > maxExitCodes) tooMany(`${at}.values`, values.length, maxExitCodes);
    return {
      action: rule.requiredWord('action', ['Restart', 'RestartAllContainers']),
      exitCodes: exitCodes && {
        operator: exitCodes.requiredWord('operator', ['In', 'NotIn']),
        values: values.map((value) => {
          if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
          throw new ObjectShapeError(`${at}.values`, 'whole numbers', value);
        }),
      },
    };
  });
}

function projectEnv(raw: RawObject, path: string): EnvVar {
  const from = raw.object('valueFrom');
  const valueFrom = from && projectEnvSource(from, `${path}.valueFrom`);
  return { name: raw.requiredText('name'), value: raw.text('value'), valueFrom };
}

function projectEnvSource(raw: RawObject, path: string): EnvVarSource {
  const file = raw.object('fileKeyRef');
  return {
    fieldRef: projectFieldRef(raw.object('fieldRef')),
    resourceFieldRef: projectResourceFieldRef(raw.object('resourceFieldRef'), `${path}.resourceFieldRef`),
    configMapKeyRef: projectKeySelector(raw.object('configMapKeyRef')),
    secretKeyRef: projectKeySelector(raw.object('secretKeyRef')),
    fileKeyRef: file && {
      volumeName: file.requiredText('volumeName'),
      path: file.requiredText('path'),
      key: file.requiredText('key'),
      optional: file.boolean('optional'),
    },
  };
}

function projectKeySelector(raw: RawObject | undefined): KeySelector | undefined {
  return raw && { name: raw.text('name') ?? '', key: raw.requiredText('key'), optional: raw.boolean('optional') };
}

function projectEnvFrom(raw: RawObject): EnvFromSource {
  const reference = (name: string) => {
    const ref = raw.object(name);
    return ref && { name: ref.text('name') ?? '', optional: ref.boolean('optional') };
  };
  return { prefix: raw.text('prefix'), configMapRef: reference('configMapRef'), secretRef: reference('secretRef') };
}

function projectVolumeMount(raw: RawObject): VolumeMount {
  return {
    name: raw.requiredText('name'),
    mountPath: raw.requiredText('mountPath'),
    subPath: raw.text('subPath'),
    subPathExpr: raw.text('subPathExpr'),
    readOnly: raw.boolean('readOnly'),
    mountPropagation: raw.word('mountPropagation', ['None', 'HostToContainer', 'Bidirectional']),
    recursiveReadOnly: raw.word('recursiveReadOnly', ['Disabled', 'IfPossible', 'Enabled']),
  };
}
