/**
 * What a node's end of the VXLAN is called and made of. Everything follows from the Node's name and pod network, so that
 * every node knows every other one's end without a word between them (ADR 0010).
 * Layer: network/overlay (pure).
 */
import { createHash } from 'node:crypto';
import { formatIpv4 } from '../../config/ip.ts';
import type { Ipv4Prefix } from '../ipam/ipv4.ts';
import { aliasPrefix } from '../links/link-identity.ts';

/** One for each node, whatever its VNI: 15 bytes have no room for a large number. */
export const vxlanLinkName = 'keelson-vxlan';
/** IFLA_IFALIAS: the mark by which the link is ours. */
export const vxlanAlias = `${aliasPrefix}vxlan`;

/** Outer IPv4, UDP and VXLAN headers and the inner Ethernet header: 20 + 8 + 8 + 14 bytes. */
export const vxlanOverheadBytes = 50;

/** flannel's; not the 4789 of RFC 7348, which Linux did not know when it began. */
export const defaultVxlanPort = 8472;
export const defaultVni = 1;

/** Of the link with VXLAN on a node: unicast, locally administered, 46 bits of the SHA-256 of `keelson-vtep/<name>`. */
export function vtepMac(nodeName: string): string {
  const octets = [...createHash('sha256').update(`keelson-vtep/${nodeName}`).digest().subarray(0, 6)];
  octets[0] = ((octets[0] ?? 0) & 0xfc) | 0x02;
  return octets.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** The address of the link: the first one of the pod network, which no pod ever has. flannel takes the same. */
export const vtepAddress = ({ base }: Ipv4Prefix): string => formatIpv4(base);
