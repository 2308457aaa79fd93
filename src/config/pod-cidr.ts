/**
 * The rule for pod networks: one network or one of each family, written by its own address, large enough and not of a
 * special range.
 * Layer: config (pure). Whether it collides with routes of the host is for `keelson doctor`, which may look.
 */

import { formatIpBytes, parseIpText } from '../base/ip-text.ts';
import { formatIpv4Network, type Ipv4Network, ipv4NetworksOverlap, isIpv6, parseIpv4 } from './ip.ts';

/** Why it is none, with the fix. */
export interface PodCidrFault {
  readonly message: string;
  readonly fix: string;
}

/** Either the network or why it is none. */
export type PodCidrResult = { readonly network: Ipv4Network } | PodCidrFault;

/** Pod networks of a node: one, or one of each family, in the order in which they were written. */
export interface PodNetworks {
  /** Canonical texts. */
  readonly podCIDRs: readonly string[];
  readonly ipv4: Ipv4Network | undefined;
}

const smallestPrefix = 8;
const largestPrefix = 30;
const smallestPrefix6 = 48;
const largestPrefix6 = 126;

// RFC 6890: ranges which the kernel does not route like others.
const specialRanges: readonly (readonly [string, Ipv4Network])[] = [
  ['this-network', { address: 0, prefixLength: 8 }],
  ['loopback', { address: 0x7f000000, prefixLength: 8 }],
  ['link-local', { address: 0xa9fe0000, prefixLength: 16 }],
  ['multicast or reserved', { address: 0xe0000000, prefixLength: 3 }],
];
// RFC 4291, by the first two bytes: what it is called, its bits and the mask.
const specialRanges6: readonly (readonly [string, number, number])[] = [
  ['unspecified, loopback or mapped range ::/8', 0x0000, 0xff00],
  ['link-local range fe80::/10', 0xfe80, 0xffc0],
  ['multicast range ff00::/8', 0xff00, 0xff00],
];

const example = 'write it like 10.244.0.0/24';
const exampleOfBoth = 'write it like 10.244.0.0/24, fd00:10:244::/64 or 10.244.0.0/24,fd00:10:244::/64';

/** Checks one or two networks with a comma between them; see parsePodCidr and, for IPv6, /48 to /126. */
export function parsePodCidrs(text: string): PodNetworks | PodCidrFault {
  const podCIDRs: string[] = [];
  let ipv4: Ipv4Network | undefined;
  const parts = text.split(',').map((part) => part.trim());
  for (const part of parts) {
    const [address = ''] = part.split('/');
    if (isIpv6(address)) {
      const fault = faultOfIpv6(part);
      if (fault !== undefined) return fault;
    } else {
      const result = parsePodCidr(part);
      if ('message' in result) return { ...result, fix: result.fix === example ? exampleOfBoth : result.fix };
      ipv4 = result.network;
    }
    podCIDRs.push(part);
  }
  const families = new Set(podCIDRs.map((cidr) => cidr.includes(':')));
  if (families.size === podCIDRs.length) return { podCIDRs, ipv4 };
  return { message: `${text.slice(0, 200)} has more than one network of a family`, fix: exampleOfBoth };
}

/** Checks a pod CIDR: canonical IPv4 network, /8 to /30, no loopback, link-local, multicast or reserved range. */
export function parsePodCidr(text: string): PodCidrResult {
  const [addressText = '', lengthText, ...rest] = text.split('/');
  const address = parseIpv4(addressText);
  if (address === undefined || lengthText === undefined || rest.length > 0 || !/^(?:0|[1-9]\d?)$/.test(lengthText)) {
    return { message: `${JSON.stringify(text.slice(0, 200))} is not an IPv4 network in CIDR notation`, fix: example };
  }
  const prefixLength = Number(lengthText);
  if (prefixLength < smallestPrefix || prefixLength > largestPrefix) {
    return {
      message: `${text} has prefix length ${prefixLength}, which must be between ${smallestPrefix} and ${largestPrefix}`,
      fix: 'choose a length such as 24, which has room for 253 pods',
    };
  }
  const network = networkAt(address, prefixLength);
  if (network.address !== address) {
    return { message: `${text} has host bits set`, fix: `write ${formatIpv4Network(network)}` };
  }
  const special = specialRanges.find(([, range]) => ipv4NetworksOverlap(range, network));
  if (special !== undefined) {
    return {
      message: `${text} overlaps the ${special[0]} range ${formatIpv4Network(special[1])}`,
      fix: 'choose a private network such as 10.244.0.0/24',
    };
  }
  return { network };
}

/** Addresses for pods: all but the network, the broadcast and the gateway address. */
export function podAddressCount(network: Ipv4Network): number {
  return 2 ** (32 - network.prefixLength) - 3;
}

function networkAt(address: number, prefixLength: number): Ipv4Network {
  const size = 2 ** (32 - prefixLength);
  return { address: address - (address % size), prefixLength };
}

/** @param text whose address is known to be IPv6 */
function faultOfIpv6(text: string): PodCidrFault | undefined {
  const [addressText = '', lengthText = '', ...rest] = text.split('/');
  const bytes = parseIpText(addressText);
  if (bytes === undefined || rest.length > 0 || !/^(?:0|[1-9]\d{0,2})$/.test(lengthText)) {
    return {
      message: `${JSON.stringify(text.slice(0, 200))} is not an IPv6 network in CIDR notation`,
      fix: exampleOfBoth,
    };
  }
  const length = Number(lengthText);
  if (length < smallestPrefix6 || length > largestPrefix6) {
    return {
      message: `${text} has prefix length ${length}, which must be between ${smallestPrefix6} and ${largestPrefix6}`,
      fix: 'choose a length such as 64',
    };
  }
  const first = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  const special = specialRanges6.find(([, bits, mask]) => (first & mask) === bits);
  if (special !== undefined) {
    return { message: `${text} is of the ${special[0]}`, fix: 'choose a private network such as fd00:10:244::/64' };
  }
  const network = bytes.map((byte, index) => byte & (0xff << (8 - Math.min(8, Math.max(0, length - index * 8)))));
  const canonical = `${formatIpBytes(network)}/${length}`;
  if (canonical === text) return undefined;
  const hasHostBits = network.some((byte, index) => byte !== bytes[index]);
  return {
    message: `${text} ${hasHostBits ? 'has host bits set' : 'is not in canonical form'}`,
    fix: `write ${canonical}`,
  };
}
