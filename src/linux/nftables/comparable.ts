/**
 * Objects as texts that are equal when the kernel makes no difference between them: what it fills in, renumbers or counts
 * is said in one way.
 * Layer: linux (pure). Handles and elements are not compared here.
 */
import type { Expression, Register } from './expression.ts';
import type { Chain, NftSet, Rule } from './types.ts';

/** What the kernel gives a dynamic set without a size once a rule adds to it (nft_dynset_init). */
const dynamicSetSize = 65_535;

export function comparableChain({ base, comment }: Chain): string {
  const hook = base && [base.type, base.hook, base.priority, base.policy ?? 'accept'];
  return JSON.stringify([hook ?? null, comment ?? null]);
}

/** Timeouts and intervals survive when they are multiples of 10 ms: the kernel counts jiffies. */
export function comparableSet(set: NftSet): string {
  const { key, data, timeoutMs, gcIntervalMs, size, comment } = set;
  const hasTimeout = set.timeout === true || timeoutMs !== undefined;
  const limit = size ?? (set.dynamic ? dynamicSetSize : undefined);
  return JSON.stringify(
    [key, data, !!set.constant, !!set.interval, hasTimeout, !!set.dynamic, timeoutMs, gcIntervalMs, limit, comment].map(
      (value) => value ?? null,
    ),
  );
}

export function comparableRule({ expressions, comment }: Rule): string {
  return JSON.stringify([expressions.map(comparableExpression), comment ?? null]);
}

/** Names and values, in the order of the names. */
function comparableExpression(expression: Expression): unknown {
  // Counts run on.
  if (expression.expr === 'counter') return ['counter'];
  const values: Record<string, unknown> = { ...expression };
  for (const [min, max] of [
    ['addressMin', 'addressMax'],
    ['protoMin', 'protoMax'],
  ] as const)
    if (values[max] === values[min]) delete values[max];
  return Object.entries(values)
    .filter(([name, value]) => !isLeftOut(name, value))
    .map(([name, value]) => [name, comparableValue(name, value)])
    .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
}

/** What says the same as nothing. */
const isLeftOut = (name: string, value: unknown): boolean =>
  value === undefined ||
  value === false ||
  (name === 'offset' && value === 0) ||
  (name === 'flags' && Array.isArray(value) && value.length === 0);

const registerNames = new Set([
  'dreg',
  'sreg',
  'addressMin',
  'addressMax',
  'protoMin',
  'protoMax',
  // Of dynset; of others they are no numbers.
  'key',
  'data',
]);

function comparableValue(name: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return [...value].sort();
  return typeof value === 'number' && registerNames.has(name) ? kernelRegister(value) : value;
}

/** The kernel lists the words at which a 16-byte register begins under the number of that register. */
const kernelRegister = (register: Register): Register =>
  register >= 8 && register % 4 === 0 ? register / 4 - 1 : register;
