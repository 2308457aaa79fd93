/**
 * A stateful stand-in for the kernel's connection tracking, for tests of everything above the edge.
 * Layer: linux (pure, test support). Deletes by reply tuple and id as the real one does, and lists as freely: flows of other
 * destinations than asked for are handed to `wanted` too, as old kernels do.
 */
import { errno, Refusal } from '../fake-refusal.ts';
import { KernelError } from '../kernel-error.ts';
import type { Conntrack, ConntrackOpener } from './edge.ts';
import type { Flow, FlowFilter, FlowTuples } from './types.ts';

const EBADF = 9;

/** One network namespace. */
export class FakeConntrack implements ConntrackOpener {
  readonly #flows = new Map<string, Flow>();
  #nextId = 1;
  /** Sockets open now: 0 at the end of a test, or something leaks. */
  openSockets = 0;
  opened = 0;
  /** Filters of every listing, in order. */
  readonly listings: FlowFilter[] = [];
  /** When set, asked before each listing and deletion; may wait, or throw what the kernel would answer. */
  intercept: ((request: 'list' | 'delete') => Promise<void> | void) | undefined;

  /** All entries, in the order in which they were made. */
  get flows(): readonly Flow[] {
    return [...this.#flows.values()];
  }

  /** As a packet would; an id is given. @throws Refusal EEXIST when either tuple is in the table already */
  add(flow: Flow): Flow {
    const entry = { ...flow, id: this.#nextId++ };
    const taken = new Set(this.flows.flatMap((other) => [key(other, other.original), key(other, other.reply)]));
    if (taken.has(key(entry, entry.original)) || taken.has(key(entry, entry.reply))) throw new Refusal(errno.EEXIST);
    this.#flows.set(key(entry, entry.reply), entry);
    return entry;
  }

  /** As a timeout would. */
  expire(flow: Flow): void {
    this.#flows.delete(key(flow, flow.reply));
  }

  async open(): Promise<Conntrack> {
    this.openSockets++;
    this.opened++;
    let closed = false;
    const request = async (kind: 'list' | 'delete'): Promise<void> => {
      if (closed) throw new KernelError(EBADF, 'sendmsg', 'closed conntrack socket');
      await this.intercept?.(kind);
    };
    return {
      flows: async (filter, wanted) => {
        await request('list');
        return this.#list(filter, wanted);
      },
      delete: async (flows) => {
        await request('delete');
        return flows.filter((flow) => this.#delete(flow)).length;
      },
      close: () => {
        if (!closed) this.openSockets--;
        closed = true;
      },
    };
  }

  #list(filter: FlowFilter, wanted: (tuples: FlowTuples) => boolean): Flow[] {
    this.listings.push(filter);
    return this.flows.filter(
      (flow) => flow.family === filter.family && flow.protocol === filter.protocol && wanted(flow),
    );
  }

  #delete(flow: Flow): boolean {
    const found = this.#flows.get(key(flow, flow.reply));
    return found !== undefined && found.id === flow.id && this.#flows.delete(key(flow, flow.reply));
  }
}

const key = (flow: Flow, tuple: Flow['reply']): string =>
  JSON.stringify([flow.family, flow.protocol, flow.zone, flow.replyZone, ...Object.values(tuple)]);
