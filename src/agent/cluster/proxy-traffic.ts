/**
 * From the KubeProxyConfiguration and the Node to what the proxy role is started with: address families, whose traffic is
 * the cluster's own, and where node ports are served.
 * Layer: agent/cluster (pure but for the list of this machine's addresses).
 * Source: cmd/kube-proxy/app/server.go (detectNodeIPs), server_linux.go (getLocalDetectors), pkg/proxy/util/nodeport_addresses.go.
 */
import { networkInterfaces } from 'node:os';
import type { Node } from '../../api/node.ts';
import type { IpFamily } from '../../api/service.ts';
import type { DetectLocal, KubeProxyConfig } from '../../config/kube-proxy-configuration.ts';
import { networkOf, prefixContains } from '../../linux/ip-bytes.ts';
import { hostPrefix } from '../../proxy/services/prefixes.ts';
import { type LocalTraffic, ofFamily, type TrafficOptions } from '../../proxy/services/traffic-options.ts';

const familyOf = (address: string): IpFamily => (address.includes(':') ? 'IPv6' : 'IPv4');

/** In the Node's order; empty while it is not known. */
export const internalIps = (node: Node | undefined): readonly string[] =>
  (node?.status?.addresses ?? []).flatMap(({ type, address }) => (type === 'InternalIP' ? [address] : []));

/** Those of the Node's addresses and pods; before they are known, of the cluster's pods; IPv4 when nothing says any. */
export function familiesOf({ detectLocal }: KubeProxyConfig, node: Node | undefined): readonly IpFamily[] {
  const ofNode = [...internalIps(node), ...(node?.spec?.podCIDRs ?? [])];
  const known = ofNode.length > 0 ? ofNode : detectLocal.mode === 'ClusterCIDR' ? detectLocal.clusterCIDRs : [];
  const found = new Set(known.map(familyOf));
  return found.size === 0 ? ['IPv4'] : (['IPv4', 'IPv6'] as const).filter((family) => found.has(family));
}

/** @param podCIDRs the node's own */
export function localTrafficOf(detectLocal: DetectLocal, podCIDRs: readonly string[]): LocalTraffic {
  switch (detectLocal.mode) {
    case 'ClusterCIDR':
      return { by: 'prefixes', prefixes: detectLocal.clusterCIDRs.map(networkOf) };
    case 'NodeCIDR':
      return { by: 'prefixes', prefixes: podCIDRs.map(networkOf) };
    case 'BridgeInterface':
      return { by: 'interface', name: detectLocal.name };
    case 'InterfaceNamePrefix':
      return { by: 'interfacePrefix', prefix: detectLocal.prefix };
  }
}

/** No local address lies there: node ports are served nowhere while the primary addresses are not known. */
const nowhere: readonly string[] = ['0.0.0.0/32', '::/128'];

export function nodePortAddressesOf(
  { nodePortAddresses }: KubeProxyConfig,
  nodeIps: readonly string[],
): TrafficOptions['nodePortAddresses'] {
  if (nodePortAddresses === 'all') return 'all';
  if (nodePortAddresses !== 'primary') return nodePortAddresses.map(networkOf);
  return nodeIps.length === 0 ? nowhere : nodeIps.map(hostPrefix);
}

/** Where load balancers ask for health: where node ports are served. */
export function healthCheckAddresses(
  family: IpFamily,
  nodePortAddresses: TrafficOptions['nodePortAddresses'],
  own: readonly string[] = ownAddresses(),
): readonly string[] {
  const prefixes = nodePortAddresses === 'all' ? [] : ofFamily(nodePortAddresses, family);
  if (prefixes.length === 0) return [family === 'IPv4' ? '0.0.0.0' : '::'];
  return own.filter((address) => familyOf(address) === family && prefixes.some((one) => prefixContains(one, address)));
}

const ownAddresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
