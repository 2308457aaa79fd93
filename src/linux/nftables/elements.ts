/**
 * Elements of sets, to and from messages: a loop for hundreds of thousands of equal ones that makes no object for any of
 * them, and a plain form for the rest (verdicts, intervals, timeouts, comments).
 * Layer: linux (pure). A list is one attribute of less than 64 KiB, so many elements become several messages.
 */
import { NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST } from '../netlink/constants.ts';
import type { MessageCursor } from '../netlink/message-reader.ts';
import { type MessageWriter, NetlinkEncodeError } from '../netlink/message-writer.ts';
import { AttributeTable, readData, writeValue, writeVerdict } from './attributes.ts';
import {
  listLimitBytes,
  NFT_MSG,
  NFT_SET_ELEM_INTERVAL_END,
  NFTA_DATA,
  NFTA_SET_ELEM,
  NFTA_SET_ELEM_LIST,
  NLA_F_NESTED,
} from './constants.ts';
import { beginNft, writeName } from './object-encode.ts';
import type { Element, Elements, InTable, PackedElements } from './types.ts';
import { isPacked } from './types.ts';
import { decodeComment, encodeComment } from './user-data.ts';

export interface ElementsTarget extends InTable {
  set: string;
  /** Of a set that the same batch declares. */
  setId: number | undefined;
}

export type ElementsChange = 'add' | 'addExclusive' | 'delete';

/** @param nextSequence called once for each message @throws NetlinkEncodeError */
export function encodeElements(
  writer: MessageWriter,
  target: ElementsTarget,
  change: ElementsChange,
  elements: Elements,
  nextSequence: () => number,
): void {
  if (isPacked(elements)) encodePacked(writer, target, change, elements, nextSequence);
  else encodeEach(writer, target, change, elements, nextSequence);
}

/** An element message without a list means all elements. */
export function encodeSetFlush(writer: MessageWriter, sequence: number, target: ElementsTarget): void {
  beginNft(writer, NFT_MSG.DELSETELEM, NLM_F_REQUEST, sequence, target.family);
  writeTarget(writer, target);
  writer.end();
}

export function encodeElementsDump(writer: MessageWriter, sequence: number, target: ElementsTarget): void {
  beginNft(writer, NFT_MSG.GETSETELEM, NLM_F_REQUEST | NLM_F_DUMP, sequence, target.family);
  writeTarget(writer, target);
  writer.end();
}

function writeTarget(writer: MessageWriter, target: ElementsTarget): void {
  writeName(writer, NFTA_SET_ELEM_LIST.TABLE, target.table);
  writeName(writer, NFTA_SET_ELEM_LIST.SET, target.set);
  if (target.setId !== undefined) writer.attributeU32Be(NFTA_SET_ELEM_LIST.SET_ID, target.setId);
}

/** @returns what endList wants */
function beginList(writer: MessageWriter, target: ElementsTarget, change: ElementsChange, sequence: number): number {
  const message = change === 'delete' ? NFT_MSG.DELSETELEM : NFT_MSG.NEWSETELEM;
  const flags = change === 'delete' ? 0 : NLM_F_CREATE | (change === 'addExclusive' ? NLM_F_EXCL : 0);
  beginNft(writer, message, NLM_F_REQUEST | flags, sequence, target.family);
  writeTarget(writer, target);
  return writer.beginAttribute(NFTA_SET_ELEM_LIST.ELEMENTS | NLA_F_NESTED);
}

function endList(writer: MessageWriter, list: number): void {
  writer.endAttribute(list);
  writer.end();
}

/** Attribute header as one little-endian word. */
const header = (type: number, length: number): number => ((type << 16) | length) >>> 0;

function encodePacked(
  writer: MessageWriter,
  target: ElementsTarget,
  change: ElementsChange,
  packed: PackedElements,
  nextSequence: () => number,
): void {
  const { count, keyBytes, keys, dataBytes, data } = packed;
  if (keys.length < count * keyBytes || data.length < count * dataBytes || keyBytes < 1)
    throw new NetlinkEncodeError(`packed elements shorter than their count of ${count} says`, target.set);
  const paddedKey = (keyBytes + 3) & ~3;
  const paddedData = (dataBytes + 3) & ~3;
  // Deleting takes the key only.
  const withData = dataBytes > 0 && change !== 'delete';
  const elementBytes = 12 + paddedKey + (withData ? 8 + paddedData : 0);
  const perList = Math.floor(listLimitBytes / elementBytes);
  writer.expect(count * elementBytes + Math.ceil(count / perList) * 600);
  const keyHeader = header(NFTA_SET_ELEM.KEY | NLA_F_NESTED, 8 + paddedKey);
  const keyValueHeader = header(NFTA_DATA.VALUE, 4 + keyBytes);
  const dataHeader = header(NFTA_SET_ELEM.DATA | NLA_F_NESTED, 8 + paddedData);
  const dataValueHeader = header(NFTA_DATA.VALUE, 4 + dataBytes);
  let keyAt = 0;
  let dataAt = 0;
  for (let first = 0; first < count; first += perList) {
    const last = Math.min(count, first + perList);
    const list = beginList(writer, target, change, nextSequence());
    const out = writer.claim((last - first) * elementBytes);
    let at = 0;
    for (let index = first; index < last; index++) {
      // libnftnl numbers the entries of a list; the kernel does not look.
      at = word(out, at, header((index - first + 1) | NLA_F_NESTED, elementBytes));
      at = word(out, at, keyHeader);
      at = word(out, at, keyValueHeader);
      for (let i = 0; i < keyBytes; i++) out[at + i] = keys[keyAt++] as number;
      for (let i = keyBytes; i < paddedKey; i++) out[at + i] = 0;
      at += paddedKey;
      if (!withData) continue;
      at = word(out, at, dataHeader);
      at = word(out, at, dataValueHeader);
      for (let i = 0; i < dataBytes; i++) out[at + i] = data[dataAt++] as number;
      for (let i = dataBytes; i < paddedData; i++) out[at + i] = 0;
      at += paddedData;
    }
    endList(writer, list);
  }
}

function word(out: Buffer, at: number, value: number): number {
  out[at] = value;
  out[at + 1] = value >>> 8;
  out[at + 2] = value >>> 16;
  out[at + 3] = value >>> 24;
  return at + 4;
}

function encodeEach(
  writer: MessageWriter,
  target: ElementsTarget,
  change: ElementsChange,
  elements: readonly Element[],
  nextSequence: () => number,
): void {
  // Longest: flags, timeout, expiration, key and its end, a verdict with a chain name, a comment.
  const longest = 1024;
  let list: number | undefined;
  let ordinal = 0;
  for (const element of elements) {
    if (list !== undefined && writer.length - list > listLimitBytes - longest) {
      endList(writer, list);
      list = undefined;
    }
    if (list === undefined) {
      list = beginList(writer, target, change, nextSequence());
      ordinal = 0;
    }
    encodeElement(writer, ++ordinal, element, change);
  }
  if (list !== undefined) endList(writer, list);
}

function encodeElement(writer: MessageWriter, ordinal: number, element: Element, change: ElementsChange): void {
  const start = writer.beginAttribute(ordinal | NLA_F_NESTED);
  if (element.intervalEnd) writer.attributeU32Be(NFTA_SET_ELEM.FLAGS, NFT_SET_ELEM_INTERVAL_END);
  if (change !== 'delete' && element.timeoutMs !== undefined)
    writer.attributeU64Be(NFTA_SET_ELEM.TIMEOUT, element.timeoutMs);
  if (change !== 'delete' && element.expiresMs !== undefined)
    writer.attributeU64Be(NFTA_SET_ELEM.EXPIRATION, element.expiresMs);
  writeValue(writer, NFTA_SET_ELEM.KEY, element.key);
  if (element.keyEnd !== undefined) writeValue(writer, NFTA_SET_ELEM.KEY_END, element.keyEnd);
  if (change !== 'delete' && element.data !== undefined) {
    if (element.data instanceof Uint8Array) writeValue(writer, NFTA_SET_ELEM.DATA, element.data);
    else writeVerdict(writer, NFTA_SET_ELEM.DATA, element.data);
  }
  if (change !== 'delete' && element.comment !== undefined)
    writer.attributeBytes(NFTA_SET_ELEM.USERDATA, encodeComment(element.comment));
  writer.endAttribute(start);
}

/** The list in a dump's or a notification's message. @throws NetlinkFormatError */
export function decodeElements(message: MessageCursor): Element[] {
  const attributes = message.attributes(4);
  const elements: Element[] = [];
  while (attributes.next()) {
    if (attributes.type !== NFTA_SET_ELEM_LIST.ELEMENTS) continue;
    const list = attributes.nested();
    while (list.next()) elements.push(decodeElement(new AttributeTable(list.nested())));
  }
  return elements;
}

function decodeElement(attributes: AttributeTable): Element {
  const element: Element = { key: attributes.value(NFTA_SET_ELEM.KEY) ?? Buffer.alloc(0) };
  const keyEnd = attributes.value(NFTA_SET_ELEM.KEY_END);
  if (keyEnd !== undefined) element.keyEnd = keyEnd;
  const table = attributes.table(NFTA_SET_ELEM.DATA);
  const data = table && readData(table);
  if (data !== undefined) element.data = data;
  if (((attributes.number(NFTA_SET_ELEM.FLAGS) ?? 0) & NFT_SET_ELEM_INTERVAL_END) !== 0) element.intervalEnd = true;
  const timeoutMs = attributes.long(NFTA_SET_ELEM.TIMEOUT);
  if (timeoutMs) element.timeoutMs = timeoutMs;
  const expiresMs = attributes.long(NFTA_SET_ELEM.EXPIRATION);
  if (expiresMs) element.expiresMs = expiresMs;
  const comment = decodeComment(attributes.bytes(NFTA_SET_ELEM.USERDATA));
  if (comment !== undefined) element.comment = comment;
  return element;
}
