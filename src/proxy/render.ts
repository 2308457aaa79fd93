/**
 * What the proxy would do for given objects, as text: the desired dataplane, and the batch that brings the kernel there.
 * Layer: proxy (pure). Must not touch the kernel; it runs the very tracker and planner that the role runs.
 */
import type { EndpointSlice } from '../api/discovery.ts';
import type { IpFamily, Service } from '../api/service.ts';
import { describe } from '../linux/nftables/describe.ts';
import type { NftablesOperation, NftSet } from '../linux/nftables/types.ts';
import { indexOf, type PlanOptions, planDelta, planInitial } from './nftables/plan.ts';
import { describeDataplane, describeDelta } from './services/describe.ts';
import type { ServiceReport } from './services/service-report.ts';
import { ServiceTracker } from './services/service-tracker.ts';

export interface ProxyObjects {
  services: readonly Service[];
  slices: readonly EndpointSlice[];
}

export interface RenderOptions extends PlanOptions {
  /** Endpoints with this node name are local. Empty: none. */
  nodeName: string;
  zone?: string;
}

export interface Rendering {
  /** Whether the family has any Service, before or now. */
  isUsed: boolean;
  /** Ends in a line feed. */
  text: string;
  /** What is wrong with the objects. */
  reports: readonly ServiceReport[];
}

/**
 * @param before undefined: the kernel has no table yet; else the plan goes from what `before` makes to what `objects` make
 */
export function renderDataplane(
  family: IpFamily,
  objects: ProxyObjects,
  options: RenderOptions,
  before?: ProxyObjects,
): Rendering {
  const tracker = new ServiceTracker({ family, nodeName: options.nodeName, zone: options.zone });
  feed(tracker, before ?? objects);
  tracker.flush();
  if (before === undefined) {
    const operations = planInitial(tracker.model, options);
    return {
      isUsed: isUsed(tracker),
      text: describeDataplane(tracker.model) + describePlan(operations),
      reports: tracker.reports(),
    };
  }
  const declared = planInitial(tracker.model, options);
  const index = indexOf(tracker.model);
  const wasUsed = isUsed(tracker);
  // As a list after a relist: it is the truth whatever the versions say.
  feed(tracker, objects);
  withdraw(tracker, before, objects);
  const { delta } = tracker.flush();
  const text =
    describeDataplane(tracker.model) + describeDelta(delta) + describePlan(planDelta(delta, index), declared);
  return { isUsed: wasUsed || isUsed(tracker), text, reports: tracker.reports() };
}

const isUsed = ({ model }: ServiceTracker): boolean => model.services.size + model.nodePorts.size > 0;

function feed(tracker: ServiceTracker, { services, slices }: ProxyObjects): void {
  for (const service of services) tracker.serviceSet(service, 'list');
  for (const slice of slices) tracker.sliceSet(slice, 'list');
}

function withdraw(tracker: ServiceTracker, before: ProxyObjects, after: ProxyObjects): void {
  const nameOf = ({ metadata }: Service | EndpointSlice): string => `${metadata.namespace}/${metadata.name}`;
  const services = new Set(after.services.map(nameOf));
  const slices = new Set(after.slices.map(nameOf));
  for (const gone of before.services) if (!services.has(nameOf(gone))) tracker.serviceDeleted(gone.metadata);
  for (const gone of before.slices) if (!slices.has(nameOf(gone))) tracker.sliceDeleted(gone.metadata);
}

/** One line an operation; elements in words, since their sets are declared in `declared` or the plan itself. */
function describePlan(operations: readonly NftablesOperation[], declared: readonly NftablesOperation[] = []): string {
  const sets = new Map<string, NftSet>();
  for (const operation of [...declared, ...operations])
    if (operation.op === 'setAdd') sets.set(operation.set.name, operation.set);
  const lines = operations.map((operation) => describe(operation, ({ set }) => sets.get(set)));
  return `plan: ${operations.length === 0 ? 'nothing to do' : `one batch of ${operations.length} operations`}\n${lines
    .map((line) => `  ${line}\n`)
    .join('')}`;
}
