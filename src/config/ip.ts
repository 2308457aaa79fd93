/**
 * IPv4 addresses and networks as numbers, and the check of IPv6 texts, as far as configuration needs them.
 * Layer: config (pure). Must not import node:net; routes and links have their own codecs in src/linux.
 */
import { parseIpText } from '../base/ip-text.ts';

/** An IPv4 network: `address` is its first address as an unsigned 32-bit number, host bits zero. */
export interface Ipv4Network {
  readonly address: number;
  /** 0..32 */
  readonly prefixLength: number;
}

/** The unsigned 32-bit number of a dotted quad without leading zeros (Go refuses them since 1.17), or undefined. */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) {
    return undefined;
  }
  return parts.reduce((value, part) => value * 256 + Number(part), 0);
}

/** The dotted quad of an unsigned 32-bit number. */
export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
}

/** Whether the text is an IPv6 address (RFC 4291, also with an IPv4 tail), without a zone. */
export const isIpv6 = (text: string): boolean => text.includes(':') && parseIpText(text) !== undefined;

/** The mask of a prefix length, as an unsigned 32-bit number. */
export function ipv4Mask(prefixLength: number): number {
  return prefixLength === 0 ? 0 : (0xffffffff << (32 - prefixLength)) >>> 0;
}

/** `10.1.0.0/16` */
export function formatIpv4Network(network: Ipv4Network): string {
  return `${formatIpv4(network.address)}/${network.prefixLength}`;
}

/** Whether the two networks share an address. */
export function ipv4NetworksOverlap(a: Ipv4Network, b: Ipv4Network): boolean {
  const mask = ipv4Mask(Math.min(a.prefixLength, b.prefixLength));
  return (a.address & mask) >>> 0 === (b.address & mask) >>> 0;
}
