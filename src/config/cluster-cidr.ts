/**
 * The networks of all pods of a cluster, as kube-proxy's clusterCIDR writes them: one CIDR, or one of each family.
 * Layer: config (pure). Wider than the rule for a node's own pod network (pod-cidr.ts): it only tells pods from others.
 */

import { isIpv6, parseIpv4 } from './ip.ts';
import { shown } from './schema.ts';

export const clusterCidrFix = 'write it like 10.244.0.0/16, or 10.244.0.0/16,fd00:10:244::/56 for both families';

export type ClusterCidrResult = { readonly cidrs: readonly string[] } | { readonly reason: string };

/** Reads `CIDR` or `CIDR,CIDR` of two families. Spaces around the comma are dropped, host bits are taken as in Go. */
export function parseClusterCidr(text: string): ClusterCidrResult {
  const cidrs = text.split(',').map((part) => part.trim());
  for (const cidr of cidrs) {
    if (cidrFamily(cidr) === undefined) return { reason: `${shown(cidr)} is not a network in CIDR notation` };
  }
  if (cidrs.length > 2 || (cidrs.length === 2 && cidrFamily(cidrs[0] ?? '') === cidrFamily(cidrs[1] ?? ''))) {
    return { reason: 'must be one network, or one IPv4 and one IPv6 network' };
  }
  return { cidrs };
}

/** The family of `address/length`; undefined when it is none. */
export function cidrFamily(cidr: string): 'IPv4' | 'IPv6' | undefined {
  const [address = '', length = '', ...rest] = cidr.split('/');
  if (rest.length > 0 || !/^(?:0|[1-9]\d{0,2})$/.test(length)) return undefined;
  if (parseIpv4(address) !== undefined) return Number(length) <= 32 ? 'IPv4' : undefined;
  return isIpv6(address) && Number(length) <= 128 ? 'IPv6' : undefined;
}
