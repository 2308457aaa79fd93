/**
 * The rules for pods in chain FORWARD of iptables-nft: nf_tables table `ip filter`, which belongs to iptables. What is put
 * there is written as iptables-nft writes it, so that iptables still lists the table.
 * Layer: network/forward (pure). Touches our own chain and the jump to it, and no table that does not drop.
 */
import { comparableRule } from '../../linux/nftables/comparable.ts';
import type { Expression } from '../../linux/nftables/expression.ts';
import type { InstalledRule, NftablesOperation, Rule, TableDump, TableRef } from '../../linux/nftables/types.ts';
import { type Accepted, forwardChain, type Match, matchesOf } from './accepted.ts';

export const filterTable = { family: 'ip', name: 'filter' } as const satisfies TableRef;
/** Chains in which a change may concern us. */
export const watchedChains: ReadonlySet<string> = new Set(['FORWARD', forwardChain]);

const inTable = { family: filterTable.family, table: filterTable.name } as const;

/**
 * @param dump undefined when there is no such table
 * @param accepted undefined: nothing of ours is to be there
 * @throws NetworkError NETWORK_POD_CIDR_INVALID
 */
export function planNftForward(dump: TableDump | undefined, accepted: Accepted | undefined): NftablesOperation[] {
  if (dump === undefined) return [];
  const jumps = dump.rules.filter((rule) => rule.chain === 'FORWARD' && isJump(rule));
  const ours = dump.rules.filter(({ chain }) => chain === forwardChain);
  const exists = dump.chains.some(({ name }) => name === forwardChain);
  if (accepted === undefined || !drops(dump)) return exists ? planRemoval(jumps) : [];
  const rules = matchesOf(accepted).map(acceptRule);
  const isRight = ours.length === rules.length && ours.every((rule, index) => isSame(rule, rules[index]));
  return [
    ...(exists ? [] : [{ op: 'chainAdd', chain: { ...inTable, name: forwardChain } } as const]),
    ...(isRight || ours.length === 0 ? [] : [{ op: 'ruleFlush', ...inTable, chain: forwardChain } as const]),
    ...(isRight ? [] : rules.map((rule): NftablesOperation => ({ op: 'ruleAdd', rule }))),
    ...(jumps.length > 0 ? [] : [{ op: 'ruleAdd', rule: jumpRule } as const]),
  ];
}

/** Whether iptables-nft drops what it does not know. */
export const drops = ({ chains }: TableDump): boolean =>
  chains.some(({ name, base }) => name === 'FORWARD' && base?.hook === 'forward' && base.policy === 'drop');

const planRemoval = (jumps: readonly InstalledRule[]): NftablesOperation[] => [
  ...jumps.map(({ handle }) => ({ op: 'ruleDelete', ...inTable, chain: 'FORWARD', handle }) as const),
  { op: 'ruleFlush', ...inTable, chain: forwardChain },
  { op: 'chainDelete', ...inTable, name: forwardChain },
];

const isSame = (a: Rule, b: Rule | undefined): boolean => b !== undefined && comparableRule(a) === comparableRule(b);

const isJump = ({ expressions }: Rule): boolean =>
  expressions.some(
    (expression) =>
      expression.expr === 'verdict' &&
      typeof expression.verdict === 'object' &&
      'jump' in expression.verdict &&
      expression.verdict.jump === forwardChain,
  );

const jumpRule: Rule = {
  ...inTable,
  chain: 'FORWARD',
  expressions: [{ expr: 'counter' }, { expr: 'verdict', verdict: { jump: forwardChain } }],
};

const acceptRule = (match: Match): Rule => ({
  ...inTable,
  chain: forwardChain,
  expressions: [...expressionsOf(match), { expr: 'counter' }, { expr: 'verdict', verdict: 'accept' }],
});

/** Of the IPv4 header, bytes; of a link's name with its NULs. */
const offsets = { source: 12, destination: 16 } as const;
const nameBytes = 16;

function expressionsOf(match: Match): Expression[] {
  if ('link' in match) {
    const data = Buffer.alloc(nameBytes);
    data.write(match.link, 'latin1');
    return [
      { expr: 'meta', key: match.field === 'in' ? 'iifname' : 'oifname', dreg: 1 },
      { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.from(data) },
    ];
  }
  const { base, length } = match.prefix;
  return [
    { expr: 'payload', base: 'network', offset: offsets[match.field], length: 4, dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask: word(-1 << (32 - length)), xor: word(0) },
    { expr: 'cmp', sreg: 1, op: '==', data: word(base) },
  ];
}

const word = (value: number): Uint8Array => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
