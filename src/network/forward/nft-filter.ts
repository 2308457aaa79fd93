/**
 * The rules for pods in chain FORWARD of iptables-nft: nf_tables tables `ip filter` and `ip6 filter`, which belong to
 * iptables. What is put there is written as iptables-nft writes it, so that iptables still lists the table.
 * Layer: network/forward (pure). Touches our own chain and the jump to it, and no table that does not drop.
 */
import { comparableRule } from '../../linux/nftables/comparable.ts';
import type { Expression } from '../../linux/nftables/expression.ts';
import type { InstalledRule, NftablesOperation, Rule, TableDump, TableRef } from '../../linux/nftables/types.ts';
import { addressBits, bytesOf, type IpFamily, maskOf } from '../ipam/ip-prefix.ts';
import { type Accepted, forwardChain, type Match, matchesOf } from './accepted.ts';

export const filterTableOf = (family: IpFamily): TableRef & { family: 'ip' | 'ip6' } => ({
  family: family === 4 ? 'ip' : 'ip6',
  name: 'filter',
});
/** Chains in which a change may concern us. */
export const watchedChains: ReadonlySet<string> = new Set(['FORWARD', forwardChain]);

const placeOf = (family: IpFamily) => ({ family: filterTableOf(family).family, table: filterTableOf(family).name });

/**
 * @param dump of the family's table; undefined when there is none
 * @param accepted undefined: nothing of ours is to be there
 * @throws NetworkError NETWORK_POD_CIDR_INVALID
 */
export function planNftForward(
  family: IpFamily,
  dump: TableDump | undefined,
  accepted: Accepted | undefined,
): NftablesOperation[] {
  if (dump === undefined) return [];
  const inTable = placeOf(family);
  const present = dump.rules.filter(({ chain }) => chain === 'FORWARD');
  const jumps = present.filter(isJump);
  const ours = dump.rules.filter(({ chain }) => chain === forwardChain);
  const exists = dump.chains.some(({ name }) => name === forwardChain);
  if (accepted === undefined || !drops(dump)) return exists ? planRemoval(family, jumps) : [];
  const rules = matchesOf(accepted).map((match) => acceptRule(family, match));
  const isRight = ours.length === rules.length && ours.every((rule, index) => isSame(rule, rules[index]));
  return [
    ...(exists ? [] : [{ op: 'chainAdd', chain: { ...inTable, name: forwardChain } } as const]),
    ...(isRight || ours.length === 0 ? [] : [{ op: 'ruleFlush', ...inTable, chain: forwardChain } as const]),
    ...(isRight ? [] : rules.map((rule): NftablesOperation => ({ op: 'ruleAdd', rule }))),
    ...(isOneAndLast(present)
      ? []
      : [...planNoJumps(family, jumps), { op: 'ruleAdd', rule: jumpRule(family) } as const]),
  ];
}

/** Whether iptables-nft drops what it does not know. */
export const drops = ({ chains }: TableDump): boolean =>
  chains.some(({ name, base }) => name === 'FORWARD' && base?.hook === 'forward' && base.policy === 'drop');

/** What the host appends later (ufw when it is reloaded) comes before it again: its rules are asked first. */
const isOneAndLast = (present: readonly InstalledRule[]): boolean =>
  present.findIndex(isJump) === present.length - 1 && present.length > 0;

const planNoJumps = (family: IpFamily, jumps: readonly InstalledRule[]): NftablesOperation[] =>
  jumps.map(({ handle }) => ({ op: 'ruleDelete', ...placeOf(family), chain: 'FORWARD', handle }));

function planRemoval(family: IpFamily, jumps: readonly InstalledRule[]): NftablesOperation[] {
  const inTable = placeOf(family);
  return [
    ...planNoJumps(family, jumps),
    { op: 'ruleFlush', ...inTable, chain: forwardChain },
    { op: 'chainDelete', ...inTable, name: forwardChain },
  ];
}

const isSame = (a: Rule, b: Rule | undefined): boolean => b !== undefined && comparableRule(a) === comparableRule(b);

const isJump = ({ expressions }: Rule): boolean =>
  expressions.some(
    (expression) =>
      expression.expr === 'verdict' &&
      typeof expression.verdict === 'object' &&
      'jump' in expression.verdict &&
      expression.verdict.jump === forwardChain,
  );

const jumpRule = (family: IpFamily): Rule => ({
  ...placeOf(family),
  chain: 'FORWARD',
  expressions: [{ expr: 'counter' }, { expr: 'verdict', verdict: { jump: forwardChain } }],
});

const acceptRule = (family: IpFamily, match: Match): Rule => ({
  ...placeOf(family),
  chain: forwardChain,
  expressions: [...expressionsOf(match), { expr: 'counter' }, { expr: 'verdict', verdict: 'accept' }],
});

/** Of the IP header, bytes; of a link's name with its NULs. */
const offsets = { 4: { source: 12, destination: 16 }, 6: { source: 8, destination: 24 } } as const;
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
  const { family, base, length } = match.prefix;
  const bytes = addressBits(family) / 8;
  return [
    { expr: 'payload', base: 'network', offset: offsets[family][match.field], length: bytes, dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask: maskOf(family, length), xor: new Uint8Array(bytes) },
    { expr: 'cmp', sreg: 1, op: '==', data: bytesOf({ family, value: base }) },
  ];
}
