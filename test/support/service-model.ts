/**
 * What a node must do with a packet for a Service, told from the objects in the plainest way: the reference that traffic
 * is compared with. Source: node-contract section 10 and Kubernetes' documentation (virtual IPs, traffic policies,
 * EndpointSlice conditions). Shares no code with src/proxy, only the types of the API objects.
 * Layer: test (pure). Leaves out what Keelson does not do yet: affinity, source ranges, topology hints, and the short-circuit
 * of pods and the node at destinations with externalTrafficPolicy Local (`shortCircuits` says where not to ask).
 */
import type { Endpoint, EndpointSlice } from '../../src/api/discovery.ts';
import type { Service, ServicePort } from '../../src/api/service.ts';

export interface ModelNode {
  name: string;
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
  | { kind: 'answered'; by: ReadonlyMap<string, readonly string[]> }
  | { kind: 'refused' | 'dropped' | 'unserved' };

/** One port of one Service at one destination. */
interface Frontend {
  target: Target;
  service: Service;
  port: ServicePort;
  /** Anything but a cluster IP. */
  external: boolean;
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

  /** Whether Kubernetes sends pods and the node elsewhere than clients from outside. */
  shortCircuits(target: Target): boolean {
    const frontend = this.#frontends.get(keyOf(target));
    return frontend?.external === true && isLocal(frontend);
  }

  outcome(clientIp: string, target: Target): Outcome {
    const frontend = this.#frontends.get(keyOf(target));
    // The other ports of a cluster IP are refused, not sent on.
    if (frontend === undefined) return { kind: this.#clusterIps.has(target.ip) ? 'refused' : 'unserved' };
    const all = this.#endpoints(frontend);
    const here = new Map([...all].filter(([, endpoint]) => endpoint.nodeName === this.#node.name));
    const usable = inService(isLocal(frontend) ? here : all);
    if (usable.length === 0) return { kind: inService(all).length === 0 ? 'refused' : 'dropped' };
    return { kind: 'answered', by: new Map(usable.map((text) => [text, this.#clients(clientIp, text, frontend)])) };
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
          if (other === undefined || rank(endpoint) > rank(other)) found.set(text, endpoint);
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
    const externalIps = [
      ...(spec.externalIPs ?? []),
      ...ingress.filter(({ ipMode }) => ipMode !== 'Proxy').map(({ ip = '' }) => ip),
    ];
    return (spec.ports ?? []).flatMap((port) => {
      const protocol = port.protocol === 'UDP' ? 'UDP' : 'TCP';
      const at = (ip: string, number: number, external: boolean): Frontend => ({
        target: { protocol, ip, port: number },
        service,
        port,
        external,
      });
      return [
        at(clusterIP, port.port, false),
        ...externalIps.map((ip) => at(ip, port.port, true)),
        ...(port.nodePort === undefined ? [] : [at(this.#node.ips[0] ?? '', port.nodePort, true)]),
      ];
    });
  }
}

function isLocal({ service: { spec }, external }: Frontend): boolean {
  return (external ? spec.externalTrafficPolicy : spec.internalTrafficPolicy) === 'Local';
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

/** An endpoint that two slices name: a running pod counts before a terminating one, then ready, then serving. */
const rank = (endpoint: Endpoint): number =>
  (isTerminating(endpoint) ? 0 : 4) + (isReady(endpoint) ? 2 : 0) + (isServing(endpoint) ? 1 : 0);
