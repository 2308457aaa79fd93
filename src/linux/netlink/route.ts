/**
 * Routes in rtnetlink: RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE (struct rtmsg, rtnetlink.h).
 * Layer: linux (pure). One next hop a route; multipath routes of others decode without gateway and ifindex.
 */
import { formatIp, parseIp, parsePrefix } from '../ip-bytes.ts';
import { keelsonRouteProtocol, type Route, type RtnetlinkOperation } from '../rtnetlink.ts';
import { familyOf, scopeName, scopeNumber } from './address.ts';
import {
  AF_INET,
  AF_INET6,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  RT_SCOPE_NOWHERE,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTA_DST,
  RTA_GATEWAY,
  RTA_OIF,
  RTA_PREFSRC,
  RTA_TABLE,
  RTA_VIA,
  RTM_DELROUTE,
  RTM_F_CLONED,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTNH_F_ONLINK,
} from './constants.ts';
import type { MessageCursor } from './message-reader.ts';
import { type MessageWriter, NetlinkEncodeError } from './message-writer.ts';

type RouteReplace = Extract<RtnetlinkOperation, { op: 'routeReplace' }>;
type RouteDelete = Extract<RtnetlinkOperation, { op: 'routeDelete' }>;

const rtmsgBytes = 12;

/** rtnetlink.h, RTN_*; anything else decodes as `other`. */
const typeNumber: Readonly<Record<Exclude<Route['type'], 'other'>, number>> = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
};
const typeName = new Map(Object.entries(typeNumber).map(([name, value]) => [value, name as Route['type']]));

/** What ip(8) fills in: a local route is of host scope, one without gateway of link scope; IPv6 has no scopes. */
export function defaultScope(operation: RouteReplace): Route['scope'] {
  const type = operation.type ?? 'unicast';
  if (operation.destination.includes(':')) return 'global';
  if (type === 'local') return 'host';
  if (type === 'broadcast') return 'link';
  return type === 'unicast' && operation.gateway === undefined ? 'link' : 'global';
}

/** What ip(8) fills in: local and broadcast routes go to the local table, others to main. */
export function defaultTable(operation: RouteReplace): number {
  return operation.type === 'local' || operation.type === 'broadcast' ? RT_TABLE_LOCAL : RT_TABLE_MAIN;
}

/** @throws AddressFormatError, NetlinkEncodeError */
export function encodeRouteReplace(writer: MessageWriter, sequence: number, operation: RouteReplace): void {
  const type = operation.type ?? 'unicast';
  if (type === 'other')
    throw new NetlinkEncodeError('a route of type `other` cannot be made', `route ${operation.destination}`);
  writeRoute(writer, sequence, operation, {
    message: RTM_NEWROUTE,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    protocol: operation.protocol ?? keelsonRouteProtocol,
    scope: scopeNumber[operation.scope ?? defaultScope(operation)],
    type: typeNumber[type],
    table: operation.table ?? defaultTable(operation),
    source: operation.source,
    onlink: operation.onlink ?? false,
  });
}

/** Matches any type and scope, and any protocol unless one is given. @throws AddressFormatError */
export function encodeRouteDelete(writer: MessageWriter, sequence: number, operation: RouteDelete): void {
  writeRoute(writer, sequence, operation, {
    message: RTM_DELROUTE,
    flags: 0,
    protocol: operation.protocol ?? 0,
    scope: RT_SCOPE_NOWHERE,
    type: 0,
    table: operation.table ?? RT_TABLE_MAIN,
    source: undefined,
    onlink: false,
  });
}

/** One family per dump; the kernel filters by table where NETLINK_GET_STRICT_CHK is on (ENOENT for a table without routes). */
export function encodeRouteDump(writer: MessageWriter, sequence: number, family: 4 | 6, table: number): void {
  writer.begin(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, sequence);
  rtmsg(writer, family === 4 ? AF_INET : AF_INET6, 0, 0, 0, 0, 0, 0);
  writer.attributeU32(RTA_TABLE, table);
  writer.end();
}

/** The route of an RTM_NEWROUTE or RTM_DELROUTE message; undefined for other families and for cached clones. */
export function decodeRoute(message: MessageCursor): Route | undefined {
  const attributes = message.attributes(rtmsgBytes);
  const { buffer, start } = message;
  const family = buffer[start];
  const size = family === AF_INET ? 4 : family === AF_INET6 ? 16 : 0;
  const flags = buffer.readUInt32LE(start + 8);
  if (size === 0 || (flags & RTM_F_CLONED) !== 0) return undefined;
  let destination = size === 4 ? '0.0.0.0' : '::';
  const route: Route = {
    destination,
    gateway: undefined,
    ifindex: undefined,
    source: undefined,
    scope: scopeName(buffer[start + 6] ?? 0),
    type: typeName.get(buffer[start + 7] ?? 0) ?? 'other',
    protocol: buffer[start + 5] ?? 0,
    table: buffer[start + 4] ?? 0,
    onlink: (flags & RTNH_F_ONLINK) !== 0,
  };
  while (attributes.next()) {
    const { type, length } = attributes;
    if (type === RTA_DST && length === size) destination = formatIp(buffer, attributes.start, size);
    else if (type === RTA_GATEWAY && length === size) route.gateway = formatIp(buffer, attributes.start, size);
    else if (type === RTA_VIA && (length === 6 || length === 18))
      route.gateway = formatIp(buffer, attributes.start + 2, length - 2);
    else if (type === RTA_PREFSRC && length === size) route.source = formatIp(buffer, attributes.start, size);
    else if (type === RTA_OIF) route.ifindex = attributes.u32();
    else if (type === RTA_TABLE) route.table = attributes.u32();
  }
  route.destination = `${destination}/${buffer[start + 1]}`;
  return route;
}

interface RouteFields {
  message: number;
  flags: number;
  protocol: number;
  scope: number;
  type: number;
  table: number;
  source: string | undefined;
  onlink: boolean;
}

function writeRoute(
  writer: MessageWriter,
  sequence: number,
  operation: RouteReplace | RouteDelete,
  fields: RouteFields,
): void {
  const { bytes, length } = parsePrefix(operation.destination);
  const family = familyOf(bytes);
  const gateway = operation.gateway === undefined ? undefined : parseIp(operation.gateway);
  // The header has 8 bits for the table; larger numbers go into an attribute.
  const wideTable = fields.table > 255;
  writer.begin(fields.message, NLM_F_REQUEST | NLM_F_ACK | fields.flags, sequence);
  rtmsg(
    writer,
    family,
    length,
    wideTable ? 0 : fields.table,
    fields.protocol,
    fields.scope,
    fields.type,
    fields.onlink ? RTNH_F_ONLINK : 0,
  );
  if (length > 0 || family === AF_INET6) writer.attributeBytes(RTA_DST, bytes);
  if (gateway !== undefined && familyOf(gateway) === family) {
    writer.attributeBytes(RTA_GATEWAY, gateway);
  } else if (gateway !== undefined) {
    const via = writer.beginAttribute(RTA_VIA);
    writer.u16(familyOf(gateway));
    writer.bytes(gateway);
    writer.endAttribute(via);
  }
  if (fields.source !== undefined) writer.attributeBytes(RTA_PREFSRC, parseIp(fields.source));
  if (wideTable) writer.attributeU32(RTA_TABLE, fields.table);
  if (operation.ifindex !== undefined) writer.attributeU32(RTA_OIF, operation.ifindex);
  writer.end();
}

function rtmsg(
  writer: MessageWriter,
  family: number,
  destinationLength: number,
  table: number,
  protocol: number,
  scope: number,
  type: number,
  flags: number,
): void {
  writer.u8(family);
  writer.u8(destinationLength);
  writer.u8(0);
  writer.u8(0);
  writer.u8(table);
  writer.u8(protocol);
  writer.u8(scope);
  writer.u8(type);
  writer.u32(flags);
}
