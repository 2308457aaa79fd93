/**
 * From what should be there and what is, or from a change, to iptables operations for one restore, and how many rules that makes.
 * Layer: proxy/iptables (pure). A change costs the chains of the ports that it touches; foreign rules are never named.
 */
import type { IptablesOperation, IptablesTable, SavedTable } from '../../linux/iptables.ts';
import type { Change, HealthCheck } from '../services/dataplane.ts';
import type { PortView } from '../services/port-index.ts';
import { chains, isServiceChain, type Jump, jumps, kubeletJumps } from './chain-names.ts';
import type { IptablesOptions } from './options.ts';
import { type DesiredChain, kubeletFirewallRules } from './render-fixed.ts';
import { renderHealthCheck } from './render-health-check.ts';
import { type PortRules, renderPort, type SharedRule } from './render-port.ts';
import { comment, isNew, rule } from './rule-text.ts';

export type Saved = Readonly<Record<IptablesTable, SavedTable>>;

/**
 * `exact`: rules are compared as text. `loose`: this iptables-save prints rules in other words than we write them, so only
 * their number and targets are compared.
 */
export type Comparison = 'exact' | 'loose';

export interface PlannedChange {
  operations: IptablesOperation[];
  /** How many rules there are more than before; less than 0: fewer. */
  grown: Record<IptablesTable, number>;
}

/** What brings the rules from the state before the changes to that after them; no rule is named that does not change. */
export function planChanges(
  ports: readonly Change<PortView>[],
  healthChecks: readonly Change<HealthCheck>[],
  options: IptablesOptions,
): PlannedChange {
  const planned: PlannedChange = { operations: [], grown: { nat: 0, filter: 0, mangle: 0 } };
  for (const { before, after } of ports)
    planDifference(renderPort(before, options), renderPort(after, options), planned);
  for (const { before, after } of healthChecks)
    planDifference(
      { chains: [], shared: renderHealthCheck(before) },
      { chains: [], shared: renderHealthCheck(after) },
      planned,
    );
  return planned;
}

function planDifference(before: PortRules, after: PortRules, { operations, grown }: PlannedChange): void {
  const old = new Map(before.chains.map((each) => [nameOf(each), each.rules]));
  for (const each of after.chains) {
    if (!sameList(old.get(nameOf(each)), each.rules))
      operations.push(...writeChain(each.table, each.chain, each.rules));
    old.delete(nameOf(each));
    grown[each.table] += each.rules.length;
  }
  for (const { table, chain, rules } of before.chains) {
    if (old.has(nameOf({ table, chain }))) operations.push(...removeChain(table, chain));
    grown[table] -= rules.length;
  }
  const key = (line: SharedRule): string => `${nameOf(line)} ${line.rule}`;
  const [was, is] = [new Set(before.shared.map(key)), new Set(after.shared.map(key))];
  for (const line of before.shared) {
    if (!is.has(key(line))) operations.push({ op: 'delete', ...line });
    grown[line.table]--;
  }
  for (const line of after.shared) {
    // First, since the jump to node ports must stay the last one.
    if (!was.has(key(line))) operations.push({ op: 'insert', ...line });
    grown[line.table]++;
  }
}

/** What brings the rules from whatever they are to what they should be; nothing when nothing differs. */
export function planAll(
  saved: Saved,
  desired: readonly DesiredChain[],
  options: IptablesOptions,
  comparison: Comparison,
): IptablesOperation[] {
  const operations: IptablesOperation[] = [];
  const wanted = new Set<string>();
  for (const each of desired) {
    wanted.add(nameOf(each));
    const found = saved[each.table].get(each.chain)?.rules;
    if (found === undefined || !isAsDesired(found, each, comparison))
      operations.push(...writeChain(each.table, each.chain, each.rules));
  }
  for (const table of ['nat', 'filter'] as const)
    for (const chain of saved[table].keys())
      if (!wanted.has(nameOf({ table, chain })) && (isServiceChain(chain) || chain === chains.markMasqOutside))
        operations.push(...removeChain(table, chain));
  operations.push(...planKubeletFirewall(saved, options, comparison));
  for (const jump of jumps) operations.push(...planJump(saved, jump, comparison));
  return operations;
}

const nameOf = ({ table, chain }: { table: IptablesTable; chain: string }): string => `${table} ${chain}`;

function isAsDesired(found: readonly string[], { rules, last }: DesiredChain, comparison: Comparison): boolean {
  const [have, want] = comparison === 'exact' ? [found, rules] : [found.map(targetOf), rules.map(targetOf)];
  if (last === undefined) return sameList(have, want);
  return (
    have.length === want.length &&
    sameList(have.slice(have.length - last), want.slice(want.length - last)) &&
    sameList([...have].sort(), [...want].sort())
  );
}

function planKubeletFirewall(saved: Saved, options: IptablesOptions, comparison: Comparison): IptablesOperation[] {
  const rules = kubeletFirewallRules(options);
  if (rules.length === 0) return [];
  const { filter } = saved;
  const chain = chains.kubeletFirewall;
  const found = filter.get(chain)?.rules;
  const operations: IptablesOperation[] = found === undefined ? [{ op: 'chain', table: 'filter', chain }] : [];
  for (const text of rules) {
    const isThere =
      comparison === 'exact' ? found?.includes(text) : found?.some((other) => targetOf(other) === targetOf(text));
    if (isThere !== true) operations.push({ op: 'append', table: 'filter', chain, rule: text });
  }
  for (const jump of kubeletJumps)
    if (!jumpsTo(filter, jump).length)
      operations.push({ op: 'insert', table: 'filter', chain: jump.from, rule: jumpRule(jump) });
  return operations;
}

/** There once, and not in the words of another version or mode of kube-proxy. */
function planJump(saved: Saved, jump: Jump, comparison: Comparison): IptablesOperation[] {
  const { table, from } = jump;
  const wanted = jumpRule(jump);
  const found = jumpsTo(saved[table], jump);
  if (comparison === 'loose') return found.length > 0 ? [] : [{ op: 'insert', table, chain: from, rule: wanted }];
  const [first = -1] = found.flatMap((text, index) => (text === wanted ? [index] : []));
  const operations: IptablesOperation[] = [];
  // Deleted by its text, which means the first of equal ones: those behind it count, wherever they stand.
  for (const [index, text] of found.entries())
    if (index !== first) operations.push({ op: 'delete', table, chain: from, rule: text });
  if (first < 0) operations.push({ op: 'insert', table, chain: from, rule: wanted });
  return operations;
}

const jumpRule = ({ to, comment: said, isNew: onlyNew }: Jump): string =>
  rule({ matches: [onlyNew ? isNew : '', said === '' ? '' : comment(said)], target: to });

const jumpsTo = (saved: SavedTable, { from, to }: Jump): string[] =>
  (saved.get(from)?.rules ?? []).filter((text) => targetOf(text) === to);

/** The chain or the verdict, without what a comment may say; empty for a rule without. */
export function targetOf(text: string): string {
  const bare = text.includes('"') ? text.replace(/"(?:[^"\\]|\\.)*"/g, '') : text;
  return /(?:^| )-[jg] (\S+)/.exec(bare)?.[1] ?? '';
}

function* writeChain(
  table: IptablesTable,
  chain: string,
  rules: readonly string[],
): Generator<IptablesOperation, void, undefined> {
  yield { op: 'chain', table, chain };
  for (const rule of rules) yield { op: 'append', table, chain, rule };
}

function removeChain(table: IptablesTable, chain: string): IptablesOperation[] {
  return [
    { op: 'chain', table, chain },
    { op: 'chainDelete', table, chain },
  ];
}

const sameList = (a: readonly string[] | undefined, b: readonly string[]): boolean =>
  a !== undefined && a.length === b.length && a.every((text, index) => text === b[index]);
