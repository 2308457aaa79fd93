/**
 * The edge to nf_tables: one socket in one network namespace that applies batches, lists tables and tells of changes.
 * Layer: linux (pure types). The real one is src/kernel/nftables.ts, the stateful fake fake-nftables.ts.
 */
import { KernelError } from '../kernel-error.ts';
import { ERESTART } from './constants.ts';
import type { Family, NftablesOperation, NftSet, TableDump, TableRef } from './types.ts';

/** The batch was refused and nothing of it applied. `object` is the operation as nft text. */
export class NftablesError extends KernelError {
  /** Index into the operations of the batch; undefined when the batch as a whole was refused. */
  readonly index: number | undefined;
  readonly operation: NftablesOperation | undefined;

  constructor(
    errno: number,
    message: string,
    description: string,
    extack: string | undefined,
    where: { index: number; operation: NftablesOperation } | undefined,
  ) {
    super(errno, message, description, extack);
    this.index = where?.index;
    this.operation = where?.operation;
  }
}

/** Somebody changed the rules since the generation that the batch was made for: list again, plan again. */
export const isGenerationOver = (error: unknown): boolean => error instanceof KernelError && error.errno === ERESTART;

export interface ApplyOptions {
  /** Refuse (see isGenerationOver) unless this is the current generation. */
  generation?: number;
}

export interface DumpOptions {
  /**
   * Which sets to list with their elements; all unless given. Listing costs the kernel the square of a large set (484,000
   * elements take it 7 s, writing them anew 1 s), so whoever has very large sets rather flushes and fills them in one batch.
   */
  elementsOf?: (set: NftSet) => boolean;
}

export type NftablesChange =
  | { change: 'tableNew' | 'tableDelete'; family: Family; table: string }
  | { change: 'chainNew' | 'chainDelete' | 'setNew' | 'setDelete'; family: Family; table: string; name: string }
  | { change: 'ruleNew' | 'ruleDelete'; family: Family; table: string; chain: string; handle: number }
  /** Of one set, adjacent ones counted together. */
  | { change: 'elementsNew' | 'elementsDelete'; family: Family; table: string; set: string; count: number };

export type NftablesNotification =
  /** One committed batch. */
  | {
      event: 'transaction';
      generation: number;
      /** Made by this Nftables object; `changes` is then empty, since who made it knows them. */
      own: boolean;
      /** Netlink port of the socket that made it. */
      portId: number;
      /** Thread and its name, as the kernel says, seen from the initial PID namespace. */
      processId: number;
      processName: string;
      changes: NftablesChange[];
    }
  /** Notifications were lost: compare generations or dump again. */
  | { event: 'overrun' };

export interface Nftables {
  /**
   * One batch in one sendmsg: all of it or nothing. No operations: nothing is sent.
   * @throws NftablesError for what the kernel refuses, NetlinkEncodeError for what cannot be said
   */
  apply(operations: readonly NftablesOperation[], options?: ApplyOptions): Promise<void>;
  /** One consistent state of the table, or undefined when there is none. @throws KernelError */
  dump(table: TableRef, options?: DumpOptions): Promise<TableDump | undefined>;
  /** Number of the last committed batch of anybody in this namespace; 32 bits, wraps around. @throws KernelError */
  generation(): Promise<number>;
  /**
   * Changes by anybody, in order, until the returned function is called. While anyone listens the kernel tells of every
   * single element: 880,000 changes in one batch then take 4 to 20 s instead of 1 (one change: no difference), so subscribe
   * after the first load, then compare generations, and stop listening around a refill.
   * @throws KernelError
   */
  subscribe(listener: (notification: NftablesNotification) => void): Promise<() => void>;
  /** Closes the socket; calls under way reject. Subscriptions stay. */
  close(): void;
}

export interface NftablesOpener {
  /** @param netnsPath a namespace file, needed while sockets are opened there; undefined is the agent's own namespace */
  open(netnsPath?: string): Promise<Nftables>;
}
