/**
 * What a plan of a change has to know of the state before it: the frontends of each group (the maps are keyed by
 * frontend), and how many frontends hold an address in a set of addresses.
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
import { isBalanced, isNodePort } from './frontend-elements.ts';

interface IndexedGroup {
  group: Group;
  users: readonly Frontend[];
}

const keyOf = ({ ip, protocol, port }: Frontend): string => frontendKey(ip, protocol, port);

export interface AddressChanges {
  clusterIPs: SetChange<string>;
  masqueraded: SetChange<string>;
}

export class FrontendIndex {
  readonly #groups = new Map<number, IndexedGroup>();
  readonly #clusterIPs = new AddressCounts();
  readonly #masqueraded = new AddressCounts();

  constructor(model: DataplaneModel) {
    for (const [id, group] of model.groups) this.#groups.set(id, { group, users: [] });
    for (const frontends of [model.services, model.nodePorts])
      for (const frontend of frontends.values()) this.#add(frontend);
    this.#clusterIPs.drain();
    this.#masqueraded.drain();
  }

  group(id: number): Group | undefined {
    return this.#groups.get(id)?.group;
  }

  users(id: number): readonly Frontend[] {
    return this.#groups.get(id)?.users ?? [];
  }

  /** Goes on to the state after the delta. @returns the addresses that came and went */
  advance(delta: DataplaneDelta): AddressChanges {
    const changes = [...delta.services, ...delta.nodePorts];
    for (const { before } of changes) if (before !== undefined) this.#remove(before);
    for (const { id, after } of delta.groups) {
      if (after === undefined) this.#groups.delete(id);
      else this.#groups.set(id, { group: after, users: this.users(id) });
    }
    for (const { after } of changes) if (after !== undefined) this.#add(after);
    return { clusterIPs: this.#clusterIPs.drain(), masqueraded: this.#masqueraded.drain() };
  }

  #add(frontend: Frontend): void {
    if (frontend.kind === 'clusterIP') this.#clusterIPs.add(frontend.ip);
    if (!isBalanced(frontend)) return;
    const entry = this.#groups.get(frontend.group);
    // Concatenated, since nearly every group has one user and a list that grew has 17 places.
    if (entry !== undefined) entry.users = entry.users.concat(frontend);
    if (isMasqueraded(frontend)) this.#masqueraded.add(frontend.ip);
  }

  #remove(frontend: Frontend): void {
    if (frontend.kind === 'clusterIP') this.#clusterIPs.remove(frontend.ip);
    if (!isBalanced(frontend)) return;
    const entry = this.#groups.get(frontend.group);
    const key = keyOf(frontend);
    if (entry !== undefined) entry.users = entry.users.filter((user) => keyOf(user) !== key);
    if (isMasqueraded(frontend)) this.#masqueraded.remove(frontend.ip);
  }
}

/** Node ports have sets of their own. */
export const isMasqueraded = (frontend: Frontend): boolean =>
  isBalanced(frontend) && frontend.masquerade && !isNodePort(frontend);

/** Addresses with the number of frontends that hold each, and which of them came and went. */
class AddressCounts {
  readonly #counts = new Map<string, number>();
  /** Whether those that were touched since the last drain were there before. */
  readonly #before = new Map<string, boolean>();

  add(ip: string): void {
    this.#touch(ip);
    this.#counts.set(ip, (this.#counts.get(ip) ?? 0) + 1);
  }

  remove(ip: string): void {
    this.#touch(ip);
    const count = (this.#counts.get(ip) ?? 0) - 1;
    if (count > 0) this.#counts.set(ip, count);
    else this.#counts.delete(ip);
  }

  drain(): SetChange<string> {
    const added: string[] = [];
    const removed: string[] = [];
    for (const [ip, was] of this.#before) {
      if (this.#counts.has(ip) === was) continue;
      (was ? removed : added).push(ip);
    }
    this.#before.clear();
    return { added, removed };
  }

  #touch(ip: string): void {
    if (!this.#before.has(ip)) this.#before.set(ip, this.#counts.has(ip));
  }
}
