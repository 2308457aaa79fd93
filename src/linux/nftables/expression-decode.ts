/**
 * Attributes to expressions: the way back of expression-encode.ts, in the form a caller would write them, so that what was
 * made and what is dumped compare equal (the kernel fills in defaults and repeats minima as maxima).
 * Layer: linux (pure). What this code does not make becomes `other`, never an error.
 */
import type { AttributeCursor } from '../netlink/message-reader.ts';
import { AttributeTable, readData } from './attributes.ts';
import { NFTA_EXPR, nameOf } from './constants.ts';
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
import { compareOperators, dynsetOperations, payloadBases, rejectKinds } from './expression-encode.ts';

/** All entries of NFTA_RULE_EXPRESSIONS. @throws NetlinkFormatError */
export function decodeExpressions(list: AttributeCursor): Expression[] {
  const expressions: Expression[] = [];
  while (list.next()) {
    const entry = new AttributeTable(list.nested());
    const name = entry.string(NFTA_EXPR.NAME) ?? '';
    const data = entry.table(NFTA_EXPR.DATA);
    const known = data === undefined ? undefined : decoders[name]?.(data);
    expressions.push(known ?? { expr: 'other', name, data: entry.bytes(NFTA_EXPR.DATA) ?? Buffer.alloc(0) });
  }
  return expressions;
}

const decoders: Readonly<Record<string, (data: AttributeTable) => Expression | undefined>> = {
  payload(data) {
    const base = nameOf(payloadBases, data.required(2));
    if (base === undefined) return undefined;
    const range = { base, offset: data.required(3), length: data.required(4) };
    const dreg = data.number(1);
    if (dreg !== undefined) return { expr: 'payload', ...range, dreg };
    const checksum = data.number(6) === 1 ? { checksumOffset: data.required(7) } : {};
    const pseudo = data.number(8) === 1 ? { pseudoHeader: true } : {};
    return { expr: 'payloadSet', ...range, sreg: data.required(5), ...checksum, ...pseudo };
  },
  meta(data) {
    const key = nameOf(metaKeys, data.required(2));
    if (key === undefined) return undefined;
    const dreg = data.number(1);
    return dreg === undefined ? { expr: 'metaSet', key, sreg: data.required(3) } : { expr: 'meta', key, dreg };
  },
  cmp(data) {
    const op = nameOf(compareOperators, data.required(2));
    const value = data.value(3);
    return op && value && { expr: 'cmp', sreg: data.required(1), op, data: value };
  },
  bitwise(data) {
    const operation = data.number(6) ?? 0;
    const registers = { sreg: data.required(1), dreg: data.required(2) };
    const [mask, xor, shift] = [data.value(4), data.value(5), data.value(7)];
    if (operation === 0 && mask && xor) return { expr: 'bitwise', ...registers, mask, xor };
    if ((operation !== 1 && operation !== 2) || shift === undefined) return undefined;
    const direction = operation === 1 ? 'left' : 'right';
    return { expr: 'shift', direction, bits: shift[0] ?? 0, length: data.required(3), ...registers };
  },
  immediate(data) {
    const dreg = data.required(1);
    const table = data.table(2);
    const value = table && readData(table);
    if (value === undefined) return undefined;
    if (Buffer.isBuffer(value)) return { expr: 'immediate', dreg, data: value };
    return { expr: 'verdict', verdict: value };
  },
  lookup(data) {
    return {
      expr: 'lookup',
      set: data.string(1) ?? '',
      sreg: data.required(2),
      ...register('dreg', data.number(3)),
      ...(((data.number(5) ?? 0) & 1) !== 0 ? { inverted: true } : {}),
    };
  },
  numgen(data) {
    const mode = data.required(3) === 1 ? 'random' : 'inc';
    return { expr: 'numgen', mode, modulus: data.required(2), ...offset(data.number(4)), dreg: data.required(1) };
  },
  hash(data) {
    if ((data.number(7) ?? 0) !== 0) return undefined;
    return {
      expr: 'jhash',
      sreg: data.required(1),
      length: data.required(3),
      modulus: data.required(4),
      ...(data.has(5) ? { seed: data.required(5) } : {}),
      ...offset(data.number(6)),
      dreg: data.required(2),
    };
  },
  ct(data) {
    const key = nameOf(ctKeys, data.required(2));
    if (key === undefined) return undefined;
    const dreg = data.number(1);
    if (dreg === undefined) return { expr: 'ctSet', key, sreg: data.required(4) };
    const direction = data.number(3);
    if (direction === undefined) return { expr: 'ct', key, dreg };
    return { expr: 'ct', key, direction: direction === 0 ? 'original' : 'reply', dreg };
  },
  nat(data) {
    const family = { 2: 'ip', 10: 'ip6' }[data.required(2)];
    if (family !== 'ip' && family !== 'ip6') return undefined;
    return {
      expr: 'nat',
      type: data.required(1) === 1 ? 'dnat' : 'snat',
      family,
      ...range('addressMin', 'addressMax', data.number(3), data.number(4)),
      ...range('protoMin', 'protoMax', data.number(5), data.number(6)),
      ...natFlagsOf(data.number(7)),
    };
  },
  masq: (data) => ({
    expr: 'masq',
    ...range('protoMin', 'protoMax', data.number(2), data.number(3)),
    ...natFlagsOf(data.number(1)),
  }),
  redir: (data) => ({
    expr: 'redir',
    ...range('protoMin', 'protoMax', data.number(1), data.number(2)),
    ...natFlagsOf(data.number(3)),
  }),
  fib(data) {
    const result = nameOf(fibResults, data.required(2));
    if (result === undefined) return undefined;
    const bits = data.required(3);
    const flags = flagNames<FibFlag>(fibFlags, bits);
    const present = (bits & 32) !== 0 ? { present: true } : {};
    return { expr: 'fib', result, flags, ...present, dreg: data.required(1) };
  },
  reject(data) {
    const kind = nameOf(rejectKinds, data.required(1));
    if (kind === 'tcp reset') return { expr: 'reject', with: kind };
    return kind && { expr: 'reject', with: kind, code: data.required(2) };
  },
  dynset(data) {
    const op = nameOf(dynsetOperations, data.required(3));
    // Expressions inside are not ours.
    if (op === undefined || data.has(7) || data.has(10)) return undefined;
    const timeoutMs = data.long(6) ?? 0;
    return {
      expr: 'dynset',
      op,
      set: data.string(1) ?? '',
      key: data.required(4),
      ...register('data', data.number(5)),
      ...(timeoutMs > 0 ? { timeoutMs } : {}),
    };
  },
  counter: (data) => ({ expr: 'counter', packets: data.long(2) ?? 0, bytes: data.long(1) ?? 0 }),
  limit: (data) => ({
    expr: 'limit',
    kind: data.number(4) === 1 ? 'bytes' : 'packets',
    rate: data.long(1) ?? 0,
    perSeconds: data.long(2) ?? 0,
    burst: data.number(3) ?? 0,
    ...(data.number(5) === 1 ? { over: true } : {}),
  }),
  byteorder(data) {
    const size = data.required(5);
    if (size !== 2 && size !== 4 && size !== 8) return undefined;
    const op = data.required(3) === 0 ? 'ntoh' : 'hton';
    return { expr: 'byteorder', op, sreg: data.required(1), dreg: data.required(2), length: data.required(4), size };
  },
  notrack: () => ({ expr: 'notrack' }),
};

function register<Name extends string>(name: Name, value: Register | undefined): { [name in Name]?: Register } {
  return value === undefined ? {} : ({ [name]: value } as { [name in Name]: Register });
}

function range<Min extends string, Max extends string>(
  minName: Min,
  maxName: Max,
  min: Register | undefined,
  max: Register | undefined,
): { [name in Min | Max]?: Register } {
  return { ...register(minName, min), ...register(maxName, max === min ? undefined : max) } as {
    [name in Min | Max]?: Register;
  };
}

const offset = (value: number | undefined): { offset?: number } => (value ? { offset: value } : {});

function flagNames<Flag extends string>(flags: Readonly<Record<Flag, number>>, bits: number): Flag[] {
  return (Object.keys(flags) as Flag[]).filter((flag) => (bits & flags[flag]) !== 0);
}

/** The bits that follow from the registers (MAP_IPS 1, PROTO_SPECIFIED 2) are the kernel's own. */
function natFlagsOf(bits: number | undefined): { flags?: readonly NatFlag[] } {
  const flags = flagNames<NatFlag>(natFlags, bits ?? 0);
  return flags.length === 0 ? {} : { flags };
}
