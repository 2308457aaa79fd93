/**
 * What a node must do with a packet for a Service, told from the objects in the plainest way: the reference that traffic
 * is compared with. Source: node-contract section 10 and Kubernetes' documentation (virtual IPs, traffic policies,
 * EndpointSlice conditions). Shares no code with src/proxy, only the types of the API objects.
 * Layer: test (pure). Of affinity it only knows that all connections of one client to one destination go to one endpoint.
 */
import type { Endpoint, EndpointSlice } from '../../src/api/discovery.ts';
import type { Service, ServicePort } from '../../src/api/service.ts';

export interface ModelNode {
  name: string;
  zone: string;
  /** Node ports are asked at the first. Any of them may stand in for a client. */
  ips: readonly string[];
  isPodIp(ip: string): boolean;
}

export interface Target {
  protocol: 'TCP' | 'UDP';
  ip: string;
  port: number;
}

/**
 * answered: by one of these endpoints, each of which sees one of these clients. refused: RST or port unreachable.
 * dropped: nothing comes back. unserved: no Service is there, so that nothing may answer.
 */
export type Outcome =
  | { kind: 'answered'; by: ReadonlyMap<string, readonly string[]>; isSticky: boolean }
  | { kind: 'refused' | 'dropped' | 'unserved' };

/** One port of one Service at one destination. */
interface Frontend {
  target: Target;
  service: Service;
  port: ServicePort;
  /** Anything but a cluster IP. */
  external: boolean;
  /** Who may send; empty: all. */
  ranges: readonly string[];
}

const keyOf = ({ protocol, ip, port }: Target): string => `${protocol} ${ip} ${port}`;

export class ServiceModel {
  readonly #node: ModelNode;
  readonly #slices: readonly EndpointSlice[];
  readonly #frontends = new Map<string, Frontend>();
  readonly #clusterIps = new Set<string>();

  constructor(node: ModelNode, services: Iterable<Service>, slices: Iterable<EndpointSlice>) {
    this.#node = node;
    this.#slices = [...slices];
    // Of several Services at one destination the oldest has it, then the first by name; unknown age comes last.
    const age = ({ metadata: { creationTimestamp = '9999', namespace, name } }: Service): string =>
      `${creationTimestamp} ${namespace}/${name}`;
    for (const service of [...services].sort((a, b) => (age(a) < age(b) ? -1 : 1)))
      for (const frontend of this.#frontendsOf(service)) {
        const key = keyOf(frontend.target);
        if (!this.#frontends.has(key)) this.#frontends.set(key, frontend);
        if (!frontend.external) this.#clusterIps.add(frontend.target.ip);
      }
  }

  /** Every destination that has a Service. */
  targets(): Target[] {
    return [...this.#frontends.values()].map(({ target }) => target);
  }

  outcome(clientIp: string, target: Target): Outcome {
    const frontend = this.#frontends.get(keyOf(target));
    // The other ports of a cluster IP are refused, not sent on.
    if (frontend === undefined) return { kind: this.#clusterIps.has(target.ip) ? 'refused' : 'unserved' };
    const { ranges, service } = frontend;
    if (ranges.length > 0 && !ranges.some((range) => isInside(clientIp, range))) return { kind: 'dropped' };
    const all = this.#endpoints(frontend);
    const here = new Map([...all].filter(([, endpoint]) => endpoint.nodeName === this.#node.name));
    const staysHere = isLocal(frontend) && !this.#isShortCircuited(clientIp, frontend);
    const isSticky = service.spec.sessionAffinity === 'ClientIP';
    const listed = staysHere ? inService(here) : this.#nearest(all);
    const usable = isSticky ? lowestPorts(listed) : listed;
    if (usable.length === 0) return { kind: inService(all).length === 0 ? 'refused' : 'dropped' };
    const by = new Map(usable.map((text) => [text, this.#clients(clientIp, text, frontend)]));
    return { kind: 'answered', by, isSticky };
  }

  /** Pods and the node go past the external policy Local. */
  #isShortCircuited(clientIp: string, { external }: Frontend): boolean {
    return external && (this.#node.isPodIp(clientIp) || this.#node.ips.includes(clientIp));
  }

  /** By hints, when each ready endpoint has one and one of them is for here: for nodes, else for zones. */
  #nearest(all: ReadonlyMap<string, Endpoint>): string[] {
    const ready = new Map([...all].filter(([, endpoint]) => isReady(endpoint)));
    const { name, zone } = this.#node;
    for (const [kind, own] of [
      ['forNodes', name],
      ['forZones', zone],
    ] as const) {
      const hintsOf = ({ hints }: Endpoint): string[] => (hints?.[kind] ?? []).map((hint) => hint.name);
      const near = [...ready].filter(([, endpoint]) => hintsOf(endpoint).includes(own));
      if (near.length > 0 && [...ready.values()].every((endpoint) => hintsOf(endpoint).length > 0))
        return near.map(([text]) => text);
    }
    return inService(all);
  }

  /** As whom the endpoint may see the client. */
  #clients(clientIp: string, endpoint: string, frontend: Frontend): readonly string[] {
    const { ips, isPodIp } = this.#node;
    if (ips.includes(clientIp) || endpoint.startsWith(`${clientIp}:`)) return ips;
    const keeps = frontend.external ? isLocal(frontend) : isPodIp(clientIp);
    return keeps ? [clientIp] : ips;
  }

  #endpoints({ service: { metadata }, port }: Frontend): Map<string, Endpoint> {
    const found = new Map<string, Endpoint>();
    for (const { metadata: meta, addressType, endpoints, ports } of this.#slices) {
      const labels = meta.labels ?? {};
      if (addressType !== 'IPv4' || 'service.kubernetes.io/headless' in labels) continue;
      if ('service.kubernetes.io/service-proxy-name' in labels) continue;
      if (meta.namespace !== metadata.namespace || labels['kubernetes.io/service-name'] !== metadata.name) continue;
      for (const { name, protocol, port: number } of ports ?? []) {
        if ((name ?? '') !== (port.name ?? '') || (protocol ?? 'TCP') !== (port.protocol ?? 'TCP')) continue;
        for (const endpoint of endpoints ?? []) {
          const text = `${endpoint.addresses[0]}:${number}`;
          const other = found.get(text);
          if (other === undefined || rank(endpoint, this.#node) > rank(other, this.#node)) found.set(text, endpoint);
        }
      }
    }
    return found;
  }

  #frontendsOf(service: Service): Frontend[] {
    const { metadata, spec, status } = service;
    if ('service.kubernetes.io/service-proxy-name' in (metadata.labels ?? {})) return [];
    if (spec.type === 'ExternalName' || spec.clusterIP === 'None' || spec.clusterIP === undefined) return [];
    const { clusterIP } = spec;
    const ingress = status?.loadBalancer?.ingress ?? [];
    const balancerIps = ingress.filter(({ ipMode }) => ipMode !== 'Proxy').map(({ ip = '' }) => ip);
    const ranges = spec.loadBalancerSourceRanges ?? [];
    return (spec.ports ?? []).flatMap((port) => {
      const protocol = port.protocol === 'UDP' ? 'UDP' : 'TCP';
      const at = (ip: string, number: number, external: boolean, from: readonly string[] = []): Frontend => ({
        target: { protocol, ip, port: number },
        service,
        port,
        external,
        ranges: from,
      });
      return [
        at(clusterIP, port.port, false),
        ...balancerIps.map((ip) => at(ip, port.port, true, ranges)),
        ...(spec.externalIPs ?? []).map((ip) => at(ip, port.port, true)),
        ...(port.nodePort === undefined ? [] : [at(this.#node.ips[0] ?? '', port.nodePort, true)]),
      ];
    });
  }
}

function isLocal({ service: { spec }, external }: Frontend): boolean {
  return (external ? spec.externalTrafficPolicy : spec.internalTrafficPolicy) === 'Local';
}

/** Of IPv4. */
function isInside(ip: string, range: string): boolean {
  const [network = '', length = ''] = range.split('/');
  const number = (text: string): number => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(length));
  return Math.floor(number(ip) / size) === Math.floor(number(network) / size);
}

/** Of endpoints with one address. */
function lowestPorts(endpoints: readonly string[]): string[] {
  const portOf = (text: string): number => Number(text.split(':')[1]);
  return endpoints.filter(
    (text) => !endpoints.some((other) => other.split(':')[0] === text.split(':')[0] && portOf(other) < portOf(text)),
  );
}

/** Those that are ready or, when none is, those that still serve while they terminate. */
function inService(endpoints: ReadonlyMap<string, Endpoint>): string[] {
  const pick = (accept: (endpoint: Endpoint) => boolean): string[] =>
    [...endpoints].filter(([, endpoint]) => accept(endpoint)).map(([text]) => text);
  const ready = pick(isReady);
  return ready.length > 0 ? ready : pick((endpoint) => isServing(endpoint) && isTerminating(endpoint));
}

const isReady = ({ conditions }: Endpoint): boolean => (conditions?.ready ?? true) === true;
const isServing = ({ conditions }: Endpoint): boolean => (conditions?.serving ?? true) === true;
const isTerminating = ({ conditions }: Endpoint): boolean => (conditions?.terminating ?? false) === true;

/**
 * The greatest counts where several slices name an endpoint: a running pod before a terminating one, then ready, then
 * serving. Beyond the first, kube-proxy leaves it to chance (endpointslicecache.go); Keelson goes on with hints for nodes,
 * for this node, for zones and for this zone, so that the order of the slices does not matter.
 */
function rank(endpoint: Endpoint, { name, zone }: ModelNode): number {
  const nodes = (endpoint.hints?.forNodes ?? []).map((hint) => hint.name);
  const zones = (endpoint.hints?.forZones ?? []).map((hint) => hint.name);
  const merits = [
    !isTerminating(endpoint),
    isReady(endpoint),
    isServing(endpoint),
    nodes.length > 0,
    nodes.includes(name),
    zones.length > 0,
    zones.includes(zone),
  ];
  return Number.parseInt(merits.map(Number).join(''), 2);
}
