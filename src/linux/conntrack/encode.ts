/**
 * Requests to ctnetlink: listing and deleting.
 * Layer: linux (pure). A delete without a tuple would flush the whole table, and kernels before 6.11 would ignore or refuse
 * a filter beside it, so one is only ever written for one flow.
 */
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from '../netlink/constants.ts';
import { MessageWriter } from '../netlink/message-writer.ts';
import { addressKeyBytes } from './address-key.ts';
import {
  CTA,
  CTA_FILTER_ORIG_FLAGS,
  CTA_IP_SRC,
  CTA_PROTO,
  CTA_TUPLE,
  conntrackMessage,
  familyNumber,
  filterFlag,
  IPCTNL_MSG_CT,
  NLA_F_NESTED,
  protocolNumber,
} from './constants.ts';
import type { Flow, FlowDestination, IpFamily, TransportProtocol, Tuple } from './types.ts';

export interface FlowsRequest {
  family: IpFamily;
  protocol: TransportProtocol;
  /** Undefined: any. */
  destination: FlowDestination | undefined;
  /** Whether to ask for a selection at all, besides the family's. Kernels before 5.8 do not see it and list everything. */
  filtered: boolean;
}

/** IPCTNL_MSG_CT_GET for the whole table. */
export function encodeFlowsGet(writer: MessageWriter, sequence: number, request: FlowsRequest): void {
  const { family, protocol, destination, filtered } = request;
  begin(writer, IPCTNL_MSG_CT.GET, NLM_F_REQUEST | NLM_F_DUMP, sequence, family);
  if (filtered) {
    let flags: number = filterFlag.protocol;
    nest(writer, CTA.TUPLE_ORIG, () => {
      const address = destination?.address;
      if (address !== undefined) {
        flags |= filterFlag.destination;
        nest(writer, CTA_TUPLE.IP, () => writer.attributeBytes(CTA_IP_SRC[family] + 1, addressKeyBytes(address)));
      }
      nest(writer, CTA_TUPLE.PROTO, () => {
        writer.attributeBytes(CTA_PROTO.NUM, Uint8Array.of(protocolNumber[protocol]));
        if (destination === undefined) return;
        flags |= filterFlag.destinationPort;
        writer.attributeBytes(CTA_PROTO.DST_PORT, u16be(destination.port));
      });
    });
    nest(writer, CTA.FILTER, () => writer.attributeU32(CTA_FILTER_ORIG_FLAGS, flags));
  }
  writer.end();
}

/**
 * One IPCTNL_MSG_CT_DELETE for each flow; sequence numbers count on from the first. Only the last one asks for an ACK: a
 * message in error is answered anyway. A flow is named by its reply tuple and id. The id alone would not do, since the
 * kernel makes it from the original tuple and the entry's place in memory, which the next entry may get; the reply tuple
 * also says who answers.
 * @param flows at least one
 */
export function encodeFlowDeletes(flows: readonly Flow[], firstSequence: number): Buffer {
  const writer = new MessageWriter();
  for (const [index, flow] of flows.entries()) {
    const flags = index === flows.length - 1 ? NLM_F_REQUEST | NLM_F_ACK : NLM_F_REQUEST;
    begin(writer, IPCTNL_MSG_CT.DELETE, flags, firstSequence + index, flow.family);
    writeTuple(writer, CTA.TUPLE_REPLY, flow, flow.reply, flow.replyZone);
    if (flow.zone !== 0) writer.attributeBytes(CTA.ZONE, u16be(flow.zone));
    writer.attributeU32Be(CTA.ID, flow.id);
    writer.end();
  }
  return writer.take();
}

/** Message header and struct nfgenmsg. */
export function begin(writer: MessageWriter, type: number, flags: number, sequence: number, family: IpFamily): void {
  writer.begin(conntrackMessage(type), flags, sequence);
  writer.u8(familyNumber[family]);
  writer.u8(0);
  writer.u16(0);
}

/** A whole tuple as attribute `type`. */
export function writeTuple(
  writer: MessageWriter,
  type: number,
  { family, protocol }: { family: IpFamily; protocol: TransportProtocol },
  tuple: Tuple,
  zone: number,
): void {
  nest(writer, type, () => {
    nest(writer, CTA_TUPLE.IP, () => {
      writer.attributeBytes(CTA_IP_SRC[family], addressKeyBytes(tuple.source));
      writer.attributeBytes(CTA_IP_SRC[family] + 1, addressKeyBytes(tuple.destination));
    });
    nest(writer, CTA_TUPLE.PROTO, () => {
      writer.attributeBytes(CTA_PROTO.NUM, Uint8Array.of(protocolNumber[protocol]));
      writer.attributeBytes(CTA_PROTO.SRC_PORT, u16be(tuple.sourcePort));
      writer.attributeBytes(CTA_PROTO.DST_PORT, u16be(tuple.destinationPort));
    });
    if (zone !== 0) writer.attributeBytes(CTA_TUPLE.ZONE, u16be(zone));
  });
}

function nest(writer: MessageWriter, type: number, body: () => void): void {
  const start = writer.beginAttribute(type | NLA_F_NESTED);
  body();
  writer.endAttribute(start);
}

const u16be = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff);
