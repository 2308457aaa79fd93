/**
 * From the desired dataplane, or a change of it, to nf_tables operations for one batch.
 * Layer: proxy/nftables (pure). A change costs what it touches: one endpoint of a Service with one frontend is one element
 * deleted and added. docs/adr/0007 describes the table.
 */

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
import { differences, FrontendElements } from './frontend-elements.ts';
import { FrontendIndex } from './frontend-index.ts';
import { layoutOf } from './layout.ts';
import {
  type PlanOptions,
  planDispatch,
  planDispatchFlush,
  planSizeAdded,
  planSizeRemoved,
  planSkeleton,
  podPrefixes,
} from './skeleton.ts';

export type { PlanOptions } from './skeleton.ts';

/** The state that changes of `model` are planned from; not affected when the model goes on. */
export function indexOf(model: DataplaneModel, options: PlanOptions): FrontendIndex {
  return new FrontendIndex(model, podPrefixes(options, layoutOf(model.family)).length > 0);
}

/** The whole table, which must not exist. */
export function planInitial(model: DataplaneModel, options: PlanOptions): NftablesOperation[] {
  const layout = layoutOf(model.family);
  const lists = new ElementLists(layout.table);
  const elements = new FrontendElements(layout, lists);
  for (const frontends of [model.services, model.nodePorts]) {
    for (const frontend of frontends.values()) {
      elements.move(undefined, frontend);
      elements.endpoints(
        frontend,
        differences(
          [],
          endpointsOf(frontend, (id) => model.groups.get(id)),
        ),
      );
    }
  }
  for (const ip of model.hairpin) elements.hairpin(ip, 'add');
  for (const ip of indexOf(model, options).masqueraded()) elements.masqueradedAddress(ip, 'add');
  return [
    ...planSkeleton(layout, options),
    ...[...model.sizes].flatMap((size) => planSizeAdded(layout, size)),
    ...planDispatch(layout, model.sizes),
    ...lists.operations(),
  ];
}

/** The whole table in place of whatever has its name, without a moment between. */
export function planReplacement(model: DataplaneModel, options: PlanOptions): NftablesOperation[] {
  const { family, table: name } = layoutOf(model.family).table;
  const table = { family, name };
  // Deleting what is not there would be an error.
  return [{ op: 'tableAdd', table }, { op: 'tableDelete', table }, ...planInitial(model, options)];
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
  const masqueraded = index.advance(delta);
  for (const ip of masqueraded.removed) elements.masqueradedAddress(ip, 'delete');
  for (const ip of masqueraded.added) elements.masqueradedAddress(ip, 'add');
  const { added, removed } = delta.sizes;
  if (added.length + removed.length === 0) return lists.operations();
  return [
    ...added.flatMap((size) => planSizeAdded(layout, size)),
    ...planDispatchFlush(layout),
    ...planDispatch(layout, index.sizes),
    ...lists.operations(),
    ...removed.flatMap((size) => planSizeRemoved(layout, size)),
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
  const change = after === undefined ? undefined : groups.get(after.group);
  if (before?.action === 'balance' && after?.action === 'balance' && before.group === after.group) {
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
  return frontend?.action === 'balance' ? (groupOf(frontend.group)?.endpoints ?? []) : [];
}
