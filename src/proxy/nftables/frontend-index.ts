/**
 * What a plan of a change has to know of the state before it: the frontends of each group (the maps are keyed by
 * frontend), how many frontends hold an address in a set of addresses, and which timeouts of affinity there are.
 * Layer: proxy/nftables (pure). Holds the model's immutable objects, never copies of endpoints.
 */
import {
  type DataplaneDelta,
  type DataplaneModel,
  type Frontend,
  frontendKey,
  type Group,
  type SetChange,
} from '../services/dataplane.ts';
import {
  clusterPlacement,
  isBalanced,
  isMasqueraded,
  isNodePort,
  isShortCircuited,
  specialSuites,
} from './placement.ts';
import type { Suite } from './suites.ts';

interface IndexedGroup {
  group: Group;
  users: readonly Frontend[];
}

const keyOf = ({ ip, protocol, port }: Frontend): string => frontendKey(ip, protocol, port);

export interface IndexChanges {
  clusterIPs: SetChange<string>;
  masqueraded: SetChange<string>;
  shortCircuited: SetChange<string>;
  /** Beside the plain ones, those that came and went. */
  suites: SetChange<Suite>;
  /** Of the suites where a timeout came or went. */
  timeouts: readonly TimeoutChange[];
}

export interface TimeoutChange extends SetChange<number> {
  suite: Suite;
  /** All that there are now, seconds, ascending. */
  now: readonly number[];
}

export class FrontendIndex {
  readonly #groups = new Map<number, IndexedGroup>();
  readonly #clusterIPs = new Counts<string>();
  readonly #masqueraded = new Counts<string>();
  readonly #shortCircuited = new Counts<string>();
  readonly #suites = new Counts<Suite>();
  readonly #timeouts = new Map<Suite, Counts<number>>();
  readonly #serviceCIDRs: Set<string>;

  constructor(model: DataplaneModel) {
    for (const [id, group] of model.groups) this.#groups.set(id, { group, users: [] });
    for (const frontends of [model.services, model.nodePorts])
      for (const frontend of frontends.values()) this.#add(frontend);
    this.#serviceCIDRs = new Set(model.serviceCIDRs);
    this.#drain();
  }

  group(id: number): Group | undefined {
    return this.#groups.get(id)?.group;
  }

  users(id: number): readonly Frontend[] {
    return this.#groups.get(id)?.users ?? [];
  }

  hasSuite(suite: Suite): boolean {
    return this.#suites.has(suite);
  }

  get serviceCIDRs(): ReadonlySet<string> {
    return this.#serviceCIDRs;
  }

  /** Goes on to the state after the delta. */
  advance(delta: DataplaneDelta): IndexChanges {
    const changes = [...delta.services, ...delta.nodePorts];
    for (const { before } of changes) if (before !== undefined) this.#remove(before);
    for (const { id, after } of delta.groups) {
      if (after === undefined) this.#groups.delete(id);
      else this.#groups.set(id, { group: after, users: this.users(id) });
    }
    for (const { after } of changes) if (after !== undefined) this.#add(after);
    for (const prefix of delta.serviceCIDRs.removed) this.#serviceCIDRs.delete(prefix);
    for (const prefix of delta.serviceCIDRs.added) this.#serviceCIDRs.add(prefix);
    return this.#drain();
  }

  #add(frontend: Frontend): void {
    this.#count(frontend, 1);
    for (const id of groupsOf(frontend)) {
      const entry = this.#groups.get(id);
      // Concatenated, since nearly every group has one user and a list that grew has 17 places.
      if (entry !== undefined) entry.users = entry.users.concat(frontend);
    }
  }

  #remove(frontend: Frontend): void {
    this.#count(frontend, -1);
    const key = keyOf(frontend);
    for (const id of groupsOf(frontend)) {
      const entry = this.#groups.get(id);
      if (entry !== undefined) entry.users = entry.users.filter((user) => keyOf(user) !== key);
    }
  }

  #count(frontend: Frontend, by: 1 | -1): void {
    const { kind, ip, affinitySeconds } = frontend;
    if (kind === 'clusterIP') this.#clusterIPs.count(ip, by);
    if (!isNodePort(frontend) && isMasqueraded(frontend)) this.#masqueraded.count(ip, by);
    if (!isNodePort(frontend) && isShortCircuited(frontend)) this.#shortCircuited.count(ip, by);
    for (const suite of specialSuites(frontend)) {
      this.#suites.count(suite, by);
      if (!suite.isSticky) continue;
      let counts = this.#timeouts.get(suite);
      if (counts === undefined) {
        counts = new Counts();
        this.#timeouts.set(suite, counts);
      }
      counts.count(affinitySeconds, by);
    }
  }

  #drain(): IndexChanges {
    const timeouts: TimeoutChange[] = [];
    for (const [suite, counts] of this.#timeouts) {
      const change = counts.drain();
      if (change.added.length + change.removed.length === 0) continue;
      timeouts.push({ suite, ...change, now: [...counts.members()].sort((a, b) => a - b) });
    }
    return {
      clusterIPs: this.#clusterIPs.drain(),
      masqueraded: this.#masqueraded.drain(),
      shortCircuited: this.#shortCircuited.drain(),
      suites: this.#suites.drain(),
      timeouts,
    };
  }
}

function groupsOf(frontend: Frontend): number[] {
  const groups = isBalanced(frontend) ? [frontend.group] : [];
  const cluster = clusterPlacement(frontend);
  return cluster === undefined ? groups : [...groups, cluster.group];
}

/** Values with the number of frontends that hold each, and which of them came and went. */
class Counts<Value> {
  readonly #counts = new Map<Value, number>();
  /** Whether those that were touched since the last drain were there before. */
  readonly #before = new Map<Value, boolean>();

  has(value: Value): boolean {
    return this.#counts.has(value);
  }

  members(): Iterable<Value> {
    return this.#counts.keys();
  }

  count(value: Value, by: 1 | -1): void {
    if (!this.#before.has(value)) this.#before.set(value, this.#counts.has(value));
    const count = (this.#counts.get(value) ?? 0) + by;
    if (count > 0) this.#counts.set(value, count);
    else this.#counts.delete(value);
  }

  drain(): SetChange<Value> {
    const added: Value[] = [];
    const removed: Value[] = [];
    for (const [value, was] of this.#before) {
      if (this.#counts.has(value) === was) continue;
      (was ? removed : added).push(value);
    }
    this.#before.clear();
    return { added, removed };
  }
}
