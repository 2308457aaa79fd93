/**
 * From the desired dataplane, or a change of it, to nf_tables operations for one batch.
 * Layer: proxy/nftables (pure). A change costs what it touches: one endpoint of a Service with one frontend is one element
 * deleted and added. docs/adr/0007 describes the table.
 */

import type { IpFamily } from '../../api/service.ts';
import type { NftablesOperation } from '../../linux/nftables/types.ts';
import type { EndpointRef } from '../services/address.ts';
import {
  type DataplaneDelta,
  type DataplaneModel,
  endpointElements,
  type Frontend,
  type FrontendChange,
  frontendKey,
  type Group,
  type GroupChange,
} from '../services/dataplane.ts';
import { declareSuite, planSuite, planTimeouts, removeSuite } from './draw-chains.ts';
import { ElementLists } from './element-lists.ts';
import { differences, FrontendElements } from './frontend-elements.ts';
import { FrontendIndex, type TimeoutChange } from './frontend-index.ts';
import { type Layout, layoutOf, names, tableRef } from './layout.ts';
import { setAdd } from './operations.ts';
import {
  clusterPlacement,
  isMasqueraded,
  isNodePort,
  isShortCircuited,
  mainPlacement,
  placementsOf,
  specialSuites,
} from './placement.ts';
import { planUnallocated } from './refusing.ts';
import { leadChains, type PlanOptions, planLeads, planSkeleton } from './skeleton.ts';
import { forgetChain, keyLayoutOf, rememberChain, type Suite, timeoutSet } from './suites.ts';

export type { PlanOptions } from './skeleton.ts';

/** The state that changes of `model` are planned from; not affected when the model goes on. */
export const indexOf = (model: DataplaneModel): FrontendIndex => new FrontendIndex(model);

/** The whole table, which must not exist. */
export function planInitial(model: DataplaneModel, options: PlanOptions): NftablesOperation[] {
  const layout = layoutOf(model.family);
  const lists = new ElementLists(layout.table);
  const elements = new FrontendElements(layout, lists);
  const clusterIPs = new Set<string>();
  const masqueraded = new Set<string>();
  const shortCircuited = new Set<string>();
  for (const frontend of frontendsOf(model)) {
    elements.move(undefined, frontend);
    for (const placement of placementsOf(frontend)) {
      const endpoints = model.groups.get(placement.group)?.endpoints ?? [];
      elements.endpoints(frontend, placement.suite, differences([], endpoints));
    }
    if (frontend.kind === 'clusterIP') clusterIPs.add(frontend.ip);
    if (isNodePort(frontend)) continue;
    if (isMasqueraded(frontend)) masqueraded.add(frontend.ip);
    if (isShortCircuited(frontend)) shortCircuited.add(frontend.ip);
  }
  for (const ip of model.hairpin) elements.hairpin(ip, 'add');
  for (const [set, ips] of [
    [names.clusterIPs, clusterIPs],
    [names.masqueraded, masqueraded],
    [names.shortCircuited, shortCircuited],
  ] as const)
    for (const ip of ips) elements.address(set, ip, 'add');
  return [...planStructure(model, options), ...lists.operations()];
}

/** What planInitial makes but for the elements: the same whatever Services there are, but for timeouts of affinity. */
export function planStructure(model: DataplaneModel, options: PlanOptions): NftablesOperation[] {
  const layout = layoutOf(model.family);
  const timeouts = new Map<Suite, Set<number>>();
  for (const frontend of frontendsOf(model))
    for (const suite of specialSuites(frontend))
      timeouts.set(suite, (timeouts.get(suite) ?? new Set()).add(frontend.affinitySeconds));
  const special = [...timeouts].flatMap(([suite, all]) => {
    const now = suite.isSticky ? [...all].sort((a, b) => a - b) : [];
    return [
      ...declareSuite(layout, suite),
      ...now.map((seconds) => timeoutSetAdd(layout, suite, seconds)),
      ...planSuite(layout, suite),
      ...planTimeouts(layout, suite, now),
    ];
  });
  return [
    ...planSkeleton(layout, options),
    ...special,
    ...planLeads(layout, (suite) => timeouts.has(suite)),
    ...planUnallocated(layout, model.serviceCIDRs),
  ];
}

/** The whole table in place of whatever has its name, without a moment between. */
export const planReplacement = (model: DataplaneModel, options: PlanOptions): NftablesOperation[] =>
  inPlaceOfAny(model.family, planInitial(model, options));

/** The plan of a table, made one for any that may be there. */
export function inPlaceOfAny(family: IpFamily, initial: readonly NftablesOperation[]): NftablesOperation[] {
  const table = tableRef(family);
  // Deleting what is not there would be an error.
  return [{ op: 'tableAdd', table }, { op: 'tableDelete', table }, ...initial];
}

/** What brings the table from the state of `index` to that after `delta`; the index goes on with it. */
export function planDelta(delta: DataplaneDelta, index: FrontendIndex): NftablesOperation[] {
  const layout = layoutOf(delta.family);
  const lists = new ElementLists(layout.table);
  const elements = new FrontendElements(layout, lists);
  const groups = new Map(delta.groups.map((change) => [change.id, change]));
  for (const changes of [delta.services, delta.nodePorts])
    for (const change of changes) planFrontend(change, groups, index, elements);
  planGroups(delta, index, elements);
  for (const ip of delta.hairpin.removed) elements.hairpin(ip, 'delete');
  for (const ip of delta.hairpin.added) elements.hairpin(ip, 'add');
  const { suites, timeouts, ...addresses } = index.advance(delta);
  for (const [set, { added, removed }] of [
    [names.clusterIPs, addresses.clusterIPs],
    [names.masqueraded, addresses.masqueraded],
    [names.shortCircuited, addresses.shortCircuited],
  ] as const) {
    for (const ip of removed) elements.address(set, ip, 'delete');
    for (const ip of added) elements.address(set, ip, 'add');
  }
  const { serviceCIDRs } = delta;
  return [
    // Before the elements: the kernel walks those of a map when a chain begins to use it.
    ...suites.added.flatMap((suite) => [...declareSuite(layout, suite), ...planSuite(layout, suite)]),
    ...timeouts.flatMap(({ suite, added }) => added.map((seconds) => timeoutSetAdd(layout, suite, seconds))),
    ...lists.operations(),
    ...timeouts.flatMap((change) => planTimeoutChange(layout, change)),
    ...(suites.added.length + suites.removed.length > 0
      ? [
          ...leadChains.map((chain): NftablesOperation => ({ op: 'ruleFlush', ...layout.table, chain })),
          ...planLeads(layout, (suite) => index.hasSuite(suite)),
        ]
      : []),
    ...suites.removed.flatMap((suite) => removeSuite(layout, suite)),
    ...(serviceCIDRs.added.length + serviceCIDRs.removed.length > 0
      ? [
          { op: 'ruleFlush' as const, ...layout.table, chain: names.unallocated },
          ...planUnallocated(layout, index.serviceCIDRs),
        ]
      : []),
  ];
}

const timeoutSetAdd = (layout: Layout, suite: Suite, seconds: number): NftablesOperation =>
  setAdd(layout, timeoutSet(suite, seconds), keyLayoutOf(layout, suite).key);

/** Few rules: all of them anew. */
function planTimeoutChange(layout: Layout, { suite, removed, now }: TimeoutChange): NftablesOperation[] {
  const { table } = layout;
  return [
    { op: 'ruleFlush', ...table, chain: rememberChain(suite) },
    { op: 'ruleFlush', ...table, chain: forgetChain(suite) },
    ...removed.map((seconds): NftablesOperation => ({ op: 'setDelete', ...table, name: timeoutSet(suite, seconds) })),
    ...planTimeouts(layout, suite, now),
  ];
}

function planFrontend(
  { before, after }: FrontendChange,
  groups: ReadonlyMap<number, GroupChange>,
  index: FrontendIndex,
  elements: FrontendElements,
): void {
  const frontend = after ?? before;
  if (frontend === undefined) return;
  elements.move(before, after);
  for (const placementOf of [mainPlacement, clusterPlacement]) {
    const [old, now] = [placementOf(before), placementOf(after)];
    if (old !== undefined && now !== undefined && old.group === now.group && old.suite === now.suite) {
      const change = groups.get(now.group);
      if (change !== undefined) elements.endpoints(frontend, now.suite, endpointElements(change));
      continue;
    }
    const oldEndpoints = old === undefined ? [] : endpointsOf(index.group(old.group));
    const newEndpoints = now === undefined ? [] : endpointsOf(groupAfter(now.group, groups, index));
    if (old !== undefined && old.suite !== now?.suite)
      elements.endpoints(frontend, old.suite, differences(oldEndpoints, []));
    if (now !== undefined)
      elements.endpoints(frontend, now.suite, differences(old?.suite === now.suite ? oldEndpoints : [], newEndpoints));
  }
}

const endpointsOf = (group: Group | undefined): readonly EndpointRef[] => group?.endpoints ?? [];

const groupAfter = (id: number, groups: ReadonlyMap<number, GroupChange>, index: FrontendIndex): Group | undefined =>
  groups.has(id) ? groups.get(id)?.after : index.group(id);

/** Groups that changed under frontends that did not: the common case. */
function planGroups(delta: DataplaneDelta, index: FrontendIndex, elements: FrontendElements): void {
  const changed = new Set([...delta.services, ...delta.nodePorts].map(({ key }) => key));
  for (const change of delta.groups)
    for (const user of index.users(change.id)) {
      if (changed.has(frontendKey(user.ip, user.protocol, user.port))) continue;
      for (const { group, suite } of placementsOf(user))
        if (group === change.id) elements.endpoints(user, suite, endpointElements(change));
    }
}

function* frontendsOf({ services, nodePorts }: DataplaneModel): Generator<Frontend, void, undefined> {
  yield* services.values();
  yield* nodePorts.values();
}
