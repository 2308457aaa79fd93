/**
 * Rules on a whole Pod that compare fields: names that must differ, DNS, host namespaces, sysctls, host ports.
 * Layer: kubelet/static (pure). Source: pkg/apis/core/validation (ValidatePodSpec, validatePodDNSConfig,
 * validatePodSpecSecurityContext). Works on what field-reader.ts left over, so anything may be missing.
 */
import type { Container, Pod, PodSpec } from '../../api/core.ts';
import { checkDns1123Subdomain } from '../../config/names.ts';
import { checkContainer, isIpAddress } from './container-rules.ts';
import type { FieldPath, Report } from './manifest-error.ts';
import { shown } from './manifest-error.ts';
import { maxAnnotationBytes } from './object-fields.ts';
import { checkPodResources } from './resource-rules.ts';
import { checkProfiles, checkUserNamespace } from './security-rules.ts';
import type { Loose } from './volume-rules.ts';
import { checkUniqueNames, checkVolumes } from './volume-rules.ts';

// The resolver's own bounds (resolv.conf(5), MAXNS) and Kubernetes' (MaxDNSSearchPaths, MaxDNSSearchListChars).
const maxNameservers = 3;
const maxSearches = 32;
const maxSearchCharacters = 2048;

/** SetDefaults_PodSpec */
const defaultGraceSeconds = 30;

const sysctlName = /^(?:[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?$/;

/** Reports every rule of a Pod that a single field cannot show. */
export function checkPod(pod: Loose<Pod>, report: Report): void {
  const annotations = pod.metadata?.annotations ?? {};
  const bytes = Object.entries(annotations).reduce((sum, [k, v]) => sum + Buffer.byteLength(k + (v ?? '')), 0);
  if (bytes > maxAnnotationBytes) {
    report(['metadata', 'annotations'], `have ${bytes} bytes, more than the limit of ${maxAnnotationBytes}`);
  }
  if (pod.spec !== undefined) checkSpec(pod.spec, ['spec'], report);
}

function checkSpec(spec: Loose<PodSpec>, path: FieldPath, report: Report): void {
  const containers = spec.containers ?? [];
  if (spec.containers !== undefined && containers.length === 0) {
    report([...path, 'containers'], 'must have at least one container');
  }
  checkVolumes(spec, path, report);
  const inits = spec.initContainers ?? [];
  const names = checkUniqueNames(containers, [...path, 'containers'], report);
  checkInitNames(inits, names, [...path, 'initContainers'], report);
  const context = {
    volumeNames: new Set((spec.volumes ?? []).flatMap((volume) => volume.name ?? [])),
    containerNames: new Set([...containers, ...inits].flatMap(({ name }) => name ?? [])),
    hostNetwork: spec.hostNetwork === true,
    hostUsers: spec.hostUsers !== false,
    graceSeconds: spec.terminationGracePeriodSeconds ?? defaultGraceSeconds,
    podRestartPolicy: spec.restartPolicy ?? 'Always',
  };
  for (const [index, container] of containers.entries()) {
    checkContainer(container, { ...context, isInit: false }, [...path, 'containers', index], report);
  }
  for (const [index, container] of inits.entries()) {
    checkContainer(container, { ...context, isInit: true }, [...path, 'initContainers', index], report);
  }
  checkPodResources(spec, path, report);
  checkHostPorts(spec, path, report);
  checkDns(spec, path, report);
  if (spec.hostPID && spec.shareProcessNamespace) {
    report([...path, 'shareProcessNamespace'], 'must not be true when hostPID is true');
  }
  for (const [index, alias] of (spec.hostAliases ?? []).entries()) {
    if (alias.ip !== undefined && !isIpAddress(alias.ip)) {
      report([...path, 'hostAliases', index, 'ip'], `${shown(alias.ip)} is not an IP address`);
    }
  }
  checkProfiles(spec.securityContext ?? {}, [...path, 'securityContext'], report);
  checkUserNamespace(spec, path, report);
  checkHostname(spec, path, report);
  checkSysctls(spec, path, report);
}

/** Main and init containers share one space of names. */
function checkInitNames(
  inits: readonly Loose<Container>[],
  main: ReadonlyMap<string, number>,
  path: FieldPath,
  report: Report,
): void {
  checkUniqueNames(inits, path, report);
  for (const [index, { name }] of inits.entries()) {
    const other = name === undefined ? undefined : main.get(name);
    if (other === undefined) continue;
    const message = `${shown(name)} is also the name of containers[${other}]`;
    report([...path, index, 'name'], message, { code: 'MANIFEST_DUPLICATE' });
  }
}

function checkHostname(spec: Loose<PodSpec>, path: FieldPath, report: Report): void {
  if (!spec.hostnameOverride) return;
  for (const name of ['setHostnameAsFQDN', 'hostNetwork'] as const) {
    if (spec[name]) report([...path, 'hostnameOverride'], `must not be given when ${name} is true`);
  }
}

/** Two containers cannot have one port of the node; with hostNetwork every container port is one. */
function checkHostPorts(spec: Loose<PodSpec>, path: FieldPath, report: Report): void {
  const taken = new Map<string, string>();
  for (const [index, container] of (spec.containers ?? []).entries()) {
    for (const [portIndex, port] of (container.ports ?? []).entries()) {
      const number = port.hostPort || (spec.hostNetwork ? port.containerPort : undefined);
      if (number === undefined) continue;
      const key = `${port.protocol ?? 'TCP'} ${number} ${port.hostIP ?? ''}`;
      const here = [...path, 'containers', index, 'ports', portIndex, 'containerPort'];
      const other = taken.get(key);
      if (other !== undefined) {
        report(here, `${number} is also a port of ${other}, and both are ports of the node`, {
          code: 'MANIFEST_DUPLICATE',
        });
      }
      taken.set(key, other ?? `containers[${index}]`);
    }
  }
}

function checkDns(spec: Loose<PodSpec>, path: FieldPath, report: Report): void {
  const at = [...path, 'dnsConfig'];
  const { nameservers = [], searches = [] } = spec.dnsConfig ?? {};
  if (spec.dnsPolicy === 'None' && nameservers.length === 0) {
    report([...at, 'nameservers'], 'is missing: dnsPolicy None needs at least one');
  }
  if (nameservers.length > maxNameservers) {
    report([...at, 'nameservers'], `has ${nameservers.length} entries, at most ${maxNameservers} are used`);
  }
  for (const [index, server] of nameservers.entries()) {
    if (!isIpAddress(server)) report([...at, 'nameservers', index], `${shown(server)} is not an IP address`);
  }
  if (searches.length > maxSearches) {
    report([...at, 'searches'], `has ${searches.length} entries, at most ${maxSearches} are used`);
  }
  if (searches.join(' ').length > maxSearchCharacters) {
    report([...at, 'searches'], `is longer than ${maxSearchCharacters} characters`);
  }
  for (const [index, search] of searches.entries()) {
    // A trailing dot marks an absolute name, and the lone dot the root; underscores occur in service domains.
    const name = search === '.' ? 'root' : search.replace(/\.$/, '').replaceAll('_', '-').toLowerCase();
    const reasons = checkDns1123Subdomain(name);
    if (reasons.length > 0) report([...at, 'searches', index], `${shown(search)} ${reasons.join('; ')}`);
  }
}

function checkSysctls(spec: Loose<PodSpec>, path: FieldPath, report: Report): void {
  const sysctls = spec.securityContext?.sysctls ?? [];
  const at = [...path, 'securityContext', 'sysctls'];
  const canonical = sysctls.map(({ name }) => ({ name: name?.replaceAll('/', '.') }));
  checkUniqueNames(canonical, at, report);
  for (const [index, { name }] of canonical.entries()) {
    if (name === undefined) continue;
    const here = [...at, index, 'name'];
    if (!sysctlName.test(name)) report(here, `${shown(name)} is not the name of a sysctl`);
    else if (spec.hostNetwork && name.startsWith('net.')) {
      report(here, `${name} would change the node: it is not allowed with hostNetwork`);
    } else if (spec.hostIPC && /^(kernel\.(shm|msg|sem)|fs\.mqueue\.)/.test(name)) {
      report(here, `${name} would change the node: it is not allowed with hostIPC`);
    }
  }
}
