/**
 * Where a server listens: an IP address and a port, as kube-proxy's files and flags write them.
 * Layer: config (pure). Rules: AppendPortIfNeeded of pkg/proxy/util and validateHostPort of pkg/proxy/apis/config.
 */

import { isIpv6, parseIpv4 } from './ip.ts';
import { type Schema, shown, text } from './schema.ts';

export interface BindAddress {
  /** An IPv4 or IPv6 address without brackets. */
  readonly address: string;
  /** 1 to 65535. */
  readonly port: number;
}

export const bindAddressFix = 'write it like 127.0.0.1:10249 or [::1]:10249';

/** Reads `10.0.0.1:80`, `[::1]:80`, or a bare address, which gets the default port; undefined for anything else. */
export function parseBindAddress(value: string, defaultPort: number): BindAddress | undefined {
  if (parseIpv4(value) !== undefined || isIpv6(value)) return { address: value, port: defaultPort };
  const match = /^(?:\[([^[\]]+)\]|([^[\]:]+)):(\d{1,5})$/.exec(value);
  const [, six, four, port = ''] = match ?? [];
  if (Number(port) < 1 || Number(port) > 65_535) return undefined;
  if (six !== undefined) return isIpv6(six) ? { address: six, port: Number(port) } : undefined;
  return four !== undefined && parseIpv4(four) !== undefined ? { address: four, port: Number(port) } : undefined;
}

/** `10.0.0.1:80` or `[::1]:80` */
export function formatBindAddress({ address, port }: BindAddress): string {
  return isIpv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

/** A field with such an address, kept as text; the empty text is "not set". */
export function bindAddress(defaultPort: number): Schema<string> {
  return text(
    (value) => (parseBindAddress(value, defaultPort) === undefined ? ['is not an IP address with a port'] : []),
    bindAddressFix,
  );
}

/** The reason why a text is no bind address, for flags. */
export function bindAddressReason(value: string): string {
  return `${shown(value)} is not an IP address with a port`;
}
