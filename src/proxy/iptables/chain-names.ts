/**
 * The names of chains that kube-proxy made known, since people and tools look for them, and where they are called from.
 * Layer: proxy/iptables (pure). Facts of pkg/proxy/iptables/proxier.go (portProtoHash, iptablesJumpChains), Kubernetes 1.36.
 */
import { createHash } from 'node:crypto';
import type { IptablesTable } from '../../linux/iptables.ts';

export const chains = {
  services: 'KUBE-SERVICES',
  externalServices: 'KUBE-EXTERNAL-SERVICES',
  nodePorts: 'KUBE-NODEPORTS',
  postrouting: 'KUBE-POSTROUTING',
  markMasq: 'KUBE-MARK-MASQ',
  forward: 'KUBE-FORWARD',
  firewall: 'KUBE-PROXY-FIREWALL',
  canary: 'KUBE-PROXY-CANARY',
  /** The kubelet's, too: never emptied and never deleted. */
  kubeletFirewall: 'KUBE-FIREWALL',
  /** Ours: marks what comes from outside several pod prefixes, which one rule cannot say. */
  markMasqOutside: 'KUBE-MARK-MASQ-OUT',
} as const;

/** Chains of a Service port, all in the table nat. XLB is what versions before 1.24 made. */
const servicePrefixes = ['KUBE-SVC-', 'KUBE-SVL-', 'KUBE-EXT-', 'KUBE-FW-', 'KUBE-SEP-', 'KUBE-XLB-'];

export const isServiceChain = (name: string): boolean => servicePrefixes.some((prefix) => name.startsWith(prefix));

/** `namespace/name`, with `:port` unless the port has no name. */
export const servicePortName = (service: string, portName: string): string =>
  portName === '' ? service : `${service}:${portName}`;

export interface PortChains {
  cluster: string;
  local: string;
  external: string;
  firewall: string;
}

/** @param protocol in lower case */
export function portChains(name: string, protocol: string): PortChains {
  const hash = hashOf(name + protocol);
  return {
    cluster: `KUBE-SVC-${hash}`,
    local: `KUBE-SVL-${hash}`,
    external: `KUBE-EXT-${hash}`,
    firewall: `KUBE-FW-${hash}`,
  };
}

/** @param endpoint `10.0.0.1:80` or `[fd00::1]:80` */
export const endpointChain = (name: string, protocol: string, endpoint: string): string =>
  `KUBE-SEP-${hashOf(name + protocol + endpoint)}`;

/** The first 16 characters of the SHA-256 in base32 (RFC 4648): 80 bits, since a name has 28 bytes at most. */
function hashOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest();
  let encoded = '';
  let value = 0;
  let bits = 0;
  for (let index = 0; encoded.length < 16; index++) {
    value = ((value << 8) | (bytes[index] ?? 0)) & 0xfff;
    for (bits += 8; bits >= 5 && encoded.length < 16; bits -= 5) encoded += base32[(value >>> (bits - 5)) & 31];
  }
  return encoded;
}

const base32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** A rule of a base chain that calls one of ours. */
export interface Jump {
  table: IptablesTable;
  from: string;
  to: string;
  comment: string;
  /** Only packets that begin a connection. */
  isNew: boolean;
}

const jump = (table: IptablesTable, from: string, to: string, comment: string, isNew = false): Jump => ({
  table,
  from,
  to,
  comment,
  isNew,
});

/** In the order in which they are put first in their chain, so the last comes to stand first. */
export const jumps: readonly Jump[] = [
  ...['INPUT', 'FORWARD'].map((from) =>
    jump('filter', from, chains.externalServices, 'kubernetes externally-visible service portals', true),
  ),
  jump('filter', 'INPUT', chains.nodePorts, 'kubernetes health check service ports'),
  ...['FORWARD', 'OUTPUT'].map((from) => jump('filter', from, chains.services, 'kubernetes service portals', true)),
  jump('filter', 'FORWARD', chains.forward, 'kubernetes forwarding rules'),
  ...['INPUT', 'OUTPUT', 'FORWARD'].map((from) =>
    jump('filter', from, chains.firewall, 'kubernetes load balancer firewall', true),
  ),
  ...['OUTPUT', 'PREROUTING'].map((from) => jump('nat', from, chains.services, 'kubernetes service portals')),
  jump('nat', 'POSTROUTING', chains.postrouting, 'kubernetes postrouting rules'),
];

/** Made where they are missing, never taken away (pkg/kubelet/kubelet_network_linux.go makes the same). */
export const kubeletJumps: readonly Jump[] = ['INPUT', 'OUTPUT'].map((from) =>
  jump('filter', from, chains.kubeletFirewall, ''),
);
