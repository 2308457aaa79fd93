/**
 * Lists of prefixes in the one form that the kernel's sets of intervals take: canonical, each once, none inside another.
 * Layer: proxy/services (pure). Must not know what the prefixes are for.
 */
import { networkOf, parsePrefix, prefixContains } from '../../linux/ip-bytes.ts';

const none: readonly string[] = [];

/**
 * The same addresses with the fewest of these prefixes; sorted. Costs n log n, since such lists come from objects that
 * anybody may write.
 * @throws AddressFormatError
 */
export function disjointPrefixes(prefixes: readonly string[]): readonly string[] {
  if (prefixes.length === 0) return none;
  // In the order of addresses, the wider first, whatever lies inside a prefix follows it.
  const sorted = prefixes
    .map(networkOf)
    .map((prefix) => ({ prefix, ...parsePrefix(prefix) }))
    .sort((a, b) => a.bytes.length - b.bytes.length || Buffer.compare(a.bytes, b.bytes) || a.length - b.length);
  const kept: string[] = [];
  for (const { prefix } of sorted) {
    const last = kept.at(-1);
    if (last === undefined || !prefixContains(last, prefix.slice(0, prefix.indexOf('/')))) kept.push(prefix);
  }
  return kept;
}

/** The prefix that is this address alone. */
export const hostPrefix = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`;
