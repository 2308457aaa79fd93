/**
 * What a predecessor's table says of the pods of this node: which uid has which address, and who was isolated.
 * Layer: network/policy (pure). The API server learns of an address some time after CNI gave it; a daemon that is killed in
 * between leaves nothing but this.
 */
import { formatIp } from '../../linux/ip-bytes.ts';
import { type Element, isPacked, type TableDump } from '../../linux/nftables/types.ts';
import { type Direction, directions } from './compile.ts';
import { policyFamilies } from './ip-block.ts';
import type { Claim } from './policy-tracker.ts';
import { policySchema } from './table.ts';

/** One for each uid; none of a table of another schema. What others damaged is left out. */
export function claimsOf(dump: TableDump | undefined): Claim[] {
  if (dump?.table.comment !== policySchema) return [];
  const claims = new Map<string, { ips: string[]; isolated: Set<Direction> }>();
  for (const family of policyFamilies) {
    const bytes = family === 4 ? 4 : 16;
    const isolated = directions.map(
      (direction) =>
        [direction, new Set(elementsOf(dump, `${direction}-${family}`).map(({ key }) => hex(key)))] as const,
    );
    for (const { key, comment: uid } of elementsOf(dump, `self-${family}`)) {
      if (key.length !== 2 * bytes || uid === undefined || uid === '') continue;
      const claim = claims.get(uid) ?? { ips: [], isolated: new Set() };
      claims.set(uid, claim);
      claim.ips.push(formatIp(key, 0, bytes));
      for (const [direction, addresses] of isolated)
        if (addresses.has(hex(key.subarray(0, bytes)))) claim.isolated.add(direction);
    }
  }
  return Array.from(claims, ([uid, { ips, isolated }]) => ({ uid, ips, isolated: [...isolated] }));
}

function elementsOf(dump: TableDump, name: string): readonly Element[] {
  const elements = dump.sets.find(({ set }) => set.name === name)?.elements;
  return elements === undefined || isPacked(elements) ? [] : elements;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
