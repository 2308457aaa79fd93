/**
 * Short ways to write the operations and expressions that the skeleton of the table consists of.
 * Layer: proxy/nftables (pure). Must not know what they are for.
 */
import { parsePrefix } from '../../linux/ip-bytes.ts';
import type { Expression } from '../../linux/nftables/expression.ts';
import type { Field } from '../../linux/nftables/fields.ts';
import type { BaseChain, NftablesOperation, NftSet } from '../../linux/nftables/types.ts';
import type { Layout } from './layout.ts';

export const chainAdd = ({ table }: Layout, name: string, base?: BaseChain): NftablesOperation => ({
  op: 'chainAdd',
  chain: { ...table, name, ...(base === undefined ? {} : { base: { policy: 'accept', ...base } }) },
});

export const setAdd = (
  { table }: Layout,
  name: string,
  key: readonly Field[],
  data?: readonly Field[],
  more: Pick<NftSet, 'dynamic' | 'interval' | 'timeout' | 'size'> = {},
): NftablesOperation => ({
  op: 'setAdd',
  set: { ...table, name, key, ...(data === undefined ? {} : { data }), ...more },
});

export const ruleIn =
  ({ table }: Layout) =>
  (chain: string, expressions: readonly Expression[]): NftablesOperation => ({
    op: 'ruleAdd',
    rule: { ...table, chain, expressions },
  });

export const drop: Expression = { expr: 'verdict', verdict: 'drop' };
export const goto = (name: string): Expression => ({ expr: 'verdict', verdict: { goto: name } });
export const jump = (name: string): Expression => ({ expr: 'verdict', verdict: { jump: name } });
/** Of the key in register 1. */
export const lookup = (set: string): Expression => ({ expr: 'lookup', set, sreg: 1 });

export function flagSet(key: 'state' | 'status', bit: number): Expression[] {
  const zero = Uint8Array.of(0, 0, 0, 0);
  return [
    { expr: 'ct', key, dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask: Uint8Array.of(bit, 0, 0, 0), xor: zero },
    { expr: 'cmp', sreg: 1, op: '!=', data: zero },
  ];
}

/** Whether the address that `load` puts into register 1 lies in the prefix. */
export function isIn(prefix: string, load: Expression): Expression[] {
  const { bytes, length } = parsePrefix(prefix);
  const mask = bytes.map((_, index) => (0xff00 >> Math.max(0, Math.min(8, length - index * 8))) & 0xff);
  return [
    load,
    { expr: 'bitwise', sreg: 1, dreg: 1, mask, xor: new Uint8Array(bytes.length) },
    { expr: 'cmp', sreg: 1, op: '==', data: bytes.map((byte, index) => byte & (mask[index] ?? 0)) },
  ];
}
