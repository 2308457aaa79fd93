/**
 * What a plan of a change has to know of the state before it: the frontends of each group (the maps are keyed by
 * frontend), how many frontends hold a masqueraded address, and the sizes that have chains.
 * Layer: proxy/nftables (pure). Holds the model's immutable objects, never copies of endpoints.
 */
import {
  type DataplaneDelta,
  type DataplaneModel,
  type Frontend,
  frontendKey,
  type Group,
} from '../services/dataplane.ts';
import { isNodePort } from './frontend-elements.ts';

interface IndexedGroup {
  group: Group;
  users: readonly Frontend[];
}

const keyOf = ({ ip, protocol, port }: Frontend): string => frontendKey(ip, protocol, port);

export class FrontendIndex {
  readonly sizes: Set<number>;
  readonly #groups = new Map<number, IndexedGroup>();
  readonly #masqueraded = new Map<string, number>();
  /** Whether cluster IPs are masqueraded. */
  readonly #clusterIPs: boolean;

  /** @param clusterIPs whether traffic to cluster IPs is masqueraded too, unless it comes from pods */
  constructor(model: DataplaneModel, clusterIPs: boolean) {
    this.#clusterIPs = clusterIPs;
    this.sizes = new Set(model.sizes);
    for (const [id, group] of model.groups) this.#groups.set(id, { group, users: [] });
    for (const frontends of [model.services, model.nodePorts])
      for (const frontend of frontends.values()) this.#add(frontend);
  }

  group(id: number): Group | undefined {
    return this.#groups.get(id)?.group;
  }

  users(id: number): readonly Frontend[] {
    return this.#groups.get(id)?.users ?? [];
  }

  masqueraded(): IterableIterator<string> {
    return this.#masqueraded.keys();
  }

  /** Goes on to the state after the delta. @returns the addresses whose masquerade changed */
  advance(delta: DataplaneDelta): { added: string[]; removed: string[] } {
    const before = new Map<string, boolean>();
    const note = (frontend: Frontend | undefined): void => {
      if (frontend !== undefined) before.set(frontend.ip, this.#masqueraded.has(frontend.ip));
    };
    const changes = [...delta.services, ...delta.nodePorts];
    for (const change of delta.services) note(change.before ?? change.after);
    for (const change of changes) if (change.before !== undefined) this.#remove(change.before);
    for (const { id, after } of delta.groups) {
      if (after === undefined) this.#groups.delete(id);
      else this.#groups.set(id, { group: after, users: this.users(id) });
    }
    for (const change of changes) if (change.after !== undefined) this.#add(change.after);
    for (const size of delta.sizes.removed) this.sizes.delete(size);
    for (const size of delta.sizes.added) this.sizes.add(size);
    const has = (ip: string): boolean => this.#masqueraded.has(ip);
    return {
      added: [...before].filter(([ip, was]) => !was && has(ip)).map(([ip]) => ip),
      removed: [...before].filter(([ip, was]) => was && !has(ip)).map(([ip]) => ip),
    };
  }

  #add(frontend: Frontend): void {
    if (frontend.action !== 'balance') return;
    const entry = this.#groups.get(frontend.group);
    // Concatenated, since nearly every group has one user and a list that grew has 17 places.
    if (entry !== undefined) entry.users = entry.users.concat(frontend);
    if (this.#isMasqueraded(frontend))
      this.#masqueraded.set(frontend.ip, (this.#masqueraded.get(frontend.ip) ?? 0) + 1);
  }

  #remove(frontend: Frontend): void {
    if (frontend.action !== 'balance') return;
    const entry = this.#groups.get(frontend.group);
    const key = keyOf(frontend);
    if (entry !== undefined) entry.users = entry.users.filter((user) => keyOf(user) !== key);
    if (!this.#isMasqueraded(frontend)) return;
    const count = (this.#masqueraded.get(frontend.ip) ?? 0) - 1;
    if (count > 0) this.#masqueraded.set(frontend.ip, count);
    else this.#masqueraded.delete(frontend.ip);
  }

  #isMasqueraded(frontend: Frontend): boolean {
    if (isNodePort(frontend)) return false;
    return frontend.masquerade || (this.#clusterIPs && frontend.kind === 'clusterIP');
  }
}
