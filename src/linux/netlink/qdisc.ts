/**
 * Queueing disciplines in rtnetlink, as far as the bandwidth of a link is concerned: a token bucket at the way out, and the
 * way in led over another link (struct tcmsg; pkt_sched.h, pkt_cls.h, tc_act/tc_mirred.h).
 * Layer: linux (pure). All of it goes with its link; only a token bucket can be changed in place.
 */
import type { RtnetlinkOperation } from '../rtnetlink.ts';
import {
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
} from './constants.ts';
import { type MessageWriter, NetlinkEncodeError } from './message-writer.ts';

type Operation<Name extends RtnetlinkOperation['op']> = Extract<RtnetlinkOperation, { op: Name }>;

const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TC_H_ROOT = 0xffffffff;
const TC_H_INGRESS = 0xfffffff1;
/** `ffff:`, the handle of every ingress discipline. */
const ingressHandle = 0xffff0000;
/** `1:` */
const rootHandle = 0x00010000;

const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_BURST = 6;
/** tc_ratespec.linklayer: without it the kernel wants a table of how long each size takes. */
const TC_LINKLAYER_ETHERNET = 1;

const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
const TCA_ACT_KIND = 1;
/** Marked as nested, as iproute2 does. */
const TCA_ACT_OPTIONS = 0x8002;
const TCA_MIRRED_PARMS = 2;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
/** if_ether.h, in network order. */
const everyProtocol = 0x0300;

const request = NLM_F_REQUEST | NLM_F_ACK;
const u32Max = 0xffffffff;

/** @throws NetlinkEncodeError for a rate, burst or limit out of range */
export function encodeQdiscReplaceTbf(
  writer: MessageWriter,
  sequence: number,
  { ifindex, rateBytes, burstBytes, limitBytes }: Operation<'qdiscReplaceTbf'>,
): void {
  for (const [name, value, most] of [
    ['rate', rateBytes, Number.MAX_SAFE_INTEGER],
    ['burst', burstBytes, u32Max],
    ['limit', limitBytes, u32Max],
  ] as const) {
    if (Number.isInteger(value) && value >= 1 && value <= most) continue;
    throw new NetlinkEncodeError(`${name} of ${value} bytes is not one of 1 to ${most}`, `if${ifindex}`);
  }
  writer.begin(RTM_NEWQDISC, request | NLM_F_CREATE | NLM_F_REPLACE, sequence);
  tcmsg(writer, ifindex, rootHandle, TC_H_ROOT, 0);
  writer.attributeString(TCA_KIND, 'tbf');
  const options = writer.beginAttribute(TCA_OPTIONS);
  const parameters = writer.beginAttribute(TCA_TBF_PARMS);
  ratespec(writer, Math.min(rateBytes, u32Max));
  // No peak rate.
  for (let word = 0; word < 3; word++) writer.u32(0);
  writer.u32(limitBytes);
  // Buffer and MTU in ticks: the attribute in bytes below counts instead.
  writer.u32(0);
  writer.u32(0);
  writer.endAttribute(parameters);
  // The kernel takes the 32 bits above when this is less.
  if (rateBytes > u32Max) writer.attributeBytes(TCA_TBF_RATE64, u64(rateBytes));
  writer.attributeU32(TCA_TBF_BURST, burstBytes);
  writer.endAttribute(options);
  writer.end();
}

export function encodeQdiscAddIngress(
  writer: MessageWriter,
  sequence: number,
  { ifindex }: Operation<'qdiscAddIngress'>,
): void {
  writer.begin(RTM_NEWQDISC, request | NLM_F_CREATE | NLM_F_EXCL, sequence);
  tcmsg(writer, ifindex, ingressHandle, TC_H_INGRESS, 0);
  writer.attributeString(TCA_KIND, 'ingress');
  writer.end();
}

/** With the classifier `u32`, which every kernel that has `tc` has; `matchall` is younger and may be left out. */
export function encodeFilterRedirect(
  writer: MessageWriter,
  sequence: number,
  { ifindex, toIfindex }: Operation<'filterRedirect'>,
): void {
  writer.begin(RTM_NEWTFILTER, request | NLM_F_CREATE | NLM_F_EXCL, sequence);
  tcmsg(writer, ifindex, 0, ingressHandle, (1 << 16) | everyProtocol);
  writer.attributeString(TCA_KIND, 'u32');
  const options = writer.beginAttribute(TCA_OPTIONS);
  const actions = writer.beginAttribute(TCA_U32_ACT);
  const first = writer.beginAttribute(1);
  writer.attributeString(TCA_ACT_KIND, 'mirred');
  const actionOptions = writer.beginAttribute(TCA_ACT_OPTIONS);
  const parameters = writer.beginAttribute(TCA_MIRRED_PARMS);
  for (const word of [0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, toIfindex]) writer.u32(word);
  writer.endAttribute(parameters);
  writer.endAttribute(actionOptions);
  writer.endAttribute(first);
  writer.endAttribute(actions);
  // struct tc_u32_sel with one key of mask and value zero: matches everything.
  const selector = writer.beginAttribute(TCA_U32_SEL);
  for (const byte of [TC_U32_TERMINAL, 0, 1, 0]) writer.u8(byte);
  for (let word = 0; word < 7; word++) writer.u32(0);
  writer.endAttribute(selector);
  writer.endAttribute(options);
  writer.end();
}

function tcmsg(writer: MessageWriter, ifindex: number, handle: number, parent: number, info: number): void {
  for (const word of [0, ifindex, handle, parent, info]) writer.u32(word);
}

/** struct tc_ratespec */
function ratespec(writer: MessageWriter, rate: number): void {
  writer.u8(0);
  writer.u8(TC_LINKLAYER_ETHERNET);
  writer.u16(0);
  writer.u16(0);
  writer.u16(0);
  writer.u32(rate);
}

function u64(value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
