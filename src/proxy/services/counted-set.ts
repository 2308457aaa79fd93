/**
 * A set whose members are held by any number of users, and that tells what became of it since it was last asked.
 * Layer: proxy/services (pure). Must not know what the members are.
 */
import type { SetChange } from './dataplane.ts';

export class CountedSet<Value> {
  readonly #counts = new Map<Value, number>();
  readonly #touched = new Set<Value>();
  readonly #published = new Set<Value>();

  /** The members as of the last `drain`; live. */
  get published(): ReadonlySet<Value> {
    return this.#published;
  }

  hold(value: Value): void {
    this.#counts.set(value, (this.#counts.get(value) ?? 0) + 1);
    this.#touched.add(value);
  }

  release(value: Value): void {
    const left = (this.#counts.get(value) ?? 0) - 1;
    if (left > 0) this.#counts.set(value, left);
    else this.#counts.delete(value);
    this.#touched.add(value);
  }

  /** Publishes the members and says which came and went. */
  drain(): SetChange<Value> {
    const added: Value[] = [];
    const removed: Value[] = [];
    for (const value of this.#touched) {
      const held = this.#counts.has(value);
      if (held === this.#published.has(value)) continue;
      if (held) {
        this.#published.add(value);
        added.push(value);
      } else {
        this.#published.delete(value);
        removed.push(value);
      }
    }
    this.#touched.clear();
    return { added, removed };
  }
}
