/**
 * Which of the resizes that pods ask for are given to them now, one after the other, each beside what all others have:
 * accepted, deferred until there is room, or infeasible as long as the node is what it is.
 * Layer: kubelet/resize (pure). Source: pkg/kubelet/allocation/allocation_manager.go (sortPendingResizes,
 * handlePodResourcesResize), handlers.go; the words for what exceeds the node are the kubelet's up to 1.35, since then the
 * API server refuses it (plugin/pkg/admission/podresize).
 */
import type { Container, Pod, ResourceList } from '../../api/core.ts';
import { type PressureCondition, pressureRefusal, shortage } from '../plan/admission-checks.ts';
import { type Amounts, podRequests } from '../plan/pod-requests.ts';
import { canSwap, type NodeResources, qosClass } from '../plan/resources.ts';

export interface ResizeWish {
  /** As the API server has it. */
  desired: Pod;
  /** The same pod with what it has. */
  allocated: Pod;
  /** What the pod holds now: at least what it was given. */
  held: Amounts;
  /** Epoch milliseconds since when it waits; undefined for a new wish. */
  deferredSinceMs: number | undefined;
}

export interface ResizeContext {
  /** Of the Node. */
  allocatable: ResourceList;
  /** What all pods of the node hold, those that wish something included. */
  inUse: ReadonlyMap<string, bigint>;
  node: NodeResources;
  /** Conditions of the node that are True. */
  pressures?: readonly PressureCondition[] | undefined;
}

export type PendingReason = 'Deferred' | 'Infeasible';

export type ResizeDecision = { pod: Pod; verdict: 'accepted' } | ({ pod: Pod } & Pending);

interface Pending {
  verdict: PendingReason;
  message: string;
  /** The reason for which a new pod would be refused. */
  because: string;
}

/** In the order in which they were decided. */
export function decideResizes(wishes: readonly ResizeWish[], context: ResizeContext): ResizeDecision[] {
  const inUse = new Map(context.inUse);
  return inTurn(wishes).map((wish): ResizeDecision => {
    const { desired: pod, held } = wish;
    const refusal = infeasible(wish, context) ?? deferred(wish, inUse, context);
    if (refusal !== undefined) return { pod, ...refusal };
    // Until it is carried out the pod may still hold what it had.
    for (const [name, nanos] of podRequests(pod)) {
      const had = held.get(name) ?? 0n;
      if (nanos > had) inUse.set(name, (inUse.get(name) ?? 0n) + nanos - had);
    }
    return { pod, verdict: 'accepted' };
  });
}

/** What needs no room first, then by priority, by QoS class, and who waits longest. */
export function inTurn(wishes: readonly ResizeWish[]): ResizeWish[] {
  const keys = new Map(
    wishes.map((wish) => [
      wish,
      [
        Number(risingRequests(wish).size > 0),
        -(wish.desired.spec.priority ?? 0),
        Number(qosClass(wish.desired) !== 'Guaranteed'),
        wish.deferredSinceMs ?? Number.POSITIVE_INFINITY,
      ],
    ]),
  );
  return [...wishes].sort((a, b) => compare(keys.get(a) ?? [], keys.get(b) ?? []));
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, one] of a.entries()) {
    const other = b[index] ?? 0;
    if (one !== other) return one < other ? -1 : 1;
  }
  return 0;
}

/** The requests of the pod as a whole that are more than before. */
function risingRequests({ desired, allocated }: ResizeWish): Amounts {
  const before = podRequests(allocated);
  return new Map([...podRequests(desired)].filter(([name, nanos]) => nanos > (before.get(name) ?? 0n)));
}

function infeasible(wish: ResizeWish, { allocatable, node }: ResizeContext): Pending | undefined {
  if (swaps(wish, node)) {
    return refused('Infeasible', 'Infeasible', 'In-place resize of containers with swap is not supported.');
  }
  const rising = risingRequests(wish);
  for (const name of ['memory', 'cpu']) {
    const nanos = rising.get(name);
    const short = nanos && shortage(new Map([[name, nanos]]), new Map(), allocatable);
    if (!short) continue;
    const message = `Node didn't have enough capacity: ${name}, requested: ${short.requested}, capacity: ${short.capacity}`;
    return refused('Infeasible', 'Infeasible', message);
  }
  return undefined;
}

/** Only what rises needs room: on a node that is overcommitted a pod may still give something back. */
function deferred(wish: ResizeWish, inUse: ReadonlyMap<string, bigint>, context: ResizeContext): Pending | undefined {
  const rising = risingRequests(wish);
  if (rising.size === 0) return undefined;
  const pressure = pressureRefusal(wish.desired, context);
  if (pressure !== undefined) return refused('Deferred', pressure.reason, pressure.message);
  const others = new Map([...inUse].map(([name, nanos]) => [name, nanos - (wish.held.get(name) ?? 0n)]));
  const short = shortage(rising, others, context.allocatable);
  return short && refused('Deferred', short.reason, short.message);
}

const refused = (verdict: PendingReason, because: string, message: string): Pending => ({ verdict, because, message });

/** The swap that a container may use follows its memory request, and cannot be changed while it runs. */
function swaps({ desired, allocated }: ResizeWish, node: NodeResources): boolean {
  const all = ({ spec }: Pod): Container[] => [...spec.containers, ...(spec.initContainers ?? [])];
  const before = new Map(all(allocated).map((container) => [container.name, container]));
  return all(desired).some((container) => {
    const old = before.get(container.name);
    if (old === undefined || container.resources?.requests?.memory === old.resources?.requests?.memory) return false;
    const restarts = container.resizePolicy?.some(
      ({ resourceName, restartPolicy }) => resourceName === 'memory' && restartPolicy === 'RestartContainer',
    );
    return !restarts && (canSwap(desired, container, node) || canSwap(allocated, old, node));
  });
}
