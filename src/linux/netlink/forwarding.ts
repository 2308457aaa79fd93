/**
 * Forwarding entries of VXLAN links in rtnetlink: RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH in family AF_BRIDGE, flag
 * NTF_SELF (struct ndmsg, neighbour.h; drivers/net/vxlan/vxlan_core.c). What bridges know of their ports is left out.
 * Layer: linux (pure).
 */
import { formatIp, formatMac, parseIp, parseMac } from '../ip-bytes.ts';
import type { ForwardingEntry, RtnetlinkOperation } from '../rtnetlink.ts';
import {
  AF_BRIDGE,
  NDA_DST,
  NDA_LLADDR,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  NTF_SELF,
  NUD_NOARP,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from './constants.ts';
import type { MessageCursor } from './message-reader.ts';
import type { MessageWriter } from './message-writer.ts';
import { ndmsg, ndmsgBytes } from './neighbour.ts';

/** @throws AddressFormatError */
export function encodeForwardingChange(
  writer: MessageWriter,
  sequence: number,
  operation: Extract<RtnetlinkOperation, { op: 'fdbReplace' | 'fdbDelete' }>,
): void {
  const mac = parseMac(operation.mac);
  const ip = operation.ip === undefined ? undefined : parseIp(operation.ip);
  const replace = operation.op === 'fdbReplace';
  const flags = NLM_F_REQUEST | NLM_F_ACK | (replace ? NLM_F_CREATE | NLM_F_REPLACE : 0);
  writer.begin(replace ? RTM_NEWNEIGH : RTM_DELNEIGH, flags, sequence);
  ndmsg(writer, AF_BRIDGE, operation.ifindex, NUD_PERMANENT | NUD_NOARP, NTF_SELF);
  writer.attributeBytes(NDA_LLADDR, mac);
  if (ip !== undefined) writer.attributeBytes(NDA_DST, ip);
  writer.end();
}

/** The kernel filters by ifindex where NETLINK_GET_STRICT_CHK is on; others answer with every link's. */
export function encodeForwardingDump(writer: MessageWriter, sequence: number, ifindex: number): void {
  writer.begin(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, sequence);
  ndmsg(writer, AF_BRIDGE, ifindex, 0);
  writer.end();
}

/** Of an RTM_NEWNEIGH or RTM_DELNEIGH message; undefined for other families, and for entries of bridges. */
export function decodeForwardingEntry(message: MessageCursor): ForwardingEntry | undefined {
  const attributes = message.attributes(ndmsgBytes);
  const { buffer, start } = message;
  if (buffer[start] !== AF_BRIDGE || ((buffer[start + 10] ?? 0) & NTF_SELF) === 0) return undefined;
  let mac: string | undefined;
  let ip: string | undefined;
  while (attributes.next()) {
    const { type, length } = attributes;
    if (type === NDA_LLADDR && length === 6) mac = formatMac(buffer, attributes.start);
    else if (type === NDA_DST && (length === 4 || length === 16)) ip = formatIp(buffer, attributes.start, length);
  }
  if (mac === undefined) return undefined;
  const permanent = (buffer.readUInt16LE(start + 8) & NUD_PERMANENT) !== 0;
  return { ifindex: buffer.readInt32LE(start + 4), mac, ip, permanent };
}
