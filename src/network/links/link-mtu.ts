/**
 * The smallest MTU of pod links.
 * Layer: network/links (pure).
 */
import type { IpFamily } from '../ipam/ip-prefix.ts';
import { NetworkError } from '../network-error.ts';

/** Every IPv6 link takes so many bytes (RFC 8200 section 5): on a smaller one the kernel has no IPv6 at all. */
export const smallestIpv6Mtu = 1280;

/** @throws NetworkError NETWORK_MTU_TOO_SMALL */
export function requireMtu(mtu: number, pools: readonly { family: IpFamily }[]): void {
  if (mtu >= smallestIpv6Mtu || !pools.some(({ family }) => family === 6)) return;
  throw new NetworkError('NETWORK_MTU_TOO_SMALL', `links of pods with IPv6 addresses need ${smallestIpv6Mtu} bytes`, {
    object: `mtu ${mtu}`,
    fix: 'raise the MTU of the uplink, --mtu or mtu of the CNI configuration',
  });
}
