/**
 * Tells when somebody else changes a table.
 * Layer: linux, over the Nftables edge. Does not look what changed: list and compare (table-difference.ts).
 */
import type { Nftables, NftablesChange } from './edge.ts';
import type { TableRef } from './types.ts';

/** `gone`: deleted and not put back in the same transaction. `overrun`: notifications were lost, so it may have changed. */
export type ForeignChange = 'gone' | 'changed' | 'overrun';

/**
 * Calls back once for each transaction that touches the table and was not made by this Nftables object, until the
 * returned function is called. Nothing is told of what happened before it resolves: dump after that.
 * While anybody listens, batches of very many elements take the kernel several times as long (see Nftables.subscribe).
 * @param onForeignChange `by` is the name of the program, for logs
 * @throws KernelError
 */
export function watchTable(
  nftables: Nftables,
  table: TableRef,
  onForeignChange: (change: ForeignChange, by: string | undefined) => void,
): Promise<() => void> {
  return nftables.subscribe((notification) => {
    if (notification.event === 'overrun') {
      onForeignChange('overrun', undefined);
      return;
    }
    if (notification.own) return;
    const changes = notification.changes.filter(
      ({ family, table: name }) => family === table.family && name === table.name,
    );
    if (changes.length > 0) onForeignChange(isGone(changes) ? 'gone' : 'changed', notification.processName);
  });
}

/** The last thing that happened to the table itself was its deletion. */
const isGone = (changes: readonly NftablesChange[]): boolean =>
  changes.findLast(({ change }) => change === 'tableNew' || change === 'tableDelete')?.change === 'tableDelete';
