/**
 * Services of a folder as an API server would hand them out: each with its cluster IP and node ports. Who gets what is the
 * rule of number-pool.ts; here stands which numbers there are, and what people may ask for by hand.
 * Layer: agent/standalone (pure). Sources: pkg/registry/core/service/ipallocator (calculateRangeOffset: the band of static
 * addresses), pkg/registry/core/service/portallocator, pkg/registry/core/service/storage/alloc.go (initNodePorts).
 */
import type { Service, ServicePort } from '../../api/service.ts';
import { formatIpv4, formatIpv4Network, type Ipv4Network, parseIpv4 } from '../../config/ip.ts';
import type { ManifestErrorCode } from '../../kubelet/static/manifest-error.ts';
import { nodePortRange } from '../../kubelet/static/service-rules.ts';
import { giveNumbers, type NumberPool } from './number-pool.ts';

/** What is given out, to be handed in again at the next change. */
export interface Allocation {
  /** By `namespace/name`. */
  readonly addresses: ReadonlyMap<string, number>;
  /** By `namespace/name port`. */
  readonly nodePorts: ReadonlyMap<string, number>;
}

export interface AllocationProblem {
  /** `namespace/name` */
  readonly service: string;
  readonly code: ManifestErrorCode;
  /** `spec.clusterIP` */
  readonly field: string;
  readonly message: string;
  readonly fix: string;
}

export interface AllocatedServices {
  /** By `namespace/name`; a Service whose address cannot be had is absent. */
  readonly services: ReadonlyMap<string, Service>;
  readonly problems: readonly AllocationProblem[];
  readonly allocation: Allocation;
}

export const emptyAllocation: Allocation = { addresses: new Map(), nodePorts: new Map() };

/** The API server's 30000-32767 with its static band of 86 ports (min(max(16, size / 32), 128)). */
const nodePortPool: NumberPool = { ...nodePortRange, dynamicFirst: nodePortRange.first + 86 };

/** Usable addresses of a service network; its lowest 16 to 256 are the static band, none when there are at most 16. */
export function addressPool({ address, prefixLength }: Ipv4Network): NumberPool {
  const size = 2 ** (32 - prefixLength);
  const offset = size <= 16 ? 0 : Math.min(Math.max(16, Math.floor(size / 16)), 256);
  return { first: address + 1, dynamicFirst: address + 1 + offset, last: address + size - 2 };
}

/** @param documents checked and defaulted, in the order in which the first one wins an address asked for twice */
export function allocateServices(
  documents: ReadonlyMap<string, Service>,
  network: Ipv4Network,
  before: Allocation,
): AllocatedServices {
  const problems: AllocationProblem[] = [];
  const pool = addressPool(network);
  const asked = askedAddresses(documents, network, pool, problems);
  const unaddressed = [...documents].filter(([, { spec }]) => spec.clusterIP === undefined).map(([key]) => key);
  const addresses = giveNumbers(unaddressed, pool, new Set(asked.values()), before.addresses);
  const { asked: askedPorts, given: nodePorts } = giveNodePorts(documents, before);
  const allPorts = new Map([...nodePorts, ...askedPorts]);
  const services = new Map<string, Service>();
  for (const [key, document] of documents) {
    const address = asked.get(key) ?? addresses.get(key);
    if (address !== undefined || document.spec.clusterIP === 'None') {
      services.set(key, allocated(key, document, address, allPorts, problems));
    } else if (document.spec.clusterIP === undefined) {
      const message = `no address is left in ${formatIpv4Network(network)}`;
      problems.push(problem(key, 'MANIFEST_LIMIT', 'spec.clusterIP', message, 'give a larger --service-cidr'));
    }
  }
  return { services, problems, allocation: { addresses, nodePorts } };
}

/** The addresses that people asked for and may have. */
function askedAddresses(
  documents: ReadonlyMap<string, Service>,
  network: Ipv4Network,
  pool: NumberPool,
  problems: AllocationProblem[],
): Map<string, number> {
  const owners = new Map<number, string>();
  const asked = new Map<string, number>();
  for (const [key, { spec }] of documents) {
    const { clusterIP } = spec;
    if (clusterIP === undefined || clusterIP === 'None') continue;
    const address = parseIpv4(clusterIP);
    const owner = address === undefined ? undefined : owners.get(address);
    if (address === undefined || address < pool.first || address > pool.last) {
      const message = `${clusterIP} is no address for a Service in ${formatIpv4Network(network)}`;
      const fix = 'choose one of that range, remove it, or start with another --service-cidr';
      problems.push(problem(key, 'MANIFEST_VALUE', 'spec.clusterIP', message, fix));
    } else if (owner !== undefined) {
      const message = `${clusterIP} is also asked for by service ${owner}, which has it`;
      problems.push(problem(key, 'MANIFEST_DUPLICATE', 'spec.clusterIP', message, 'choose another, or remove it'));
    } else {
      owners.set(address, key);
      asked.set(key, address);
    }
  }
  return asked;
}

/** Ports of one Service that differ only in the protocol share a node port, as at the API server, if one asks for it too. */
const portOwner = (key: string, port: ServicePort): string => `${key} ${port.port}`;

function giveNodePorts(
  documents: ReadonlyMap<string, Service>,
  before: Allocation,
): { asked: ReadonlyMap<string, number>; given: ReadonlyMap<string, number> } {
  const asked = new Map<string, number>();
  const taken = new Set<number>();
  const owners = new Set<string>();
  for (const [key, { spec }] of documents) {
    for (const port of spec.ports ?? []) {
      const owner = portOwner(key, port);
      if (port.nodePort) {
        taken.add(port.nodePort);
        asked.set(owner, asked.get(owner) ?? port.nodePort);
      } else if (wantsNodePorts(spec)) owners.add(owner);
    }
  }
  for (const owner of asked.keys()) owners.delete(owner);
  return { asked, given: giveNumbers(owners, nodePortPool, taken, before.nodePorts) };
}

const wantsNodePorts = ({ type, allocateLoadBalancerNodePorts }: Service['spec']): boolean =>
  type === 'NodePort' || (type === 'LoadBalancer' && allocateLoadBalancerNodePorts !== false);

function allocated(
  key: string,
  { metadata, spec }: Service,
  address: number | undefined,
  nodePorts: ReadonlyMap<string, number>,
  problems: AllocationProblem[],
): Service {
  const clusterIP = address === undefined ? 'None' : formatIpv4(address);
  const ports = (spec.ports ?? []).map((port) => {
    if (port.nodePort || !wantsNodePorts(spec)) return port;
    const nodePort = nodePorts.get(portOwner(key, port));
    if (nodePort !== undefined) return { ...port, nodePort };
    const { first, last } = nodePortRange;
    const message = `no node port is left for port ${port.port}: all of ${first} to ${last} are given out`;
    problems.push(problem(key, 'MANIFEST_LIMIT', 'spec.ports', message, 'remove some node ports'));
    return port;
  });
  return { metadata, spec: { ...spec, clusterIP, clusterIPs: [clusterIP], ports } };
}

function problem(
  service: string,
  code: ManifestErrorCode,
  field: string,
  message: string,
  fix: string,
): AllocationProblem {
  return { service, code, field, message, fix };
}
