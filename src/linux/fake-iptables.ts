/**
 * A stateful stand-in for iptables of one address family in one namespace, for tests of everything above the edge.
 * Layer: linux (pure, test support). Refuses what iptables-restore refuses: chains that are not there, names that are too
 * long, deletion of what is used; a table is changed as a whole or not at all.
 */
import type { IpFamily } from './conntrack/types.ts';
import {
  type Iptables,
  IptablesError,
  type IptablesOpener,
  type IptablesOperation,
  type IptablesTable,
  parseSave,
  restoreText,
  type SavedTable,
} from './iptables.ts';

type Chains = Map<string, { policy: string | undefined; rules: string[] }>;

const baseChains: Readonly<Record<IptablesTable, readonly string[]>> = {
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
};
/** XT_EXTENSION_MAXNAMELEN less the NUL. */
const maxChainName = 28;

export class FakeIptables implements Iptables, IptablesOpener {
  readonly family: IpFamily;
  backend: 'nft' | 'legacy' = 'nft';
  /** Every input of a restore, refused ones included. */
  readonly restores: string[] = [];
  saves = 0;
  /** When set, asked before each call; an error it returns is thrown. */
  intercept: ((call: 'save' | 'restore' | 'hasChain') => Error | undefined) | undefined;
  /** How this version prints a rule. */
  prints: (rule: string) => string = (rule) => rule;
  readonly ownProcesses = new Set<number>();
  #tables = new Map<IptablesTable, Chains>();

  constructor(family: IpFamily = 'IPv4') {
    this.family = family;
    for (const table of ['nat', 'filter', 'mangle'] as const) this.flush(table);
  }

  /** What an administrator does with `iptables -F; iptables -X`. */
  flush(table: IptablesTable): void {
    const chains: Chains = new Map();
    for (const name of baseChains[table]) chains.set(name, { policy: 'ACCEPT', rules: [] });
    this.#tables.set(table, chains);
  }

  /** The rules of a chain; undefined when there is none. */
  rules(table: IptablesTable, chain: string): readonly string[] | undefined {
    return this.#tables.get(table)?.get(chain)?.rules;
  }

  chains(table: IptablesTable): string[] {
    return [...(this.#tables.get(table)?.keys() ?? [])];
  }

  async open(): Promise<Iptables> {
    return this;
  }

  async inUse(): Promise<Iptables[]> {
    const isUsed = (['nat', 'filter', 'mangle'] as const).some((table) =>
      this.chains(table).some((name) => name.startsWith('KUBE-')),
    );
    return isUsed ? [this] : [];
  }

  async save(table: IptablesTable): Promise<SavedTable> {
    this.saves++;
    this.#intercepted('save');
    const lines = [`*${table}`];
    const chains = this.#tables.get(table) ?? new Map();
    for (const [name, { policy }] of chains) lines.push(`:${name} ${policy ?? '-'} [0:0]`);
    for (const [name, { rules }] of chains)
      for (const rule of rules) lines.push(`-A ${name}${rule === '' ? '' : ` ${this.prints(rule)}`}`);
    return parseSave(`${lines.join('\n')}\nCOMMIT\n`, table);
  }

  async restore(operations: readonly IptablesOperation[]): Promise<void> {
    if (operations.length === 0) return;
    this.restores.push(restoreText(operations));
    this.#intercepted('restore');
    for (const table of ['nat', 'filter', 'mangle'] as const) {
      const own = operations.filter((operation) => operation.table === table);
      const order = { chain: 0, append: 1, insert: 1, delete: 1, chainDelete: 2 };
      own.sort((a, b) => order[a.op] - order[b.op]);
      const chains: Chains = new Map(
        [...(this.#tables.get(table) ?? [])].map(([name, { policy, rules }]) => [name, { policy, rules: [...rules] }]),
      );
      for (const operation of own) apply(chains, operation);
      for (const [name, { rules }] of chains)
        for (const rule of rules) {
          const target = /(?:^| )-j (KUBE-\S+)/.exec(rule)?.[1];
          if (target !== undefined && !chains.has(target)) throw refusal(`${name}: no chain ${target}`);
        }
      this.#tables.set(table, chains);
    }
  }

  async hasChain(table: IptablesTable, chain: string): Promise<boolean> {
    this.#intercepted('hasChain');
    return this.#tables.get(table)?.has(chain) === true;
  }

  isOwnProcess(processId: number): boolean {
    return this.ownProcesses.has(processId);
  }

  #intercepted(call: 'save' | 'restore' | 'hasChain'): void {
    const error = this.intercept?.(call);
    if (error !== undefined) throw error;
  }
}

function apply(chains: Chains, operation: IptablesOperation): void {
  const { op, chain } = operation;
  if (Buffer.byteLength(chain) > maxChainName || !/^[^\s!-][^\s]*$/.test(chain)) throw refusal(`name ${chain}`);
  const known = chains.get(chain);
  if (op === 'chain') {
    if (known?.policy !== undefined) throw refusal(`${chain} is a base chain`);
    chains.set(chain, { policy: undefined, rules: [] });
    return;
  }
  if (known === undefined) throw refusal(`no chain ${chain}`);
  if (op === 'chainDelete') {
    if (known.policy !== undefined || known.rules.length > 0) throw refusal(`${chain} is not empty`);
    for (const [name, { rules }] of chains)
      if (rules.some((rule) => new RegExp(`(?:^| )-j ${chain}( |$)`).test(rule)))
        throw refusal(`${chain} is used by ${name}`);
    chains.delete(chain);
    return;
  }
  const { rule } = operation;
  if (/[\r\n]/.test(rule) || (rule.match(/"/g) ?? []).length % 2 !== 0) throw refusal(`rule ${rule}`);
  if (op === 'append') known.rules.push(rule);
  else if (op === 'insert') known.rules.unshift(rule);
  else {
    const index = known.rules.indexOf(rule);
    if (index < 0) throw refusal(`${chain} has no rule ${rule}`);
    known.rules.splice(index, 1);
  }
}

const refusal = (what: string): IptablesError =>
  new IptablesError('IPTABLES_REFUSED', `refused: ${what}`, 'iptables-restore', 'see the message');
