/**
 * The table of one address family in the kernel: taken over or filled, then changed by what each flush of the tracker
 * says, compared with what it should be, and listened to.
 * Layer: proxy/nftables (edge, by an injected Nftables). One call at a time; must not decide when to flush or to repair.
 */
import type { IpFamily } from '../../api/service.ts';
import { isGenerationOver } from '../../linux/nftables/edge.ts';
import { planTableDifference } from '../../linux/nftables/table-difference.ts';
import { elementCount, type NftablesOperation, type TableDump } from '../../linux/nftables/types.ts';
import { watchTable } from '../../linux/nftables/watch-table.ts';
import type { DataplaneWriter, Loaded, OnForeignChange } from '../dataplane-writer.ts';
import type { AdoptedDataplane, DataplaneDelta, DataplaneModel } from '../services/dataplane.ts';
import { adoptedFrom, estimatedElements } from './adopted.ts';
import type { FrontendIndex } from './frontend-index.ts';
import { layoutOf, tableComment, tableRef } from './layout.ts';
import type { OwnCommits } from './own-commits.ts';
import { indexOf, inPlaceOfAny, type PlanOptions, planDelta, planInitial, planStructure } from './plan.ts';
import { slotsOfSet } from './suites.ts';

export type { Loaded, OnForeignChange } from '../dataplane-writer.ts';

export interface DataplaneOptions extends PlanOptions {
  family: IpFamily;
  limits?: DataplaneLimits;
}

export interface DataplaneLimits {
  /** Tables up to so many elements are listed and compared; larger ones are sooner written anew than listed. */
  listedElements: number;
  /** Batches above so many elements are not listened to: the kernel would tell of each single one. */
  watchedElements: number;
}

/** What ADR 7 measured. */
const defaultLimits: DataplaneLimits = { listedElements: 160_000, watchedElements: 5_000 };
/** How often others may change something between a look and a batch until it is applied without looking. */
const attempts = 3;

export class ServiceDataplane implements DataplaneWriter {
  readonly #nftables: OwnCommits;
  readonly #options: PlanOptions;
  readonly #family: IpFamily;
  readonly #limits: DataplaneLimits;
  /** Undefined when what the kernel has is not known. */
  #index: FrontendIndex | undefined;
  /** About how many elements the table has. */
  #elements = 0;
  /** The predecessor's table until `load`, or that it is not worth a look. */
  #found: TableDump | 'replace' | undefined;
  /** The foreign commits up to which the table is known to be as it should be; undefined: unknown. */
  #checkedAt: number | undefined;
  #onForeignChange: OnForeignChange | undefined;
  #stopListening: (() => void) | undefined;
  #closed = false;

  constructor(nftables: OwnCommits, { family, limits = defaultLimits, ...options }: DataplaneOptions) {
    this.#nftables = nftables;
    this.#options = options;
    this.#family = family;
    this.#limits = limits;
  }

  /** Whether `change` would be understood; otherwise `load` is due. */
  get isLoaded(): boolean {
    return this.#index !== undefined;
  }

  /**
   * What a predecessor left, for the tracker; undefined when there is nothing, when it is of another schema, or when
   * listing it would cost more than writing it anew. Its lists are garbage once the tracker flushed.
   * @throws KernelError; `load` then replaces the table
   */
  async adopt(): Promise<AdoptedDataplane | undefined> {
    const ref = tableRef(this.#family);
    this.#found = 'replace';
    const keys = await this.#nftables.dump(ref, { elementsOf: ({ name }) => slotsOfSet(name) !== undefined });
    if (keys === undefined) this.#found = undefined;
    if (keys?.table.comment !== tableComment || estimatedElements(keys) > this.#limits.listedElements) return undefined;
    const dump = await this.#nftables.dump(ref);
    this.#found = dump;
    return dump && adoptedFrom(dump, layoutOf(this.#family));
  }

  /**
   * Makes the table what `model` says: by the difference where the table can be listed, else in place of what is there,
   * in one batch either way. `model` must not go on meanwhile.
   * @throws KernelError (the table is as before, and not loaded)
   */
  async load(model: DataplaneModel): Promise<Loaded> {
    const found = this.#found;
    this.#found = undefined;
    this.#index = undefined;
    const index = indexOf(model);
    const desired = planInitial(model, this.#options);
    const elements = countElements(desired);
    const isListed = found !== 'replace' && elements <= this.#limits.listedElements;
    const compared = isListed ? await this.#loadDifference(found, desired) : {};
    if (compared.outcome === undefined) await this.#replace(desired);
    this.#elements = elements;
    const isCurrent = await this.#listenAgain();
    this.#index = index;
    return { ...compared, outcome: compared.outcome ?? 'replaced', isCurrent };
  }

  /**
   * Applies one change in one batch; deltas must come in order and without a gap since `load`.
   * @returns false when nothing is loaded, because load was never called or something failed since
   * @throws NftablesError (the table is as before, and no longer loaded)
   */
  async change(delta: DataplaneDelta): Promise<boolean> {
    const index = this.#index;
    if (index === undefined) return false;
    this.#index = undefined;
    const operations = planDelta(delta, index);
    if (this.#stopListening !== undefined && this.#isBulk(operations)) {
      this.#checkedAt = this.#nftables.foreignCommits(await this.#nftables.generation());
      this.#silence();
    }
    await this.#nftables.apply(operations);
    this.#elements += countElements(operations);
    if (this.#stopListening === undefined) await this.#listenAgain();
    this.#index = index;
    return true;
  }

  /**
   * Repairs what others may have done: by comparing all, or in a table that is too large for that its chains, rules and
   * sets. `model` is what was loaded and changed to.
   * @throws KernelError
   */
  async check(model: DataplaneModel): Promise<Loaded> {
    if (this.#index === undefined || this.#elements <= this.#limits.listedElements) return this.load(model);
    const dump = await this.#nftables.dump(tableRef(this.#family), { elementsOf: () => false });
    const bare = dump && { ...dump, sets: dump.sets.map(({ set }) => ({ set, elements: [] })) };
    const difference = planTableDifference(bare, planStructure(model, this.#options));
    return difference.length === 0 ? { outcome: 'unchanged', isCurrent: false } : this.load(model);
  }

  /**
   * Calls back whenever others change the table, or may have (`overrun`), from the last load on and until `close`.
   * @throws KernelError
   */
  async listen(onForeignChange: OnForeignChange): Promise<void> {
    this.#onForeignChange = onForeignChange;
    await this.#listenAgain();
  }

  /** Stops listening. The table stays, and so does the socket, which is the caller's. */
  close(): void {
    this.#closed = true;
    this.#silence();
  }

  /** @returns no outcome when the table must be replaced, with the reason if it is an error */
  async #loadDifference(found: TableDump | undefined, desired: readonly NftablesOperation[]): Promise<Partial<Loaded>> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      try {
        // Asked before the dump, which does not tell when there is no table.
        let generation = await this.#nftables.generation();
        const dump = attempt === 0 && found !== undefined ? found : await this.#nftables.dump(tableRef(this.#family));
        generation = dump?.generation ?? generation;
        const operations = planTableDifference(dump, desired);
        if (operations.length > 0) await this.#applyAt(operations, generation);
        else this.#checkedAt = this.#nftables.foreignCommits(generation);
        return { outcome: operations.length > 0 ? 'changed' : 'unchanged' };
      } catch (error) {
        if (!isGenerationOver(error)) return { because: error };
      }
    }
    return {};
  }

  async #replace(desired: readonly NftablesOperation[]): Promise<void> {
    const operations = inPlaceOfAny(this.#family, desired);
    for (let attempt = 0; attempt < attempts; attempt++) {
      try {
        return await this.#applyAt(operations, await this.#nftables.generation());
      } catch (error) {
        if (!isGenerationOver(error)) throw error;
      }
    }
    this.#checkedAt = undefined;
    await this.#nftables.apply(operations);
  }

  /** So that nothing can have happened between `generation` and the batch. */
  async #applyAt(operations: readonly NftablesOperation[], generation: number): Promise<void> {
    if (this.#isBulk(operations)) this.#silence();
    const checkedAt = this.#nftables.foreignCommits(generation);
    await this.#nftables.apply(operations, { generation });
    this.#checkedAt = checkedAt;
  }

  #isBulk(operations: readonly NftablesOperation[]): boolean {
    return operations.some(
      (operation) => 'elements' in operation && elementCount(operation.elements) > this.#limits.watchedElements,
    );
  }

  #silence(): void {
    this.#stopListening?.();
    this.#stopListening = undefined;
  }

  /**
   * Unless it never stopped; says so when something may have happened meanwhile.
   * @returns whether nobody has committed anything since the table was known to be right
   */
  async #listenAgain(): Promise<boolean> {
    const onForeignChange = this.#closed ? undefined : this.#onForeignChange;
    const wasSilent = this.#stopListening === undefined;
    if (onForeignChange !== undefined && wasSilent)
      this.#stopListening = await watchTable(this.#nftables, tableRef(this.#family), onForeignChange);
    if (this.#closed) this.#silence();
    const isCurrent = this.#nftables.foreignCommits(await this.#nftables.generation()) === this.#checkedAt;
    if (wasSilent && !isCurrent) onForeignChange?.('overrun', undefined);
    return isCurrent;
  }
}

/** Added less deleted. */
function countElements(operations: readonly NftablesOperation[]): number {
  let count = 0;
  for (const operation of operations) {
    if (operation.op === 'elementsAdd') count += elementCount(operation.elements);
    else if (operation.op === 'elementsDelete') count -= elementCount(operation.elements);
  }
  return count;
}
