/**
 * A container's environment: envFrom, then env with its sources and `$(VAR)` references.
 * Rules: pkg/kubelet/kubelet_pods.go (makeEnvironment, podFieldSelectorRuntimeValue), pkg/fieldpath.
 * Layer: kubelet/plan (pure): the ConfigMaps and Secrets are handed in; a missing one throws ContainerConfigError, which
 * becomes the waiting reason CreateContainerConfigError.
 */
import type { ConfigMap, Container, EnvVar, EnvVarSource, KeySelector, Pod, Secret } from '../../api/core.ts';
import { ContainerConfigError } from './container-config-error.ts';
import { type Allocatable, type DownwardValue, downwardField, downwardResource, ownValue } from './downward-api.ts';
import { envFileValue } from './env-file.ts';
import { expandReferences, maxExpandedCharacters } from './expansion.ts';

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
  /** All of the node's, primary first. Default: hostIP alone. */
  hostIPs?: readonly string[];
  podIPs: string[];
  allocatable: Allocatable;
  /** Text of a file in a volume of the pod, undefined when there is none; read before (fileKeyRef). */
  envFile?: (volumeName: string, path: string) => string | undefined;
  /** Of service-variables.ts: anything that the pod says itself goes over them. */
  serviceVariables?: ReadonlyMap<string, string>;
}

/** In order of first appearance; a later definition of a name replaces the earlier value. */
export function containerEnvironment(pod: Pod, container: Container, context: EnvironmentContext): Map<string, string> {
  const environment = new Map(context.serviceVariables);
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
  if (source.resourceFieldRef) {
    const result = downwardResource(pod, source.resourceFieldRef, container, context.allocatable);
    return valueOrRefusal(container, result);
  }
  if (source.configMapKeyRef) {
    const { name, key } = source.configMapKeyRef;
    const found = context.sources.configMap(namespace, name);
    return keyed(pod, container, 'ConfigMap', source.configMapKeyRef, found !== undefined, ownValue(found?.data, key));
  }
  if (source.secretKeyRef) {
    const { name, key } = source.secretKeyRef;
    const found = context.sources.secret(namespace, name);
    return keyed(pod, container, 'Secret', source.secretKeyRef, found !== undefined, secretText(found, key));
  }
  if (source.fileKeyRef) return fileValue(container, source.fileKeyRef, context);
  return undefined;
}

/** The kubelet fails for a missing file even if it is optional; the API says that the variable is left out then. */
function fileValue(
  container: Container,
  { volumeName, path, key, optional }: NonNullable<EnvVarSource['fileKeyRef']>,
  context: EnvironmentContext,
): string | undefined {
  const text = context.envFile?.(volumeName, path);
  if (text === undefined && !optional) throw missing(container, `there is no env file ${path} in volume ${volumeName}`);
  const value = text === undefined ? undefined : envFileValue(text, key, `container ${container.name}`);
  if (value !== undefined || optional) return value;
  throw missing(container, `environment variable key "${key}" not found in file "${path}" of volume ${volumeName}`);
}

function keyed(
  pod: Pod,
  container: Container,
  kind: 'ConfigMap' | 'Secret',
  selector: KeySelector,
  exists: boolean,
  value: string | undefined,
): string | undefined {
  if (value !== undefined || selector.optional) return value;
  const { name, key } = selector;
  const message = exists
    ? `couldn't find key ${key} in ${kind} ${pod.metadata.namespace}/${name}`
    : `${kind.toLowerCase()} "${name}" not found`;
  throw missing(container, message);
}

const secretText = (secret: Secret | undefined, key: string): string | undefined => {
  const encoded = ownValue(secret?.data, key);
  return encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString('utf8');
};

function fieldValue(pod: Pod, container: Container, path: string, context: EnvironmentContext): string {
  switch (path) {
    // Whole maps are for files only.
    case 'metadata.labels':
    case 'metadata.annotations':
      throw missing(container, `unsupported fieldPath: ${path}`);
    case 'spec.nodeName':
      return context.nodeName;
    case 'status.hostIP':
      return context.hostIP;
    case 'status.hostIPs':
      return (context.hostIPs ?? [context.hostIP]).join(',');
    case 'status.podIP':
      return context.podIPs[0] ?? '';
    case 'status.podIPs':
      return context.podIPs.join(',');
    default:
      return valueOrRefusal(container, downwardField(pod, path));
  }
}

function valueOrRefusal(container: Container, result: DownwardValue): string {
  if ('fault' in result) throw missing(container, result.fault);
  return result.value;
}

const missing = (container: Container, message: string): ContainerConfigError =>
  new ContainerConfigError(message, `container ${container.name}`);
