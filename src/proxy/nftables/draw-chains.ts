/**
 * The chains of a suite that choose an endpoint: by lot, or the one that the client is tied to.
 * Layer: proxy/nftables (pure). Must not look at Services; docs/adr/0007 says why the rules are what they are.
 */
import type { Expression } from '../../linux/nftables/expression.ts';
import type { NftablesOperation } from '../../linux/nftables/types.ts';
import type { Layout } from './layout.ts';
import { chainAdd, drop, goto, jump, lookup, ruleIn, setAdd } from './operations.ts';
import {
  affinity,
  allSlots,
  drawChain,
  drawnChain,
  forgetChain,
  keyLayoutOf,
  knownChain,
  rememberChain,
  type Suite,
  slotsChain,
  slotsSet,
  stickyEndpoints,
  timeoutSet,
} from './suites.ts';

/** After so many draws, at worst one flow in 256 is left for the fallback. */
const draws = 8;
/** So many clients are tied at a time, over all Services of a suite; further ones are balanced anew. About 100 bytes each. */
const mostClients = 262_144;

/** Sets and chains; to come before any rule. */
export function declareSuite(layout: Layout, suite: Suite): NftablesOperation[] {
  const { key, indexKey, addressKey, clientKey } = keyLayoutOf(layout, suite);
  const data = suite.isSticky ? [layout.destination] : layout.target;
  return [
    setAdd(layout, suite.endpoints, indexKey, data),
    ...allSlots.flatMap((slots) => [
      setAdd(layout, slotsSet(suite, slots), key),
      chainAdd(layout, slotsChain(suite, slots)),
    ]),
    chainAdd(layout, suite.name),
    ...(suite.isSticky
      ? [
          setAdd(layout, suite.name, key),
          setAdd(layout, stickyEndpoints(suite), addressKey, layout.target),
          setAdd(layout, affinity(suite), clientKey, data, { dynamic: true, timeout: true, size: mostClients }),
          ...stickyChains.map((name) => chainAdd(layout, name(suite))),
        ]
      : []),
  ];
}

/** Everything that `declareSuite` and `planSuite` make; nothing may lead there any more. */
export function removeSuite({ table }: Layout, suite: Suite): NftablesOperation[] {
  const sets = [suite.endpoints, ...allSlots.map((slots) => slotsSet(suite, slots))];
  const chains = [suite.name, ...allSlots.map((slots) => slotsChain(suite, slots))];
  if (suite.isSticky) {
    sets.push(suite.name, stickyEndpoints(suite), affinity(suite));
    chains.push(...stickyChains.map((name) => name(suite)));
  }
  return [
    ...chains.map((chain): NftablesOperation => ({ op: 'ruleFlush', ...table, chain })),
    ...chains.map((name): NftablesOperation => ({ op: 'chainDelete', ...table, name })),
    ...sets.map((name): NftablesOperation => ({ op: 'setDelete', ...table, name })),
  ];
}

const stickyChains = [knownChain, drawChain, drawnChain, rememberChain, forgetChain];

/** The rules, but for those of each timeout. */
export function planSuite(layout: Layout, suite: Suite): NftablesOperation[] {
  return [...allSlots.flatMap((slots) => planSlots(layout, suite, slots)), ...planEntry(layout, suite)];
}

/** Which timeouts of affinity there are decides about these rules alone; their sets must exist. */
export function planTimeouts(layout: Layout, suite: Suite, timeouts: readonly number[]): NftablesOperation[] {
  if (timeouts.length === 0) return [];
  const rule = ruleIn(layout);
  const { loadOriginal, loadOriginalClient, behindClient } = keyLayoutOf(layout, suite);
  const client = (op: 'update' | 'delete', timeoutMs?: number): Expression[] => [
    ...loadOriginalClient,
    layout.destinationTo(behindClient),
    {
      expr: 'dynset',
      op,
      set: affinity(suite),
      key: 1,
      data: behindClient,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    },
  ];
  return [
    ...timeouts.map((seconds) =>
      rule(rememberChain(suite), [
        ...loadOriginal,
        lookup(timeoutSet(suite, seconds)),
        ...client('update', seconds * 1000),
      ]),
    ),
    rule(forgetChain(suite), client('delete')),
  ];
}

function planSlots(layout: Layout, suite: Suite, slots: number): NftablesOperation[] {
  const rule = ruleIn(layout);
  const name = slotsChain(suite, slots);
  // All of the lower half have an endpoint, and so has index 0 for whoever came here when the Service had more.
  const moduli = slots <= 2 ? [slots] : [...Array<number>(draws).fill(slots), slots / 2];
  if (slots > 1) moduli.push(1);
  return [...moduli.map((modulus) => rule(name, draw(layout, suite, modulus))), rule(name, [drop])];
}

/** Takes an index below `modulus`, if an endpoint has it. */
function draw(layout: Layout, suite: Suite, modulus: number): Expression[] {
  const { load, behind } = keyLayoutOf(layout, suite);
  return [
    ...load,
    { expr: 'numgen', mode: 'random', modulus, dreg: behind },
    { expr: 'lookup', set: suite.endpoints, sreg: 1, dreg: 1 },
    ...(suite.isSticky ? [layout.setDestination, goto(drawnChain(suite))] : [dnat(layout)]),
  ];
}

const dnat = ({ table, targetPort }: Layout): Expression => ({
  expr: 'nat',
  type: 'dnat',
  family: table.family,
  addressMin: 1,
  protoMin: targetPort,
});

/**
 * From the destination to its slots. A client that is tied to an address has that as its packet's destination until the
 * port is found behind it: nft has no name for a value that is looked up by another one that was looked up. conntrack knows
 * what the destination was.
 */
function planEntry(layout: Layout, suite: Suite): NftablesOperation[] {
  const rule = ruleIn(layout);
  const { load, loadOriginal, loadClient, loadOriginalClient, behind } = keyLayoutOf(layout, suite);
  const from = suite.isSticky ? drawChain(suite) : suite.name;
  // A key that moves from one set to another may be missed in both by a packet that meets the commit in between.
  const entry = [
    ...allSlots.map((slots) => rule(from, [...load, lookup(slotsSet(suite, slots)), goto(slotsChain(suite, slots))])),
    rule(from, draw(layout, suite, 1)),
    rule(from, [drop]),
  ];
  if (!suite.isSticky) return entry;
  const take: Expression[] = [
    ...loadOriginal,
    layout.destinationTo(behind),
    { expr: 'lookup', set: stickyEndpoints(suite), sreg: 1, dreg: 1 },
    dnat(layout),
  ];
  const { originalAddress, setDestination } = layout;
  return [
    rule(suite.name, [
      ...loadClient,
      { expr: 'lookup', set: affinity(suite), sreg: 1, dreg: 1 },
      setDestination,
      goto(knownChain(suite)),
    ]),
    rule(suite.name, [goto(drawChain(suite))]),
    rule(knownChain(suite), [jump(rememberChain(suite))]),
    rule(knownChain(suite), take),
    // No endpoint any more.
    rule(knownChain(suite), [jump(forgetChain(suite))]),
    rule(knownChain(suite), [originalAddress, setDestination, goto(drawChain(suite))]),
    ...entry,
    rule(drawnChain(suite), [jump(rememberChain(suite))]),
    // Of two connections at once that both drew, one was remembered.
    rule(drawnChain(suite), [
      ...loadOriginalClient,
      { expr: 'lookup', set: affinity(suite), sreg: 1, dreg: 1 },
      setDestination,
    ]),
    rule(drawnChain(suite), take),
    rule(drawnChain(suite), [drop]),
  ];
}
