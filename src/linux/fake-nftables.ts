/**
 * A stateful stand-in for the kernel's nf_tables, for tests of everything above the edge: batches that apply as a whole
 * or not at all, generations, notifications.
 * Layer: linux (pure, test support). What is allowed inside a table is fake-nftables-table.ts's.
 */
import { FakeTable } from './fake-nftables-table.ts';
import { errno, Refusal } from './fake-refusal.ts';
import { KernelError } from './kernel-error.ts';
import { encodeBatch } from './nftables/batch.ts';
import { ERESTART, nftMessageName } from './nftables/constants.ts';
import { describe } from './nftables/describe.ts';
import {
  type ApplyOptions,
  type DumpOptions,
  type Nftables,
  type NftablesChange,
  NftablesError,
  type NftablesNotification,
  type NftablesOpener,
} from './nftables/edge.ts';
import { fieldsBytes } from './nftables/fields.ts';
import type { Element, Elements, InTable, NftablesOperation, NftSet, TableDump, TableRef } from './nftables/types.ts';

const EBADF = 9;

/** One network namespace. Several sockets on it stand for several programs. */
export class FakeNftables implements NftablesOpener {
  readonly tables = new Map<string, FakeTable>();
  readonly #listeners = new Set<{ portId: number; listener: (notification: NftablesNotification) => void }>();
  #undo: (() => void)[] = [];
  #nextPort = 1000;
  generation = 1;
  /** Batches that were committed, in order. */
  readonly applied: (readonly NftablesOperation[])[] = [];
  /** When set, asked before each batch; an error it returns is thrown and nothing happens. */
  intercept: ((operations: readonly NftablesOperation[]) => Error | undefined) | undefined;
  /** Sockets and subscriptions that are open now: 0 at the end of a test, or something leaks. */
  openSockets = 0;

  async open(): Promise<Nftables> {
    this.openSockets++;
    return new FakeSocket(this, this.#nextPort++, () => this.openSockets--);
  }

  /** As if notifications had been lost. */
  overrun(): void {
    for (const { listener } of this.#listeners) listener({ event: 'overrun' });
  }

  /** For FakeSocket. @throws NftablesError */
  commit(operations: readonly NftablesOperation[], { generation }: ApplyOptions, portId: number): void {
    if (operations.length === 0) return;
    const intercepted = this.intercept?.(operations);
    if (intercepted) throw intercepted;
    // What the codec refuses is refused here too.
    encodeBatch(operations, 1, generation);
    if (generation !== undefined && generation !== this.generation)
      throw new NftablesError(ERESTART, nftMessageName(0x10), 'nf_tables batch', undefined, undefined);
    const changes: NftablesChange[] = [];
    this.#undo.length = 0;
    let changed = false;
    for (const [index, operation] of operations.entries()) {
      try {
        changed = this.#applyOne(operation, changes) || changed;
      } catch (error) {
        for (const undo of this.#undo.reverse()) undo();
        this.#undo.length = 0;
        if (!(error instanceof Refusal)) throw error;
        const where = { index, operation };
        throw new NftablesError(error.errno, `nf_tables ${operation.op}`, describe(operation), error.extack, where);
      }
    }
    this.#undo.length = 0;
    if (!changed) return;
    this.generation++;
    this.applied.push(operations);
    this.#notify(changes, portId);
  }

  /** For FakeSocket. */
  listen(portId: number, listener: (notification: NftablesNotification) => void): () => void {
    const entry = { portId, listener };
    this.#listeners.add(entry);
    this.openSockets++;
    return () => {
      if (this.#listeners.delete(entry)) this.openSockets--;
    };
  }

  dumpTable(ref: TableRef, { elementsOf }: DumpOptions): TableDump | undefined {
    const found = this.tables.get(`${ref.family} ${ref.name}`);
    if (found === undefined) return undefined;
    const chains = [...found.chains.values()];
    return structuredClone({
      generation: this.generation,
      table: found.table,
      chains: chains.map(({ chain }) => chain),
      rules: chains.flatMap(({ rules }) => rules),
      sets: [...found.sets.values()].map(({ set, elements }) => ({
        set,
        elements: (elementsOf?.(set) ?? true) ? listed(set, [...elements.values()]) : undefined,
      })),
    });
  }

  #notify(changes: NftablesChange[], portId: number): void {
    for (const entry of [...this.#listeners]) {
      const own = entry.portId === portId;
      const said = own ? [] : structuredClone(changes);
      const { generation } = this;
      entry.listener({
        event: 'transaction',
        generation,
        own,
        portId,
        processId: portId,
        processName: 'fake',
        changes: said,
      });
    }
  }

  /** @returns whether anything changed @throws Refusal */
  #applyOne(operation: NftablesOperation, changes: NftablesChange[]): boolean {
    switch (operation.op) {
      case 'tableAdd': {
        const { family, name } = operation.table;
        const key = `${family} ${name}`;
        if (this.tables.has(key)) {
          if (operation.exclusive) throw new Refusal(errno.EEXIST);
          return false;
        }
        this.tables.set(key, new FakeTable({ ...operation.table }, this.#undo));
        this.#undo.push(() => this.tables.delete(key));
        changes.push({ change: 'tableNew', family, table: name });
        return true;
      }
      case 'tableDelete': {
        const { family, name } = operation.table;
        const key = `${family} ${name}`;
        const table = this.#table({ family, table: name });
        this.tables.delete(key);
        this.#undo.push(() => this.tables.set(key, table));
        changes.push({ change: 'tableDelete', family, table: name });
        return true;
      }
      case 'chainAdd': {
        const { family, table, name } = operation.chain;
        changes.push({ change: 'chainNew', family, table, name });
        return this.#table(operation.chain).chainAdd(operation.chain, operation.exclusive === true);
      }
      case 'chainDelete': {
        this.#table(operation).chainDelete(operation.name);
        changes.push({ change: 'chainDelete', ...placeOf(operation), name: operation.name });
        return true;
      }
      case 'ruleAdd':
      case 'ruleReplace': {
        const table = this.#table(operation.rule);
        const { handle } =
          operation.op === 'ruleAdd'
            ? table.ruleAdd(operation.rule, operation.position)
            : table.ruleReplace(operation.rule, operation.handle);
        changes.push({ change: 'ruleNew', ...placeOf(operation.rule), chain: operation.rule.chain, handle });
        return true;
      }
      case 'ruleDelete':
      case 'ruleFlush': {
        const handle = operation.op === 'ruleDelete' ? operation.handle : undefined;
        const gone = this.#table(operation).ruleDelete(operation.chain, handle);
        const place = { ...placeOf(operation), chain: operation.chain };
        for (const handle of gone) changes.push({ change: 'ruleDelete', ...place, handle });
        return gone.length > 0;
      }
      case 'setAdd': {
        const { family, table, name } = operation.set;
        if (!this.#table(operation.set).setAdd(operation.set, operation.exclusive === true)) return false;
        changes.push({ change: 'setNew', family, table, name });
        return true;
      }
      case 'setDelete': {
        this.#table(operation).setDelete(operation.name);
        changes.push({ change: 'setDelete', ...placeOf(operation), name: operation.name });
        return true;
      }
      case 'elementsAdd': {
        const exclusive = operation.exclusive === true;
        const count = this.#table(operation).elementsAdd(operation.set, operation.elements, exclusive);
        return count > 0 && addCount(changes, 'elementsNew', operation, count);
      }
      case 'elementsDelete': {
        const count = this.#table(operation).elementsDelete(operation.set, operation.elements);
        return count > 0 && addCount(changes, 'elementsDelete', operation, count);
      }
      case 'setFlush': {
        const count = this.#table(operation).setFlush(operation.set);
        return count > 0 && addCount(changes, 'elementsDelete', operation, count);
      }
    }
  }

  #table(where: InTable): FakeTable {
    const table = this.tables.get(`${where.family} ${where.table}`);
    if (table === undefined) throw new Refusal(errno.ENOENT);
    return table;
  }
}

class FakeSocket implements Nftables {
  readonly #kernel: FakeNftables;
  readonly #portId: number;
  readonly #onClose: () => void;
  #closed = false;

  constructor(kernel: FakeNftables, portId: number, onClose: () => void) {
    this.#kernel = kernel;
    this.#portId = portId;
    this.#onClose = onClose;
  }

  async apply(operations: readonly NftablesOperation[], options: ApplyOptions = {}): Promise<void> {
    this.#check();
    this.#kernel.commit(operations, options, this.#portId);
  }

  async dump(table: TableRef, options: DumpOptions = {}): Promise<TableDump | undefined> {
    this.#check();
    return this.#kernel.dumpTable(table, options);
  }

  async generation(): Promise<number> {
    this.#check();
    return this.#kernel.generation;
  }

  async subscribe(listener: (notification: NftablesNotification) => void): Promise<() => void> {
    return this.#kernel.listen(this.#portId, listener);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
  }

  #check(): void {
    if (this.#closed) throw new KernelError(EBADF, 'sendmsg', 'closed nf_tables socket');
  }
}

const placeOf = ({ family, table }: InTable): InTable => ({ family, table });

function addCount(
  changes: NftablesChange[],
  change: 'elementsNew' | 'elementsDelete',
  { family, table, set }: InTable & { set: string },
  count: number,
): true {
  changes.push({ change, family, table, set, count });
  return true;
}

/** Packed where the real edge packs. */
function listed(set: NftSet, elements: Element[]): Elements {
  if (set.data === 'verdict' || set.interval || set.timeout || set.dynamic) return elements;
  return {
    count: elements.length,
    keyBytes: fieldsBytes(set.key),
    keys: new Uint8Array(Buffer.concat(elements.map(({ key }) => key))),
    dataBytes: set.data === undefined ? 0 : fieldsBytes(set.data),
    data: new Uint8Array(
      Buffer.concat(elements.map(({ data }) => (data instanceof Uint8Array ? data : new Uint8Array()))),
    ),
  };
}
