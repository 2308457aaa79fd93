/**
 * The table without its elements: chains, sets and rules, which stay as they are whatever Services there are, but for the
 * suites that are needed, the timeouts of affinity and the Service networks.
 * Layer: proxy/nftables (pure). Must not look at Services; docs/adr/0007 says why the rules are what they are.
 */
import type { NftablesOperation } from '../../linux/nftables/types.ts';
import type { TrafficOptions } from '../services/traffic-options.ts';
import { declareSuite, planSuite } from './draw-chains.ts';
import { type Layout, masqueradedPorts, names, protocols, shortCircuitedPorts, tableComment } from './layout.ts';
import { planMasquerading } from './masquerading.ts';
import { isForbiddenSource, isFromPod, isNodePortAddress } from './matches.ts';
import { chainAdd, drop, goto, jump, lookup, ruleIn, setAdd } from './operations.ts';
import { planRefusing } from './refusing.ts';
import { isPlain, keyLayoutOf, type Suite, suiteFor, suites } from './suites.ts';

export type PlanOptions = TrafficOptions;

/** All that is there always. The table must not exist. */
export function planSkeleton(layout: Layout, options: PlanOptions): NftablesOperation[] {
  const { table, service, nodePort, pair, address, sourceKey } = layout;
  const set = (...[name, key, data, more]: SetWords): NftablesOperation => setAdd(layout, name, key, data, more);
  return [
    { op: 'tableAdd', table: { family: table.family, name: table.table, comment: tableComment } },
    set(names.services, service.key),
    set(names.nodePorts, nodePort.key),
    set(names.specialServices, service.key),
    set(names.specialNodePorts, nodePort.key),
    set(names.shortCircuitServices, service.key),
    set(names.shortCircuitNodePorts, nodePort.key),
    set(names.restricted, service.key),
    set(names.sourceRanges, sourceKey, undefined, { interval: true }),
    set(names.rejected, service.key),
    set(names.rejectedPorts, nodePort.key),
    set(names.dropped, service.key),
    set(names.droppedPorts, nodePort.key),
    set(names.hairpin, pair),
    set(names.clusterIPs, [address]),
    set(names.masqueraded, [address]),
    set(names.shortCircuited, [address]),
    ...protocols.flatMap((protocol) => [
      set(masqueradedPorts(protocol), ['inet_service']),
      set(shortCircuitedPorts(protocol), ['inet_service']),
    ]),
    ...plainSuites.flatMap((suite) => declareSuite(layout, suite)),
    ...chainNames.map((name) => chainAdd(layout, name)),
    chainAdd(layout, 'prerouting', { type: 'nat', hook: 'prerouting', priority: -100 }),
    chainAdd(layout, 'output', { type: 'nat', hook: 'output', priority: -100 }),
    chainAdd(layout, 'postrouting', { type: 'nat', hook: 'postrouting', priority: 100 }),
    // Before other people's filters, which might drop what should be refused.
    ...(['input', 'forward', 'output'] as const).map((hook) =>
      chainAdd(layout, `filter-${hook}`, { type: 'filter', hook, priority: -10 }),
    ),
    ...planEntry(layout, options),
    ...planSpecial(layout, options),
    ...plainSuites.flatMap((suite) => planSuite(layout, suite)),
    ...planMasquerading(layout, options),
    ...planRefusing(layout, options),
  ];
}

type SetWords = Parameters<typeof setAdd> extends [unknown, ...infer Rest] ? Rest : never;

const plainSuites = suites.filter(isPlain);

/** Besides those of the suites and the base chains. */
const chainNames = [
  names.specialServices,
  names.specialNodePorts,
  names.shortCircuitServices,
  names.shortCircuitNodePorts,
  names.fromHereServices,
  names.fromHereNodePorts,
  'node-port-address',
  'masquerading',
  'cluster-ip-masquerading',
  'refusing',
  'refuse-node-port',
  'refuse',
  names.unallocated,
] as const;

/** From the hooks to the services and node ports. */
function planEntry(layout: Layout, options: PlanOptions): NftablesOperation[] {
  const { service, nodePort } = layout;
  const rule = ruleIn(layout);
  return [
    ...['prerouting', 'output'].flatMap((chain) => [
      rule(chain, [...service.load, lookup(names.services), goto('services')]),
      // Looked up before the route: that costs more.
      rule(chain, [...nodePort.load, lookup(names.nodePorts), jump('node-port-address')]),
    ]),
    ...isNodePortAddress(layout, options).map((matches) => rule('node-port-address', [...matches, goto('node-ports')])),
  ];
}

/** To what some destinations need before a draw, or instead of it. */
function planSpecial(layout: Layout, options: PlanOptions): NftablesOperation[] {
  const rule = ruleIn(layout);
  return [false, true].flatMap((isNodePort) => {
    const { special, shortCircuit, fromHere } = chainsOf(isNodePort);
    const { load } = keyLayoutOf(layout, { isNodePort });
    return [
      rule(suiteFor(isNodePort, false, false).name, [...load, lookup(special), jump(special)]),
      ...[...isFromPod(layout, options), layout.isFromNode].map((matches) =>
        rule(shortCircuit, [...matches, goto(fromHere)]),
      ),
    ];
  });
}

const chainsOf = (isNodePort: boolean): { special: string; shortCircuit: string; fromHere: string } =>
  isNodePort
    ? {
        special: names.specialNodePorts,
        shortCircuit: names.shortCircuitNodePorts,
        fromHere: names.fromHereNodePorts,
      }
    : {
        special: names.specialServices,
        shortCircuit: names.shortCircuitServices,
        fromHere: names.fromHereServices,
      };

/** The rules that lead to suites beside the plain ones: those of both kinds, for the suites that are there. */
export function planLeads(layout: Layout, isThere: (suite: Suite) => boolean): NftablesOperation[] {
  const rule = ruleIn(layout);
  return [false, true].flatMap((isNodePort) => {
    const { special, shortCircuit, fromHere } = chainsOf(isNodePort);
    const { load } = keyLayoutOf(layout, { isNodePort });
    const leadTo = (chain: string, isCluster: boolean): NftablesOperation[] => {
      const sticky = suiteFor(isNodePort, isCluster, true);
      return isThere(sticky) ? [rule(chain, [...load, lookup(sticky.name), goto(sticky.name)])] : [];
    };
    const cluster = suiteFor(isNodePort, true, false);
    return [
      ...(isNodePort ? [] : [rule(special, [...isForbiddenSource(layout), drop])]),
      rule(special, [...load, lookup(shortCircuit), jump(shortCircuit)]),
      ...leadTo(special, false),
      ...leadTo(fromHere, true),
      ...(isThere(cluster) ? [rule(fromHere, [goto(cluster.name)])] : []),
      rule(fromHere, [drop]),
    ];
  });
}

/** The chains that planLeads fills. */
export const leadChains: readonly string[] = [
  names.specialServices,
  names.specialNodePorts,
  names.fromHereServices,
  names.fromHereNodePorts,
];
