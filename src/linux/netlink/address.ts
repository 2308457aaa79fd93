/**
 * Addresses in rtnetlink: RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR (struct ifaddrmsg, if_addr.h).
 * Layer: linux (pure). Also the numbers of scopes, which routes share.
 */
import { formatIp, parsePrefix } from '../ip-bytes.ts';
import type { Address, RtnetlinkOperation, Scope } from '../rtnetlink.ts';
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  IFA_ADDRESS,
  IFA_F_NODAD,
  IFA_LOCAL,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
} from './constants.ts';
import type { MessageCursor } from './message-reader.ts';
import type { MessageWriter } from './message-writer.ts';

const ifaddrmsgBytes = 8;
/** if_addr.h */
const IFA_CACHEINFO = 6;

/** rtnetlink.h, enum rt_scope_t */
export const scopeNumber: Readonly<Record<Scope, number>> = { global: 0, link: 253, host: 254 };

/** The old site scope (200) counts as global; nowhere (255) never leaves the host. */
export function scopeName(value: number): Scope {
  if (value < scopeNumber.link) return 'global';
  return value === scopeNumber.link ? 'link' : 'host';
}

export function familyOf(address: Uint8Array): number {
  return address.length === 4 ? AF_INET : AF_INET6;
}

/** @throws AddressFormatError */
export function encodeAddressChange(
  writer: MessageWriter,
  sequence: number,
  operation: Extract<RtnetlinkOperation, { op: 'addressAdd' | 'addressDelete' }>,
): void {
  const { bytes, length } = parsePrefix(operation.prefix);
  const add = operation.op === 'addressAdd';
  const flags = add ? NLM_F_CREATE | (operation.replace ? NLM_F_REPLACE : NLM_F_EXCL) : 0;
  writer.begin(add ? RTM_NEWADDR : RTM_DELADDR, NLM_F_REQUEST | NLM_F_ACK | flags, sequence);
  writer.u8(familyOf(bytes));
  writer.u8(length);
  writer.u8(add && operation.noDad ? IFA_F_NODAD : 0);
  writer.u8(add ? scopeNumber[operation.scope ?? 'global'] : 0);
  writer.u32(operation.ifindex);
  writer.attributeBytes(IFA_LOCAL, bytes);
  writer.attributeBytes(IFA_ADDRESS, bytes);
  // struct ifa_cacheinfo: preferred for 0 seconds, valid for ever.
  if (add && operation.deprecated)
    writer.attributeBytes(IFA_CACHEINFO, Uint8Array.of(0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0));
  writer.end();
}

export function encodeAddressDump(writer: MessageWriter, sequence: number): void {
  writer.begin(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, sequence);
  writer.u32(AF_UNSPEC);
  writer.u32(0);
  writer.end();
}

/** The address of an RTM_NEWADDR or RTM_DELADDR message; undefined for families other than IPv4 and IPv6. */
export function decodeAddress(message: MessageCursor): Address | undefined {
  const attributes = message.attributes(ifaddrmsgBytes);
  const { buffer, start } = message;
  const family = buffer[start];
  const size = family === AF_INET ? 4 : family === AF_INET6 ? 16 : 0;
  if (size === 0) return undefined;
  let own: string | undefined;
  while (attributes.next()) {
    if (attributes.length !== size) continue;
    // On a point-to-point link IFA_ADDRESS is the other end's; IFA_LOCAL is ours wherever there is one.
    if (attributes.type === IFA_LOCAL) own = formatIp(buffer, attributes.start, size);
    else if (attributes.type === IFA_ADDRESS) own ??= formatIp(buffer, attributes.start, size);
  }
  if (own === undefined) return undefined;
  return {
    ifindex: buffer.readUInt32LE(start + 4),
    prefix: `${own}/${buffer[start + 1]}`,
    scope: scopeName(buffer[start + 3] ?? 0),
  };
}
