/**
 * From decoded JSON to the fields of a Pod's container that the kubelet reads.
 * Layer: api (pure). Names that become paths are checked, quantities parse; the rest is as the API server validated it.
 */
import { checkDns1123Label } from '../config/names.ts';
import { parseQuantity, QuantityError } from '../config/quantity.ts';
import type {
  Container,
  EnvFromSource,
  EnvVar,
  EnvVarSource,
  KeySelector,
  ResourceList,
  SeccompProfile,
  SecurityContext,
  VolumeMount,
} from './core.ts';
import { ObjectShapeError, type RawObject } from './raw-object.ts';

const protocols = ['TCP', 'UDP', 'SCTP'] as const;

/** @param path `spec.containers[0]`, for errors. @throws ObjectShapeError */
export function projectContainer(raw: RawObject, path: string): Container {
  return {
    name: checkedText(raw, 'name', checkDns1123Label, path),
    image: raw.text('image') ?? '',
    imagePullPolicy: raw.word('imagePullPolicy', ['Always', 'IfNotPresent', 'Never']),
    command: raw.texts('command'),
    args: raw.texts('args'),
    workingDir: raw.text('workingDir'),
    ports: raw.objects('ports').map((port) => ({
      name: port.text('name'),
      containerPort: port.requiredInteger('containerPort'),
      hostPort: port.integer('hostPort'),
      hostIP: port.text('hostIP'),
      protocol: port.word('protocol', protocols),
    })),
    env: raw.objects('env').map((entry, index) => projectEnv(entry, `${path}.env[${index}]`)),
    envFrom: raw.objects('envFrom').map(projectEnvFrom),
    resources: projectResources(raw.object('resources'), `${path}.resources`),
    volumeMounts: raw.objects('volumeMounts').map(projectVolumeMount),
    securityContext: projectSecurityContext(raw.object('securityContext')),
    terminationMessagePath: raw.text('terminationMessagePath') || '/dev/termination-log',
    terminationMessagePolicy: raw.word('terminationMessagePolicy', ['File', 'FallbackToLogsOnError']),
    stdin: raw.boolean('stdin'),
    stdinOnce: raw.boolean('stdinOnce'),
    tty: raw.boolean('tty'),
  };
}

/** A required text that `check` finds nothing wrong with. @throws ObjectShapeError */
export function checkedText(raw: RawObject, field: string, check: (value: string) => string[], path: string): string {
  const value = raw.requiredText(field);
  const [reason] = check(value);
  if (reason !== undefined)
    throw new ObjectShapeError(`${path}.${field}`, `a name that is allowed: it ${reason}`, value);
  return value;
}

/** @throws ObjectShapeError */
export function projectSeccomp(raw: RawObject | undefined): SeccompProfile | undefined {
  return (
    raw && {
      type: raw.requiredWord('type', ['RuntimeDefault', 'Unconfined', 'Localhost']),
      localhostProfile: raw.text('localhostProfile'),
    }
  );
}

/** @throws ObjectShapeError */
export function quantityText(raw: RawObject, field: string, path: string): string | undefined {
  const text = raw.text(field);
  if (text !== undefined) checkQuantity(text, `${path}.${field}`);
  return text;
}

function checkQuantity(text: string, path: string): void {
  try {
    parseQuantity(text);
  } catch (error) {
    if (error instanceof QuantityError) throw new ObjectShapeError(path, 'a quantity', text);
    throw error;
  }
}

function projectResources(raw: RawObject | undefined, path: string): Container['resources'] {
  const list = (name: string): ResourceList | undefined => {
    const amounts = raw?.textMap(name);
    for (const [key, text] of Object.entries(amounts ?? {})) checkQuantity(text, `${path}.${name}.${key}`);
    return amounts;
  };
  return { limits: list('limits'), requests: list('requests') };
}

function projectEnv(raw: RawObject, path: string): EnvVar {
  const from = raw.object('valueFrom');
  const valueFrom = from && projectEnvSource(from, `${path}.valueFrom`);
  return { name: raw.requiredText('name'), value: raw.text('value'), valueFrom };
}

function projectEnvSource(raw: RawObject, path: string): EnvVarSource {
  return {
    fieldRef: projectFieldRef(raw.object('fieldRef')),
    resourceFieldRef: projectResourceFieldRef(raw.object('resourceFieldRef'), `${path}.resourceFieldRef`),
    configMapKeyRef: projectKeySelector(raw.object('configMapKeyRef')),
    secretKeyRef: projectKeySelector(raw.object('secretKeyRef')),
  };
}

/** @throws ObjectShapeError */
export function projectFieldRef(raw: RawObject | undefined): EnvVarSource['fieldRef'] {
  return raw && { apiVersion: raw.text('apiVersion'), fieldPath: raw.requiredText('fieldPath') };
}

/** @throws ObjectShapeError */
export function projectResourceFieldRef(raw: RawObject | undefined, path: string): EnvVarSource['resourceFieldRef'] {
  return (
    raw && {
      containerName: raw.text('containerName'),
      resource: raw.requiredText('resource'),
      divisor: quantityText(raw, 'divisor', path),
    }
  );
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
  };
}

function projectSecurityContext(raw: RawObject | undefined): SecurityContext | undefined {
  const capabilities = raw?.object('capabilities');
  return (
    raw && {
      capabilities: capabilities && { add: capabilities.texts('add'), drop: capabilities.texts('drop') },
      privileged: raw.boolean('privileged'),
      runAsUser: raw.integer('runAsUser'),
      runAsGroup: raw.integer('runAsGroup'),
      runAsNonRoot: raw.boolean('runAsNonRoot'),
      readOnlyRootFilesystem: raw.boolean('readOnlyRootFilesystem'),
      allowPrivilegeEscalation: raw.boolean('allowPrivilegeEscalation'),
      procMount: raw.word('procMount', ['Default', 'Unmasked']),
      seccompProfile: projectSeccomp(raw.object('seccompProfile')),
    }
  );
}
