/**
 * The entries for peers that the kernel has for pods of a family, as a whole.
 * Layer: network/overlay, over the rtnetlink edge. Reads only.
 */
import type { Route, Rtnetlink } from '../../linux/rtnetlink.ts';
import type { IpFamily } from '../ipam/ip-prefix.ts';
import { type Entry, entryOfForwarding, entryOfNeighbour, entryOfRoute } from './entries.ts';

/**
 * @param vxlanIfindex undefined where there is no such link
 * @param known routes that were listed just before, if they were
 * @throws KernelError
 */
export async function listEntries(
  host: Rtnetlink,
  vxlanIfindex: number | undefined,
  known: readonly Route[] | undefined,
  family: IpFamily,
): Promise<Entry[]> {
  const [routes, neighbours, forwarding] = await Promise.all([
    known ?? host.routes(),
    vxlanIfindex === undefined ? [] : host.neighbours(),
    vxlanIfindex === undefined ? [] : host.forwardingEntries(vxlanIfindex),
  ]);
  return [
    ...routes.flatMap((route) => entryOfRoute(route, family) ?? []),
    ...neighbours.flatMap((entry) => (entry.ifindex === vxlanIfindex ? (entryOfNeighbour(entry, family) ?? []) : [])),
    ...forwarding.map(entryOfForwarding),
  ];
}
