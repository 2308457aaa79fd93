/**
 * A container's environment: envFrom, then env with its sources and `$(VAR)` references.
 * Rules: pkg/kubelet/kubelet_pods.go (makeEnvironment, podFieldSelectorRuntimeValue), pkg/fieldpath.
 * Layer: kubelet/plan (pure): the ConfigMaps and Secrets are handed in; a missing one throws ContainerConfigError, which
 * becomes the waiting reason CreateContainerConfigError.
 */
import type { ConfigMap, Container, EnvVar, EnvVarSource, KeySelector, Pod, Secret } from '../../api/core.ts';
import { ContainerConfigError } from './container-config-error.ts';
import { expandReferences, maxExpandedCharacters } from './expansion.ts';
import { bytesOf, millicoresOf } from './resource-values.ts';

export { ContainerConfigError };

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
  let characters = 0;
  for (const variable of container.env ?? []) {
    const value = variableValue(pod, container, variable, environment, context);
    if (value === undefined) continue;
    // References to references double with every line; the kernel would refuse such a program anyway.
    characters += value.length;
    if (characters > maxExpandedCharacters) {
      throw missing(container, `env is longer than ${maxExpandedCharacters} characters`);
    }
    environment.set(variable.name, value);
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
  return expandReferences(variable.value ?? '', soFar, `container ${container.name}`);
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
    return keyed(container, 'configmap', source.configMapKeyRef, found !== undefined, ownValue(found?.data, key));
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
  const encoded = ownValue(secret?.data, key);
  return encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString('utf8');
};

/** Keys come from manifests: `constructor` is a key like any other, and no object has it by itself. */
const ownValue = (map: Record<string, string> | undefined, key: string): string | undefined =>
  map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;

function fieldValue(pod: Pod, container: Container, path: string, context: EnvironmentContext): string {
  const subscript = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path);
  if (subscript) {
    const map = subscript[1] === 'labels' ? pod.metadata.labels : pod.metadata.annotations;
    return ownValue(map, subscript[2] ?? '') ?? '';
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
  const written = ownValue(list, resource) ?? '0';
  const divisor = ref.divisor ?? '1';
  // A limit of 0 is no limit, and a divisor of 0 stands for 1.
  const orNode = (amount: number, allocatable: number): number =>
    amount === 0 && kind === 'limits' ? allocatable : amount;
  if (resource === 'cpu') {
    const milliCores = orNode(millicoresOf(written), context.allocatable.milliCores);
    return String(Math.ceil(milliCores / (millicoresOf(divisor) || 1000)));
  }
  if (resource === 'memory') {
    const bytes = orNode(bytesOf(written), context.allocatable.memoryBytes);
    return String(Math.ceil(bytes / (bytesOf(divisor) || 1)));
  }
  if (resource === 'ephemeral-storage' && (kind === 'requests' || bytesOf(written) > 0)) {
    return String(Math.ceil(bytesOf(written) / (bytesOf(divisor) || 1)));
  }
  throw missing(container, `unsupported container resource: ${ref.resource}`);
}

const missing = (container: Container, message: string): ContainerConfigError =>
  new ContainerConfigError(message, `container ${container.name}`);
