/**
 * The groups that exist, and what a flush did to them.
 * Layer: proxy/services (pure). Must not know which Service a group is for.
 */
import type { EndpointRef } from './address.ts';
import type { Group, GroupChange } from './dataplane.ts';
import { GroupIds, renumber } from './group-list.ts';

export class GroupTable {
  readonly #groups = new Map<number, Group>();
  readonly #ids = new GroupIds();
  #changes: GroupChange[] = [];
  /** Groups of a predecessor that nobody has claimed yet. */
  readonly #adoptable: Map<number, readonly EndpointRef[]>;

  constructor(adopted: ReadonlyMap<number, readonly EndpointRef[]> = new Map()) {
    this.#adoptable = new Map(adopted);
    for (const id of adopted.keys()) this.#ids.reserve(id);
  }

  get groups(): ReadonlyMap<number, Group> {
    return this.#groups;
  }

  /** To be called once before the updates of a flush. */
  startFlush(): void {
    this.#ids.nextFlush();
  }

  /**
   * Makes, changes or (for no endpoints) ends a group; at most once for each group in a flush.
   * @param former the number that a new group had in the predecessor's dataplane, 0 when unknown.
   * @returns what stands for it from now on.
   */
  update(
    before: Group | undefined,
    wanted: readonly EndpointRef[],
    affinitySeconds: number,
    former = 0,
  ): Group | undefined {
    if (before === undefined) {
      if (wanted.length === 0) return undefined;
      return this.#record(undefined, { ...this.#start(wanted, former), affinitySeconds }, []);
    }
    if (wanted.length === 0) return this.#record(before, undefined, []);
    const renumbered = renumber(before.endpoints, wanted);
    if (renumbered === undefined && before.affinitySeconds === affinitySeconds) return before;
    const { endpoints, replaced } = renumbered ?? { endpoints: before.endpoints, replaced: [] };
    return this.#record(before, { id: before.id, endpoints, affinitySeconds }, replaced);
  }

  drain(): readonly GroupChange[] {
    const groups = this.#changes;
    this.#changes = [];
    for (const id of this.#adoptable.keys()) this.#ids.free(id);
    this.#adoptable.clear();
    return groups;
  }

  #start(wanted: readonly EndpointRef[], former: number): { id: number; endpoints: readonly EndpointRef[] } {
    const endpoints = this.#adoptable.get(former);
    // A copy has no spare capacity: lists that grew by push have up to half of it.
    if (endpoints === undefined) return { id: this.#ids.take(), endpoints: wanted.slice() };
    this.#adoptable.delete(former);
    return { id: former, endpoints: renumber(endpoints, wanted)?.endpoints ?? endpoints };
  }

  #record(before: Group | undefined, after: Group | undefined, replaced: readonly number[]): Group | undefined {
    if (after !== undefined) {
      this.#groups.set(after.id, after);
      this.#changes.push({ id: after.id, before, after, replaced });
    } else if (before !== undefined) {
      this.#groups.delete(before.id);
      this.#ids.free(before.id);
      this.#changes.push({ id: before.id, before, after, replaced });
    }
    return after;
  }
}
