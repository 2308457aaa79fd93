/**
 * One Service, read for one address family: what is kept of it, and what of it is refused.
 * Rules of kube-proxy: pkg/proxy/serviceport.go (newBaseServiceInfo), pkg/proxy/util/utils.go (ShouldSkipService,
 * GetClusterIPByFamily), pkg/proxy/config (the service-proxy-name label).
 * Layer: proxy/services (pure). Must not know about endpoints or other Services.
 */
import type { Protocol } from '../../api/core.ts';
import { type IpFamily, type Service, serviceProxyNameLabel, serviceTypes } from '../../api/service.ts';
import { networkOf } from '../../linux/ip-bytes.ts';
import { formatAddress, parseAddress } from './address.ts';
import { type ObjectVersion, objectVersion } from './object-version.ts';
import { disjointPrefixes } from './prefixes.ts';
import { quoted, ReportList, type ServiceReport } from './service-report.ts';

export interface PortSpec {
  /** Empty for the only port of a Service. */
  name: string;
  protocol: Protocol;
  port: number;
  /** 0 when there is none. */
  nodePort: number;
}

export interface ServiceSpec extends ObjectVersion {
  /** Milliseconds since the epoch; Infinity when unknown, so that such a Service never displaces another. */
  createdAt: number;
  /** Canonical text, as all addresses here. */
  clusterIp: string;
  externalIps: readonly string[];
  loadBalancerIps: readonly string[];
  /** Canonical prefixes of this family, none inside another; empty: any source. */
  sourceRanges: readonly string[];
  internalLocal: boolean;
  externalLocal: boolean;
  /** Seconds, 0 without affinity. */
  affinitySeconds: number;
  /** Of LoadBalancer Services with the external policy Local; else 0. */
  healthCheckNodePort: number;
  ports: readonly PortSpec[];
}

export interface ReadService {
  /** Undefined when this family has nothing to do for the Service. */
  spec: ServiceSpec | undefined;
  reports: readonly ServiceReport[] | undefined;
}

/** v1.DefaultClientIPServiceAffinitySeconds. */
const defaultAffinitySeconds = 10800;
/** v1.MaxClientIPServiceAffinitySeconds */
const maxAffinitySeconds = 86_400;
const none: readonly string[] = [];
const ignored: ReadService = { spec: undefined, reports: undefined };
const portFix = 'give each port a name of its own, a protocol TCP, UDP or SCTP, and numbers in 1..65535';

export function readService(service: Service, family: IpFamily): ReadService {
  const { metadata, spec } = service;
  if (metadata.labels !== undefined && Object.hasOwn(metadata.labels, serviceProxyNameLabel)) return ignored;
  const primary = spec.clusterIP ?? spec.clusterIPs?.[0] ?? '';
  if (spec.type === 'ExternalName' || primary === '' || primary === 'None') return ignored;

  const reports = new ReportList(`service ${metadata.namespace}/${metadata.name}`);
  const clusterIp = readClusterIp(service, primary, family, reports);
  if (clusterIp === undefined) return { spec: undefined, reports: reports.finish() };
  const externalIps = readIps(spec.externalIPs ?? none, 'external IP', family, reports);
  const ingress = (service.status?.loadBalancer?.ingress ?? [])
    .filter(({ ip, ipMode }) => ip !== undefined && ip !== '' && ipMode !== 'Proxy')
    .map(({ ip }) => ip ?? '');
  const loadBalancerIps = readIps(ingress, 'load-balancer IP', family, reports);
  const sourceRanges = readSourceRanges(spec.loadBalancerSourceRanges ?? none, family, reports);
  const ports = readPorts(service, reports);
  if (spec.unknownType !== undefined)
    reports.add(
      'SERVICE_TYPE_UNKNOWN',
      `type ${quoted(spec.unknownType)} is not known and taken for ClusterIP`,
      `use one of ${serviceTypes.join(', ')}, or a newer version of Keelson`,
    );
  const external = spec.type === 'LoadBalancer' || spec.type === 'NodePort' || (spec.externalIPs ?? none).length > 0;
  return {
    spec: {
      ...objectVersion(metadata),
      createdAt: readTime(metadata.creationTimestamp),
      clusterIp,
      externalIps,
      loadBalancerIps: sourceRanges === undefined ? none : loadBalancerIps,
      sourceRanges: sourceRanges ?? none,
      internalLocal: spec.internalTrafficPolicy === 'Local',
      externalLocal: external && spec.externalTrafficPolicy === 'Local',
      affinitySeconds: readAffinity(service, reports),
      healthCheckNodePort: readHealthCheckPort(service, reports),
      ports,
    },
    reports: reports.finish(),
  };
}

function readClusterIp(service: Service, primary: string, family: IpFamily, reports: ReportList): string | undefined {
  const { ipFamilies, clusterIPs } = service.spec;
  const stated = ipFamilies !== undefined && ipFamilies !== null && ipFamilies.length > 0;
  let text: string | undefined = primary;
  if (stated) {
    const index = ipFamilies.indexOf(family);
    if (index < 0) return undefined;
    text = clusterIPs?.[index] ?? (index === 0 ? primary : undefined);
    // A family may be announced before its address is allocated.
    if (text === undefined || text === '') return undefined;
  }
  const read = parseAddress(family, text);
  if ('address' in read) return formatAddress(read.address);
  // Without ipFamilies the address itself tells the family, and the other family's tracker takes it.
  if (stated || read.fault !== 'of the other family')
    reports.add(
      'SERVICE_ADDRESS_INVALID',
      `cluster IP ${quoted(text)} is ${stated ? `no ${family} address: ` : ''}${read.fault}`,
      'set clusterIPs to one address for each of ipFamilies, in their order',
    );
  return undefined;
}

function readIps(texts: readonly string[], what: string, family: IpFamily, reports: ReportList): readonly string[] {
  if (texts.length === 0) return none;
  const found = new Set<string>();
  for (const text of texts) {
    const read = parseAddress(family, text);
    if ('address' in read) found.add(formatAddress(read.address));
    // The list may mix families, and blanks are harmless (MapIPsByIPFamily).
    else if (read.fault !== 'of the other family' && text.trim() !== '')
      reports.add(
        'SERVICE_ADDRESS_INVALID',
        `${what} ${quoted(text)} is ${read.fault}`,
        `correct or remove the ${what}`,
      );
  }
  return [...found];
}

/** Undefined when one of them cannot be read: leaving it out could open the Service to everyone. */
function readSourceRanges(
  texts: readonly string[],
  family: IpFamily,
  reports: ReportList,
): readonly string[] | undefined {
  const ranges: string[] = [];
  let readable = true;
  for (const text of texts.map((range) => range.trim()).filter((range) => range !== '')) {
    try {
      const range = networkOf(text);
      if (range.includes(':') === (family === 'IPv6')) ranges.push(range);
    } catch {
      readable = false;
      reports.add(
        'SERVICE_SOURCE_RANGE_INVALID',
        `loadBalancerSourceRanges entry ${quoted(text)} is no prefix, so no load-balancer IP is served`,
        'write it as address/length',
      );
    }
  }
  if (!readable) return undefined;
  return ranges.some((range) => range.endsWith('/0')) ? none : disjointPrefixes(ranges);
}

function readAffinity({ spec }: Service, reports: ReportList): number {
  if (spec.sessionAffinity !== 'ClientIP') return 0;
  const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds;
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= maxAffinitySeconds) return seconds;
  reports.add(
    'SERVICE_AFFINITY_INVALID',
    `sessionAffinityConfig.clientIP.timeoutSeconds is ${quoted(seconds)}, so ${defaultAffinitySeconds} is used`,
    `set it to a number in 1..${maxAffinitySeconds}`,
  );
  return defaultAffinitySeconds;
}

/** NeedsHealthCheck (pkg/apis/core/v1/service). */
function readHealthCheckPort({ spec }: Service, reports: ReportList): number {
  if (spec.type !== 'LoadBalancer' || spec.externalTrafficPolicy !== 'Local') return 0;
  const port = spec.healthCheckNodePort ?? 0;
  // An API server gives each such Service one.
  if (port === 0 || isPort(port)) return port;
  reports.add(
    'SERVICE_PORT_INVALID',
    `healthCheckNodePort is ${quoted(port)}, so load balancers are not answered`,
    'set it to a number in 1..65535',
  );
  return 0;
}

function readPorts(service: Service, reports: ReportList): readonly PortSpec[] {
  const ports: PortSpec[] = [];
  for (const { name = '', protocol = 'TCP', port, nodePort = 0 } of service.spec.ports ?? []) {
    const fault = !isProtocol(protocol)
      ? `protocol ${quoted(protocol)}`
      : !isPort(port)
        ? `port ${quoted(port)}`
        : nodePort !== 0 && !isPort(nodePort)
          ? `node port ${quoted(nodePort)}`
          : ports.some((other) => other.name === name && other.protocol === protocol)
            ? `the second use of this name for ${protocol}`
            : undefined;
    if (fault === undefined) ports.push({ name, protocol, port, nodePort });
    else reports.add('SERVICE_PORT_INVALID', `port ${quoted(name)} is refused: ${fault}`, portFix);
  }
  if (ports.length === 0)
    reports.add('SERVICE_WITHOUT_PORTS', 'has a cluster IP but no usable port', 'add a port or make it headless');
  // A copy has no spare capacity; a list that grew by push has up to 17 places.
  return ports.slice();
}

function readTime(text: string | undefined): number {
  const time = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(time) ? Number.POSITIVE_INFINITY : time;
}

export const isProtocol = (value: unknown): value is Protocol => value === 'TCP' || value === 'UDP' || value === 'SCTP';

export const isPort = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 65535;
