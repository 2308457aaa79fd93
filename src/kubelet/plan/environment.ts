/**
 * A container's environment: envFrom, then env with its sources and `$(VAR)` references.
 * Rules: pkg/kubelet/kubelet_pods.go (makeEnvironment, podFieldSelectorRuntimeValue), pkg/fieldpath.
 * Layer: kubelet/plan (pure): the ConfigMaps and Secrets are handed in; a missing one throws ContainerConfigError, which
 * becomes the waiting reason CreateContainerConfigError.
 */
import type { ConfigMap, Container, EnvVar, EnvVarSource, KeySelector, Pod, Secret } from '../../api/core.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import { expandReferences } from './expansion.ts';
import { bytesOf, millicoresOf } from './resource-values.ts';

export class ContainerConfigError extends KeelsonError {
  constructor(message: string, object: string, fix?: string) {
    super('CONTAINER_CONFIG', message, { object, ...(fix === undefined ? {} : { fix }) });
  }
}

/** Lookups of objects in the pod's namespace; undefined when there is none of that name. */
export interface ObjectSources {
  configMap(namespace: string, name: string): ConfigMap | undefined;
  secret(namespace: string, name: string): Secret | undefined;
}

export interface EnvironmentContext {
  sources: ObjectSources;
  nodeName: string;
  hostIP: string;
  podIPs: string[];
  /** What an unset limit means to resourceFieldRef: the node's allocatable. */
  allocatable: { milliCores: number; memoryBytes: number };
}

/** In order of first appearance; a later definition of a name replaces the earlier value. */
export function containerEnvironment(pod: Pod, container: Container, context: EnvironmentContext): Map<string, string> {
  const environment = new Map<string, string>();
  for (const source of container.envFrom ?? []) {
    for (const [key, value] of envFromEntries(pod, container, source, context)) {
      environment.set(`${source.prefix ?? ''}${key}`, value);
    }
  }
  for (const variable of container.env ?? []) {
    const value = variableValue(pod, container, variable, environment, context);
    if (value !== undefined) environment.set(variable.name, value);
  }
  return environment;
}

type EnvFrom = NonNullable<Container['envFrom']>[number];

function envFromEntries(
  pod: Pod,
  container: Container,
  source: EnvFrom,
  context: EnvironmentContext,
): [string, string][] {
  const { namespace } = pod.metadata;
  if (source.configMapRef) {
    const { name, optional } = source.configMapRef;
    const found = context.sources.configMap(namespace, name);
    if (!found && !optional) throw missing(container, `configmap "${name}" not found`);
    return Object.entries(found?.data ?? {});
  }
  if (source.secretRef) {
    const { name, optional } = source.secretRef;
    const found = context.sources.secret(namespace, name);
    if (!found && !optional) throw missing(container, `secret "${name}" not found`);
    return Object.keys(found?.data ?? {}).map((key) => [key, secretText(found, key) ?? '']);
  }
  return [];
}

function variableValue(
  pod: Pod,
  container: Container,
  variable: EnvVar,
  soFar: ReadonlyMap<string, string>,
  context: EnvironmentContext,
): string | undefined {
  if (variable.valueFrom) return sourceValue(pod, container, variable.valueFrom, context);
  return expandReferences(variable.value ?? '', soFar);
}

function sourceValue(
  pod: Pod,
  container: Container,
  source: EnvVarSource,
  context: EnvironmentContext,
): string | undefined {
  const { namespace } = pod.metadata;
  if (source.fieldRef) return fieldValue(pod, container, source.fieldRef.fieldPath, context);
  if (source.resourceFieldRef) return resourceValue(pod, container, source.resourceFieldRef, context);
  if (source.configMapKeyRef) {
    const { name, key } = source.configMapKeyRef;
    const found = context.sources.configMap(namespace, name);
    return keyed(container, 'configmap', source.configMapKeyRef, found !== undefined, found?.data?.[key]);
  }
  if (source.secretKeyRef) {
    const { name, key } = source.secretKeyRef;
    const found = context.sources.secret(namespace, name);
    return keyed(container, 'secret', source.secretKeyRef, found !== undefined, secretText(found, key));
  }
  return undefined;
}

function keyed(
  container: Container,
  kind: string,
  selector: KeySelector,
  exists: boolean,
  value: string | undefined,
): string | undefined {
  if (value !== undefined || selector.optional) return value;
  throw missing(
    container,
    exists ? `couldn't find key ${selector.key} in ${kind} "${selector.name}"` : `${kind} "${selector.name}" not found`,
  );
}

const secretText = (secret: Secret | undefined, key: string): string | undefined => {
  const encoded = secret?.data?.[key];
  return encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString('utf8');
};

function fieldValue(pod: Pod, container: Container, path: string, context: EnvironmentContext): string {
  const subscript = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path);
  if (subscript) {
    const map = subscript[1] === 'labels' ? pod.metadata.labels : pod.metadata.annotations;
    return map?.[subscript[2] ?? ''] ?? '';
  }
  switch (path) {
    case 'metadata.name':
      return pod.metadata.name;
    case 'metadata.namespace':
      return pod.metadata.namespace;
    case 'metadata.uid':
      return pod.metadata.uid;
    case 'spec.nodeName':
      return context.nodeName;
    case 'spec.serviceAccountName':
      return pod.spec.serviceAccountName ?? '';
    case 'status.hostIP':
    case 'status.hostIPs':
      return context.hostIP;
    case 'status.podIP':
      return context.podIPs[0] ?? '';
    case 'status.podIPs':
      return context.podIPs.join(',');
    default:
      throw missing(container, `unsupported fieldPath: ${path}`);
  }
}

function resourceValue(
  pod: Pod,
  container: Container,
  ref: NonNullable<EnvVarSource['resourceFieldRef']>,
  context: EnvironmentContext,
): string {
  const target = ref.containerName ? pod.spec.containers.find((other) => other.name === ref.containerName) : container;
  if (!target) throw missing(container, `container ${ref.containerName} not found`);
  const [kind, resource = ''] = ref.resource.split('.', 2);
  const list =
    kind === 'limits' ? target.resources?.limits : kind === 'requests' ? target.resources?.requests : undefined;
  const written = list?.[resource];
  const divisor = ref.divisor === undefined || ref.divisor === '0' ? '1' : ref.divisor;
  if (resource === 'cpu') {
    const milliCores = written ? millicoresOf(written) : kind === 'limits' ? context.allocatable.milliCores : 0;
    return String(Math.ceil(milliCores / millicoresOf(divisor)));
  }
  if (resource === 'memory') {
    const bytes = written ? bytesOf(written) : kind === 'limits' ? context.allocatable.memoryBytes : 0;
    return String(Math.ceil(bytes / bytesOf(divisor)));
  }
  if (resource === 'ephemeral-storage' && written) return String(Math.ceil(bytesOf(written) / bytesOf(divisor)));
  throw missing(container, `unsupported container resource: ${ref.resource}`);
}

const missing = (container: Container, message: string): ContainerConfigError =>
  new ContainerConfigError(message, `container ${container.name}`);
