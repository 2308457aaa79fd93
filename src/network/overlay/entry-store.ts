/**
 * Which entries there should be and which the kernel has, and the difference of those that somebody touched.
 * Layer: network/overlay (pure). What the kernel has is what a dump and then its notifications say. Of an entry that we have
 * sent something for, it is what we sent until the next notification of it: the word of it may take its time, and a change
 * by others in the same moment comes after it.
 */
import type { RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { type Entry, isSameEntry, keyOf, makeEntry, removeEntry } from './entries.ts';

interface Wanted {
  entry: Entry;
  /** The peer that it is for. */
  owner: string;
}

/** One operation and what it is about. */
export interface Step {
  key: string;
  operation: RtnetlinkOperation;
}

const order: Readonly<Record<Entry['kind'], number>> = { forwarding: 0, neighbour: 1, route: 2 };

export class EntryStore {
  readonly #wanted = new Map<string, Wanted>();
  readonly #byOwner = new Map<string, string[]>();
  #actual = new Map<string, Entry>();
  readonly #sent = new Map<string, Entry | undefined>();
  readonly #dirty = new Set<string>();
  readonly #doubtful = new Set<string>();
  #mayRemoveUnknown = false;

  get isSettled(): boolean {
    return this.#dirty.size === 0;
  }

  /** What a peer is to have from now on; an empty list removes what it had. */
  want(owner: string, entries: readonly Entry[]): void {
    const keys = entries.map(keyOf);
    for (const key of this.#byOwner.get(owner) ?? []) {
      // Another peer may have taken it over before this one gave it up.
      if (keys.includes(key) || this.#wanted.get(key)?.owner !== owner) continue;
      this.#wanted.delete(key);
      this.#dirty.add(key);
    }
    for (const [index, entry] of entries.entries()) {
      const key = keys[index] ?? keyOf(entry);
      this.#wanted.set(key, { entry, owner });
      if (!this.#isRight(key)) this.#dirty.add(key);
    }
    if (entries.length === 0) this.#byOwner.delete(owner);
    else this.#byOwner.set(owner, keys);
  }

  /**
   * What the kernel has, as a whole.
   * @param mayRemoveUnknown whether every peer is known: before, what nobody wants may be one's that was not told yet
   */
  replaceActual(entries: readonly Entry[], mayRemoveUnknown: boolean): void {
    this.#actual = new Map(entries.map((entry) => [keyOf(entry), entry]));
    this.#sent.clear();
    this.#mayRemoveUnknown = mayRemoveUnknown;
    for (const key of [...this.#wanted.keys(), ...this.#actual.keys()]) if (!this.#isRight(key)) this.#dirty.add(key);
  }

  /** From now on every peer is known. */
  everyPeerIsKnown(): void {
    if (this.#mayRemoveUnknown) return;
    this.#mayRemoveUnknown = true;
    for (const key of this.#actual.keys()) if (!this.#isRight(key)) this.#dirty.add(key);
  }

  /**
   * A notification. What is wrong then is doubtful first: some changes are told in two steps.
   * @returns whether it is not what should be there
   */
  noteActual(entry: Entry, event: 'new' | 'gone'): boolean {
    const key = keyOf(entry);
    this.#sent.delete(key);
    if (event === 'new') this.#actual.set(key, entry);
    else {
      const known = this.#actual.get(key);
      // Of a route by another link: the one that we know has replaced it.
      if (known !== undefined && entry.kind === 'route' && !isSameEntry(known, entry)) return false;
      this.#actual.delete(key);
    }
    if (this.#isRight(key)) return false;
    this.#doubtful.add(key);
    return true;
  }

  /** What is still wrong now is to be repaired. */
  repairDoubtful(): void {
    for (const key of this.#doubtful) if (!this.#isRight(key)) this.#dirty.add(key);
    this.#doubtful.clear();
  }

  /** The kernel did not do what was sent. */
  refused(key: string): void {
    this.#sent.delete(key);
  }

  /** Tries keys again that were refused. */
  again(keys: Iterable<string>): void {
    for (const key of keys) this.#dirty.add(key);
  }

  /** What is to be done, in order: additions so that a route comes last, then removals so that it goes first. */
  take(): Step[] {
    const makes: Entry[] = [];
    const removals: Entry[] = [];
    for (const key of this.#dirty) {
      if (this.#isRight(key)) continue;
      const wanted = this.#wanted.get(key);
      const present = this.#present(key);
      if (wanted !== undefined) makes.push(wanted.entry);
      else if (present !== undefined) removals.push(present);
      this.#sent.set(key, wanted?.entry);
    }
    this.#dirty.clear();
    makes.sort((a, b) => order[a.kind] - order[b.kind]);
    removals.sort((a, b) => order[b.kind] - order[a.kind]);
    return [
      ...makes.map((entry) => ({ key: keyOf(entry), operation: makeEntry(entry) })),
      ...removals.map((entry) => ({ key: keyOf(entry), operation: removeEntry(entry) })),
    ];
  }

  #isRight(key: string): boolean {
    const wanted = this.#wanted.get(key)?.entry;
    const present = this.#present(key);
    if (wanted === undefined) return present === undefined || !this.#mayRemoveUnknown;
    return present !== undefined && isSameEntry(wanted, present);
  }

  #present(key: string): Entry | undefined {
    return this.#sent.has(key) ? this.#sent.get(key) : this.#actual.get(key);
  }
}
