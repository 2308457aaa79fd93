/**
 * Takes the proxy's tables away, for `keelson cleanup`.
 * Layer: proxy (edge, by an injected NftablesOpener). Touches no other table; must not be called while a proxy runs.
 */

import { isNotFound } from '../linux/kernel-error.ts';
import type { NftablesOpener } from '../linux/nftables/edge.ts';
import { errorLine } from '../observe/keelson-error.ts';
import { tableRef } from './nftables/layout.ts';

export interface CleanedUp {
  /** `nf_tables table ip keelson-proxy` */
  removed: string[];
  /** With the reason. */
  failed: string[];
}

/** Goes on after a failure. What is not there is neither removed nor a failure. */
export async function cleanupProxy(nftablesOpener: NftablesOpener, netnsPath?: string): Promise<CleanedUp> {
  const cleaned: CleanedUp = { removed: [], failed: [] };
  try {
    const nftables = await nftablesOpener.open(netnsPath);
    try {
      for (const table of [tableRef('IPv4'), tableRef('IPv6')]) {
        const what = `nf_tables table ${table.family} ${table.name}`;
        try {
          await nftables.apply([{ op: 'tableDelete', table }]);
          cleaned.removed.push(what);
        } catch (error) {
          if (!isNotFound(error)) cleaned.failed.push(`${what}: ${errorLine(error)}`);
        }
      }
    } finally {
      nftables.close();
    }
  } catch (error) {
    cleaned.failed.push(`nf_tables: ${errorLine(error)}`);
  }
  return cleaned;
}
