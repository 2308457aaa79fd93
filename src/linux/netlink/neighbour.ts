/**
 * Neighbours in rtnetlink: RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH (struct ndmsg, neighbour.h).
 * Layer: linux (pure). IP neighbours only: forwarding entries of bridges use the same messages in another family.
 */
import { formatIp, formatMac, parseIp, parseMac } from '../ip-bytes.ts';
import type { Neighbour, RtnetlinkOperation } from '../rtnetlink.ts';
import { familyOf } from './address.ts';
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  NDA_DST,
  NDA_LLADDR,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  NUD_NOARP,
  NUD_NONE,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './constants.ts';
import type { MessageCursor } from './message-reader.ts';
import type { MessageWriter } from './message-writer.ts';

export const ndmsgBytes = 12;

/** Entries are permanent: the kernel never asks the network about them. @throws AddressFormatError */
export function encodeNeighbourChange(
  writer: MessageWriter,
  sequence: number,
  operation: Extract<RtnetlinkOperation, { op: 'neighReplace' | 'neighDelete' }>,
): void {
  const ip = parseIp(operation.ip);
  const replace = operation.op === 'neighReplace';
  const flags = NLM_F_REQUEST | NLM_F_ACK | (replace ? NLM_F_CREATE | NLM_F_REPLACE : 0);
  writer.begin(replace ? RTM_NEWNEIGH : RTM_DELNEIGH, flags, sequence);
  ndmsg(writer, familyOf(ip), operation.ifindex, NUD_PERMANENT);
  writer.attributeBytes(NDA_DST, ip);
  if (operation.op === 'neighReplace') writer.attributeBytes(NDA_LLADDR, parseMac(operation.mac));
  writer.end();
}

export function encodeNeighbourDump(writer: MessageWriter, sequence: number): void {
  writer.begin(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, sequence);
  ndmsg(writer, AF_UNSPEC, 0, 0);
  writer.end();
}

/**
 * The neighbour of an RTM_NEWNEIGH or RTM_DELNEIGH message; undefined for other families and for the entries that the
 * kernel makes for multicast and loopback (NUD_NOARP), which ip(8) hides too.
 */
export function decodeNeighbour(message: MessageCursor): Neighbour | undefined {
  const attributes = message.attributes(ndmsgBytes);
  const { buffer, start } = message;
  const family = buffer[start];
  const size = family === AF_INET ? 4 : family === AF_INET6 ? 16 : 0;
  const state = buffer.readUInt16LE(start + 8);
  if (size === 0 || state === NUD_NONE || (state & NUD_NOARP) !== 0) return undefined;
  let ip: string | undefined;
  let mac: string | undefined;
  while (attributes.next()) {
    if (attributes.type === NDA_DST && attributes.length === size) ip = formatIp(buffer, attributes.start, size);
    else if (attributes.type === NDA_LLADDR && attributes.length === 6) mac = formatMac(buffer, attributes.start);
  }
  if (ip === undefined) return undefined;
  return { ifindex: buffer.readInt32LE(start + 4), ip, mac, permanent: (state & NUD_PERMANENT) !== 0 };
}

/** struct ndmsg. @param flags NTF_* */
export function ndmsg(writer: MessageWriter, family: number, ifindex: number, state: number, flags = 0): void {
  writer.u32(family);
  writer.u32(ifindex);
  writer.u16(state);
  writer.u8(flags);
  writer.u8(0);
}
