/**
 * The counters of packets that no policy allowed.
 * Layer: network/policy (pure).
 */
import type { TableDump } from '../../linux/nftables/types.ts';
import type { Direction } from './compile.ts';
import type { Isolation } from './policy-chains.ts';

export interface PolicyDrops {
  direction: Direction;
  /** `namespace/name` of the policies that isolate the pods; none of them allowed the packets. Sorted. */
  policies: readonly string[];
  packets: number;
  bytes: number;
}

/** One for each list of policies that pods of this node have; counts begin anew when the last such pod goes. */
export function dropsOf(dump: TableDump | undefined, isolations: ReadonlyMap<string, Isolation>): PolicyDrops[] {
  return (dump?.rules ?? []).flatMap(({ chain, expressions }) => {
    const isolation = isolations.get(chain);
    const counter = expressions.find(({ expr }) => expr === 'counter');
    if (isolation === undefined || counter?.expr !== 'counter') return [];
    const { direction, policies } = isolation;
    return [{ direction, policies, packets: counter.packets ?? 0, bytes: counter.bytes ?? 0 }];
  });
}

/** Of each policy and direction: what was dropped at pods that it isolates. */
export function dropsByPolicy(
  drops: readonly PolicyDrops[],
): Map<string, { direction: Direction; policy: string; packets: number; bytes: number }> {
  const sums = new Map<string, { direction: Direction; policy: string; packets: number; bytes: number }>();
  for (const { direction, policies, packets, bytes } of drops)
    for (const policy of policies) {
      const key = `${direction} ${policy}`;
      const sum = sums.get(key) ?? { direction, policy, packets: 0, bytes: 0 };
      sums.set(key, { ...sum, packets: sum.packets + packets, bytes: sum.bytes + bytes });
    }
  return sums;
}
