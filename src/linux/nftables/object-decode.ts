/**
 * What the kernel lists: tables, chains, rules and sets, in the form in which they were declared.
 * Layer: linux (pure). Objects of other programs are read as far as we understand them; objects of a kind that has no words
 * in types.ts (anonymous sets, chains at devices) are read too, but need not survive being written again.
 */
import type { MessageCursor } from '../netlink/message-reader.ts';
import { NetlinkFormatError } from '../netlink/message-reader.ts';
import { AttributeTable } from './attributes.ts';
import {
  familyOf,
  hookNumber,
  NFT_DATA_VERDICT,
  NFT_SET,
  NFTA_CHAIN,
  NFTA_GEN,
  NFTA_HOOK,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_DESC,
  NFTA_TABLE,
  nameOf,
} from './constants.ts';
import { decodeExpressions } from './expression-decode.ts';
import { fieldsOfTypeId } from './fields.ts';
import type { BaseChain, Chain, Family, Hook, InstalledRule, NftSet, Table } from './types.ts';
import { decodeComment, decodeSetUserData } from './user-data.ts';

const nfgenmsgBytes = 4;

/** The attributes behind struct nfgenmsg. @throws NetlinkFormatError */
export function nftAttributes(message: MessageCursor): AttributeTable {
  return new AttributeTable(message.attributes(nfgenmsgBytes));
}

/** @throws NetlinkFormatError for a family that nf_tables does not have */
export function messageFamily(message: MessageCursor): Family {
  const family = familyOf(message.buffer[message.start] ?? 0);
  if (family === undefined) throw new NetlinkFormatError('nf_tables object of an unknown family');
  return family;
}

const commented = (bytes: Uint8Array | undefined): { comment?: string } => {
  const comment = decodeComment(bytes);
  return comment === undefined ? {} : { comment };
};

export function decodeTable(message: MessageCursor): Table {
  const attributes = nftAttributes(message);
  return {
    family: messageFamily(message),
    name: attributes.string(NFTA_TABLE.NAME) ?? '',
    ...commented(attributes.bytes(NFTA_TABLE.USERDATA)),
  };
}

export function decodeChain(message: MessageCursor): Chain {
  const attributes = nftAttributes(message);
  const base = decodeBase(attributes);
  return {
    family: messageFamily(message),
    table: attributes.string(NFTA_CHAIN.TABLE) ?? '',
    name: attributes.string(NFTA_CHAIN.NAME) ?? '',
    ...(base === undefined ? {} : { base }),
    ...commented(attributes.bytes(NFTA_CHAIN.USERDATA)),
  };
}

function decodeBase(attributes: AttributeTable): BaseChain | undefined {
  const hook = attributes.table(NFTA_CHAIN.HOOK);
  if (hook === undefined) return undefined;
  const type = attributes.string(NFTA_CHAIN.TYPE);
  return {
    type: type === 'nat' || type === 'route' ? type : 'filter',
    hook: nameOf<Hook>(hookNumber, hook.required(NFTA_HOOK.HOOKNUM)) ?? 'ingress',
    priority: hook.required(NFTA_HOOK.PRIORITY) | 0,
    policy: attributes.number(NFTA_CHAIN.POLICY) === 0 ? 'drop' : 'accept',
  };
}

export function decodeRule(message: MessageCursor): InstalledRule {
  const attributes = nftAttributes(message);
  const list = attributes.nested(NFTA_RULE.EXPRESSIONS);
  return {
    family: messageFamily(message),
    table: attributes.string(NFTA_RULE.TABLE) ?? '',
    chain: attributes.string(NFTA_RULE.CHAIN) ?? '',
    handle: attributes.long(NFTA_RULE.HANDLE) ?? 0,
    expressions: list === undefined ? [] : decodeExpressions(list),
    ...commented(attributes.bytes(NFTA_RULE.USERDATA)),
  };
}

export function decodeSet(message: MessageCursor): NftSet {
  const attributes = nftAttributes(message);
  const flags = attributes.number(NFTA_SET.FLAGS) ?? 0;
  const userData = decodeSetUserData(attributes.bytes(NFTA_SET.USERDATA));
  const set: NftSet = {
    family: messageFamily(message),
    table: attributes.string(NFTA_SET.TABLE) ?? '',
    name: attributes.string(NFTA_SET.NAME) ?? '',
    key: userData.key ?? fieldsOfTypeId(attributes.number(NFTA_SET.KEY_TYPE) ?? 0),
  };
  if ((flags & NFT_SET.MAP) !== 0) {
    const type = attributes.number(NFTA_SET.DATA_TYPE) ?? 0;
    set.data = type === NFT_DATA_VERDICT ? 'verdict' : (userData.data ?? fieldsOfTypeId(type));
  }
  if ((flags & NFT_SET.CONSTANT) !== 0) set.constant = true;
  if ((flags & NFT_SET.INTERVAL) !== 0) set.interval = true;
  if ((flags & NFT_SET.TIMEOUT) !== 0) set.timeout = true;
  if ((flags & NFT_SET.EVAL) !== 0) set.dynamic = true;
  const timeoutMs = attributes.long(NFTA_SET.TIMEOUT);
  if (timeoutMs) set.timeoutMs = timeoutMs;
  const gcIntervalMs = attributes.number(NFTA_SET.GC_INTERVAL);
  if (gcIntervalMs) set.gcIntervalMs = gcIntervalMs;
  const size = attributes.table(NFTA_SET.DESC)?.number(NFTA_SET_DESC.SIZE);
  if (size) set.size = size;
  if (userData.comment !== undefined) set.comment = userData.comment;
  return set;
}

export interface GenerationInfo {
  generation: number;
  /** Thread that committed it, seen from the initial PID namespace; only in notifications. */
  processId: number;
  processName: string;
}

export function decodeGeneration(message: MessageCursor): GenerationInfo {
  const attributes = nftAttributes(message);
  return {
    generation: attributes.required(NFTA_GEN.ID),
    processId: attributes.number(NFTA_GEN.PROC_PID) ?? 0,
    processName: attributes.string(NFTA_GEN.PROC_NAME) ?? '',
  };
}
