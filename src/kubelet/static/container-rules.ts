/**
 * Rules on spec.containers that compare fields or know words of their own: images, environment, resources, ports,
 * privileges. Layer: kubelet/static (pure).
 * Source: pkg/apis/core/validation (validateContainerCommon, validateEnv, ValidateContainerResourceRequirements,
 * ValidateSecurityContext). Works on what field-reader.ts left over.
 */
import type { Container, ContainerPort, EnvVar, SeccompProfile, SecurityContext } from '../../api/core.ts';
import { ImageReferenceError, parseImageReference } from '../../config/image-reference.ts';
import { isIpv6, parseIpv4 } from '../../config/ip.ts';
import { compareQuantities, parseQuantity } from '../../config/quantity.ts';
import type { FieldPath, Report } from './manifest-error.ts';
import { shown } from './manifest-error.ts';
import type { Loose } from './volume-rules.ts';
import { checkUniqueNames, checkVolumeMounts } from './volume-rules.ts';

/** Resources that this version hands to the runtime; extended ones need device plugins. */
export const knownResources: readonly string[] = ['cpu', 'memory', 'ephemeral-storage'];

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

export interface PodContext {
  readonly volumeNames: ReadonlySet<string>;
  readonly containerNames: ReadonlySet<string>;
  readonly hostNetwork: boolean;
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
  checkResources(container, path, report);
  checkPorts(container.ports ?? [], pod, [...path, 'ports'], report);
  checkVolumeMounts(container, pod.volumeNames, path, report);
  if (container.securityContext !== undefined) {
    checkSecurityContext(container.securityContext, [...path, 'securityContext'], report);
  }
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
    report(at, 'needs exactly one of fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef');
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
  if (resource !== undefined && !known.includes(resource)) {
    report([...at, 'resourceFieldRef', 'resource'], `must be one of ${known.join(', ')}, not ${shown(resource)}`);
  }
  if (containerName && !pod.containerNames.has(containerName)) {
    report([...at, 'resourceFieldRef', 'containerName'], `there is no container ${shown(containerName)}`);
  }
}

function checkResources(container: Loose<Container>, path: FieldPath, report: Report): void {
  const { limits = {}, requests = {} } = container.resources ?? {};
  for (const [list, amounts] of [
    ['limits', limits],
    ['requests', requests],
  ] as const) {
    for (const name of Object.keys(amounts)) {
      if (knownResources.includes(name)) continue;
      report([...path, 'resources', list, name], `is not supported: this version knows ${knownResources.join(', ')}`, {
        code: 'MANIFEST_UNSUPPORTED',
        fix: 'remove it',
      });
    }
  }
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    if (limit === undefined || request === undefined) continue;
    if (compareQuantities(parseQuantity(request), parseQuantity(limit)) > 0) {
      report([...path, 'resources', 'requests', name], `${request} is more than the limit of ${limit}`);
    }
  }
}

function checkPorts(ports: readonly Loose<ContainerPort>[], pod: PodContext, path: FieldPath, report: Report): void {
  checkUniqueNames(ports, path, report);
  for (const [index, port] of ports.entries()) {
    const here = [...path, index];
    if (port.hostIP && !isIpAddress(port.hostIP))
      report([...here, 'hostIP'], `${shown(port.hostIP)} is not an IP address`);
    if (!port.hostPort) continue;
    if (!pod.hostNetwork) {
      report([...here, 'hostPort'], 'is not supported: host ports come in a later version', {
        code: 'MANIFEST_UNSUPPORTED',
        fix: 'remove it, or set spec.hostNetwork to true',
      });
    } else if (port.containerPort !== undefined && port.hostPort !== port.containerPort) {
      report([...here, 'hostPort'], `must be ${port.containerPort}, the containerPort, with hostNetwork`);
    }
  }
}

function checkSecurityContext(context: Loose<SecurityContext>, path: FieldPath, report: Report): void {
  checkSeccomp(context.seccompProfile, [...path, 'seccompProfile'], report);
  if (context.allowPrivilegeEscalation !== false) return;
  const at = [...path, 'allowPrivilegeEscalation'];
  if (context.privileged) report(at, 'must not be false when privileged is true');
  if (context.capabilities?.add?.some((name) => /^(CAP_)?SYS_ADMIN$/.test(name))) {
    report(at, 'must not be false when the capability SYS_ADMIN is added');
  }
}

export function checkSeccomp(profile: Loose<SeccompProfile> | undefined, path: FieldPath, report: Report): void {
  if (profile?.type === undefined) return;
  if (profile.type === 'Localhost' && !profile.localhostProfile) {
    report([...path, 'localhostProfile'], 'is missing: the type Localhost needs it');
  } else if (profile.type !== 'Localhost' && profile.localhostProfile !== undefined) {
    report([...path, 'localhostProfile'], 'must be given only with the type Localhost');
  }
}
