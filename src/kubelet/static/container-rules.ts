/**
 * Rules on main and init containers that compare fields or know words of their own: images, environment, ports.
 * Layer: kubelet/static (pure). Calls those on resources, security and lifecycle.
 * Source: pkg/apis/core/validation (validateContainerCommon, validateEnv). Works on what field-reader.ts left over.
 */
import type { Container, ContainerPort, EnvVar } from '../../api/core.ts';
import { ImageReferenceError, parseImageReference } from '../../config/image-reference.ts';
import { isIpv6, parseIpv4 } from '../../config/ip.ts';
import { checkContainerLifecycle, type LifecycleContext } from './lifecycle-rules.ts';
import type { FieldPath, Report } from './manifest-error.ts';
import { shown } from './manifest-error.ts';
import { checkContainerResources, hugePagesName, knownResources } from './resource-rules.ts';
import { checkSecurityContext } from './security-rules.ts';
import type { Loose } from './volume-rules.ts';
import { checkUniqueNames, checkVolumeMounts } from './volume-rules.ts';

const fieldPaths: readonly string[] = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
];

export function isIpAddress(text: string): boolean {
  return parseIpv4(text) !== undefined || isIpv6(text);
}

/** What a container's rules need of its pod. */
export interface PodContext extends LifecycleContext {
  readonly volumeNames: ReadonlySet<string>;
  readonly containerNames: ReadonlySet<string>;
  readonly hostNetwork: boolean;
  readonly hostUsers: boolean;
}

export function checkContainer(container: Loose<Container>, pod: PodContext, path: FieldPath, report: Report): void {
  if (container.image !== undefined) checkImage(container.image, [...path, 'image'], report);
  for (const [index, variable] of (container.env ?? []).entries()) {
    checkEnv(variable, pod, [...path, 'env', index], report);
  }
  for (const [index, source] of (container.envFrom ?? []).entries()) {
    const sources = [source.configMapRef, source.secretRef].filter((ref) => ref !== undefined);
    if (sources.length !== 1) report([...path, 'envFrom', index], 'needs exactly one of configMapRef and secretRef');
  }
  checkContainerResources(container, path, report);
  checkPorts(container.ports ?? [], pod, [...path, 'ports'], report);
  checkVolumeMounts(container, pod.volumeNames, path, report);
  if (container.securityContext !== undefined) {
    checkSecurityContext(container.securityContext, pod, [...path, 'securityContext'], report);
  }
  checkContainerLifecycle(container, pod, path, report);
}

function checkImage(image: string, path: FieldPath, report: Report): void {
  if (image === '') {
    report(path, 'must not be empty');
    return;
  }
  try {
    parseImageReference(image);
  } catch (error) {
    if (!(error instanceof ImageReferenceError)) throw error;
    report(path, error.message, error.fix === undefined ? {} : { fix: error.fix });
  }
}

function checkEnv(variable: Loose<EnvVar>, pod: PodContext, path: FieldPath, report: Report): void {
  const { valueFrom } = variable;
  if (valueFrom === undefined) return;
  const at = [...path, 'valueFrom'];
  if (variable.value) report(at, 'must not be given beside value');
  const sources = Object.keys(valueFrom);
  if (sources.length !== 1) {
    report(at, 'needs exactly one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef and fileKeyRef');
  }
  const { volumeName } = valueFrom.fileKeyRef ?? {};
  if (volumeName !== undefined && !pod.volumeNames.has(volumeName)) {
    report([...at, 'fileKeyRef', 'volumeName'], `there is no volume ${shown(volumeName)} in spec.volumes`);
  }
  const field = valueFrom.fieldRef?.fieldPath;
  if (
    field !== undefined &&
    !fieldPaths.includes(field) &&
    !/^metadata\.(labels|annotations)\['[^']+'\]$/.test(field)
  ) {
    const known = `${fieldPaths.join(', ')}, metadata.labels['KEY'] or metadata.annotations['KEY']`;
    report([...at, 'fieldRef', 'fieldPath'], `must be one of ${known}, not ${shown(field)}`);
  }
  const { resource, containerName } = valueFrom.resourceFieldRef ?? {};
  const known = knownResources.flatMap((name) => [`limits.${name}`, `requests.${name}`]);
  if (resource !== undefined && !known.includes(resource) && !/^(limits|requests)\.hugepages-/.test(resource)) {
    const names = [...known, `limits.${hugePagesName}`, `requests.${hugePagesName}`].join(', ');
    report([...at, 'resourceFieldRef', 'resource'], `must be one of ${names}, not ${shown(resource)}`);
  }
  if (containerName && !pod.containerNames.has(containerName)) {
    report([...at, 'resourceFieldRef', 'containerName'], `there is no container ${shown(containerName)}`);
  }
}

function checkPorts(ports: readonly Loose<ContainerPort>[], pod: PodContext, path: FieldPath, report: Report): void {
  checkUniqueNames(ports, path, report);
  for (const [index, port] of ports.entries()) {
    const here = [...path, index];
    if (port.hostIP && !isIpAddress(port.hostIP))
      report([...here, 'hostIP'], `${shown(port.hostIP)} is not an IP address`);
    if (!port.hostPort || !pod.hostNetwork) continue;
    if (port.containerPort !== undefined && port.hostPort !== port.containerPort)
      report([...here, 'hostPort'], `must be ${port.containerPort}, the containerPort, with hostNetwork`);
  }
}
