/**
 * From the status that the API server has to the one that the node wants: the smallest strategic merge patch, or none.
 * Conditions of others are never named, so that no order of writers loses one.
 * Layer: kubelet/api (pure). Sources: pkg/util/pod/pod.go (PatchPodStatus), pkg/kubelet/status/status_manager.go
 * (mergePodStatus, normalizeStatus), pkg/kubelet/types/pod_status.go (PodConditionByKubelet).
 */
import type { ContainerState, Pod, PodCondition, PodStatus } from '../../api/core.ts';
import { isMirrorPod, isTerminal } from '../plan/pod-origin.ts';

/** The condition types that only a kubelet writes. */
const ownConditions: ReadonlySet<string> = new Set([
  'PodScheduled',
  'Ready',
  'Initialized',
  'ContainersReady',
  'PodReadyToStartContainers',
  'AllContainersRestarting',
  'PodResizePending',
  'PodResizeInProgress',
]);

const containerLists = ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses'] as const;

/** MaxPodTerminationMessageLogLength: bytes for all containers of a pod together. */
const maxTerminationBytes = 12 * 1024;

/**
 * What is to be said of the pod: its own view, but for phases that may not be taken back or not be said yet.
 * @param mayRun a container may still run: the end must not be announced, since others reuse what the pod holds
 */
export function statusToSend(known: Pod, own: PodStatus, mayRun: boolean): PodStatus {
  const capped = capMessages(own);
  const before: Pick<PodStatus, 'phase' | 'reason' | 'message'> = known.status ?? { phase: 'Pending' };
  if (isMirrorPod(known)) return capped;
  const takenBack = isTerminal(before.phase) && !isTerminal(own.phase);
  const tooEarly = isTerminal(own.phase) && !isTerminal(before.phase) && mayRun;
  if (!takenBack && !tooEarly) return capped;
  const { phase, reason, message } = before;
  // That it ends for others' sake is told with its end.
  const conditions = capped.conditions.filter(({ type }) => type !== 'DisruptionTarget' || takenBack);
  return { ...capped, conditions, phase, reason, message };
}

/** The body of the request with the pod's uid as its condition, or undefined when there is nothing to say. */
export function podStatusPatch(known: Pod, wanted: PodStatus): object | undefined {
  const before: Partial<PodStatus> = known.status ?? {};
  const status: Record<string, unknown> = {};
  const scalars = ['phase', 'reason', 'message', 'hostIP', 'podIP', 'observedGeneration'] as const;
  for (const name of scalars) {
    const [was, is] = [before[name], wanted[name]];
    if (was === is || (is === undefined && isEmpty(was))) continue;
    status[name] = is ?? null;
  }
  // Both are decided once.
  for (const name of ['startTime', 'qosClass'] as const) {
    if (before[name] === undefined && wanted[name] !== undefined) status[name] = wanted[name];
  }
  const conditions = conditionChanges(before.conditions ?? [], wanted.conditions);
  if (conditions.length > 0) status.conditions = conditions;
  for (const name of ['hostIPs', 'podIPs'] as const) Object.assign(status, addressChanges(name, before, wanted));
  for (const name of containerLists) {
    const containers = wanted[name] ?? [];
    if (canonical(before[name] ?? []) !== canonical(containers)) status[name] = containers;
  }
  return Object.keys(status).length === 0 ? undefined : { metadata: { uid: known.metadata.uid }, status };
}

/**
 * Whether the API server's pod may go: it was asked to, nothing of it is left here, and its end has been told. Mirror
 * pods are not ended by their status.
 */
export function canBeDeleted(known: Pod, finished: boolean): boolean {
  const deleting = known.metadata.deletionTimestamp !== undefined;
  return deleting && finished && !isMirrorPod(known) && isTerminal(known.status?.phase);
}

function conditionChanges(before: readonly PodCondition[], wanted: readonly PodCondition[]): object[] {
  const changes: object[] = [];
  for (const condition of wanted) {
    const old = before.find(({ type }) => type === condition.type);
    if (old !== undefined && sameCondition(old, condition)) continue;
    const gone = (['reason', 'message'] as const).filter(
      (name) => condition[name] === undefined && !isEmpty(old?.[name]),
    );
    changes.push({ ...condition, ...Object.fromEntries(gone.map((name) => [name, null])) });
  }
  for (const { type } of before) {
    const stays = !ownConditions.has(type) || wanted.some((condition) => condition.type === type);
    if (!stays) changes.push({ type, $patch: 'delete' });
  }
  return changes;
}

const sameCondition = (a: PodCondition, b: PodCondition): boolean =>
  a.status === b.status &&
  (a.reason ?? '') === (b.reason ?? '') &&
  (a.message ?? '') === (b.message ?? '') &&
  a.observedGeneration === b.observedGeneration &&
  a.lastTransitionTime === b.lastTransitionTime;

/** Lists that merge by address: what is to go has to be named. A server that does not know the list gets it plainly. */
function addressChanges(name: 'hostIPs' | 'podIPs', before: Partial<PodStatus>, wanted: PodStatus): object {
  const [was, is] = [before[name] ?? [], wanted[name] ?? []];
  if (canonical(was) === canonical(is)) return {};
  if (was.length === 0) return { [name]: is };
  const kept = new Set(is.map(({ ip }) => ip));
  const gone = was.filter(({ ip }) => !kept.has(ip)).map(({ ip }) => ({ ip, $patch: 'delete' }));
  return { [name]: [...is, ...gone], ...(is.length > 1 ? { [`$setElementOrder/${name}`]: is } : {}) };
}

function capMessages(status: PodStatus): PodStatus {
  const count = containerLists.reduce((sum, name) => sum + (status[name]?.length ?? 0), 0);
  if (count === 0) return status;
  const bytes = Math.floor(maxTerminationBytes / count);
  const capped = (state: ContainerState): ContainerState => {
    const { terminated } = state;
    if (terminated?.message === undefined || Buffer.byteLength(terminated.message) <= bytes) return state;
    return { terminated: { ...terminated, message: cut(terminated.message, bytes) } };
  };
  const result = { ...status };
  for (const name of containerLists) {
    const containers = status[name]?.map((container) => ({
      ...container,
      state: capped(container.state),
      lastState: capped(container.lastState),
    }));
    if (containers) result[name] = containers;
  }
  return result;
}

/** The first bytes, without half a character at the end. */
const cut = (text: string, bytes: number): string =>
  new TextDecoder().decode(Buffer.from(text).subarray(0, bytes), { stream: true });

const isEmpty = (value: unknown): boolean => value === undefined || value === '';

/** JSON with sorted keys, without what is absent: equal for equal values, however they were written. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, entry: unknown) => {
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return entry;
    return Object.fromEntries(Object.entries(entry).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
