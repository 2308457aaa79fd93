/**
 * Addresses between text and the primitive that flows carry.
 * Layer: linux (pure).
 */
import { formatIp, parseIp } from '../ip-bytes.ts';
import type { IpAddress } from '../rtnetlink.ts';
import type { AddressKey } from './types.ts';

/** @throws AddressFormatError */
export function addressKey(text: IpAddress): AddressKey {
  const bytes = Buffer.from(parseIp(text));
  return bytes.length === 4 ? bytes.readUInt32BE(0) : bytes.toString('latin1');
}

/** 4 or 16 bytes in network order. */
export function addressKeyBytes(key: AddressKey): Buffer {
  if (typeof key === 'string') return Buffer.from(key, 'latin1');
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(key);
  return bytes;
}

export function formatAddressKey(key: AddressKey): IpAddress {
  return formatIp(addressKeyBytes(key));
}
