/**
 * From the status that the API server has to the one it should have: the smallest strategic merge patch, whether
 * anything but heartbeats changed, and when an unchanged status is due again.
 * Layer: kubelet/node (pure; time and chance are handed in). Rules: pkg/kubelet/kubelet_node_status.go (nodeStatusHasChanged,
 * tryUpdateNodeStatus), staging/src/k8s.io/component-helpers/node/util/status.go (addresses).
 */
import type { NodeAddress, NodeCondition, NodeStatus } from '../../api/node.ts';
import type { NodeStatusPatch } from './node-api.ts';

/**
 * The patch that makes `from` into `to`, undefined when there is no difference. A heartbeat time is a difference here;
 * see `withoutHeartbeats`. Conditions of `from` that `to` lacks stay: the node removes none.
 */
export function nodeStatusPatch(from: NodeStatus, to: NodeStatus): NodeStatusPatch | undefined {
  const patch: { [Field in keyof NodeStatus]?: unknown } = {};
  for (const field of fields(from, to)) {
    const change = fieldChange(field, from, to);
    if (change !== undefined) patch[field] = change;
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}

/**
 * What a patch says beyond heartbeats, undefined when that is nothing: equal answers are equal texts, so that a change
 * that the API server does not keep (a field it does not know, a webhook's rewrite) can be known again.
 */
export function changeBeyondHeartbeats(from: NodeStatus, to: NodeStatus): string | undefined {
  const patch = nodeStatusPatch(withoutHeartbeats(from), withoutHeartbeats(to));
  return patch === undefined ? undefined : JSON.stringify(patch);
}

function withoutHeartbeats(status: NodeStatus): NodeStatus {
  if (status.conditions === undefined) return status;
  return { ...status, conditions: status.conditions.map(({ lastHeartbeatTime, ...condition }) => condition) };
}

/** When an unchanged status is to be sent again. */
export interface ReportSchedule {
  /** Epoch milliseconds of the last report; undefined before the first. */
  readonly reportedMs: number | undefined;
  /** Added to the report frequency until the next report, so that nodes that changed together do not stay together. */
  readonly delayMs: number;
}

export const neverReported: ReportSchedule = { reportedMs: undefined, delayMs: 0 };

/** @param frequencyMs KubeletConfiguration nodeStatusReportFrequency */
export function isReportDue(schedule: ReportSchedule, nowMs: number, frequencyMs: number): boolean {
  return schedule.reportedMs === undefined || nowMs - schedule.reportedMs >= frequencyMs + schedule.delayMs;
}

/** @param chance 0 to 1: after a change, and at first, the next report comes up to half a period earlier or later */
export function reported(
  schedule: ReportSchedule,
  nowMs: number,
  frequencyMs: number,
  changed: boolean,
  chance: number,
): ReportSchedule {
  const spread = changed || schedule.reportedMs === undefined;
  return { reportedMs: nowMs, delayMs: spread ? frequencyMs * (chance - 0.5) : 0 };
}

type Field = keyof NodeStatus;

const fields = (from: NodeStatus, to: NodeStatus): Field[] =>
  [...new Set([...Object.keys(from), ...Object.keys(to)])].filter(isField);

/** Fields that this node writes or passes on. One that it does not know is not in `to` by its choice, so it stays. */
const knownFields: ReadonlySet<string> = new Set<Field>([
  'capacity',
  'allocatable',
  'conditions',
  'addresses',
  'daemonEndpoints',
  'nodeInfo',
  'images',
  'volumesInUse',
  'runtimeHandlers',
  'features',
  'declaredFeatures',
]);

const isField = (name: string): name is Field => knownFields.has(name);

function fieldChange(field: Field, from: NodeStatus, to: NodeStatus): unknown {
  if (field === 'conditions') return conditionsChange(from.conditions ?? [], to.conditions ?? []);
  if (field === 'addresses') return addressesChange(from.addresses ?? [], to.addresses ?? []);
  return valueChange(from[field], to[field]);
}

/** Changed conditions whole, by their merge key; the order of the others is the server's to keep. */
function conditionsChange(from: readonly NodeCondition[], to: readonly NodeCondition[]): unknown {
  const before = new Map(from.map((condition) => [condition.type, condition]));
  const changed = to.filter((condition) => !isSame(before.get(condition.type), condition));
  return changed.length === 0 ? undefined : changed;
}

/**
 * The whole list: the API merges addresses by `type`, which is not unique, and would mix up two InternalIPs. The
 * directive is only understood where there is a list already.
 */
function addressesChange(from: readonly NodeAddress[], to: readonly NodeAddress[]): unknown {
  if (isSame(from, to)) return undefined;
  return from.length === 0 ? to : [...to, { $patch: 'replace' }];
}

/** Objects key by key with null for what goes; all else whole. */
function valueChange(from: unknown, to: unknown): unknown {
  if (isSame(from, to)) return undefined;
  if (to === undefined) return null;
  if (!isPlainObject(from) || !isPlainObject(to)) return to;
  const keys = new Set([...Object.keys(from), ...Object.keys(to)]);
  return Object.fromEntries(
    [...keys].flatMap((key) => {
      const change = valueChange(own(from, key), own(to, key));
      return change === undefined ? [] : [[key, change]];
    }),
  );
}

/** Equal JSON values; absent, null, and an empty list or object are the same, as the API server leaves them out. */
function isSame(a: unknown, b: unknown): boolean {
  if (a === b || (isEmpty(a) && isEmpty(b))) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((value, index) => isSame(value, b[index]));
  }
  if (!isPlainObject(a) || !isPlainObject(b)) return false;
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].every((key) => isSame(own(a, key), own(b, key)));
}

/** A resource may be called `constructor`. */
const own = (object: Readonly<Record<string, unknown>>, key: string): unknown =>
  Object.hasOwn(object, key) ? object[key] : undefined;

const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || (typeof value === 'object' && Object.keys(value).length === 0);

const isPlainObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
