/**
 * Which objects a reflector has told its listener of, so that a new list becomes the difference to the old one.
 * Layer: api (pure). Keeps a uid and a version for each object, never the object: listeners have their own state.
 */
import type { ObjectIdentity } from './watch-event.ts';

export type ReflectorEvent<T> =
  | { readonly type: 'set'; readonly key: string; readonly uid: string; readonly object: T }
  /** A namesake with another uid may follow at once. `object` is the last state where the server told it. */
  | { readonly type: 'deleted'; readonly key: string; readonly uid: string; readonly object?: T };

interface Known {
  uid: string;
  resourceVersion: string;
  /** The list in which it was seen last. */
  list: number;
}

export class KnownObjects<T> {
  readonly #known = new Map<string, Known>();
  #list = 0;

  get size(): number {
    return this.#known.size;
  }

  /** A complete list follows; what it does not name is gone when it ends. */
  beginList(): void {
    this.#list++;
  }

  /** Whether this very state was told before; it then counts as seen in the list. */
  isTold({ key, uid, resourceVersion }: ObjectIdentity): boolean {
    const known = this.#known.get(key);
    if (known === undefined || known.uid !== uid || known.resourceVersion !== resourceVersion) return false;
    known.list = this.#list;
    return true;
  }

  /** @param object undefined when the listener does not want it (any more) */
  set({ key, uid, resourceVersion }: ObjectIdentity, object: T | undefined): ReflectorEvent<T>[] {
    const known = this.#known.get(key);
    const events: ReflectorEvent<T>[] = [];
    if (known !== undefined && (known.uid !== uid || object === undefined)) {
      this.#known.delete(key);
      events.push({ type: 'deleted', key, uid: known.uid });
    }
    if (object !== undefined) {
      this.#known.set(key, { uid, resourceVersion, list: this.#list });
      events.push({ type: 'set', key, uid, object });
    }
    return events;
  }

  delete({ key }: ObjectIdentity, object: T | undefined): ReflectorEvent<T>[] {
    const known = this.#known.get(key);
    if (known === undefined) return [];
    this.#known.delete(key);
    return [{ type: 'deleted', key, uid: known.uid, ...(object !== undefined && { object }) }];
  }

  /** The list was complete: what it did not name. Not to be called for a list that broke off. */
  endList(): ReflectorEvent<T>[] {
    const gone = [...this.#known].filter(([, known]) => known.list !== this.#list);
    for (const [key] of gone) this.#known.delete(key);
    return gone.map(([key, { uid }]) => ({ type: 'deleted', key, uid }));
  }
}
