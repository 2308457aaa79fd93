/**
 * An Nftables that applies a batch in up to three: what comes anew, then what changes, then what goes.
 * Layer: network/policy, over the Nftables edge.
 *
 * A packet under way while a batch is committed may be in the old rules and look into the new elements: the kernel reads its
 * generation once for chains and again at each look-up (nft_do_chain, nft_genmask_cur). A new verdict would lead it to a
 * new chain that has no rules yet in the old generation, through it and out by the base chain's policy: accepted. So a chain
 * and its sets are committed before anything leads there, and go after nothing does.
 */
import type { ApplyOptions, DumpOptions, Nftables, NftablesNotification } from '../../linux/nftables/edge.ts';
import type { NftablesOperation, TableDump, TableRef } from '../../linux/nftables/types.ts';

export class PhasedNftables implements Nftables {
  readonly #nftables: Nftables;
  readonly #onApplied: () => void;
  #failure: unknown;

  /** @param onApplied called after each batch, also one without operations: what was planned is there */
  constructor(nftables: Nftables, onApplied: () => void) {
    this.#nftables = nftables;
    this.#onApplied = onApplied;
  }

  /** What the last batch, or a listing for one since, was refused with; undefined when it was not. */
  get failure(): unknown {
    return this.#failure;
  }

  async apply(operations: readonly NftablesOperation[], options: ApplyOptions = {}): Promise<void> {
    await this.#noting(async () => {
      let { generation } = options;
      for (const phase of phasesOf(operations)) {
        await this.#nftables.apply(phase, generation === undefined ? {} : { generation });
        // Ours was one; if there was another, the next is refused, and whoever planned has to look again.
        if (generation !== undefined) generation = (generation + 1) >>> 0;
      }
    });
    this.#failure = undefined;
    this.#onApplied();
  }

  dump(table: TableRef, options?: DumpOptions): Promise<TableDump | undefined> {
    return this.#noting(() => this.#nftables.dump(table, options));
  }

  generation(): Promise<number> {
    return this.#noting(() => this.#nftables.generation());
  }

  subscribe(listener: (notification: NftablesNotification) => void): Promise<() => void> {
    return this.#noting(() => this.#nftables.subscribe(listener));
  }

  close(): void {
    this.#nftables.close();
  }

  async #noting<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }
}

/** Without empty ones. A table that is made or replaced is one batch: it has no rules that could be changed. */
export function phasesOf(operations: readonly NftablesOperation[]): (readonly NftablesOperation[])[] {
  if (operations.some(({ op }) => op === 'tableAdd' || op === 'tableDelete')) return [operations];
  const [newSets, newChains, goneSets, goneChains] = [
    new Set<string>(),
    new Set<string>(),
    new Set<string>(),
    new Set<string>(),
  ];
  for (const operation of operations) {
    if (operation.op === 'setAdd') newSets.add(operation.set.name);
    else if (operation.op === 'chainAdd') newChains.add(operation.chain.name);
    else if (operation.op === 'setDelete') goneSets.add(operation.name);
    else if (operation.op === 'chainDelete') goneChains.add(operation.name);
  }
  const phases: [NftablesOperation[], NftablesOperation[], NftablesOperation[]] = [[], [], []];
  const place = (isNew: boolean, isGone: boolean): 0 | 1 | 2 => (isNew ? 0 : isGone ? 2 : 1);
  for (const operation of operations) {
    switch (operation.op) {
      case 'setAdd':
      case 'chainAdd':
        phases[0].push(operation);
        break;
      case 'setDelete':
      case 'chainDelete':
        phases[2].push(operation);
        break;
      case 'ruleAdd':
        phases[place(newChains.has(operation.rule.chain), false)].push(operation);
        break;
      case 'ruleFlush':
        phases[place(newChains.has(operation.chain), goneChains.has(operation.chain))].push(operation);
        break;
      case 'elementsAdd':
        phases[place(newSets.has(operation.set), false)].push(operation);
        break;
      case 'setFlush':
        phases[place(false, goneSets.has(operation.set))].push(operation);
        break;
      default:
        phases[1].push(operation);
    }
  }
  return phases.filter(({ length }) => length > 0);
}
