/**
 * Links in rtnetlink: RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK (struct ifinfomsg, if_link.h).
 * Layer: linux (pure). Attribute order is iproute2's, so that captures can be compared byte for byte.
 */
import { formatIp, formatMac, parseIp, parseMac } from '../ip-bytes.ts';
import type { Link, LinkRef, RtnetlinkOperation, VxlanSettings } from '../rtnetlink.ts';
import {
  AF_UNSPEC,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_EXT_MASK,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINK,
  IFLA_LINK_NETNSID,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_NET_NS_FD,
  IFLA_VXLAN_ID,
  IFLA_VXLAN_LEARNING,
  IFLA_VXLAN_LINK,
  IFLA_VXLAN_LOCAL,
  IFLA_VXLAN_LOCAL6,
  IFLA_VXLAN_PORT,
  IFLA_VXLAN_UDP_CSUM,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  RTEXT_FILTER_SKIP_STATS,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  VETH_INFO_PEER,
} from './constants.ts';
import type { AttributeCursor, MessageCursor } from './message-reader.ts';
import { type MessageWriter, NetlinkEncodeError } from './message-writer.ts';

type Operation<Name extends RtnetlinkOperation['op']> = Extract<RtnetlinkOperation, { op: Name }>;

/** Says which open file descriptor stands for a namespace path while the request is sent. */
export type NetnsDescriptor = (netnsPath: string) => number;

const ifinfomsgBytes = 16;
const request = NLM_F_REQUEST | NLM_F_ACK;

export function encodeLinkAddVeth(
  writer: MessageWriter,
  sequence: number,
  operation: Operation<'linkAddVeth'>,
  netnsDescriptor: NetnsDescriptor,
): void {
  const { peer } = operation;
  writer.begin(RTM_NEWLINK, request | NLM_F_CREATE | NLM_F_EXCL, sequence);
  ifinfomsg(writer);
  macAndMtu(writer, operation.mac, operation.mtu);
  writer.attributeString(IFLA_IFNAME, operation.name);
  const linkInfo = writer.beginAttribute(IFLA_LINKINFO);
  writer.attributeString(IFLA_INFO_KIND, 'veth', false);
  const data = writer.beginAttribute(IFLA_INFO_DATA);
  const peerLink = writer.beginAttribute(VETH_INFO_PEER);
  ifinfomsg(writer);
  macAndMtu(writer, peer.mac, peer.mtu);
  if (peer.netnsPath !== undefined) writer.attributeU32(IFLA_NET_NS_FD, netnsDescriptor(peer.netnsPath));
  writer.attributeString(IFLA_IFNAME, peer.name);
  writer.endAttribute(peerLink);
  writer.endAttribute(data);
  writer.endAttribute(linkInfo);
  writer.end();
}

/** A link that is a name and a kind. */
export function encodeLinkAddPlain(
  writer: MessageWriter,
  sequence: number,
  operation: Operation<'linkAddBridge' | 'linkAddIfb'>,
): void {
  writer.begin(RTM_NEWLINK, request | NLM_F_CREATE | NLM_F_EXCL, sequence);
  ifinfomsg(writer);
  writer.attributeString(IFLA_IFNAME, operation.name);
  const linkInfo = writer.beginAttribute(IFLA_LINKINFO);
  writer.attributeString(IFLA_INFO_KIND, operation.op === 'linkAddIfb' ? 'ifb' : 'bridge', false);
  writer.endAttribute(linkInfo);
  writer.end();
}

/** @throws NetlinkEncodeError for a VNI or port out of range, AddressFormatError */
export function encodeLinkAddVxlan(
  writer: MessageWriter,
  sequence: number,
  operation: Operation<'linkAddVxlan'>,
): void {
  const { name, vni, port } = operation;
  if (!isWhole(vni, 0xffffff)) throw new NetlinkEncodeError(`VNI ${vni} is not one of 0 to 16777215`, `link ${name}`);
  if (!isWhole(port, 0xffff)) throw new NetlinkEncodeError(`port ${port} is not one of 0 to 65535`, `link ${name}`);
  const local = parseIp(operation.local);
  writer.begin(RTM_NEWLINK, request | NLM_F_CREATE | NLM_F_EXCL, sequence);
  ifinfomsg(writer);
  macAndMtu(writer, operation.mac, operation.mtu);
  writer.attributeString(IFLA_IFNAME, name);
  const linkInfo = writer.beginAttribute(IFLA_LINKINFO);
  writer.attributeString(IFLA_INFO_KIND, 'vxlan', false);
  const data = writer.beginAttribute(IFLA_INFO_DATA);
  writer.attributeBytes(IFLA_VXLAN_UDP_CSUM, Uint8Array.of(1));
  writer.attributeU32(IFLA_VXLAN_ID, vni);
  writer.attributeBytes(local.length === 4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, local);
  writer.attributeBytes(IFLA_VXLAN_LEARNING, Uint8Array.of(0));
  writer.attributeBytes(IFLA_VXLAN_PORT, Uint8Array.of(port >> 8, port & 0xff));
  writer.endAttribute(data);
  writer.endAttribute(linkInfo);
  writer.end();
}

const isWhole = (value: number, max: number): boolean => Number.isInteger(value) && value >= 0 && value <= max;

/** @throws NetlinkEncodeError for a rename of a link that is itself given by name: the message has room for one name. */
export function encodeLinkSet(writer: MessageWriter, sequence: number, operation: Operation<'linkSet'>): void {
  const { link, up, alias, mtu, masterIfindex, mac, rename } = operation;
  if (rename !== undefined && 'name' in link) {
    throw new NetlinkEncodeError('a rename needs the ifindex of the link, not its name', `link ${link.name}`);
  }
  writer.begin(RTM_NEWLINK, request, sequence);
  ifinfomsg(writer, 'ifindex' in link ? link.ifindex : 0, up ? IFF_UP : 0, up === undefined ? 0 : IFF_UP);
  if ('name' in link) writer.attributeString(IFLA_IFNAME, link.name);
  macAndMtu(writer, mac, mtu);
  if (masterIfindex !== undefined) writer.attributeU32(IFLA_MASTER, masterIfindex);
  if (alias !== undefined) writer.attributeString(IFLA_IFALIAS, alias, false);
  if (rename !== undefined) writer.attributeString(IFLA_IFNAME, rename);
  writer.end();
}

export function encodeLinkDelete(writer: MessageWriter, sequence: number, operation: Operation<'linkDelete'>): void {
  linkRequest(writer, RTM_DELLINK, sequence, operation.link);
  writer.end();
}

export function encodeLinkGet(writer: MessageWriter, sequence: number, ref: LinkRef): void {
  linkRequest(writer, RTM_GETLINK, sequence, ref);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  writer.end();
}

export function encodeLinkDump(writer: MessageWriter, sequence: number): void {
  writer.begin(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, sequence);
  ifinfomsg(writer);
  writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  writer.end();
}

/**
 * The link of an RTM_NEWLINK or RTM_DELLINK message; undefined for the messages of other families, which say something
 * about a link (a bridge announces its ports so, and RTM_DELLINK then means "left the bridge").
 */
export function decodeLink(message: MessageCursor): Link | undefined {
  const attributes = message.attributes(ifinfomsgBytes);
  const { buffer, start } = message;
  if (buffer[start] !== AF_UNSPEC) return undefined;
  const link: Link = {
    ifindex: buffer.readInt32LE(start + 4),
    name: '',
    kind: undefined,
    mtu: 0,
    up: (buffer.readUInt32LE(start + 8) & IFF_UP) !== 0,
    mac: undefined,
    alias: undefined,
    parentIfindex: undefined,
    linkNetnsId: undefined,
    masterIfindex: undefined,
  };
  while (attributes.next()) {
    switch (attributes.type) {
      case IFLA_ADDRESS:
        if (attributes.length === 6) link.mac = formatMac(buffer, attributes.start);
        break;
      case IFLA_IFNAME:
        link.name = attributes.string();
        break;
      case IFLA_MTU:
        link.mtu = attributes.u32();
        break;
      case IFLA_LINK:
        link.parentIfindex = attributes.u32() || undefined;
        break;
      case IFLA_MASTER:
        link.masterIfindex = attributes.u32() || undefined;
        break;
      case IFLA_IFALIAS:
        link.alias = attributes.string();
        break;
      case IFLA_LINK_NETNSID:
        link.linkNetnsId = attributes.i32();
        break;
      case IFLA_LINKINFO: {
        const info = attributes.nested();
        while (info.next()) {
          if (info.type === IFLA_INFO_KIND) link.kind = info.string();
          // The kernel tells the kind first.
          else if (info.type === IFLA_INFO_DATA && link.kind === 'vxlan') link.vxlan = decodeVxlan(info.nested());
        }
        break;
      }
    }
  }
  return link;
}

function decodeVxlan(data: AttributeCursor): VxlanSettings {
  const settings: VxlanSettings = { vni: 0, port: 0, local: undefined, lower: undefined, learning: false };
  while (data.next()) {
    switch (data.type) {
      case IFLA_VXLAN_ID:
        settings.vni = data.u32();
        break;
      case IFLA_VXLAN_PORT:
        if (data.length === 2) settings.port = data.buffer.readUInt16BE(data.start);
        break;
      case IFLA_VXLAN_LOCAL:
      case IFLA_VXLAN_LOCAL6:
        if (data.length === 4 || data.length === 16) settings.local = formatIp(data.buffer, data.start, data.length);
        break;
      case IFLA_VXLAN_LINK:
        settings.lower = data.u32() || undefined;
        break;
      case IFLA_VXLAN_LEARNING:
        settings.learning = data.bytes()[0] === 1;
        break;
    }
  }
  return settings;
}

function linkRequest(writer: MessageWriter, type: number, sequence: number, ref: LinkRef): void {
  writer.begin(type, request, sequence);
  ifinfomsg(writer, 'ifindex' in ref ? ref.ifindex : 0);
  if ('name' in ref) writer.attributeString(IFLA_IFNAME, ref.name);
}

function ifinfomsg(writer: MessageWriter, ifindex = 0, flags = 0, change = 0): void {
  writer.u32(AF_UNSPEC);
  writer.u32(ifindex);
  writer.u32(flags);
  writer.u32(change);
}

function macAndMtu(writer: MessageWriter, mac: string | undefined, mtu: number | undefined): void {
  if (mac !== undefined) writer.attributeBytes(IFLA_ADDRESS, parseMac(mac));
  if (mtu !== undefined) writer.attributeU32(IFLA_MTU, mtu);
}
