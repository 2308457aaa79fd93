/**
 * Doctor's check of the firewalls at hook forward: does one drop what pods send beyond their node, and what lets it pass.
 * Layer: agent (reads by nft(8), changes nothing). The chains FORWARD of iptables are network/forward's to see to.
 */
import type { Nft } from '../network/nft-program.ts';
import { errorLine } from '../observe/keelson-error.ts';
import { type CheckResult, ok, warn } from './check-result.ts';

/** A FORWARD chain of iptables that drops by default is no obstacle: Docker's, ufw's, for either family. */
const seenTo: ReadonlySet<string> = new Set(['ip filter FORWARD', 'ip6 filter FORWARD']);

/** Chains by which firewalld sends forwarded packets to their zones: with backend nftables, and with iptables. */
const zoneChains = ['inet firewalld filter_FORWARD_ZONES', 'ip filter FORWARD_ZONES'] as const;

/**
 * An accept of ours cannot help where another base chain drops or rejects, so the admin has to.
 * @returns a warning with what to tell that firewall, or why all is well
 */
export async function checkForwardPolicy(nft: Nft): Promise<CheckResult> {
  const name = 'forwarding';
  let listing: string;
  try {
    listing = await nft('list chains\n');
  } catch (error) {
    return warn(name, `cannot list the firewall: ${errorLine(error)}`, 'install nftables');
  }
  const dropping = droppingForwardChains(listing).filter((chain) => !seenTo.has(chain));
  if (dropping.length > 0)
    return warn(
      name,
      `${dropping.join(', ')} drops by default`,
      'accept the pod networks of the cluster there, in both directions',
    );
  // Its forward chain has policy accept and refuses with its last rule whatever no zone allows.
  const chains = chainNames(listing);
  const zones = zoneChains.find((chain) => chains.has(chain));
  if (zones === undefined) return ok(name, 'no firewall drops forwarded packets by default');
  const sources = trustedSources(await nft(`list chain ${zones}\n`).catch(() => ''));
  return sources.length > 0
    ? ok(
        name,
        `firewalld lets pass what comes from ${sources.join(', ')} (zone trusted); pod networks have to be there`,
      )
    : warn(
        name,
        'firewalld refuses forwarded packets that none of its zones allows',
        'firewall-cmd --permanent --zone=trusted --add-source=POD-NETWORK for each pod network of the cluster; then --reload',
      );
}

/** `FAMILY TABLE CHAIN` of each line of `nft list chains` that names one. */
function* chainsOf(listing: string): Generator<{ chain: string; line: string }> {
  let table = '';
  let chain = '';
  for (const line of listing.split('\n')) {
    table = /^table (\S+ \S+) \{/.exec(line)?.[1] ?? table;
    chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? chain;
    yield { chain: `${table} ${chain}`, line };
  }
}

const chainNames = (listing: string): Set<string> => new Set([...chainsOf(listing)].map(({ chain }) => chain));

/** Base chains that hook forward with policy drop, from `nft list chains`. */
export const droppingForwardChains = (listing: string): string[] =>
  [...chainsOf(listing)].filter(({ line }) => /\bhook forward\b.*\bpolicy drop\b/.test(line)).map(({ chain }) => chain);

/** What firewalld's zone `trusted` is entered from, by the rules that send packets to zones. */
const trustedSources = (zones: string): string[] =>
  [...zones.matchAll(/^\s*ip6? saddr (\S+) (?:counter .*)?goto (?:filter_)?FWD_trusted$/gm)].map(
    ([, source = '']) => source,
  );
