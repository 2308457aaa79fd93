/**
 * IPVS operations to generic netlink messages, and its listings back.
 * Layer: linux (pure). Knows formats only. Bytes that are none give a NetlinkFormatError.
 */

import type { IpFamily, TransportProtocol } from '../conntrack/types.ts';
import { formatIp, parseIp } from '../ip-bytes.ts';
import { AF_INET, AF_INET6, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from '../netlink/constants.ts';
import { type AttributeCursor, type MessageCursor, NetlinkFormatError } from '../netlink/message-reader.ts';
import type { MessageWriter } from '../netlink/message-writer.ts';
import {
  CTRL_ATTR_FAMILY_ID,
  CTRL_ATTR_FAMILY_NAME,
  CTRL_CMD_GETFAMILY,
  GENL_ID_CTRL,
  genlHeaderBytes,
  IP_VS_CONN_F_FWD_MASK,
  IP_VS_CONN_F_MASQ,
  IP_VS_SVC_F_PERSISTENT,
  IPVS_CMD,
  IPVS_CMD_ATTR,
  IPVS_DEST_ATTR,
  IPVS_GENL_VERSION,
  IPVS_SVC_ATTR,
  schedulerFlagBits,
} from './constants.ts';
import type {
  IpvsOperation,
  IpvsTimeouts,
  RealServer,
  RealServerRef,
  VirtualServer,
  VirtualServerRef,
} from './edge.ts';

const NLA_F_NESTED = 0x8000;
const addressBytes = 16;
const protocolNumbers: Readonly<Record<TransportProtocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const protocolNames = new Map<number, TransportProtocol>([
  [6, 'TCP'],
  [17, 'UDP'],
  [132, 'SCTP'],
]);

/** Asks the controller for the number of a family. */
export function encodeFamilyGet(writer: MessageWriter, sequence: number, name: string): void {
  begin(writer, GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_ACK, sequence, CTRL_CMD_GETFAMILY);
  writer.attributeString(CTRL_ATTR_FAMILY_NAME, name);
  writer.end();
}

/** Undefined for messages that are no answer of the controller. @throws NetlinkFormatError */
export function decodeFamily(message: MessageCursor): number | undefined {
  if (message.type !== GENL_ID_CTRL) return undefined;
  const attributes = message.attributes(genlHeaderBytes);
  while (attributes.next()) if (attributes.type === CTRL_ATTR_FAMILY_ID) return u16(attributes);
  return undefined;
}

const commands = {
  serviceAdd: IPVS_CMD.NEW_SERVICE,
  serviceSet: IPVS_CMD.SET_SERVICE,
  serviceDelete: IPVS_CMD.DEL_SERVICE,
  realAdd: IPVS_CMD.NEW_DEST,
  realSet: IPVS_CMD.SET_DEST,
  realDelete: IPVS_CMD.DEL_DEST,
} as const;

/** @param type the family's number @throws AddressFormatError */
export function encodeIpvs(writer: MessageWriter, type: number, sequence: number, operation: IpvsOperation): void {
  begin(writer, type, NLM_F_REQUEST | NLM_F_ACK, sequence, commands[operation.op]);
  if (operation.op === 'serviceAdd' || operation.op === 'serviceSet') writeService(writer, operation.service);
  else nest(writer, IPVS_CMD_ATTR.SERVICE, () => writeRef(writer, operation.service));
  if ('real' in operation)
    nest(writer, IPVS_CMD_ATTR.DEST, () =>
      writeReal(writer, operation.service.family, operation.real, 'weight' in operation ? operation.weight : undefined),
    );
  writer.end();
}

export function encodeServicesDump(writer: MessageWriter, type: number, sequence: number): void {
  begin(writer, type, NLM_F_REQUEST | NLM_F_DUMP, sequence, IPVS_CMD.GET_SERVICE);
  writer.end();
}

export function encodeRealServersDump(
  writer: MessageWriter,
  type: number,
  sequence: number,
  service: VirtualServerRef,
): void {
  begin(writer, type, NLM_F_REQUEST | NLM_F_DUMP, sequence, IPVS_CMD.GET_DEST);
  nest(writer, IPVS_CMD_ATTR.SERVICE, () => writeRef(writer, service));
  writer.end();
}

/** Whole seconds; 0 leaves what is set. */
export function encodeTimeouts(
  writer: MessageWriter,
  type: number,
  sequence: number,
  { tcp, tcpFin, udp }: IpvsTimeouts,
): void {
  begin(writer, type, NLM_F_REQUEST | NLM_F_ACK, sequence, IPVS_CMD.SET_CONFIG);
  writer.attributeU32(IPVS_CMD_ATTR.TIMEOUT_TCP, tcp);
  writer.attributeU32(IPVS_CMD_ATTR.TIMEOUT_TCP_FIN, tcpFin);
  writer.attributeU32(IPVS_CMD_ATTR.TIMEOUT_UDP, udp);
  writer.end();
}

/** Undefined for one that is chosen by firewall mark, or of a protocol that Services do not have. @throws NetlinkFormatError */
export function decodeService(message: MessageCursor): VirtualServer | undefined {
  const attributes = find(message, IPVS_CMD_ATTR.SERVICE);
  if (attributes === undefined) return undefined;
  let family: IpFamily | undefined;
  let protocol: TransportProtocol | undefined;
  let address: Buffer | undefined;
  let port: number | undefined;
  let scheduler = '';
  let flags = 0;
  let timeout = 0;
  while (attributes.next()) {
    if (attributes.type === IPVS_SVC_ATTR.AF) family = familyOf(u16(attributes));
    else if (attributes.type === IPVS_SVC_ATTR.PROTOCOL) protocol = protocolNames.get(u16(attributes));
    else if (attributes.type === IPVS_SVC_ATTR.ADDR) address = attributes.bytes();
    else if (attributes.type === IPVS_SVC_ATTR.PORT) port = u16be(attributes);
    else if (attributes.type === IPVS_SVC_ATTR.SCHED_NAME) scheduler = attributes.string();
    else if (attributes.type === IPVS_SVC_ATTR.FLAGS) flags = attributes.u32();
    else if (attributes.type === IPVS_SVC_ATTR.TIMEOUT) timeout = attributes.u32();
  }
  if (family === undefined || protocol === undefined || address === undefined || port === undefined) return undefined;
  return {
    family,
    protocol,
    address: readAddress(family, address),
    port,
    scheduler,
    persistentSeconds: (flags & IP_VS_SVC_F_PERSISTENT) === 0 ? 0 : timeout,
    schedulerFlags: flags & schedulerFlagBits,
  };
}

/** @param family of the virtual server, which old kernels do not repeat @throws NetlinkFormatError */
export function decodeRealServer(message: MessageCursor, family: IpFamily): RealServer | undefined {
  const attributes = find(message, IPVS_CMD_ATTR.DEST);
  if (attributes === undefined) return undefined;
  let address: Buffer | undefined;
  let ownFamily: IpFamily | undefined = family;
  let port: number | undefined;
  let method = IP_VS_CONN_F_MASQ;
  const numbers = { weight: 0, active: 0, inactive: 0 };
  while (attributes.next()) {
    if (attributes.type === IPVS_DEST_ATTR.ADDR) address = attributes.bytes();
    else if (attributes.type === IPVS_DEST_ATTR.ADDR_FAMILY) ownFamily = familyOf(u16(attributes));
    else if (attributes.type === IPVS_DEST_ATTR.PORT) port = u16be(attributes);
    else if (attributes.type === IPVS_DEST_ATTR.FWD_METHOD) method = attributes.u32() & IP_VS_CONN_F_FWD_MASK;
    else if (attributes.type === IPVS_DEST_ATTR.WEIGHT) numbers.weight = attributes.i32();
    else if (attributes.type === IPVS_DEST_ATTR.ACTIVE_CONNS) numbers.active = attributes.u32();
    else if (attributes.type === IPVS_DEST_ATTR.INACT_CONNS) numbers.inactive = attributes.u32();
  }
  if (address === undefined || port === undefined || ownFamily === undefined) return undefined;
  return {
    address: readAddress(ownFamily, address),
    port,
    weight: method === IP_VS_CONN_F_MASQ ? numbers.weight : undefined,
    activeConnections: numbers.active,
    inactiveConnections: numbers.inactive,
  };
}

/** Message header and struct genlmsghdr. */
function begin(writer: MessageWriter, type: number, flags: number, sequence: number, command: number): void {
  writer.begin(type, flags, sequence);
  writer.u8(command);
  writer.u8(IPVS_GENL_VERSION);
  writer.u16(0);
}

function writeService(writer: MessageWriter, service: VirtualServer): void {
  const { family, scheduler, persistentSeconds, schedulerFlags } = service;
  nest(writer, IPVS_CMD_ATTR.SERVICE, () => {
    writeRef(writer, service);
    writer.attributeString(IPVS_SVC_ATTR.SCHED_NAME, scheduler);
    // struct ip_vs_flags: the bits, and which of them count.
    const flags = Buffer.alloc(8);
    flags.writeUInt32LE((schedulerFlags & schedulerFlagBits) | (persistentSeconds > 0 ? IP_VS_SVC_F_PERSISTENT : 0), 0);
    flags.writeUInt32LE(0xffffffff, 4);
    writer.attributeBytes(IPVS_SVC_ATTR.FLAGS, flags);
    writer.attributeU32(IPVS_SVC_ATTR.TIMEOUT, persistentSeconds);
    // Every client for itself: a mask for IPv4, a prefix length for IPv6.
    writer.attributeU32(IPVS_SVC_ATTR.NETMASK, family === 'IPv4' ? 0xffffffff : 128);
  });
}

function writeRef(writer: MessageWriter, { family, protocol, address, port }: VirtualServerRef): void {
  writer.attributeBytes(IPVS_SVC_ATTR.AF, u16le(familyNumber(family)));
  writer.attributeBytes(IPVS_SVC_ATTR.PROTOCOL, u16le(protocolNumbers[protocol]));
  writer.attributeBytes(IPVS_SVC_ATTR.ADDR, addressOf(address));
  writer.attributeBytes(IPVS_SVC_ATTR.PORT, Uint8Array.of(port >> 8, port));
}

function writeReal(
  writer: MessageWriter,
  family: IpFamily,
  { address, port }: RealServerRef,
  weight: number | undefined,
): void {
  writer.attributeBytes(IPVS_DEST_ATTR.ADDR, addressOf(address));
  writer.attributeBytes(IPVS_DEST_ATTR.PORT, Uint8Array.of(port >> 8, port));
  writer.attributeBytes(IPVS_DEST_ATTR.ADDR_FAMILY, u16le(familyNumber(family)));
  if (weight === undefined) return;
  writer.attributeU32(IPVS_DEST_ATTR.FWD_METHOD, IP_VS_CONN_F_MASQ);
  writer.attributeU32(IPVS_DEST_ATTR.WEIGHT, weight);
  writer.attributeU32(IPVS_DEST_ATTR.U_THRESH, 0);
  writer.attributeU32(IPVS_DEST_ATTR.L_THRESH, 0);
}

function nest(writer: MessageWriter, type: number, body: () => void): void {
  const start = writer.beginAttribute(type | NLA_F_NESTED);
  body();
  writer.endAttribute(start);
}

function find(message: MessageCursor, type: number): AttributeCursor | undefined {
  const attributes = message.attributes(genlHeaderBytes);
  while (attributes.next()) if (attributes.type === type) return attributes.nested();
  return undefined;
}

const familyNumber = (family: IpFamily): number => (family === 'IPv4' ? AF_INET : AF_INET6);
const familyOf = (number: number): IpFamily | undefined =>
  number === AF_INET ? 'IPv4' : number === AF_INET6 ? 'IPv6' : undefined;

/** union nf_inet_addr: 16 bytes for either family. */
function addressOf(text: string): Uint8Array {
  const bytes = new Uint8Array(addressBytes);
  bytes.set(parseIp(text));
  return bytes;
}

function readAddress(family: IpFamily, bytes: Buffer): string {
  const length = family === 'IPv4' ? 4 : addressBytes;
  if (bytes.length < length) throw new NetlinkFormatError(`IPVS address of ${bytes.length} bytes`);
  return formatIp(bytes, 0, length);
}

const u16le = (value: number): Uint8Array => Uint8Array.of(value, value >> 8);

function u16(attribute: AttributeCursor): number {
  const bytes = attribute.bytes();
  if (bytes.length < 2) throw new NetlinkFormatError('IPVS attribute shorter than 16 bits');
  return bytes.readUInt16LE(0);
}

function u16be(attribute: AttributeCursor): number {
  const bytes = attribute.bytes();
  if (bytes.length < 2) throw new NetlinkFormatError('IPVS attribute shorter than 16 bits');
  return bytes.readUInt16BE(0);
}
