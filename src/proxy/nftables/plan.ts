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
import { ElementLists } from './element-lists.ts';
import { differences, FrontendElements, isBalanced } from './frontend-elements.ts';
import { FrontendIndex, isMasqueraded } from './frontend-index.ts';
import { layoutOf, names, tableRef } from './layout.ts';
import { type PlanOptions, planSkeleton } from './skeleton.ts';

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
  for (const frontends of [model.services, model.nodePorts]) {
    for (const frontend of frontends.values()) {
      elements.move(undefined, frontend);
      const endpoints = endpointsOf(frontend, (id) => model.groups.get(id));
      elements.endpoints(frontend, differences([], endpoints));
      if (frontend.kind === 'clusterIP') clusterIPs.add(frontend.ip);
      if (isMasqueraded(frontend)) masqueraded.add(frontend.ip);
    }
  }
  for (const ip of model.hairpin) elements.hairpin(ip, 'add');
  for (const ip of clusterIPs) elements.address(names.clusterIPs, ip, 'add');
  for (const ip of masqueraded) elements.address(names.masqueraded, ip, 'add');
  return [...planSkeleton(layout, options), ...lists.operations()];
}

/** What planInitial makes but for the elements: the same for every model. */
export const planStructure = (family: IpFamily, options: PlanOptions): NftablesOperation[] =>
  planSkeleton(layoutOf(family), options);

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
  const addresses = index.advance(delta);
  for (const [set, { added, removed }] of [
    [names.clusterIPs, addresses.clusterIPs],
    [names.masqueraded, addresses.masqueraded],
  ] as const) {
    for (const ip of removed) elements.address(set, ip, 'delete');
    for (const ip of added) elements.address(set, ip, 'add');
  }
  return lists.operations();
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
  const change = after === undefined ? undefined : groups.get(after.group);
  if (isBalanced(before) && isBalanced(after) && before.group === after.group) {
    if (change !== undefined) elements.endpoints(frontend, endpointElements(change));
    return;
  }
  const old = endpointsOf(before, (id) => index.group(id));
  const now = endpointsOf(after, (id) => (groups.has(id) ? groups.get(id)?.after : index.group(id)));
  elements.endpoints(frontend, differences(old, now));
}

/** Groups that changed under frontends that did not: the common case. */
function planGroups(delta: DataplaneDelta, index: FrontendIndex, elements: FrontendElements): void {
  const changed = new Set([...delta.services, ...delta.nodePorts].map(({ key }) => key));
  for (const change of delta.groups) {
    for (const user of index.users(change.id))
      if (!changed.has(frontendKey(user.ip, user.protocol, user.port)))
        elements.endpoints(user, endpointElements(change));
  }
}

function endpointsOf(
  frontend: Frontend | undefined,
  groupOf: (id: number) => Group | undefined,
): readonly EndpointRef[] {
  return isBalanced(frontend) ? (groupOf(frontend.group)?.endpoints ?? []) : [];
}
