/**
 * Nftables that counts its own batches, so that a generation tells whether anybody else made one.
 * Layer: proxy/nftables (over an injected Nftables). Owns nothing: whoever opened the socket closes it.
 */
import type { ApplyOptions, DumpOptions, Nftables, NftablesNotification } from '../../linux/nftables/edge.ts';
import type { NftablesOperation, TableDump, TableRef } from '../../linux/nftables/types.ts';

export class OwnCommits implements Nftables {
  readonly #nftables: Nftables;
  #commits = 0;

  constructor(nftables: Nftables) {
    this.#nftables = nftables;
  }

  /** A number that stays as it is until somebody else commits a batch. @param generation the current one */
  foreignCommits(generation: number): number {
    return (generation - this.#commits) >>> 0;
  }

  async apply(operations: readonly NftablesOperation[], options?: ApplyOptions): Promise<void> {
    await this.#nftables.apply(operations, options);
    if (operations.length > 0) this.#commits++;
  }

  dump(table: TableRef, options?: DumpOptions): Promise<TableDump | undefined> {
    return this.#nftables.dump(table, options);
  }

  generation(): Promise<number> {
    return this.#nftables.generation();
  }

  subscribe(listener: (notification: NftablesNotification) => void): Promise<() => void> {
    return this.#nftables.subscribe(listener);
  }

  close(): void {
    this.#nftables.close();
  }
}
