/**
 * Rules on Services and EndpointSlices that compare fields or know words of their own: addresses, families, ports, types.
 * Layer: kubelet/static (pure). Source: pkg/apis/core/validation (ValidateService, ValidateServiceClusterIPsRelatedFields,
 * ValidateNonSpecialIP), pkg/apis/discovery/validation (ValidateEndpointSlice). Works on what field-reader.ts left over.
 * What only the whole folder shows (an address that two ask for, a range) is decided in agent/standalone.
 */
import { type EndpointSlice, serviceNameLabel } from '../../api/discovery.ts';
import type { Service, ServicePort, ServiceSpec } from '../../api/service.ts';
import { isIpv6, parseIpv4 } from '../../config/ip.ts';
import type { FieldPath, Report } from './manifest-error.ts';
import { shown } from './manifest-error.ts';
import type { Loose } from './volume-rules.ts';
import { checkUniqueNames } from './volume-rules.ts';

/** The API server's default --service-node-port-range, inclusive. */
export const nodePortRange = { first: 30000, last: 32767 } as const;

/** maxEndpoints, maxAddresses and maxPorts of pkg/apis/discovery/validation. */
const sliceLimits = { endpoints: 1000, addresses: 100, ports: 100 } as const;

const unsupported = (fix: string) => ({ code: 'MANIFEST_UNSUPPORTED', fix }) as const;
const duplicate = { code: 'MANIFEST_DUPLICATE' } as const;

/** Reports every rule of a Service that a single field cannot show. */
export function checkService(service: Loose<ManifestService>, report: Report): void {
  const { spec } = service;
  if (spec === undefined) return;
  const path: FieldPath = ['spec'];
  if (spec.type === 'ExternalName') {
    const message = 'ExternalName is not supported: it is an alias in DNS, and no DNS server runs here';
    report([...path, 'type'], message, unsupported('let its clients use the external name itself'));
    return;
  }
  const { type = 'ClusterIP' } = spec;
  const headless = (spec.clusterIP || spec.clusterIPs?.[0]) === 'None';
  if (headless && type !== 'ClusterIP') {
    report([...path, 'clusterIP'], `must not be None for the type ${type}`, { fix: 'remove it' });
  }
  if ((spec.ports ?? []).length === 0 && !headless) {
    const fix = 'add one, or set spec.clusterIP to None';
    report([...path, 'ports'], 'a Service with an address needs at least one port', { fix });
  }
  checkServicePorts(spec.ports ?? [], type, [...path, 'ports'], report);
  checkClusterIps(spec, path, report);
  for (const [index, ip] of (spec.externalIPs ?? []).entries()) {
    checkDestination(ip, [...path, 'externalIPs', index], report);
  }
  if (spec.sessionAffinity !== 'ClientIP' && spec.sessionAffinityConfig !== undefined) {
    report([...path, 'sessionAffinityConfig'], 'must be given only with sessionAffinity ClientIP');
  }
  if (spec.externalTrafficPolicy !== undefined && type === 'ClusterIP' && (spec.externalIPs ?? []).length === 0) {
    const message = 'must be given only with the type NodePort or LoadBalancer, or with externalIPs';
    report([...path, 'externalTrafficPolicy'], message, { fix: 'remove it' });
  }
  if (spec.allocateLoadBalancerNodePorts !== undefined && type !== 'LoadBalancer') {
    report([...path, 'allocateLoadBalancerNodePorts'], 'must be given only with the type LoadBalancer');
  }
}

/** What a document may say beyond what the rest of the node reads. */
export interface ManifestService extends Service {
  spec: ServiceSpec & { ipFamilyPolicy?: 'SingleStack' | 'PreferDualStack' | 'RequireDualStack' };
}

function checkServicePorts(ports: readonly Loose<ServicePort>[], type: string, path: FieldPath, report: Report): void {
  checkUniqueNames(ports, path, report);
  const numbers = new Map<string, number>();
  const nodePorts = new Map<string, number>();
  for (const [index, { name, protocol = 'TCP', port, nodePort = 0 }] of ports.entries()) {
    const here = [...path, index];
    if (ports.length > 1 && !name) {
      report([...here, 'name'], 'is missing: a Service with several ports names each', { fix: 'give it a name' });
    }
    if (port !== undefined) checkUnique(numbers, `${protocol} ${port}`, index, [...here, 'port'], report);
    if (nodePort === 0) continue;
    const at = [...here, 'nodePort'];
    const { first, last } = nodePortRange;
    if (type === 'ClusterIP') {
      report(at, 'must not be given with the type ClusterIP', { fix: 'set spec.type to NodePort, or remove it' });
    } else if (nodePort < first || nodePort > last) {
      report(at, `must be within ${first} to ${last}, not ${nodePort}`, { fix: 'choose another, or remove it' });
    } else checkUnique(nodePorts, `${protocol} ${nodePort}`, index, at, report);
  }
}

function checkUnique(seen: Map<string, number>, what: string, index: number, path: FieldPath, report: Report): void {
  const first = seen.get(what);
  if (first === undefined) seen.set(what, index);
  else report(path, `${what} stands twice, first at index ${first}`, duplicate);
}

function checkClusterIps(spec: Loose<ManifestService['spec']>, path: FieldPath, report: Report): void {
  const { clusterIP = '', clusterIPs, ipFamilies, ipFamilyPolicy } = spec;
  const single = 'pods have IPv4 addresses in this version';
  if (ipFamilyPolicy === 'RequireDualStack') {
    const fix = 'remove it or set it to PreferDualStack';
    report([...path, 'ipFamilyPolicy'], `RequireDualStack is not supported: ${single}`, unsupported(fix));
  }
  for (const [index, family] of (ipFamilies ?? []).entries()) {
    // PreferDualStack takes what there is, as the API server does on a cluster of one family.
    if (family !== 'IPv6' || (ipFamilyPolicy === 'PreferDualStack' && index > 0)) continue;
    report([...path, 'ipFamilies', index], `IPv6 is not supported: ${single}`, unsupported('remove it'));
  }
  const all = clusterIPs ?? [];
  if (clusterIP !== '' && all.length > 0 && all[0] !== clusterIP) {
    report([...path, 'clusterIPs', 0], `must be the same as clusterIP, ${shown(clusterIP)}`, {
      fix: 'remove one of the two',
    });
  }
  if (all.length > 1) {
    const fix = 'keep the IPv4 one';
    report([...path, 'clusterIPs'], `must have one address, not ${all.length}: ${single}`, { fix });
  }
  const [first = clusterIP] = all;
  const at = clusterIP === '' && all.length > 0 ? [...path, 'clusterIPs', 0] : [...path, 'clusterIP'];
  if (first === '' || first === 'None') return;
  checkIpv4(first, at, report, 'write an IPv4 address, None for a headless Service, or remove it');
}

function checkIpv4(text: string, path: FieldPath, report: Report, fix: string): number | undefined {
  const address = parseIpv4(text);
  if (address !== undefined) return address;
  const what = isIpv6(text) ? 'is an IPv6 address, and this version serves IPv4' : 'is not an IPv4 address';
  report(path, `${shown(text)} ${what}`, { fix });
  return undefined;
}

/** An address that packets may be sent to or for (ValidateNonSpecialIP). */
function checkDestination(text: string, path: FieldPath, report: Report): void {
  const address = checkIpv4(text, path, report, 'write an IPv4 address');
  if (address === undefined) return;
  const first = address >>> 24;
  const special =
    first === 127
      ? 'a loopback address'
      : address === 0
        ? 'the unspecified address'
        : address >>> 16 === 0xa9fe
          ? 'a link-local address'
          : first >>> 4 === 14
            ? 'a multicast address'
            : undefined;
  if (special !== undefined) report(path, `${text} is ${special}, which nothing can be reached by`);
}

/** Reports every rule of an EndpointSlice that a single field cannot show. */
export function checkEndpointSlice(slice: Loose<EndpointSlice>, report: Report): void {
  const { metadata, addressType, endpoints, ports } = slice;
  if (!metadata?.labels?.[serviceNameLabel]) {
    const fix = `write ${serviceNameLabel}: NAME below metadata.labels`;
    report(['metadata', 'labels', serviceNameLabel], 'is missing: it names the Service of the slice', { fix });
  }
  if (addressType === 'IPv6' || addressType === 'FQDN') {
    const fix = 'give IPv4 addresses';
    report(['addressType'], `${addressType} is not supported: this version serves IPv4`, unsupported(fix));
    return;
  }
  if (tooMany(endpoints ?? [], sliceLimits.endpoints, ['endpoints'], report)) return;
  for (const [index, { addresses }] of (endpoints ?? []).entries()) {
    if (addresses === undefined) continue;
    const at: FieldPath = ['endpoints', index, 'addresses'];
    if (addresses.length === 0) report(at, 'must have at least one address');
    if (tooMany(addresses, sliceLimits.addresses, at, report)) continue;
    for (const [place, address] of addresses.entries()) checkDestination(address, [...at, place], report);
  }
  if (tooMany(ports ?? [], sliceLimits.ports, ['ports'], report)) return;
  const names = new Map<string, number>();
  for (const [index, { name }] of (ports ?? []).entries()) {
    checkUnique(names, shown(name ?? ''), index, ['ports', index, 'name'], report);
  }
}

function tooMany(items: readonly unknown[], limit: number, path: FieldPath, report: Report): boolean {
  if (items.length <= limit) return false;
  report(path, `has ${items.length} entries, more than the limit of ${limit}`, {
    code: 'MANIFEST_LIMIT',
    fix: 'make several slices',
  });
  return true;
}
