/**
 * Which endpoints a Service port uses on this node: slices merged, then chosen by policy, readiness and hints.
 * Rules of kube-proxy: pkg/proxy/endpointslicecache.go (merging), pkg/proxy/topology.go (CategorizeEndpoints).
 * Layer: proxy/services (pure). Must not know about numbering or frontends.
 */
import { type Address, type EndpointRef, endpointRef } from './address.ts';
import type { PortSpec } from './service-spec.ts';
import { endpointFlag, type SliceRecord } from './slice-record.ts';

/** Distinct endpoints with their flags. */
export type EndpointFlags = ReadonlyMap<EndpointRef, number>;

export interface EndpointPolicy {
  usesCluster: boolean;
  usesLocal: boolean;
}

export interface EndpointSelection {
  /** Undefined when no frontend uses the policy. */
  cluster: readonly EndpointRef[] | undefined;
  local: readonly EndpointRef[] | undefined;
  /** Whether the Service has an endpoint anywhere in the cluster, so that an empty Local list drops rather than rejects. */
  any: boolean;
  /** Addresses of endpoints on this node that one of the lists has. */
  localAddresses: readonly Address[];
}

const { running, ready, serving, local, nodeHints, thisNode, zoneHints, thisZone } = endpointFlag;

/**
 * The endpoints that the slices give a Service port, by the port's name and protocol: a named or numeric target port is
 * resolved in the slices already, for each of them apart.
 * @param into emptied and filled; the caller's, so that a first sync of 440,000 endpoints makes no map for each port.
 */
export function mergeSlices(
  slices: Iterable<SliceRecord>,
  { name, protocol }: PortSpec,
  into: Map<EndpointRef, number>,
): EndpointFlags {
  into.clear();
  for (const slice of slices) {
    for (const port of slice.ports) {
      if (port.name !== name || port.protocol !== protocol) continue;
      for (const [index, address] of slice.addresses.entries()) {
        const endpoint = endpointRef(address, port.port);
        const flags = slice.flags[index] ?? 0;
        const known = into.get(endpoint);
        if (known === undefined || flags > known) into.set(endpoint, flags);
      }
    }
  }
  return into;
}

export function selectEndpoints(
  endpoints: EndpointFlags,
  addressOf: (endpoint: EndpointRef) => Address,
  { usesCluster, usesLocal }: EndpointPolicy,
): EndpointSelection {
  let seen = 0;
  for (const flags of endpoints.values()) {
    if ((flags & ready) !== 0) seen |= (flags & local) !== 0 ? anyReady | localReady : anyReady;
    else if (isTerminatingButServing(flags)) seen |= (flags & local) !== 0 ? anyLeaving | localLeaving : anyLeaving;
  }
  const cluster = usesCluster ? chooseCluster(endpoints) : undefined;
  const chosenLocal = usesLocal ? chooseLocal(endpoints, seen) : undefined;
  const addresses = new Set<Address>();
  const lists = (seen & (localReady | localLeaving)) === 0 ? [] : [cluster, chosenLocal];
  for (const list of lists) {
    for (const endpoint of list ?? [])
      if (((endpoints.get(endpoint) ?? 0) & local) !== 0) addresses.add(addressOf(endpoint));
  }
  // Without the Local policy only what the Cluster list holds counts; with it, an endpoint anywhere.
  const any = (cluster?.length ?? 0) > 0 || (usesLocal && (seen & (anyReady | anyLeaving)) !== 0);
  return { cluster, local: chosenLocal, any, localAddresses: [...addresses] };
}

/** UDP flows to these are left alone, whatever policy and readiness say (conntrack/cleanup.go). */
export function servingEndpoints(endpoints: EndpointFlags): readonly EndpointRef[] {
  return choose(endpoints, (flags) => (flags & serving) !== 0);
}

const anyReady = 1;
const localReady = 2;
const anyLeaving = 4;
const localLeaving = 8;

function chooseCluster(endpoints: EndpointFlags): readonly EndpointRef[] {
  const hint = usableHint(endpoints);
  const chosen = choose(endpoints, (flags) => (flags & (ready | hint)) === (ready | hint));
  return chosen.length > 0 ? chosen : choose(endpoints, isTerminatingButServing);
}

function chooseLocal(endpoints: EndpointFlags, seen: number): readonly EndpointRef[] {
  if ((seen & localReady) !== 0) return choose(endpoints, (flags) => (flags & (ready | local)) === (ready | local));
  if ((seen & localLeaving) === 0) return [];
  return choose(endpoints, (flags) => (flags & local) !== 0 && isTerminatingButServing(flags));
}

/** The flag that an endpoint must have: hints count when every ready endpoint has one and one of them is for here. */
function usableHint(endpoints: EndpointFlags): number {
  let common = nodeHints | zoneHints;
  let here = 0;
  for (const flags of endpoints.values()) {
    if ((flags & ready) === 0) continue;
    common &= flags;
    here |= flags;
  }
  if ((common & nodeHints) !== 0 && (here & thisNode) !== 0) return thisNode;
  return (common & zoneHints) !== 0 && (here & thisZone) !== 0 ? thisZone : 0;
}

function isTerminatingButServing(flags: number): boolean {
  return (flags & (running | serving)) === serving;
}

function choose(endpoints: EndpointFlags, accept: (flags: number) => boolean): readonly EndpointRef[] {
  const chosen: EndpointRef[] = [];
  for (const [endpoint, flags] of endpoints) if (accept(flags)) chosen.push(endpoint);
  return chosen;
}
