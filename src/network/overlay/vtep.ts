/**
 * What a node's end of the VXLAN is called and made of. Everything follows from the Node's name and pod network, so that
 * every node knows every other one's end without a word between them (ADR 0010).
 * Layer: network/overlay (pure).
 */
import { createHash } from 'node:crypto';
import { formatIp } from '../../linux/ip-bytes.ts';
import { formatIpNumber, type IpFamily, type IpPrefix } from '../ipam/ip-prefix.ts';
import { aliasPrefix } from '../links/link-identity.ts';

/** For IPv4 pods; one for each node, whatever its VNI: 15 bytes have no room for a large number. */
export const vxlanLinkName = 'keelson-vxlan';
/** IPv6 pods have a link of their own, as with flannel: nodes reach each other over the same family. */
export const vxlanLinkNameOf = (podFamily: IpFamily): string => (podFamily === 4 ? vxlanLinkName : `${vxlanLinkName}6`);

/** IFLA_IFALIAS: the mark by which the link is ours. */
export const vxlanAlias = `${aliasPrefix}vxlan`;
export const vxlanAliasOf = (podFamily: IpFamily): string => (podFamily === 4 ? vxlanAlias : `${vxlanAlias}6`);

/** By the family between the nodes: its header, the UDP and VXLAN headers, the inner Ethernet header (20 or 40 + 8 + 8 + 14). */
export const vxlanOverheadBytes: Readonly<Record<IpFamily, number>> = { 4: 50, 6: 70 };

/** flannel's; not the 4789 of RFC 7348, which Linux did not know when it began. */
export const defaultVxlanPort = 8472;
export const defaultVni = 1;

/**
 * The VNI of pods of one family between nodes of another: the kernel has one link for each VNI, port and family of nodes,
 * and that of the nodes' own family has the VNI itself. The other half of the VNIs is used by nobody else, most likely.
 */
export const vniBetween = (vni: number, podFamily: IpFamily, nodeFamily: IpFamily): number =>
  podFamily === nodeFamily ? vni : vni ^ 0x800000;

/** Of the link with VXLAN on a node: unicast, locally administered, 46 bits of the SHA-256 of `keelson-vtep/<name>`. */
export function vtepMac(nodeName: string): string {
  const octets = [...createHash('sha256').update(`keelson-vtep/${nodeName}`).digest().subarray(0, 6)];
  octets[0] = ((octets[0] ?? 0) & 0xfc) | 0x02;
  return octets.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** The link-local address that follows from a MAC address (RFC 4291, appendix A): the name of a peer's end on our link. */
export function linkLocalOf(mac: string): string {
  const octets = mac.split(':').map((pair) => Number.parseInt(pair, 16));
  const [a = 0, b = 0, c = 0, ...rest] = octets;
  const bytes = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, ...rest];
  return formatIp(Uint8Array.from(bytes));
}

/** The address of the link: the first one of the pod network, which no pod ever has. flannel takes the same. */
export const vtepAddress = ({ family, base }: IpPrefix): string => formatIpNumber({ family, value: base });
