/**
 * What chain FORWARD has to let through where its policy is drop, as Docker leaves it: packets of pods, both ways.
 * Layer: network/forward (pure). How a flavour of iptables says it is nft-filter.ts' and legacy-filter.ts'.
 *
 * An accept in a table of our own would not do: it ends that table's chain, and the drop of another chain at the same hook
 * is final. So the rules have to be in the very chain; a jump to a chain of ours at its end is all that others see. Being
 * last, it is asked where no rule of the host has decided: Keelson overrides the policy, never a rule.
 */
import { formatIpPrefix, type IpPrefix, parsePodCIDR, prefixAt } from '../ipam/ip-prefix.ts';

export interface Accepted {
  /** Pod networks of one family: of this node, and of nodes that packets are routed to as they are. */
  networks: readonly string[];
  /** Links that only packets of pods pass: that of a VXLAN. */
  links: readonly string[];
}

/** Ours in table `filter`, in the style of others' there. At most 28 bytes (XT_EXTENSION_MAXNAMELEN). */
export const forwardChain = 'KEELSON-FORWARD';

export type Match = { field: 'source' | 'destination'; prefix: IpPrefix } | { field: 'in' | 'out'; link: string };

/** One rule each. @throws NetworkError NETWORK_POD_CIDR_INVALID */
export function matchesOf({ networks, links }: Accepted): Match[] {
  return [
    ...joinPrefixes(networks.map(parsePodCIDR)).flatMap((prefix): Match[] => [
      { field: 'source', prefix },
      { field: 'destination', prefix },
    ]),
    ...links.flatMap((link): Match[] => [
      { field: 'in', link },
      { field: 'out', link },
    ]),
  ];
}

/** As few prefixes as name exactly the same addresses: rules are walked one by one. In ascending order. */
export function joinPrefixes(prefixes: readonly IpPrefix[]): IpPrefix[] {
  const joined: IpPrefix[] = [];
  for (const prefix of prefixes.toSorted(
    (a, b) => a.family - b.family || compare(a.base, b.base) || a.length - b.length,
  )) {
    const last = joined.at(-1);
    if (last?.family === prefix.family && prefix.last <= last.last) continue;
    joined.push(prefix);
    // Two halves of a wider one become it, and that may be a half itself.
    for (let pair = halves(joined); pair !== undefined; pair = halves(joined)) joined.splice(-2, 2, pair);
  }
  return joined;
}

/** The prefix that the last two make up together. */
function halves(joined: readonly IpPrefix[]): IpPrefix | undefined {
  const [low, high] = joined.slice(-2);
  if (low === undefined || high === undefined || low.family !== high.family || low.length !== high.length)
    return undefined;
  const both = prefixAt({ family: low.family, value: low.base }, low.length - 1);
  return low.last + 1n === high.base && both.base === low.base ? both : undefined;
}

/** As iptables writes it. */
export const matchText = (match: Match): string =>
  'prefix' in match
    ? `${match.field === 'source' ? '-s' : '-d'} ${formatIpPrefix(match.prefix)}`
    : `${match.field === 'in' ? '-i' : '-o'} ${match.link}`;

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);
