/**
 * Makes a small table what its plan says, and again whenever somebody else changes or deletes it.
 * Layer: linux, over the Nftables edge. For tables that are listed as a whole in a moment. Touches no other table.
 */
import { type BackoffLimits, nextDelay } from '../../base/backoff.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { isGenerationOver, type Nftables } from './edge.ts';
import { planTableDifference } from './table-difference.ts';
import type { NftablesOperation, TableRef } from './types.ts';
import { type ForeignChange, watchTable } from './watch-table.ts';

/** Others may change their own tables between our dump and our batch so many times in a row. */
const attempts = 10;
/** Between two repairs, so that a quarrel with another program does not take the whole machine. */
const restMs = 200;
const backoff: BackoffLimits = { initialMs: 1_000, maxMs: 60_000 };

/** The table from nothing (see planTableDifference), asked for whenever it is compared. */
export type TablePlan = () => readonly NftablesOperation[];

export interface KeptTable {
  /**
   * The plan gives something else now. Applies `step`, which leads there from what it gave before, without listing anything;
   * whenever that is refused, and without a step, the table is listed and compared. Never rejects: what cannot be done is
   * tried again, as every repair.
   */
  replan(step?: readonly NftablesOperation[]): Promise<void>;
  /**
   * Runs `work` without listening, then looks what was missed. For large batches to any table: while anybody listens, the
   * kernel takes several times as long over them (see Nftables.subscribe).
   */
  unwatched<Result>(work: () => Promise<Result>): Promise<Result>;
  /** Ends the watch and waits for a repair under way; the table stays. Safe to repeat. */
  stop(): Promise<void>;
}

/**
 * Dumps, compares and applies, so that nothing happens to a table that is right; then watches.
 * @param nftables stays the caller's, to be closed after `stop`
 * @throws KernelError when the table cannot be made; nothing is watched then
 */
export async function keepTable(
  nftables: Nftables,
  table: TableRef,
  plan: TablePlan,
  context: { log: Logger; clock: Clock },
): Promise<KeptTable> {
  const keeper = new TableKeeper(nftables, table, plan, context);
  await keeper.start();
  return keeper;
}

class TableKeeper implements KeptTable {
  readonly #nftables: Nftables;
  readonly #table: TableRef;
  readonly #plan: TablePlan;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stopped = new AbortController();
  #unsubscribe: (() => void) | undefined;
  /** Calls of `unwatched` under way. */
  #paused = 0;
  /** What nobody has looked at yet. */
  #due: { change: ForeignChange | 'replanned'; by: string | undefined } | undefined;
  #repair: Promise<void> | undefined;

  constructor(nftables: Nftables, table: TableRef, plan: TablePlan, { log, clock }: { log: Logger; clock: Clock }) {
    this.#nftables = nftables;
    this.#table = table;
    this.#plan = plan;
    this.#clock = clock;
    this.#log = log.child({ table: `${table.family} ${table.name}` });
  }

  /** @throws KernelError */
  async start(): Promise<void> {
    const making = this.#lookAgain().then(() => undefined);
    // What others do meanwhile is only noted.
    this.#repair = making;
    try {
      await making;
    } catch (error) {
      this.#unlisten();
      throw error;
    }
    this.#repair = undefined;
    this.#begin();
  }

  async unwatched<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#paused++;
    this.#unlisten();
    try {
      return await work();
    } finally {
      this.#paused--;
      this.#notice('overrun', undefined);
    }
  }

  async replan(step?: readonly NftablesOperation[]): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    try {
      if (step !== undefined) return await this.#nftables.apply(step);
    } catch {
      // Somebody else has changed the table meanwhile: what is there shows.
    }
    try {
      // Not as a repair, which rests afterwards.
      await this.#lookAgain();
    } catch {
      this.#notice('replanned', undefined);
    }
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#unlisten();
    await this.#repair;
  }

  #notice(change: ForeignChange | 'replanned', by: string | undefined): void {
    this.#due = { change, by };
    this.#begin();
  }

  #begin(): void {
    if (this.#isDue()) this.#repair ??= this.#repairAll();
  }

  #isDue(): boolean {
    return this.#due !== undefined && this.#paused === 0 && !this.#stopped.signal.aborted;
  }

  async #repairAll(): Promise<void> {
    let delayMs = 0;
    while (this.#due !== undefined && this.#isDue()) {
      const cause = this.#due;
      this.#due = undefined;
      try {
        const operations = await this.#lookAgain();
        if (operations > 0 && cause.change !== 'replanned')
          this.#log.warn({ ...cause, operations }, 'another program changed our nft table; repaired it');
        else if (delayMs > 0) this.#log.info(cause, 'our nft table is as it should be again');
        delayMs = 0;
      } catch (error) {
        if (delayMs === 0)
          this.#log.error({ ...cause, error: errorLine(error) }, 'cannot repair our nft table; going on');
        this.#due ??= cause;
        delayMs = nextDelay(delayMs, backoff);
      }
      // Rejects when stopped, which the loop sees.
      await sleep(delayMs || restMs, this.#stopped.signal, this.#clock).catch(() => undefined);
    }
    this.#repair = undefined;
  }

  /** Listens before it dumps, so that no change falls between the two. @returns how many operations it took */
  async #lookAgain(): Promise<number> {
    if (this.#unsubscribe === undefined) {
      const unsubscribe = await watchTable(this.#nftables, this.#table, (change, by) => this.#notice(change, by));
      this.#unsubscribe = unsubscribe;
      if (this.#paused > 0 || this.#stopped.signal.aborted) this.#unlisten();
    }
    return converge(this.#nftables, this.#table, this.#plan);
  }

  #unlisten(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }
}

/** @returns how many operations it took @throws KernelError */
async function converge(nftables: Nftables, table: TableRef, plan: TablePlan): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    // Of before the dump: a table that comes into being after it is then noticed.
    const before = await nftables.generation();
    const actual = await nftables.dump(table);
    const operations = planTableDifference(actual, plan());
    try {
      await nftables.apply(operations, { generation: actual?.generation ?? before });
      return operations.length;
    } catch (error) {
      if (!isGenerationOver(error) || attempt === attempts) throw error;
    }
  }
}
