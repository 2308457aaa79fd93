/**
 * Who is served at which destination: of several Services that claim one, the oldest has it, then the first by name.
 * Layer: proxy/services (pure). Must not compute endpoints; it reads them from PortState.
 */
import type { EndpointRef } from './address.ts';
import {
  type ConntrackCleanup,
  type Frontend,
  type FrontendChange,
  type FrontendKey,
  frontendKey,
} from './dataplane.ts';
import { type Claim, frontendOf, type PortState, sameFrontend } from './port-state.ts';
import { quoted, type ReportBook, type ServiceReport } from './service-report.ts';

/** What the UDP ports that this flush looked at served from before it. */
export type ServedBefore = ReadonlyMap<PortState, readonly EndpointRef[]>;

export interface FrontendChanges {
  services: readonly FrontendChange[];
  nodePorts: readonly FrontendChange[];
  conntrack: readonly ConntrackCleanup[];
}

export class Frontends {
  readonly #services = new Map<FrontendKey, Frontend>();
  readonly #nodePorts = new Map<FrontendKey, Frontend>();
  /** The winner first. */
  readonly #claims = new Map<FrontendKey, Claim[]>();
  /** UDP only: the port that had the destination at the last drain. */
  readonly #owners = new Map<FrontendKey, PortState>();
  readonly #touched = new Map<FrontendKey, Claim>();
  readonly #reports: ReportBook;
  readonly #nodeIps: readonly string[];

  /** @param nodeIps the node's own addresses, in any family */
  constructor(reports: ReportBook, nodeIps: readonly string[]) {
    this.#reports = reports;
    this.#nodeIps = nodeIps;
  }

  get services(): ReadonlyMap<FrontendKey, Frontend> {
    return this.#services;
  }

  get nodePorts(): ReadonlyMap<FrontendKey, Frontend> {
    return this.#nodePorts;
  }

  add(claim: Claim): void {
    const key = keyOf(claim);
    this.#touched.set(key, claim);
    const claims = this.#claims.get(key);
    if (claims === undefined) this.#claims.set(key, [claim]);
    else claims.push(claim);
  }

  remove(claim: Claim): void {
    const key = keyOf(claim);
    this.#touched.set(key, claim);
    const claims = this.#claims.get(key) ?? [];
    const index = claims.indexOf(claim);
    if (index >= 0) claims.splice(index, 1);
    if (claims.length === 0) this.#claims.delete(key);
  }

  /** The claim stays, but the endpoints behind it may have changed. */
  touch(claim: Claim): void {
    this.#touched.set(keyOf(claim), claim);
  }

  /** Settles every destination that was touched. */
  drain(servedBefore: ServedBefore): FrontendChanges {
    const services: FrontendChange[] = [];
    const nodePorts: FrontendChange[] = [];
    const conntrack: ConntrackCleanup[] = [];
    for (const [key, { kind, ip }] of this.#touched) {
      const claims = this.#claims.get(key);
      if (claims !== undefined && claims.length > 1) claims.sort(byAge);
      this.#reports.set(`claim ${key}`, conflictsOf(key, claims));
      const winner = claims?.[0];
      const after = winner && frontendOf(winner, this.#nodeIps);
      const change = settle(kind === 'nodePort' ? this.#nodePorts : this.#services, key, after);
      if (change !== undefined) (kind === 'nodePort' ? nodePorts : services).push(change);
      const cleanup = this.#cleanup(key, ip, winner, servedBefore);
      if (cleanup !== undefined) conntrack.push(cleanup);
    }
    this.#touched.clear();
    return { services, nodePorts, conntrack };
  }

  #cleanup(
    key: FrontendKey,
    ip: string,
    winner: Claim | undefined,
    served: ServedBefore,
  ): ConntrackCleanup | undefined {
    const owner = winner?.port;
    if (winner === undefined || owner?.serving === undefined) {
      this.#owners.delete(key);
      return undefined;
    }
    const known = this.#owners.get(key) === owner;
    this.#owners.set(key, owner);
    const keep = owner.serving;
    const port = winner.kind === 'nodePort' ? owner.spec.nodePort : owner.spec.port;
    const before = served.get(owner);
    if (keep.length === 0 && (!known || before?.length === 0)) return undefined;
    // A destination that is new, or had nobody serving, may have any flow: none of them was cleaned meanwhile.
    if (!known || before?.length === 0) return { ip, port, remove: undefined, keep };
    if (before === undefined) return undefined;
    const kept = new Set(keep);
    const remove = before.filter((endpoint) => !kept.has(endpoint));
    return remove.length === 0 ? undefined : { ip, port, remove, keep };
  }
}

export function keyOf({ kind, ip, port: { spec } }: Claim): FrontendKey {
  return frontendKey(ip, spec.protocol, kind === 'nodePort' ? spec.nodePort : spec.port);
}

function settle(
  model: Map<FrontendKey, Frontend>,
  key: FrontendKey,
  after: Frontend | undefined,
): FrontendChange | undefined {
  const before = model.get(key);
  if (after === undefined) {
    model.delete(key);
    return before === undefined ? undefined : { key, before, after: undefined };
  }
  if (before !== undefined && sameFrontend(before, after)) return undefined;
  model.set(key, after);
  return { key, before, after };
}

/** Claims of one Service keep the order of its ports, since sorting is stable. */
function byAge(a: Claim, b: Claim): number {
  if (a.service.createdAt !== b.service.createdAt) return a.service.createdAt < b.service.createdAt ? -1 : 1;
  if (a.port.service === b.port.service) return 0;
  return a.port.service < b.port.service ? -1 : 1;
}

function conflictsOf(key: FrontendKey, claims: readonly Claim[] | undefined): readonly ServiceReport[] | undefined {
  if (claims === undefined || claims.length < 2) return undefined;
  const [winner, ...losers] = claims;
  return losers.map(({ kind, port }) => ({
    code: kind === 'nodePort' ? 'SERVICE_NODE_PORT_CONFLICT' : 'SERVICE_ADDRESS_CONFLICT',
    object: `service ${port.service}`,
    message:
      `port ${quoted(port.spec.name)} is not served at ${kind === 'nodePort' ? 'node port ' : ''}${key}: ` +
      `service ${winner?.port.service} has it`,
    fix: kind === 'nodePort' ? 'choose another nodePort' : 'choose another port or address',
  }));
}
