/**
 * Expressions to attributes, in the order in which libnftnl writes them, so that fixtures compare byte by byte.
 * Layer: linux (pure). Must not decide anything: what a rule consists of is the caller's. The way back is in
 * expression-decode.ts.
 */
import type { MessageWriter } from '../netlink/message-writer.ts';
import { nest, writeValue, writeVerdict } from './attributes.ts';
import { familyNumber, NFTA_EXPR, NFTA_LIST_ELEM } from './constants.ts';
import {
  ctKeys,
  type Expression,
  type FibFlag,
  fibFlags,
  fibResults,
  metaKeys,
  type NatFlag,
  natFlags,
  type Register,
} from './expression.ts';

/** The number under which a batch declares a set that its rules use; undefined for a set that exists already. */
export type SetIdOf = (set: string) => number | undefined;

export const payloadBases = { link: 0, network: 1, transport: 2 } as const;
export const compareOperators = { '==': 0, '!=': 1, '<': 2, '<=': 3, '>': 4, '>=': 5 } as const;
export const rejectKinds = { icmp: 0, 'tcp reset': 1, icmpx: 2 } as const;
export const dynsetOperations = { add: 0, update: 1, delete: 2 } as const;

/** The kernel's name of an expression. */
export function expressionName(expression: Expression): string {
  switch (expression.expr) {
    case 'payloadSet':
      return 'payload';
    case 'metaSet':
      return 'meta';
    case 'ctSet':
      return 'ct';
    case 'shift':
      return 'bitwise';
    case 'verdict':
      return 'immediate';
    case 'jhash':
      return 'hash';
    case 'other':
      return expression.name;
    default:
      return expression.expr;
  }
}

/** One entry of NFTA_RULE_EXPRESSIONS. @throws NetlinkEncodeError */
export function encodeExpression(writer: MessageWriter, expression: Expression, setIdOf: SetIdOf): void {
  nest(writer, NFTA_LIST_ELEM, () => {
    writer.attributeString(NFTA_EXPR.NAME, expressionName(expression));
    nest(writer, NFTA_EXPR.DATA, () => encodeData(new Fields(writer), expression, setIdOf));
  });
}

/** The attributes inside NFTA_EXPR_DATA; the names of the numbers are in the comments, after nf_tables.h. */
function encodeData(to: Fields, expression: Expression, setIdOf: SetIdOf): void {
  switch (expression.expr) {
    case 'payload': // DREG BASE OFFSET LEN
      to.register(1, expression.dreg).u32(2, payloadBases[expression.base]);
      to.u32(3, expression.offset).u32(4, expression.length);
      break;
    case 'payloadSet': // SREG BASE OFFSET LEN CSUM_TYPE CSUM_OFFSET CSUM_FLAGS
      to.register(5, expression.sreg).u32(2, payloadBases[expression.base]);
      to.u32(3, expression.offset).u32(4, expression.length);
      if (expression.checksumOffset !== undefined) to.u32(6, 1).u32(7, expression.checksumOffset);
      if (expression.pseudoHeader) to.u32(8, 1);
      break;
    case 'meta': // KEY DREG
      to.u32(2, metaKeys[expression.key]).register(1, expression.dreg);
      break;
    case 'metaSet': // KEY SREG
      to.u32(2, metaKeys[expression.key]).register(3, expression.sreg);
      break;
    case 'cmp': // SREG OP DATA
      to.register(1, expression.sreg).u32(2, compareOperators[expression.op]).value(3, expression.data);
      break;
    case 'bitwise': // SREG DREG OP LEN MASK XOR
      to.register(1, expression.sreg).register(2, expression.dreg).u32(6, 0).u32(3, expression.mask.length);
      to.value(4, expression.mask).value(5, expression.xor);
      break;
    case 'shift': // SREG DREG OP LEN DATA
      to.register(1, expression.sreg).register(2, expression.dreg);
      to.u32(6, expression.direction === 'left' ? 1 : 2).u32(3, expression.length);
      to.value(7, Uint8Array.of(expression.bits, 0, 0, 0));
      break;
    case 'immediate': // DREG DATA
      to.register(1, expression.dreg).value(2, expression.data);
      break;
    case 'verdict':
      to.u32(1, 0);
      writeVerdict(to.writer, 2, expression.verdict);
      break;
    case 'lookup': // SREG DREG SET SET_ID FLAGS
      to.register(2, expression.sreg).register(3, expression.dreg).set(1, 4, expression.set, setIdOf);
      if (expression.inverted) to.u32(5, 1);
      break;
    case 'numgen': // DREG MODULUS TYPE OFFSET
      to.register(1, expression.dreg).u32(2, expression.modulus);
      to.u32(3, expression.mode === 'random' ? 1 : 0).u32(4, expression.offset ?? 0);
      break;
    case 'jhash': // SREG DREG LEN MODULUS SEED OFFSET TYPE
      to.register(1, expression.sreg).register(2, expression.dreg).u32(3, expression.length);
      to.u32(4, expression.modulus).u32(5, expression.seed).u32(6, expression.offset).u32(7, 0);
      break;
    case 'ct': // KEY DREG DIRECTION (u8)
      to.u32(2, ctKeys[expression.key]).register(1, expression.dreg);
      if (expression.direction !== undefined) to.u8(3, expression.direction === 'original' ? 0 : 1);
      break;
    case 'ctSet': // KEY SREG
      to.u32(2, ctKeys[expression.key]).register(4, expression.sreg);
      break;
    case 'nat': // TYPE FAMILY REG_ADDR_MIN REG_ADDR_MAX REG_PROTO_MIN REG_PROTO_MAX FLAGS
      to.u32(1, expression.type === 'dnat' ? 1 : 0).u32(2, familyNumber[expression.family]);
      to.register(3, expression.addressMin).register(4, expression.addressMax);
      to.register(5, expression.protoMin).register(6, expression.protoMax).natFlags(7, expression.flags);
      break;
    case 'masq': // FLAGS REG_PROTO_MIN REG_PROTO_MAX
      to.natFlags(1, expression.flags).register(2, expression.protoMin).register(3, expression.protoMax);
      break;
    case 'redir': // REG_PROTO_MIN REG_PROTO_MAX FLAGS
      to.register(1, expression.protoMin).register(2, expression.protoMax).natFlags(3, expression.flags);
      break;
    case 'fib': // FLAGS RESULT DREG
      to.u32(3, fibBits(expression.flags) | (expression.present ? 32 : 0));
      to.u32(2, fibResults[expression.result]).register(1, expression.dreg);
      break;
    case 'reject': // TYPE ICMP_CODE (u8)
      to.u32(1, rejectKinds[expression.with]).u8(2, 'code' in expression ? expression.code : 0);
      break;
    case 'dynset': // SREG_KEY SREG_DATA OP TIMEOUT (u64) SET_NAME SET_ID
      to.register(4, expression.key).register(5, expression.data).u32(3, dynsetOperations[expression.op]);
      to.u64(6, expression.timeoutMs).set(1, 2, expression.set, setIdOf);
      break;
    case 'counter': // BYTES PACKETS (u64)
      to.u64(1, expression.bytes).u64(2, expression.packets);
      break;
    case 'limit': // RATE UNIT (u64) BURST TYPE FLAGS
      to.u64(1, expression.rate).u64(2, expression.perSeconds).u32(3, expression.burst);
      to.u32(4, expression.kind === 'packets' ? 0 : 1).u32(5, expression.over ? 1 : 0);
      break;
    case 'byteorder': // SREG DREG OP LEN SIZE
      to.register(1, expression.sreg)
        .register(2, expression.dreg)
        .u32(3, expression.op === 'ntoh' ? 0 : 1);
      to.u32(4, expression.length).u32(5, expression.size);
      break;
    case 'notrack':
      break;
    case 'other':
      to.writer.bytes(expression.data);
      break;
  }
}

const fibBits = (flags: readonly FibFlag[]): number => flags.reduce((bits, flag) => bits | fibFlags[flag], 0);

/** Attributes one after the other; an undefined value is left out. */
class Fields {
  readonly writer: MessageWriter;

  constructor(writer: MessageWriter) {
    this.writer = writer;
  }

  u32(type: number, value: number | undefined): this {
    if (value !== undefined) this.writer.attributeU32Be(type, value);
    return this;
  }

  u64(type: number, value: number | undefined): this {
    if (value !== undefined) this.writer.attributeU64Be(type, value);
    return this;
  }

  u8(type: number, value: number): this {
    this.writer.attributeBytes(type, Uint8Array.of(value));
    return this;
  }

  /** Words 8, 12, 16 and 20 go by their old names 1 to 4, as the kernel and nft do. */
  register(type: number, register: Register | undefined): this {
    if (register === undefined) return this;
    return this.u32(type, register >= 8 && register % 4 === 0 ? register / 4 - 1 : register);
  }

  value(type: number, bytes: Uint8Array): this {
    writeValue(this.writer, type, bytes);
    return this;
  }

  set(nameType: number, idType: number, set: string, setIdOf: SetIdOf): this {
    this.writer.attributeString(nameType, set);
    return this.u32(idType, setIdOf(set));
  }

  natFlags(type: number, flags: readonly NatFlag[] | undefined): this {
    if (flags === undefined || flags.length === 0) return this;
    return this.u32(
      type,
      flags.reduce((bits, flag) => bits | natFlags[flag], 0),
    );
  }
}
