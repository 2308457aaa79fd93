/**
 * The rule for a pod network: one IPv4 network, written by its own address, large enough and not of a special range.
 * Layer: config (pure). Whether it collides with routes of the host is for `keelson doctor`, which may look.
 */

import { formatIpv4Network, type Ipv4Network, ipv4Mask, ipv4NetworksOverlap, isIpv6, parseIpv4 } from './ip.ts';

/** Either the network or why it is none, with the fix. */
export type PodCidrResult = { readonly network: Ipv4Network } | { readonly message: string; readonly fix: string };

const smallestPrefix = 8;
const largestPrefix = 30;

// RFC 6890: ranges which the kernel does not route like others.
const specialRanges: readonly (readonly [string, Ipv4Network])[] = [
  ['this-network', { address: 0, prefixLength: 8 }],
  ['loopback', { address: 0x7f000000, prefixLength: 8 }],
  ['link-local', { address: 0xa9fe0000, prefixLength: 16 }],
  ['multicast or reserved', { address: 0xe0000000, prefixLength: 3 }],
];

const example = 'write it like 10.244.0.0/24';

/** Checks a pod CIDR: canonical IPv4 network, /8 to /30, no loopback, link-local, multicast or reserved range. */
export function parsePodCidr(text: string): PodCidrResult {
  const [addressText = '', lengthText, ...rest] = text.split('/');
  if (isIpv6(addressText)) {
    return { message: `${text} is an IPv6 network, and pods have IPv4 addresses in this version`, fix: example };
  }
  const address = parseIpv4(addressText);
  if (address === undefined || lengthText === undefined || rest.length > 0 || !/^(?:0|[1-9]\d?)$/.test(lengthText)) {
    return { message: `${JSON.stringify(text)} is not an IPv4 network in CIDR notation`, fix: example };
  }
  const prefixLength = Number(lengthText);
  if (prefixLength < smallestPrefix || prefixLength > largestPrefix) {
    return {
      message: `${text} has prefix length ${prefixLength}, which must be between ${smallestPrefix} and ${largestPrefix}`,
      fix: 'choose a length such as 24, which has room for 253 pods',
    };
  }
  const network: Ipv4Network = { address: (address & ipv4Mask(prefixLength)) >>> 0, prefixLength };
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
