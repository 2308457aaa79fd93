/**
 * Operations to one batch: what the kernel applies as a whole or not at all, and which message came from which operation.
 * Layer: linux (pure). An ACK is asked for the last message only; a message in error is answered anyway.
 */
import { NLM_F_ACK, NLM_F_REQUEST } from '../netlink/constants.ts';
import { MessageWriter } from '../netlink/message-writer.ts';
import { NFNL_BATCH_GENID, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES } from './constants.ts';
import { encodeElements, encodeSetFlush } from './elements.ts';
import type { SetIdOf } from './expression-encode.ts';
import {
  encodeChainAdd,
  encodeChainDelete,
  encodeRuleAdd,
  encodeRuleDelete,
  encodeSetAdd,
  encodeSetDelete,
  encodeTableAdd,
  encodeTableDelete,
} from './object-encode.ts';
import type { Family, InTable, NftablesOperation } from './types.ts';

export interface Batch {
  bytes: Buffer;
  /** Messages, begin and end included: sequence numbers first .. first + messages - 1. */
  messages: number;
  /** Index of the operation that the message belongs to; undefined for begin and end. */
  operationOf(sequence: number): number | undefined;
}

const flagsOffset = 6;

/**
 * @param operations at least one
 * @param firstSequence of the begin message; the others follow
 * @param generation the batch is refused with ERESTART unless this is the current one
 * @throws NetlinkEncodeError, AddressFormatError
 */
export function encodeBatch(
  operations: readonly NftablesOperation[],
  firstSequence: number,
  generation?: number,
): Batch {
  const writer = new MessageWriter();
  const encoder = new BatchEncoder(writer, firstSequence);
  boundary(writer, NFNL_MSG_BATCH_BEGIN, encoder.nextSequence(), generation);
  const firstOf = operations.map((operation) => {
    const first = encoder.sequence;
    encoder.encode(operation);
    return first;
  });
  const { lastMessage } = encoder;
  const end = encoder.nextSequence();
  boundary(writer, NFNL_MSG_BATCH_END, end, undefined);
  const bytes = writer.take();
  if (lastMessage >= 0)
    bytes.writeUInt16LE(bytes.readUInt16LE(lastMessage + flagsOffset) | NLM_F_ACK, lastMessage + flagsOffset);
  return {
    bytes,
    messages: end - firstSequence + 1,
    operationOf: (sequence) => (sequence >= end ? undefined : lastAtMost(firstOf, sequence)),
  };
}

/** Index of the last number that is not above `limit`. */
function lastAtMost(ascending: readonly number[], limit: number): number | undefined {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] ?? 0) <= limit) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? undefined : low - 1;
}

/** struct nfgenmsg with the subsystem as its resource, big-endian. */
function boundary(writer: MessageWriter, type: number, sequence: number, generation: number | undefined): void {
  writer.begin(type, NLM_F_REQUEST, sequence);
  writer.u32be(NFNL_SUBSYS_NFTABLES);
  if (generation !== undefined) writer.attributeU32Be(NFNL_BATCH_GENID, generation);
  writer.end();
}

class BatchEncoder {
  readonly #writer: MessageWriter;
  /** The next one. */
  sequence: number;
  /** Where the last message of an operation starts. */
  lastMessage = -1;
  /** Sets that this batch declares: the kernel wants a number for each. */
  readonly #setIds = new Map<string, number>();
  #lastSetId = 0;

  constructor(writer: MessageWriter, firstSequence: number) {
    this.#writer = writer;
    this.sequence = firstSequence;
  }

  nextSequence = (): number => {
    if (this.#writer.length > 0) this.lastMessage = this.#writer.length;
    return this.sequence++;
  };

  encode(operation: NftablesOperation): void {
    const writer = this.#writer;
    switch (operation.op) {
      case 'tableAdd':
        encodeTableAdd(writer, this.nextSequence(), operation.table, operation.exclusive === true);
        break;
      case 'tableDelete':
        encodeTableDelete(writer, this.nextSequence(), operation.table);
        break;
      case 'chainAdd':
        encodeChainAdd(writer, this.nextSequence(), operation.chain, operation.exclusive === true);
        break;
      case 'chainDelete':
        encodeChainDelete(writer, this.nextSequence(), operation);
        break;
      case 'ruleAdd':
        encodeRuleAdd(writer, this.nextSequence(), operation.rule, operation.position, this.#idsOf(operation.rule));
        break;
      case 'ruleReplace': {
        const replace = { replace: operation.handle };
        encodeRuleAdd(writer, this.nextSequence(), operation.rule, replace, this.#idsOf(operation.rule));
        break;
      }
      case 'ruleDelete':
        encodeRuleDelete(writer, this.nextSequence(), operation, operation.handle);
        break;
      case 'ruleFlush':
        encodeRuleDelete(writer, this.nextSequence(), operation, undefined);
        break;
      case 'setAdd': {
        const { set } = operation;
        const id = ++this.#lastSetId;
        this.#setIds.set(setKey(set.family, set.table, set.name), id);
        encodeSetAdd(writer, this.nextSequence(), set, id, operation.exclusive === true);
        break;
      }
      case 'setDelete':
        encodeSetDelete(writer, this.nextSequence(), operation);
        break;
      case 'elementsAdd': {
        const change = operation.exclusive ? 'addExclusive' : 'add';
        encodeElements(writer, this.#target(operation), change, operation.elements, this.nextSequence);
        break;
      }
      case 'elementsDelete':
        encodeElements(writer, this.#target(operation), 'delete', operation.elements, this.nextSequence);
        break;
      case 'setFlush':
        encodeSetFlush(writer, this.nextSequence(), this.#target(operation));
        break;
    }
  }

  #idsOf(where: InTable): SetIdOf {
    return (set) => this.#setIds.get(setKey(where.family, where.table, set));
  }

  #target(operation: InTable & { set: string }) {
    const { family, table, set } = operation;
    return { family, table, set, setId: this.#idsOf(operation)(set) };
  }
}

const setKey = (family: Family, table: string, set: string): string => `${family} ${table} ${set}`;
