/**
 * IPv4 prefixes as unsigned 32-bit integers; single addresses are config/ip.ts's.
 * Layer: network/ipam (pure). Must not know about pods or the kernel.
 */
import { formatIpv4, parseIpv4 } from '../../config/ip.ts';
import { NetworkError } from '../network-error.ts';

/** The addresses that share the first `length` bits of `base`. */
export interface Ipv4Prefix {
  /** First address, host bits zero. */
  base: number;
  /** 0 to 32. */
  length: number;
  /** Last address. */
  last: number;
}

const prefixLength = /^(0|[1-9][0-9]{0,2})$/;

/** `10.0.0.5/24` gives the prefix 10.0.0.0/24; undefined when the text is no IPv4 address with a length. */
export function parseIpv4Prefix(text: string): Ipv4Prefix | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const address = parseIpv4(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (address === undefined || !prefixLength.test(lengthText)) return undefined;
  const length = Number(lengthText);
  if (length > 32) return undefined;
  const size = 2 ** (32 - length);
  const base = address - (address % size);
  return { base, length, last: base + size - 1 };
}

export function formatIpv4Prefix(prefix: Ipv4Prefix): string {
  return `${formatIpv4(prefix.base)}/${prefix.length}`;
}

export function overlaps(a: Ipv4Prefix, b: Ipv4Prefix): boolean {
  return a.base <= b.last && b.base <= a.last;
}

/** Shortest and longest pod CIDR taken: 16 million addresses, and one pod. */
const podPrefixLengths = { shortest: 8, longest: 30 } as const;

/**
 * A pod CIDR as a user wrote it.
 * @throws NetworkError NETWORK_POD_CIDR_INVALID unless it is a canonical IPv4 prefix of /8 to /30 that can be routed
 */
export function parsePodCIDR(text: string): Ipv4Prefix {
  const invalid = (message: string, fix: string): NetworkError =>
    new NetworkError('NETWORK_POD_CIDR_INVALID', message, { object: `pod CIDR ${text}`, fix });
  const prefix = parseIpv4Prefix(text);
  if (!prefix) throw invalid('not an IPv4 prefix', 'give --pod-cidr a prefix such as 10.244.0.0/24');
  if (formatIpv4Prefix(prefix) !== text) {
    throw invalid('host bits are set', `write it as ${formatIpv4Prefix(prefix)}`);
  }
  if (prefix.length < podPrefixLengths.shortest || prefix.length > podPrefixLengths.longest) {
    throw invalid(
      `a /${prefix.length} is outside /${podPrefixLengths.shortest} to /${podPrefixLengths.longest}`,
      'choose a prefix of that size',
    );
  }
  const unroutable = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'].find((reserved) => {
    const other = parseIpv4Prefix(reserved);
    return other !== undefined && overlaps(prefix, other);
  });
  if (unroutable) throw invalid(`overlaps ${unroutable}, which no host routes`, 'choose a private prefix');
  return prefix;
}
