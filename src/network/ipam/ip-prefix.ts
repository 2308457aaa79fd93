/**
 * Addresses and prefixes of both families as numbers, for what text cannot do: overlap, order, the next address.
 * Layer: network/ipam (pure). Texts are linux/ip-bytes.ts' to read and write. Must not know about pods or the kernel.
 */
import { AddressFormatError, formatIp, parseIp, parsePrefix } from '../../linux/ip-bytes.ts';
import { NetworkError } from '../network-error.ts';

export type IpFamily = 4 | 6;

/** The addresses that share the first `length` bits of `base`. */
export interface IpPrefix {
  family: IpFamily;
  /** First address, host bits zero. */
  base: bigint;
  /** 0 to 32, or 0 to 128. */
  length: number;
  /** Last address. */
  last: bigint;
}

/** One address. An IPv6 address that carries an IPv4 one (::ffff:10.0.0.1) is of family 6. */
export interface IpNumber {
  family: IpFamily;
  value: bigint;
}

/** Bits of an address, which is the length of the prefix that names one alone. */
export const addressBits = (family: IpFamily): 32 | 128 => (family === 4 ? 32 : 128);

/** Of an address or prefix that is known to be one. */
export const familyOf = (text: string): IpFamily => (text.includes(':') ? 6 : 4);

/** The prefix that is this address alone, in text. */
export const hostPrefixOf = (address: string): string => `${address}/${addressBits(familyOf(address))}`;

/** The destination of a default route. */
export const everywhere = { 4: '0.0.0.0/0', 6: '::/0' } as const;

/** `10.0.0.5/24` gives the prefix 10.0.0.0/24; undefined when the text is no address with a length. */
export function parseIpPrefix(text: string): IpPrefix | undefined {
  return readText(() => {
    const { bytes, length } = parsePrefix(text);
    return prefixAt(numberOf(bytes), length);
  });
}

/** Undefined when the text is no address, or one with a zone or a prefix length. */
export function parseIpNumber(text: string): IpNumber | undefined {
  return readText(() => numberOf(parseIp(text)));
}

/** The prefix that is this address alone; undefined when the text is none. */
export function parseHostPrefix(text: string): IpPrefix | undefined {
  const address = parseIpNumber(text);
  return address && prefixAt(address, addressBits(address.family));
}

/** The prefix of that length in which the address lies. */
export function prefixAt({ family, value }: IpNumber, length: number): IpPrefix {
  const hostBits = BigInt(addressBits(family) - length);
  const base = (value >> hostBits) << hostBits;
  return { family, base, length, last: base + (1n << hostBits) - 1n };
}

/** Canonical: IPv6 as RFC 5952 writes it. */
export function formatIpPrefix({ family, base, length }: IpPrefix): string {
  return `${formatIpNumber({ family, value: base })}/${length}`;
}

export function formatIpNumber({ family, value }: IpNumber): string {
  return formatIp(bytesOf({ family, value }));
}

/** 4 or 16 bytes, in network order. */
export function bytesOf({ family, value }: IpNumber): Uint8Array {
  const bytes = new Uint8Array(addressBits(family) / 8);
  let rest = value;
  for (let index = bytes.length - 1; index >= 0; index--) {
    bytes[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/** The bits of a prefix of that length, in network order. */
export function maskOf(family: IpFamily, length: number): Uint8Array {
  const bits = addressBits(family);
  return bytesOf({ family, value: ((1n << BigInt(length)) - 1n) << BigInt(bits - length) });
}

/** False across families. */
export function overlaps(a: IpPrefix, b: IpPrefix): boolean {
  return a.family === b.family && a.base <= b.last && b.base <= a.last;
}

/** False across families. */
export function contains(prefix: IpPrefix, address: IpNumber): boolean {
  return prefix.family === address.family && prefix.base <= address.value && address.value <= prefix.last;
}

/** Nothing of these ranges is routed like others: RFC 6890, RFC 4291 (::/8 has the loopback and mapped addresses). */
export const unroutable: readonly IpPrefix[] = [
  ...['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'],
  ...['::/8', 'fe80::/10', 'ff00::/8'],
].flatMap((text) => parseIpPrefix(text) ?? []);

/** Shortest and longest pod CIDR taken: 16 million addresses, or what a site has, and one or two pods. */
const podPrefixes = {
  4: { shortest: 8, longest: 30 },
  6: { shortest: 48, longest: 126 },
} as const;

/**
 * A pod CIDR as a user or an API server wrote it.
 * @throws NetworkError NETWORK_POD_CIDR_INVALID unless it is a canonical IPv4 prefix of /8 to /30 or a canonical IPv6 prefix
 * of /48 to /126 that can be routed
 */
export function parsePodCIDR(text: string): IpPrefix {
  const invalid = (message: string, fix: string): NetworkError =>
    new NetworkError('NETWORK_POD_CIDR_INVALID', message, { object: `pod CIDR ${text.slice(0, longestText)}`, fix });
  const prefix = parseIpPrefix(text);
  if (!prefix) throw invalid('not an IP prefix', 'give --pod-cidr a prefix such as 10.244.0.0/24 or fd00:10:244::/64');
  const { shortest, longest } = podPrefixes[prefix.family];
  // Compared before the text: what is no pod CIDR in any spelling is to be said first.
  if (prefix.length < shortest || prefix.length > longest) {
    throw invalid(`a /${prefix.length} is outside /${shortest} to /${longest}`, 'choose a prefix of that size');
  }
  const reserved = unroutable.find((other) => overlaps(prefix, other));
  if (reserved !== undefined)
    throw invalid(`overlaps ${formatIpPrefix(reserved)}, which no host routes`, 'choose a private prefix');
  const canonical = formatIpPrefix(prefix);
  if (canonical !== text) {
    const isSpelling = parseIpNumber(text.slice(0, text.indexOf('/')))?.value === prefix.base;
    throw invalid(isSpelling ? 'not in canonical form' : 'host bits are set', `write it as ${canonical}`);
  }
  return prefix;
}

/** No prefix has more characters: what is longer is cut before anybody is told of it. */
const longestText = 49;

function numberOf(bytes: Uint8Array): IpNumber {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

function readText<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof AddressFormatError) return undefined;
    throw error;
  }
}
