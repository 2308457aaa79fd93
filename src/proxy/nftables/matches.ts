/**
 * Expressions that tell one kind of packet from another: whose traffic it is, and what it is for.
 * Layer: proxy/nftables (pure). Must not decide what is done with the packet.
 */
import type { Expression } from '../../linux/nftables/expression.ts';
import { localPrefixes, ofFamily, type TrafficOptions } from '../services/traffic-options.ts';
import { type Layout, names } from './layout.ts';
import { flagSet, isIn, lookup } from './operations.ts';

/** New flows only: a reply may well come to a local port that is also a node port. */
export const isNew: readonly Expression[] = flagSet('state', 8);

/**
 * Traffic of pods, each of them enough. In postrouting, too: the kernel knows the incoming link there (since 5.7).
 * Source: pkg/proxy/util/localdetector.go.
 */
export function isFromPod(layout: Layout, options: TrafficOptions): Expression[][] {
  const { localTraffic: local } = options;
  const isFromLink = (name: Uint8Array): Expression[][] => [
    [
      { expr: 'meta', key: 'iifname', dreg: 1 },
      { expr: 'cmp', sreg: 1, op: '==', data: name },
    ],
  ];
  switch (local.by) {
    case 'none':
      return [];
    case 'prefixes':
      return localPrefixes(options, layout.family).map((prefix) => isIn(prefix, layout.source(1)));
    case 'interface': {
      const name = new Uint8Array(16);
      name.set(Buffer.from(local.name).subarray(0, 15));
      return isFromLink(name);
    }
    case 'interfacePrefix':
      // Compared as far as it goes; nft prints it as "veth*".
      return isFromLink(Buffer.from(local.prefix).subarray(0, 15));
  }
}

/** Each of them is enough. A family without a prefix of its own is not narrowed (NewNodePortAddresses). */
export function isNodePortAddress(layout: Layout, { nodePortAddresses }: TrafficOptions): Expression[][] {
  const prefixes = nodePortAddresses === 'all' ? [] : ofFamily(nodePortAddresses, layout.family);
  if (prefixes.length === 0) return [[...layout.isLocal]];
  return prefixes.map((prefix) => [...isIn(prefix, layout.loadAddress), ...layout.isLocal]);
}

/** To a load-balancer IP, from who may not send there. */
export const isForbiddenSource = (layout: Layout): Expression[] => [
  ...layout.service.load,
  lookup(names.restricted),
  ...layout.service.load,
  layout.source(layout.service.behind),
  { expr: 'lookup', set: names.sourceRanges, sreg: 1, inverted: true },
];
