/**
 * Stable numbering: which index each endpoint of a group has, and which ids groups have.
 * Layer: proxy/services (pure). Must not know why an endpoint came or went.
 */
import type { EndpointRef } from './address.ts';

export interface Renumbered {
  endpoints: readonly EndpointRef[];
  /** Indexes below both lengths whose endpoint is another one now, ascending. */
  replaced: readonly number[];
}

/**
 * The list that holds exactly `wanted` (distinct) and differs from `current` in the fewest elements: survivors below the
 * new length stay; each hole is filled by a newcomer, then by the last survivors from beyond the new length.
 * @returns undefined when nothing changes.
 */
export function renumber(current: readonly EndpointRef[], wanted: readonly EndpointRef[]): Renumbered | undefined {
  const length = wanted.length;
  // What stands at its place already needs no look-up: with 10,000 endpoints that is nearly all of them.
  const missing = new Set<EndpointRef>();
  for (const [index, endpoint] of wanted.entries()) if (endpoint !== current[index]) missing.add(endpoint);
  if (missing.size === 0 && current.length === length) return undefined;
  const endpoints: EndpointRef[] = current.slice(0, length);
  const replaced: number[] = [];
  const displaced: EndpointRef[] = [];
  for (const [index, endpoint] of current.entries()) {
    if (endpoint === wanted[index]) continue;
    const survives = missing.delete(endpoint);
    if (index >= length) {
      if (survives) displaced.push(endpoint);
    } else if (!survives) replaced.push(index);
  }
  const newcomers = missing.values();
  for (const index of replaced) {
    const next = newcomers.next();
    const filler = next.done ? displaced.pop() : next.value;
    if (filler !== undefined) endpoints[index] = filler;
  }
  for (const endpoint of newcomers) endpoints.push(endpoint);
  return replaced.length === 0 && endpoints.length === current.length ? undefined : { endpoints, replaced };
}

/**
 * Numbers for groups. A freed one rests for two flushes: a packet that read the frontend before a batch may still look up
 * its group behind it, and must find nothing there rather than another Service's endpoint.
 */
export class GroupIds {
  #next = 1;
  #flush = 0;
  /** In the order of their freeing; `#head` is the first that is not taken again. */
  #freed: { id: number; flush: number }[] = [];
  #head = 0;

  take(): number {
    const oldest = this.#freed[this.#head];
    if (oldest === undefined || oldest.flush + 2 >= this.#flush) return this.#next++;
    this.#head++;
    if (this.#head > 1024 && this.#head * 2 > this.#freed.length) {
      this.#freed = this.#freed.slice(this.#head);
      this.#head = 0;
    }
    return oldest.id;
  }

  /** Leaves out all numbers up to `id`, which are in use or will be freed. */
  reserve(id: number): void {
    this.#next = Math.max(this.#next, id + 1);
  }

  free(id: number): void {
    this.#freed.push({ id, flush: this.#flush });
  }

  /** To be called once at the start of each flush. */
  nextFlush(): void {
    this.#flush++;
  }
}
