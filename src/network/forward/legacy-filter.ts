/**
 * The rules for pods in chain FORWARD of iptables-legacy, whose tables nf_tables knows nothing of: from what
 * `iptables-legacy -S` lists to what `iptables-legacy-restore --noflush` is to do in one step.
 * Layer: network/forward (pure).
 */
import { type Accepted, forwardChain, matchesOf, matchText } from './accepted.ts';

const jump = `-A FORWARD -j ${forwardChain}`;

/**
 * @param listing of table filter, one command a line
 * @param accepted undefined: nothing of ours is to be there
 * @returns undefined when all is right
 * @throws NetworkError NETWORK_POD_CIDR_INVALID
 */
export function planLegacyForward(listing: string, accepted: Accepted | undefined): string | undefined {
  const lines = listing.split('\n').map((line) => line.trim());
  const exists = lines.includes(`-N ${forwardChain}`);
  const present = lines.filter((line) => line.startsWith('-A FORWARD '));
  const jumps = present.filter((line) => line === jump).length;
  const noJumps = Array<string>(jumps).fill(`-D FORWARD -j ${forwardChain}`);
  if (accepted === undefined || !lines.includes('-P FORWARD DROP')) {
    if (!exists) return undefined;
    return batch([...noJumps, `-F ${forwardChain}`, `-X ${forwardChain}`]);
  }
  const rules = matchesOf(accepted).map((match) => `-A ${forwardChain} ${matchText(match)} -j ACCEPT`);
  const ours = lines.filter((line) => line.startsWith(`-A ${forwardChain} `));
  const isRight = exists && ours.length === rules.length && ours.every((line, index) => line === rules[index]);
  // As in nft-filter.ts: what the host appends later comes before it again.
  const isOneAndLast = jumps === 1 && present.at(-1) === jump;
  if (isRight && isOneAndLast) return undefined;
  // Naming a chain makes it, or empties it when it is there.
  return batch([`:${forwardChain} - [0:0]`, ...rules, ...(isOneAndLast ? [] : [...noJumps, jump])]);
}

const batch = (commands: readonly string[]): string => `${['*filter', ...commands, 'COMMIT'].join('\n')}\n`;
