/**
 * Addresses and endpoints in the form that 440,000 of them fit in: IPv4 as numbers, IPv6 as canonical text.
 * Both are opaque primitives: `===`, Set and Map work on them, only this file looks inside.
 * Layer: proxy/services (pure). Must not know about Services or the kernel.
 */
import type { IpFamily } from '../../api/service.ts';
import { formatIp, parseIp } from '../../linux/ip-bytes.ts';

/** IPv4: an unsigned 32-bit integer. IPv6: text as RFC 5952 writes it. */
export type Address = number | string;
/** An address with a port. IPv4: address * 65536 + port, exact in a double. IPv6: `[address]:port`. */
export type EndpointRef = number | string;

export type AddressFault = 'malformed' | 'of the other family' | 'not usable as a destination';

/** Why `text` is no destination of `family`, or the address. */
export function parseAddress(family: IpFamily, text: string): { address: Address } | { fault: AddressFault } {
  if (family === 'IPv4') {
    const address = parseIpv4(text);
    if (address === undefined) return { fault: isIpv6(text) ? 'of the other family' : 'malformed' };
    const first = address >>> 24;
    // 240.0.0.0/4 is left in: clusters do use it for pods.
    const unusable = first === 0 || first === 127 || first >>> 4 === 14 || address === 0xffffffff;
    return unusable ? { fault: 'not usable as a destination' } : { address };
  }
  const address = canonicalIpv6(text);
  if (address === undefined) return { fault: parseIpv4(text) === undefined ? 'malformed' : 'of the other family' };
  // A mapped address is IPv4 to the kernel and to Kubernetes.
  if (address.startsWith('::ffff:') && address.includes('.')) return { fault: 'of the other family' };
  return address === '::' || address === '::1' || address.startsWith('ff')
    ? { fault: 'not usable as a destination' }
    : { address };
}

/** 169.254.0.0/16 and fe80::/10, which no endpoint may have (ValidateEndpointIP). */
export function isLinkLocal(address: Address): boolean {
  return typeof address === 'number' ? address >>> 16 === 0xa9fe : /^fe[89ab]/.test(address);
}

export function formatAddress(address: Address): string {
  if (typeof address === 'string') return address;
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

export function endpointRef(address: Address, port: number): EndpointRef {
  return typeof address === 'number' ? address * 65536 + port : `[${address}]:${port}`;
}

export function endpointAddress(endpoint: EndpointRef): Address {
  return typeof endpoint === 'number' ? Math.floor(endpoint / 65536) : endpoint.slice(1, endpoint.lastIndexOf(']'));
}

export function endpointPort(endpoint: EndpointRef): number {
  return typeof endpoint === 'number' ? endpoint % 65536 : Number(endpoint.slice(endpoint.lastIndexOf(':') + 1));
}

/** `10.0.0.1:80` or `[fd00::1]:80`. */
export function formatEndpoint(endpoint: EndpointRef): string {
  if (typeof endpoint === 'string') return endpoint;
  return `${formatAddress(endpointAddress(endpoint))}:${endpointPort(endpoint)}`;
}

/** Writes 4 or 16 bytes in network order; returns the offset behind them. */
export function writeAddress(address: Address, bytes: Uint8Array, offset: number): number {
  if (typeof address === 'string') {
    bytes.set(parseIp(address), offset);
    return offset + 16;
  }
  bytes[offset] = address >>> 24;
  bytes[offset + 1] = address >>> 16;
  bytes[offset + 2] = address >>> 8;
  bytes[offset + 3] = address;
  return offset + 4;
}

/** Writes the address and, behind it, the port, both in network order; returns the offset behind them. */
export function writeEndpoint(endpoint: EndpointRef, bytes: Uint8Array, offset: number): number {
  const port = endpointPort(endpoint);
  const end = writeAddress(endpointAddress(endpoint), bytes, offset);
  bytes[end] = port >>> 8;
  bytes[end + 1] = port;
  return end + 2;
}

/** The reverse of writeEndpoint. */
export function readEndpoint(family: IpFamily, bytes: Uint8Array, offset: number): EndpointRef {
  const end = offset + (family === 'IPv4' ? 4 : 16);
  const port = (bytes[end] ?? 0) * 256 + (bytes[end + 1] ?? 0);
  if (family === 'IPv6') return endpointRef(formatIp(bytes, offset, 16), port);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return endpointRef(view.getUint32(offset), port);
}

/** One pass without allocation; leading zeros are decimal, as in Kubernetes' ParseIPSloppy, since old objects have them. */
function parseIpv4(text: string): number | undefined {
  let value = 0;
  let octet = 0;
  let digits = 0;
  let dots = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x2e) {
      if (digits === 0 || ++dots > 3) return undefined;
      value = value * 256 + octet;
      octet = 0;
      digits = 0;
      continue;
    }
    if (code < 0x30 || code > 0x39 || ++digits > 3) return undefined;
    octet = octet * 10 + code - 0x30;
    if (octet > 255) return undefined;
  }
  return dots === 3 && digits > 0 ? value * 256 + octet : undefined;
}

const isIpv6 = (text: string): boolean => canonicalIpv6(text) !== undefined;

function canonicalIpv6(text: string): string | undefined {
  // Asked first, since parseIp throws: a slice of 1000 wrong addresses must not cost 1000 stack traces.
  if (!/^[0-9a-fA-F:.]{2,45}$/.test(text) || !text.includes(':')) return undefined;
  try {
    return formatIp(parseIp(text));
  } catch {
    return undefined;
  }
}
