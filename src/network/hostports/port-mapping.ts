/**
 * Ports of the node that a runtime wants to lead to a pod: `runtimeConfig.portMappings` of a CNI call, checked.
 * Layer: network/hostports (pure). Knows nothing of other pods; who has which port is port-table.ts'. Format: CNI
 * CONVENTIONS.md (portMappings).
 */
import { formatIp, parseIp } from '../../linux/ip-bytes.ts';
import type { IpAddress } from '../../linux/rtnetlink.ts';
import { isObject, memberInAnyCase } from '../cni/json-object.ts';

export const portProtocols = ['tcp', 'udp', 'sctp'] as const;
export type PortProtocol = (typeof portProtocols)[number];

export interface PortMapping {
  /** An address of the node; undefined: every one of `family`. */
  hostIP: IpAddress | undefined;
  /** Undefined: every family that the pod has. */
  family: 4 | 6 | undefined;
  protocol: PortProtocol;
  /** 1 to 65535. */
  hostPort: number;
  /** 1 to 65535. */
  containerPort: number;
}

/** Entries without a hostPort ask for nothing; equal ones are one. A text says what is wrong, in one clause. */
export function parsePortMappings(value: unknown): PortMapping[] | string {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return 'must be a list';
  const mappings = new Map<string, PortMapping>();
  for (const entry of value as unknown[]) {
    const mapping = parseMapping(entry);
    if (typeof mapping === 'string') return mapping;
    if (mapping !== undefined) mappings.set(JSON.stringify(mapping), mapping);
  }
  return [...mappings.values()];
}

/** `8080/tcp`, `192.0.2.1:53/udp` */
export function describeMapping({ hostIP, hostPort, protocol }: PortMapping): string {
  const port = `${hostPort}/${protocol}`;
  if (hostIP === undefined) return port;
  return hostIP.includes(':') ? `[${hostIP}]:${port}` : `${hostIP}:${port}`;
}

function parseMapping(entry: unknown): PortMapping | string | undefined {
  if (!isObject(entry)) return 'each must be an object';
  const hostPort = memberInAnyCase(entry, 'hostPort');
  const containerPort = memberInAnyCase(entry, 'containerPort');
  const hostIP = memberInAnyCase(entry, 'hostIP');
  const told = memberInAnyCase(entry, 'protocol');
  if (hostPort === undefined || hostPort === 0) return undefined;
  if (!isPort(hostPort)) return `hostPort ${shown(hostPort)} is no port`;
  if (!isPort(containerPort)) return `containerPort ${shown(containerPort)} of hostPort ${hostPort} is no port`;
  // Runtimes write it in either case; the specification's default is none, the reference plugin's is tcp.
  const wanted = told === undefined || told === '' ? 'tcp' : told;
  const protocol = portProtocols.find((name) => typeof wanted === 'string' && name === wanted.toLowerCase());
  if (protocol === undefined) return `protocol ${shown(wanted)} of hostPort ${hostPort} is none of tcp, udp, sctp`;
  const address = parseHostIP(hostIP);
  if (address === undefined) return `hostIP ${shown(hostIP)} of hostPort ${hostPort} is no address`;
  return { ...address, protocol, hostPort, containerPort };
}

const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;

/** Cut: it comes from outside and goes into a message. */
const shown = (value: unknown): string => (JSON.stringify(value) ?? 'undefined').slice(0, 60);

/** The unspecified address stands for every one of its family. */
function parseHostIP(value: unknown): Pick<PortMapping, 'hostIP' | 'family'> | undefined {
  if (value === undefined || value === null || value === '') return { hostIP: undefined, family: undefined };
  if (typeof value !== 'string') return undefined;
  try {
    const bytes = parseIp(value);
    const family = bytes.length === 4 ? 4 : 6;
    return { hostIP: bytes.every((byte) => byte === 0) ? undefined : formatIp(bytes), family };
  } catch {
    return undefined;
  }
}
