/**
 * From a table as the kernel has it to the one that a plan from scratch makes, in one batch.
 * Layer: linux (pure). Counters, handles and what dynamic sets have learned from packets are no differences. Objects that
 * a dump does not tell of (flowtables, stateful objects) are neither seen nor removed.
 */
import { comparableChain, comparableRule, comparableSet } from './comparable.ts';
import { differenceOfElements } from './element-difference.ts';
import {
  type Chain,
  type Elements,
  elementCount,
  type InTable,
  type NftablesOperation,
  type NftSet,
  type Rule,
  type Table,
  type TableDump,
} from './types.ts';

/** What a plan makes. */
interface DesiredTable {
  table: Table;
  chains: Map<string, Chain>;
  /** Of each chain, in order. */
  rules: Map<string, Rule[]>;
  sets: Map<string, NftSet>;
  elements: Map<string, Elements[]>;
}

/**
 * The batch that turns `actual` into what `desired` makes; nothing when they are equal.
 *
 * The table is replaced as a whole when its comment (the schema version), the declaration of a set or that of a chain
 * differs. A chain with other rules is emptied and filled again. Elements are compared one by one, those of dynamic sets
 * not at all. A set that was dumped without its elements is flushed and filled.
 * @param actual the table's dump; undefined when there is none
 * @param desired a plan that makes one table from nothing: tableAdd, setAdd, chainAdd, ruleAdd at the end of chains,
 *   elementsAdd; what comes before its last tableDelete does not count
 * @returns to be applied with the generation of the dump, so that nobody's change in between is lost
 * @throws TypeError for a plan of another kind or of another table
 */
export function planTableDifference(
  actual: TableDump | undefined,
  desired: readonly NftablesOperation[],
): NftablesOperation[] {
  const fresh = desired.slice(desired.findLastIndex(({ op }) => op === 'tableDelete') + 1);
  if (actual === undefined) return fresh;
  const wanted = readPlan(fresh);
  const { family, name } = wanted.table;
  if (actual.table.family !== family || actual.table.name !== name)
    throw new TypeError(`a plan of table ${family} ${name} for ${actual.table.family} ${actual.table.name}`);
  if (mustReplace(actual, wanted)) {
    const table = { family, name };
    return [{ op: 'tableAdd', table }, { op: 'tableDelete', table }, ...fresh];
  }
  return planChanges(actual, wanted, { family, table: name });
}

/** @throws TypeError */
function readPlan(operations: readonly NftablesOperation[]): DesiredTable {
  const [first] = operations;
  if (first?.op !== 'tableAdd') throw new TypeError('a plan from scratch begins with tableAdd');
  const wanted: DesiredTable = {
    table: first.table,
    chains: new Map(),
    rules: new Map(),
    sets: new Map(),
    elements: new Map(),
  };
  for (const operation of operations.slice(1)) {
    if (operation.op === 'chainAdd') wanted.chains.set(operation.chain.name, operation.chain);
    else if (operation.op === 'setAdd') wanted.sets.set(operation.set.name, operation.set);
    else if (operation.op === 'elementsAdd') append(wanted.elements, operation.set, operation.elements);
    else if (operation.op === 'ruleAdd' && operation.position === undefined)
      append(wanted.rules, operation.rule.chain, operation.rule);
    else throw new TypeError(`${operation.op} in a plan from scratch`);
  }
  return wanted;
}

function append<Value>(lists: Map<string, Value[]>, name: string, value: Value): void {
  const list = lists.get(name);
  if (list === undefined) lists.set(name, [value]);
  else list.push(value);
}

/** The kernel lets none of these be changed, but for a chain's policy. */
function mustReplace(actual: TableDump, wanted: DesiredTable): boolean {
  return (
    actual.table.comment !== wanted.table.comment ||
    actual.sets.some(({ set }) => {
      const other = wanted.sets.get(set.name);
      return other !== undefined && comparableSet(set) !== comparableSet(other);
    }) ||
    actual.chains.some((chain) => {
      const other = wanted.chains.get(chain.name);
      return other !== undefined && comparableChain(chain) !== comparableChain(other);
    })
  );
}

/**
 * In this order, since the kernel refuses what points to nothing and the removal of what something points to: new sets and
 * chains; rules and elements go, then what they used; rules and elements come.
 */
function planChanges(actual: TableDump, wanted: DesiredTable, at: InTable): NftablesOperation[] {
  const steps: Steps = { added: [], emptied: [], removed: [], filled: [] };
  planSets(actual, wanted, at, steps);
  planChains(actual, wanted, at, steps);
  return [...steps.added, ...steps.emptied, ...steps.removed, ...steps.filled];
}

interface Steps {
  added: NftablesOperation[];
  emptied: NftablesOperation[];
  removed: NftablesOperation[];
  filled: NftablesOperation[];
}

function planChains(actual: TableDump, wanted: DesiredTable, at: InTable, steps: Steps): void {
  const installed = new Map<string, Rule[]>(actual.chains.map(({ name }) => [name, []]));
  for (const rule of actual.rules) append(installed, rule.chain, rule);
  for (const [name, chain] of wanted.chains) {
    const before = installed.get(name);
    const rules = wanted.rules.get(name) ?? [];
    if (before === undefined) steps.added.push({ op: 'chainAdd', chain });
    else if (sameRules(before, rules)) continue;
    else if (before.length > 0) steps.emptied.push({ op: 'ruleFlush', ...at, chain: name });
    for (const rule of rules) steps.filled.push({ op: 'ruleAdd', rule });
  }
  for (const [name, rules] of installed) {
    if (wanted.chains.has(name)) continue;
    if (rules.length > 0) steps.emptied.push({ op: 'ruleFlush', ...at, chain: name });
    steps.removed.push({ op: 'chainDelete', ...at, name });
  }
}

const sameRules = (a: readonly Rule[], b: readonly Rule[]): boolean =>
  a.length === b.length &&
  a.every((rule, index) => {
    const other = b[index];
    return other !== undefined && comparableRule(rule) === comparableRule(other);
  });

function planSets(actual: TableDump, wanted: DesiredTable, at: InTable, steps: Steps): void {
  const installed = new Map(actual.sets.map((found) => [found.set.name, found]));
  for (const [name, set] of wanted.sets) if (!installed.has(name)) steps.added.push({ op: 'setAdd', set });
  for (const [name, { set, elements }] of installed) {
    if (isAnonymous(set)) continue;
    if (!wanted.sets.has(name)) {
      // Kernels before 6.4 count the verdicts of a deleted map as users of their chains.
      if (set.data === 'verdict') steps.emptied.push({ op: 'setFlush', ...at, set: name });
      steps.removed.push({ op: 'setDelete', ...at, name });
    } else if (!set.dynamic) planElements(set, elements, wanted.elements.get(name) ?? [], at, steps);
  }
  for (const [name, lists] of wanted.elements)
    if (!installed.has(name))
      for (const elements of lists) steps.filled.push({ op: 'elementsAdd', ...at, set: name, elements });
}

function planElements(
  set: NftSet,
  actual: Elements | undefined,
  desired: readonly Elements[],
  at: InTable,
  { emptied, filled }: Steps,
): void {
  const inSet = { ...at, set: set.name };
  const difference = actual === undefined ? 'refill' : differenceOfElements(set, actual, desired);
  if (difference === 'refill') emptied.push({ op: 'setFlush', ...inSet });
  else if (elementCount(difference.deletes) > 0)
    emptied.push({ op: 'elementsDelete', ...inSet, elements: difference.deletes });
  for (const elements of difference === 'refill' ? desired : difference.adds)
    filled.push({ op: 'elementsAdd', ...inSet, elements });
}

/** Of a rule that says its set in place, by another program: it goes with the rule and cannot be deleted itself. */
const isAnonymous = ({ name, constant }: NftSet): boolean => constant === true && /^__(set|map)\d+$/.test(name);
