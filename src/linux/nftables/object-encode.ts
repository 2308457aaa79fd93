/**
 * Messages for tables, chains, rules and sets, and the requests to list them.
 * Layer: linux (pure). Attribute order is libnftnl's. Elements, which come by the hundred thousand, are in elements.ts.
 */
import { NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST } from '../netlink/constants.ts';
import { type MessageWriter, NetlinkEncodeError } from '../netlink/message-writer.ts';
import { nest } from './attributes.ts';
import {
  familyNumber,
  hookNumber,
  messageType,
  NFT_DATA_VERDICT,
  NFT_MSG,
  NFT_SET,
  NFTA_CHAIN,
  NFTA_HOOK,
  NFTA_LIST_ELEM,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_DESC,
  NFTA_SET_FIELD_LEN,
  NFTA_TABLE,
  NLM_F_APPEND,
  verdictCode,
} from './constants.ts';
import { encodeExpression, type SetIdOf } from './expression-encode.ts';
import { fieldLengths, fieldsBytes, fieldsTypeId } from './fields.ts';
import type { Chain, Family, InTable, NftablesOperation, NftSet, Rule, Table, TableRef } from './types.ts';
import { encodeComment, encodeSetUserData } from './user-data.ts';

const create = NLM_F_REQUEST | NLM_F_CREATE;
const maxNameBytes = 255;

/** Message header and struct nfgenmsg. */
export function beginNft(
  writer: MessageWriter,
  message: number,
  flags: number,
  sequence: number,
  family: Family | undefined,
): void {
  writer.begin(messageType(message), flags, sequence);
  writer.u8(family === undefined ? 0 : familyNumber[family]);
  writer.u8(0);
  writer.u16(0);
}

/** @throws NetlinkEncodeError for a name that is empty or too long for the kernel */
export function writeName(writer: MessageWriter, type: number, name: string): void {
  if (name === '' || Buffer.byteLength(name) > maxNameBytes || name.includes('\0'))
    throw new NetlinkEncodeError(`a name must have 1 to ${maxNameBytes} bytes, none of them NUL`, JSON.stringify(name));
  writer.attributeString(type, name);
}

export function encodeTableAdd(writer: MessageWriter, sequence: number, table: Table, exclusive: boolean): void {
  // Without NLM_F_CREATE, as nft: the kernel creates it all the same.
  beginNft(writer, NFT_MSG.NEWTABLE, NLM_F_REQUEST | (exclusive ? NLM_F_EXCL : 0), sequence, table.family);
  writeName(writer, NFTA_TABLE.NAME, table.name);
  writer.attributeU32Be(NFTA_TABLE.FLAGS, 0);
  if (table.comment !== undefined) writer.attributeBytes(NFTA_TABLE.USERDATA, encodeComment(table.comment));
  writer.end();
}

export function encodeTableDelete(writer: MessageWriter, sequence: number, table: TableRef): void {
  beginNft(writer, NFT_MSG.DELTABLE, NLM_F_REQUEST, sequence, table.family);
  writeName(writer, NFTA_TABLE.NAME, table.name);
  writer.end();
}

export function encodeChainAdd(writer: MessageWriter, sequence: number, chain: Chain, exclusive: boolean): void {
  beginNft(writer, NFT_MSG.NEWCHAIN, create | (exclusive ? NLM_F_EXCL : 0), sequence, chain.family);
  writeName(writer, NFTA_CHAIN.TABLE, chain.table);
  writeName(writer, NFTA_CHAIN.NAME, chain.name);
  const { base } = chain;
  if (base !== undefined) {
    writer.attributeString(NFTA_CHAIN.TYPE, base.type);
    if (base.policy !== undefined) writer.attributeU32Be(NFTA_CHAIN.POLICY, verdictCode[base.policy]);
    nest(writer, NFTA_CHAIN.HOOK, () => {
      writer.attributeU32Be(NFTA_HOOK.HOOKNUM, hookNumber[base.hook]);
      writer.attributeU32Be(NFTA_HOOK.PRIORITY, base.priority);
    });
  }
  if (chain.comment !== undefined) writer.attributeBytes(NFTA_CHAIN.USERDATA, encodeComment(chain.comment));
  writer.end();
}

export function encodeChainDelete(writer: MessageWriter, sequence: number, chain: InTable & { name: string }): void {
  beginNft(writer, NFT_MSG.DELCHAIN, NLM_F_REQUEST, sequence, chain.family);
  writeName(writer, NFTA_CHAIN.TABLE, chain.table);
  writeName(writer, NFTA_CHAIN.NAME, chain.name);
  writer.end();
}

type RulePosition = Extract<NftablesOperation, { op: 'ruleAdd' }>['position'];

export function encodeRuleAdd(
  writer: MessageWriter,
  sequence: number,
  rule: Rule,
  position: RulePosition | { replace: number },
  setIdOf: SetIdOf,
): void {
  let flags = create;
  let at: number | undefined;
  let replaced: number | undefined;
  if (position === undefined) flags |= NLM_F_APPEND;
  else if (position !== 'first') {
    if ('after' in position) {
      flags |= NLM_F_APPEND;
      at = position.after;
    } else if ('before' in position) at = position.before;
    else {
      flags = NLM_F_REQUEST | NLM_F_REPLACE;
      replaced = position.replace;
    }
  }
  beginNft(writer, NFT_MSG.NEWRULE, flags, sequence, rule.family);
  writeName(writer, NFTA_RULE.TABLE, rule.table);
  writeName(writer, NFTA_RULE.CHAIN, rule.chain);
  if (replaced !== undefined) writer.attributeU64Be(NFTA_RULE.HANDLE, replaced);
  if (at !== undefined) writer.attributeU64Be(NFTA_RULE.POSITION, at);
  nest(writer, NFTA_RULE.EXPRESSIONS, () => {
    for (const expression of rule.expressions) encodeExpression(writer, expression, setIdOf);
  });
  if (rule.comment !== undefined) writer.attributeBytes(NFTA_RULE.USERDATA, encodeComment(rule.comment));
  writer.end();
}

/** All rules of the chain without `handle`. */
export function encodeRuleDelete(
  writer: MessageWriter,
  sequence: number,
  rule: InTable & { chain: string },
  handle: number | undefined,
): void {
  beginNft(writer, NFT_MSG.DELRULE, NLM_F_REQUEST, sequence, rule.family);
  writeName(writer, NFTA_RULE.TABLE, rule.table);
  writeName(writer, NFTA_RULE.CHAIN, rule.chain);
  if (handle !== undefined) writer.attributeU64Be(NFTA_RULE.HANDLE, handle);
  writer.end();
}

/** NFT_SET_* bits of a declaration. */
export function setFlags(set: NftSet): number {
  return (
    (set.constant ? NFT_SET.CONSTANT : 0) |
    (set.interval ? NFT_SET.INTERVAL : 0) |
    (set.data === undefined ? 0 : NFT_SET.MAP) |
    (set.timeout || set.timeoutMs !== undefined ? NFT_SET.TIMEOUT : 0) |
    (set.dynamic ? NFT_SET.EVAL : 0) |
    (set.interval && set.key.length > 1 ? NFT_SET.CONCAT : 0)
  );
}

/** @param id unique in the batch; the kernel demands one */
export function encodeSetAdd(
  writer: MessageWriter,
  sequence: number,
  set: NftSet,
  id: number,
  exclusive: boolean,
): void {
  const flags = setFlags(set);
  beginNft(writer, NFT_MSG.NEWSET, create | (exclusive ? NLM_F_EXCL : 0), sequence, set.family);
  writeName(writer, NFTA_SET.TABLE, set.table);
  writeName(writer, NFTA_SET.NAME, set.name);
  writer.attributeU32Be(NFTA_SET.FLAGS, flags);
  writer.attributeU32Be(NFTA_SET.KEY_TYPE, fieldsTypeId(set.key));
  writer.attributeU32Be(NFTA_SET.KEY_LEN, fieldsBytes(set.key));
  if (set.data !== undefined) {
    const { data } = set;
    writer.attributeU32Be(NFTA_SET.DATA_TYPE, data === 'verdict' ? NFT_DATA_VERDICT : fieldsTypeId(data));
    writer.attributeU32Be(NFTA_SET.DATA_LEN, data === 'verdict' ? 0 : fieldsBytes(data));
  }
  writer.attributeU32Be(NFTA_SET.ID, id);
  const ranges = (flags & NFT_SET.CONCAT) !== 0;
  if (set.size !== undefined || ranges) {
    nest(writer, NFTA_SET.DESC, () => {
      if (set.size !== undefined) writer.attributeU32Be(NFTA_SET_DESC.SIZE, set.size);
      if (ranges) encodeFieldLengths(writer, set);
    });
  }
  if (set.timeoutMs !== undefined) writer.attributeU64Be(NFTA_SET.TIMEOUT, set.timeoutMs);
  if (set.gcIntervalMs !== undefined) writer.attributeU32Be(NFTA_SET.GC_INTERVAL, set.gcIntervalMs);
  writer.attributeBytes(NFTA_SET.USERDATA, encodeSetUserData(set));
  writer.end();
}

/** Ranges in a concatenation need to know where each field ends. */
function encodeFieldLengths(writer: MessageWriter, set: NftSet): void {
  nest(writer, NFTA_SET_DESC.CONCAT, () => {
    for (const length of fieldLengths(set.key))
      nest(writer, NFTA_LIST_ELEM, () => writer.attributeU32Be(NFTA_SET_FIELD_LEN, length));
  });
}

export function encodeSetDelete(writer: MessageWriter, sequence: number, set: InTable & { name: string }): void {
  beginNft(writer, NFT_MSG.DELSET, NLM_F_REQUEST, sequence, set.family);
  writeName(writer, NFTA_SET.TABLE, set.table);
  writeName(writer, NFTA_SET.NAME, set.name);
  writer.end();
}

export function encodeGenerationGet(writer: MessageWriter, sequence: number): void {
  beginNft(writer, NFT_MSG.GETGEN, NLM_F_REQUEST, sequence, undefined);
  writer.end();
}

export function encodeTableGet(writer: MessageWriter, sequence: number, table: TableRef): void {
  beginNft(writer, NFT_MSG.GETTABLE, NLM_F_REQUEST, sequence, table.family);
  writeName(writer, NFTA_TABLE.NAME, table.name);
  writer.end();
}

/** The kernel filters rules and sets by table; of chains it lists those of every table of the family. */
export function encodeDump(
  writer: MessageWriter,
  sequence: number,
  what: 'chain' | 'rule' | 'set',
  of: TableRef,
): void {
  const message = { chain: NFT_MSG.GETCHAIN, rule: NFT_MSG.GETRULE, set: NFT_MSG.GETSET }[what];
  beginNft(writer, message, NLM_F_REQUEST | NLM_F_DUMP, sequence, of.family);
  if (what !== 'chain') writeName(writer, NFTA_RULE.TABLE, of.name);
  writer.end();
}
