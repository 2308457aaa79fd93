/**
 * One table of the fake kernel: what nf_tables allows to be added, changed and taken away inside it.
 * Layer: linux (pure, test support). Every change pushes its undoing, so that a batch that fails halfway leaves no trace;
 * what a packet would meet is not modelled.
 */
import { errno, Refusal } from './fake-refusal.ts';
import { verdictTarget } from './nftables/attributes.ts';
import { elementAt } from './nftables/describe.ts';
import type { Verdict } from './nftables/expression.ts';
import { fieldsBytes } from './nftables/fields.ts';
import {
  type BaseChain,
  type Chain,
  type Element,
  type Elements,
  elementCount,
  type InstalledRule,
  type NftSet,
  type Rule,
  type Table,
} from './nftables/types.ts';

const EBUSY = 16;
const ENFILE = 23;
const EMLINK = 31;
/** NFT_JUMP_STACK_SIZE: chains below one another. */
const jumpStackSize = 16;

export interface FakeChain {
  chain: Chain;
  rules: InstalledRule[];
}

export interface FakeSet {
  set: NftSet;
  /** By the bytes of the key. */
  elements: Map<string, Element>;
}

type Undo = () => void;

const refuse = (number: number): never => {
  throw new Refusal(number);
};
const keyOf = (element: Element): string =>
  `${Buffer.from(element.key).toString('latin1')}${element.intervalEnd ? '\u0100' : ''}`;

export class FakeTable {
  readonly table: Table;
  readonly chains = new Map<string, FakeChain>();
  readonly sets = new Map<string, FakeSet>();
  readonly #undo: Undo[];
  #lastHandle = 0;

  /** @param undo the batch under way; emptied by its owner */
  constructor(table: Table, undo: Undo[]) {
    this.table = table;
    this.#undo = undo;
  }

  /** @returns whether anything changed */
  chainAdd(chain: Chain, exclusive: boolean): boolean {
    const existing = this.chains.get(chain.name);
    if (existing === undefined) {
      const { base } = chain;
      this.#set(this.chains, chain.name, {
        chain: { ...chain, ...(base === undefined ? {} : { base: { policy: 'accept', ...base } }) },
        rules: [],
      });
      return true;
    }
    if (exclusive) refuse(errno.EEXIST);
    const { base: old } = existing.chain;
    if (chain.base !== undefined && (old === undefined || !sameHook(old, chain.base))) refuse(errno.EEXIST);
    if (chain.base?.policy !== undefined) {
      const base = { ...chain.base };
      this.#set(this.chains, chain.name, { ...existing, chain: { ...existing.chain, base } });
    }
    return true;
  }

  chainDelete(name: string): void {
    const chain = this.chains.get(name) ?? refuse(errno.ENOENT);
    // Its own rules go with it and hold nothing any more.
    if (this.#targets(name).length > 0) refuse(EBUSY);
    this.#delete(this.chains, name);
    chain.rules = [...chain.rules];
  }

  ruleAdd(rule: Rule, position: 'first' | { after: number } | { before: number } | undefined): InstalledRule {
    const chain = this.chains.get(rule.chain) ?? refuse(errno.ENOENT);
    let index = position === 'first' ? 0 : chain.rules.length;
    if (typeof position === 'object') {
      const handle = 'after' in position ? position.after : position.before;
      index = chain.rules.findIndex((other) => other.handle === handle);
      if (index < 0) refuse(errno.ENOENT);
      if ('after' in position) index++;
    }
    this.#checkRule(rule, chain.chain);
    const installed = { ...rule, handle: ++this.#lastHandle };
    this.#rules(chain, chain.rules.toSpliced(index, 0, installed));
    this.#checkLoops();
    return installed;
  }

  ruleReplace(rule: Rule, handle: number): InstalledRule {
    const chain = this.chains.get(rule.chain) ?? refuse(errno.ENOENT);
    const index = chain.rules.findIndex((other) => other.handle === handle);
    if (index < 0) refuse(errno.ENOENT);
    this.#checkRule(rule, chain.chain);
    const installed = { ...rule, handle: ++this.#lastHandle };
    this.#rules(chain, chain.rules.with(index, installed));
    this.#checkLoops();
    return installed;
  }

  /** @returns handles of the rules that went */
  ruleDelete(chainName: string, handle: number | undefined): number[] {
    const chain = this.chains.get(chainName) ?? refuse(errno.ENOENT);
    const gone = chain.rules.filter((rule) => handle === undefined || rule.handle === handle);
    if (handle !== undefined && gone.length === 0) refuse(errno.ENOENT);
    this.#rules(
      chain,
      chain.rules.filter((rule) => !gone.includes(rule)),
    );
    return gone.map((rule) => rule.handle);
  }

  /** @returns whether anything changed */
  setAdd(set: NftSet, exclusive: boolean): boolean {
    const existing = this.sets.get(set.name);
    if (existing === undefined) {
      this.#set(this.sets, set.name, { set: dumped(set), elements: new Map<string, Element>() });
      return true;
    }
    if (exclusive || !sameKind(existing.set, set)) refuse(errno.EEXIST);
    // An equal declaration changes nothing, but the kernel (6.18) counts it as a change.
    return true;
  }

  setDelete(name: string): void {
    if (!this.sets.has(name)) refuse(errno.ENOENT);
    for (const { rules } of this.chains.values()) {
      if (rules.some(({ expressions }) => expressions.some((e) => 'set' in e && e.set === name))) refuse(EBUSY);
    }
    this.#delete(this.sets, name);
  }

  /** @returns how many are new */
  elementsAdd(name: string, elements: Elements, exclusive: boolean): number {
    const found = this.sets.get(name) ?? refuse(errno.ENOENT);
    const { set } = found;
    let added = 0;
    for (let index = 0; index < elementCount(elements); index++) {
      const element = copyOf(elementAt(elements, index));
      this.#checkElement(set, element);
      const existing = found.elements.get(keyOf(element));
      if (existing !== undefined) {
        if (exclusive || !sameData(existing.data, element.data)) refuse(errno.EEXIST);
        continue;
      }
      if (set.size !== undefined && found.elements.size >= set.size) refuse(ENFILE);
      if (set.timeoutMs !== undefined) element.timeoutMs ??= set.timeoutMs;
      this.#set(found.elements, keyOf(element), element);
      added++;
    }
    if (set.data === 'verdict' && added > 0) this.#checkLoops();
    return added;
  }

  elementsDelete(name: string, elements: Elements): number {
    const found = this.sets.get(name) ?? refuse(errno.ENOENT);
    const count = elementCount(elements);
    for (let index = 0; index < count; index++) {
      const element = elementAt(elements, index);
      if (element.key.length !== fieldsBytes(found.set.key)) refuse(errno.EINVAL);
      if (!found.elements.has(keyOf(element))) refuse(errno.ENOENT);
      this.#delete(found.elements, keyOf(element));
    }
    return count;
  }

  setFlush(name: string): number {
    const found = this.sets.get(name) ?? refuse(errno.ENOENT);
    const count = found.elements.size;
    for (const key of [...found.elements.keys()]) this.#delete(found.elements, key);
    return count;
  }

  #checkElement(set: NftSet, element: Element): void {
    if (element.key.length !== fieldsBytes(set.key)) refuse(errno.EINVAL);
    const isData = element.data instanceof Uint8Array;
    if (set.data === undefined || element.intervalEnd) {
      if (element.data !== undefined) refuse(errno.EINVAL);
    } else if (set.data === 'verdict') {
      if (element.data === undefined || isData) refuse(errno.EINVAL);
      else this.#checkVerdict(element.data as Verdict);
    } else if (!isData || (element.data as Uint8Array).length !== fieldsBytes(set.data)) refuse(errno.EINVAL);
    if (element.timeoutMs !== undefined && !set.timeout && set.timeoutMs === undefined) refuse(errno.EINVAL);
  }

  #checkVerdict(verdict: Verdict): void {
    const target = verdictTarget(verdict);
    if (target === undefined) return;
    const chain = this.chains.get(target) ?? refuse(errno.ENOENT);
    if (chain.chain.base !== undefined) refuse(errno.EOPNOTSUPP);
  }

  #checkRule(rule: Rule, chain: Chain): void {
    for (const expression of rule.expressions) {
      if (expression.expr === 'verdict') this.#checkVerdict(expression.verdict);
      if (expression.expr === 'lookup') {
        const { set } = this.sets.get(expression.set) ?? refuse(errno.ENOENT);
        if (expression.dreg !== undefined && set.data === undefined) refuse(errno.EINVAL);
      }
      if (expression.expr === 'dynset') {
        const { set } = this.sets.get(expression.set) ?? refuse(errno.ENOENT);
        if (set.constant) refuse(EBUSY);
      }
      const isNat = expression.expr === 'nat' || expression.expr === 'masq' || expression.expr === 'redir';
      if (isNat && chain.base !== undefined && chain.base.type !== 'nat') refuse(errno.EOPNOTSUPP);
    }
  }

  /** nft_chain_validate: no way from a base chain may come back or be deeper than the jump stack. */
  #checkLoops(): void {
    const visit = (name: string, depth: number): void => {
      if (depth > jumpStackSize) refuse(EMLINK);
      for (const target of this.#leaving(name)) visit(target, depth + 1);
    };
    for (const { chain } of this.chains.values()) if (chain.base !== undefined) visit(chain.name, 0);
  }

  /** Chains to which the rules of a chain go. */
  #leaving(name: string): Set<string> {
    const targets = new Set<string>();
    for (const { expressions } of this.chains.get(name)?.rules ?? []) {
      for (const expression of expressions) {
        const target = expression.expr === 'verdict' ? verdictTarget(expression.verdict) : undefined;
        if (target !== undefined) targets.add(target);
        if (expression.expr !== 'lookup' || expression.dreg !== 0) continue;
        for (const { data } of this.sets.get(expression.set)?.elements.values() ?? []) {
          const mapped = data === undefined || data instanceof Uint8Array ? undefined : verdictTarget(data);
          if (mapped !== undefined) targets.add(mapped);
        }
      }
    }
    return targets;
  }

  /** What goes to a chain: rules of other chains and elements of verdict maps. */
  #targets(name: string): string[] {
    const users: string[] = [];
    for (const [from, { rules }] of this.chains) {
      const goes = rules.some(({ expressions }) =>
        expressions.some((e) => e.expr === 'verdict' && verdictTarget(e.verdict) === name),
      );
      if (goes && from !== name) users.push(from);
    }
    for (const [from, { set, elements }] of this.sets) {
      if (set.data !== 'verdict') continue;
      for (const { data } of elements.values())
        if (data !== undefined && !(data instanceof Uint8Array) && verdictTarget(data) === name) users.push(from);
    }
    return users;
  }

  #rules(chain: FakeChain, rules: InstalledRule[]): void {
    const before = chain.rules;
    this.#undo.push(() => {
      chain.rules = before;
    });
    chain.rules = rules;
  }

  #set<Value>(map: Map<string, Value>, key: string, value: Value): void {
    const before = map.get(key);
    this.#undo.push(before === undefined ? () => map.delete(key) : () => map.set(key, before));
    map.set(key, value);
  }

  #delete<Value>(map: Map<string, Value>, key: string): void {
    const before = map.get(key);
    if (before === undefined) return;
    this.#undo.push(() => map.set(key, before));
    map.delete(key);
  }
}

const sameHook = (a: BaseChain, b: BaseChain): boolean =>
  a.type === b.type && a.hook === b.hook && a.priority === b.priority;

function sameKind(a: NftSet, b: NftSet): boolean {
  const kind = ({ key, data, constant, interval, timeout, dynamic, timeoutMs, size }: NftSet): string =>
    JSON.stringify([
      fieldsBytes(key),
      data === 'verdict' ? data : data && fieldsBytes(data),
      !!constant,
      !!interval,
      !!dynamic,
      timeoutMs,
      size,
      timeout || timeoutMs !== undefined,
    ]);
  return kind(a) === kind(b);
}

function sameData(a: Element['data'], b: Element['data']): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return JSON.stringify(a) === JSON.stringify(b);
}

/** As the kernel lists it. */
function dumped(set: NftSet): NftSet {
  const copy = structuredClone(set);
  if (set.timeoutMs !== undefined) copy.timeout = true;
  for (const flag of ['constant', 'interval', 'timeout', 'dynamic'] as const) if (!copy[flag]) delete copy[flag];
  return copy;
}

function copyOf(element: Element): Element {
  const copy: Element = { ...element, key: Buffer.from(element.key) };
  if (element.data instanceof Uint8Array) copy.data = Buffer.from(element.data);
  return copy;
}
