/**
 * What a pod as a whole requests and is limited to: the sum of its main containers and sidecars, at least what any init
 * container needs beside the sidecars before it, replaced by what the pod says itself, plus overhead.
 * Layer: kubelet/plan (pure). Source: component-helpers/resource/helpers.go (PodRequests, PodLimits). Ephemeral
 * containers have no resources.
 */
import type { Container, Pod, PodSpec, ResourceList, ResourceRequirements } from '../../api/core.ts';
import { parseQuantity } from '../../config/quantity.ts';
import { isSidecar } from './container-kind.ts';

/** Billionths, by resource: sums of quantities stay exact. */
export type Amounts = Map<string, bigint>;

type Containers = Pick<PodSpec, 'containers' | 'initContainers'>;
type Kind = keyof ResourceRequirements;

/** Without overhead, as the sandbox's share is told to the runtime apart. */
export function podAmounts({ spec }: Pick<Pod, 'spec'>, kind: Kind): Amounts {
  const amounts = aggregate(spec, kind);
  for (const [name, text] of podLevel(spec, kind)) amounts.set(name, nanosOf(text));
  return amounts;
}

export function podRequests(pod: Pick<Pod, 'spec'>): Amounts {
  const requests = podAmounts(pod, 'requests');
  addAll(requests, amountsOf(pod.spec.overhead));
  return requests;
}

export function podLimits(pod: Pick<Pod, 'spec'>): Amounts {
  const limits = podAmounts(pod, 'limits');
  // Overhead does not make a limit where there is none.
  for (const [name, nanos] of amountsOf(pod.spec.overhead)) {
    const limit = limits.get(name) ?? 0n;
    if (limit > 0n) limits.set(name, limit + nanos);
  }
  return limits;
}

/** Of the containers alone. */
export function aggregate({ containers, initContainers = [] }: Containers, kind: Kind): Amounts {
  const total: Amounts = new Map();
  for (const container of containers) addAll(total, ownAmounts(container, kind));
  const sidecars: Amounts = new Map();
  const most: Amounts = new Map();
  for (const container of initContainers) {
    const own = ownAmounts(container, kind);
    if (isSidecar(container)) {
      addAll(total, own);
      addAll(sidecars, own);
      raiseAll(most, sidecars);
    } else {
      addAll(own, sidecars);
      raiseAll(most, own);
    }
  }
  raiseAll(total, most);
  return total;
}

/** Whether the pod itself may name the resource. */
export const isPodLevelResource = (name: string): boolean => name === 'cpu' || name === 'memory' || isHugePages(name);

export const isHugePages = (name: string): boolean => name.startsWith('hugepages-');

/** What the pod says itself, beside its containers. */
export const podLevel = ({ resources }: Pick<PodSpec, 'resources'>, kind: Kind): [name: string, quantity: string][] =>
  Object.entries(resources?.[kind] ?? {}).filter(([name]) => isPodLevelResource(name));

/** Whether the pod says any requests or limits itself. */
export const hasPodLevelResources = (spec: Pick<PodSpec, 'resources'>): boolean =>
  podLevel(spec, 'requests').length > 0 || podLevel(spec, 'limits').length > 0;

/** @throws QuantityError never on a pod that was read: quantities were parsed then. */
export const amountsOf = (list: ResourceList | undefined): Amounts =>
  new Map(Object.entries(list ?? {}).map(([name, text]) => [name, nanosOf(text)]));

const ownAmounts = (container: Container, kind: Kind): Amounts => amountsOf(container.resources?.[kind]);
const nanosOf = (text: string): bigint => parseQuantity(text).nanos;

function addAll(total: Amounts, more: Amounts): void {
  for (const [name, nanos] of more) total.set(name, (total.get(name) ?? 0n) + nanos);
}

function raiseAll(total: Amounts, floor: Amounts): void {
  for (const [name, nanos] of floor) {
    const amount = total.get(name);
    if (amount === undefined || amount < nanos) total.set(name, nanos);
  }
}
