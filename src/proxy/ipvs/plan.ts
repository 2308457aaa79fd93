/**
 * From virtual servers as they are, or were, to those that should be: IPVS operations.
 * Layer: proxy/ipvs (pure). A real server that leaves gets no new connections and is taken away when the old ones have
 * ended (pkg/proxy/ipvs/graceful_termination.go): for TCP; flows of other protocols find another one at once.
 */

import { prefixContains } from '../../linux/ip-bytes.ts';
import {
  type IpvsOperation,
  type RealServer,
  type RealServerRef,
  realKey,
  serviceKey,
  type VirtualServer,
  type VirtualServerRef,
} from '../../linux/ipvs/edge.ts';
import type { DesiredServer, DesiredServers } from './virtual-servers.ts';

/** A virtual server as the kernel has it. */
export interface FoundServer {
  service: VirtualServer;
  reals: readonly RealServer[];
}

/** Real servers that have weight 0 until their connections end. */
export class LeavingServers {
  readonly #services = new Map<string, { service: VirtualServerRef; reals: Map<string, RealServerRef> }>();

  get isEmpty(): boolean {
    return this.#services.size === 0;
  }

  services(): VirtualServerRef[] {
    return [...this.#services.values()].map(({ service }) => service);
  }

  has(service: VirtualServerRef, real: RealServerRef): boolean {
    return this.#services.get(serviceKey(service))?.reals.has(realKey(real)) === true;
  }

  add(service: VirtualServerRef, real: RealServerRef): void {
    const key = serviceKey(service);
    const known = this.#services.get(key) ?? { service, reals: new Map() };
    known.reals.set(realKey(real), real);
    this.#services.set(key, known);
  }

  delete(service: VirtualServerRef, real: RealServerRef): void {
    const known = this.#services.get(serviceKey(service));
    known?.reals.delete(realKey(real));
    if (known?.reals.size === 0) this.#services.delete(serviceKey(service));
  }

  /** Those of the virtual server that are not in `left`, by realKey, are gone. */
  keep(service: VirtualServerRef, left: ReadonlySet<string>): void {
    for (const [key, real] of [...(this.#services.get(serviceKey(service))?.reals ?? [])])
      if (!left.has(key)) this.delete(service, real);
  }

  /** With all of its real servers. */
  forget(service: VirtualServerRef): void {
    this.#services.delete(serviceKey(service));
  }
}

/** What leads from one desired state of some ports to the next; `leaving` goes on with it. */
export function planChange(before: DesiredServers, after: DesiredServers, leaving: LeavingServers): IpvsOperation[] {
  const operations: IpvsOperation[] = [];
  for (const [key, server] of after) {
    const { service, reals } = server;
    const old = before.get(key);
    if (old === undefined) {
      operations.push(...addition(server));
      continue;
    }
    if (!sameService(old.service, service)) operations.push({ op: 'serviceSet', service });
    for (const [name, real] of reals) if (!old.reals.has(name)) operations.push(join(service, real, leaving));
    for (const [name, real] of old.reals) if (!reals.has(name)) operations.push(leave(service, real, leaving));
  }
  for (const [key, { service }] of before) {
    if (after.has(key)) continue;
    leaving.forget(service);
    operations.push({ op: 'serviceDelete', service });
  }
  return operations;
}

/** What makes of the kernel's state the desired one; `leaving` is what that leaves at weight 0. */
export function planLoad(
  found: readonly FoundServer[],
  desired: DesiredServers,
  leaving: LeavingServers,
): IpvsOperation[] {
  const operations: IpvsOperation[] = [];
  const known = new Set<string>();
  for (const { service, reals } of found) {
    const key = serviceKey(service);
    known.add(key);
    const server = desired.get(key);
    if (server === undefined) operations.push({ op: 'serviceDelete', service });
    else operations.push(...correction(service, reals, server, leaving));
  }
  for (const [key, server] of desired) if (!known.has(key)) operations.push(...addition(server));
  return operations;
}

/** Whether a virtual server is ours to take away when no Service wants it: kube-proxy, too, asks nothing else. */
export const isOurs = ({ address }: VirtualServerRef, excludeCIDRs: readonly string[]): boolean =>
  !excludeCIDRs.some((prefix) => prefix.includes(':') === address.includes(':') && prefixContains(prefix, address));

/** Which of the leaving real servers of one virtual server have no connection any more. */
export function planFarewell(
  service: VirtualServerRef,
  reals: readonly RealServer[],
  leaving: LeavingServers,
): IpvsOperation[] {
  return reals
    .filter((real) => leaving.has(service, real) && isIdle(real))
    .map((real) => ({ op: 'realDelete', service, real: { address: real.address, port: real.port } }));
}

function* addition({ service, reals }: DesiredServer): Generator<IpvsOperation, void, undefined> {
  yield { op: 'serviceAdd', service };
  for (const real of reals.values()) yield { op: 'realAdd', service, real, weight: 1 };
}

function* correction(
  found: VirtualServer,
  foundReals: readonly RealServer[],
  { service, reals }: DesiredServer,
  leaving: LeavingServers,
): Generator<IpvsOperation, void, undefined> {
  if (!sameService(found, service)) yield { op: 'serviceSet', service };
  const names = new Set<string>();
  for (const each of foundReals) {
    const real = { address: each.address, port: each.port };
    names.add(realKey(real));
    if (reals.has(realKey(real))) {
      if (each.weight !== 1) yield { op: 'realSet', service, real, weight: 1 };
    } else if (service.protocol !== 'TCP' || isIdle(each)) yield { op: 'realDelete', service, real };
    else {
      leaving.add(service, real);
      if (each.weight !== 0) yield { op: 'realSet', service, real, weight: 0 };
    }
  }
  for (const [name, real] of reals) if (!names.has(name)) yield { op: 'realAdd', service, real, weight: 1 };
}

function join(service: VirtualServerRef, real: RealServerRef, leaving: LeavingServers): IpvsOperation {
  if (!leaving.has(service, real)) return { op: 'realAdd', service, real, weight: 1 };
  leaving.delete(service, real);
  return { op: 'realSet', service, real, weight: 1 };
}

function leave(service: VirtualServerRef, real: RealServerRef, leaving: LeavingServers): IpvsOperation {
  if (service.protocol !== 'TCP') return { op: 'realDelete', service, real };
  leaving.add(service, real);
  return { op: 'realSet', service, real, weight: 0 };
}

const isIdle = ({ activeConnections, inactiveConnections }: RealServer): boolean =>
  activeConnections + inactiveConnections === 0;

const sameService = (a: VirtualServer, b: VirtualServer): boolean =>
  a.scheduler === b.scheduler && a.persistentSeconds === b.persistentSeconds && a.schedulerFlags === b.schedulerFlags;
