/**
 * The words of nf_tables as plain data: tables, chains, rules, sets, their elements, and the operations on them.
 * Layer: linux (pure types). Names follow nft(8) and include/uapi/linux/netfilter/nf_tables.h. Expressions are in
 * expression.ts, what keys consist of in fields.ts, the edge that applies operations in edge.ts.
 */
import type { Expression, Verdict } from './expression.ts';
import type { Field } from './fields.ts';

/** Address family of a table; `inet` is both IPv4 and IPv6. */
export type Family = 'inet' | 'ip' | 'arp' | 'netdev' | 'bridge' | 'ip6';

export interface TableRef {
  family: Family;
  /** Up to 255 bytes. */
  name: string;
}

/** What every object inside a table says about where it lives. */
export interface InTable {
  family: Family;
  table: string;
}

export interface Table extends TableRef {
  /** Up to 128 bytes, printed by nft; Keelson writes its schema version here. */
  comment?: string;
}

export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting' | 'ingress';

export interface BaseChain {
  type: 'filter' | 'nat' | 'route';
  hook: Hook;
  /** Lower runs earlier; dstnat is -100, filter 0, srcnat 100. */
  priority: number;
  /** `accept` unless given. */
  policy?: 'accept' | 'drop';
}

export interface Chain extends InTable {
  name: string;
  /** Present for a chain that the kernel calls at a hook. */
  base?: BaseChain;
  comment?: string;
}

export interface Rule extends InTable {
  chain: string;
  expressions: readonly Expression[];
  comment?: string;
}

/** A rule as the kernel has it. */
export interface InstalledRule extends Rule {
  /** The kernel's name for the rule, unique in its table. */
  handle: number;
}

/**
 * A set (no `data`), a map (`data` is fields) or a verdict map (`data` is 'verdict'). Key fields are either all data types
 * (printed as `type ...`) or all typeof expressions (`typeof ...`); several fields are a concatenation.
 */
export interface NftSet extends InTable {
  name: string;
  key: readonly Field[];
  data?: readonly Field[] | 'verdict';
  /** No element may change once a rule uses the set. */
  constant?: boolean;
  interval?: boolean;
  /** Elements may have timeouts. Implied by `timeoutMs`. */
  timeout?: boolean;
  /** Rules add elements (dynset). */
  dynamic?: boolean;
  /** Milliseconds, for elements that have none of their own. */
  timeoutMs?: number;
  /** Milliseconds between collections of expired elements. */
  gcIntervalMs?: number;
  /** Upper bound of the number of elements. Without it none, but a dynamic set has 65,535. */
  size?: number;
  comment?: string;
}

/**
 * One element. `key` and `data` are the bytes that the kernel compares: every field padded to 4 bytes when there are
 * several, ports and addresses in network order, marks in the host's.
 */
export interface Element {
  key: Uint8Array;
  /** Inclusive end of a range in a concatenation with intervals. */
  keyEnd?: Uint8Array;
  /** Bytes in a map, a verdict in a verdict map. */
  data?: Uint8Array | Verdict;
  /** The element only marks the exclusive end of the interval before it (sets of one field with intervals). */
  intervalEnd?: boolean;
  timeoutMs?: number;
  /** How long it has still to live. */
  expiresMs?: number;
  comment?: string;
}

/** Many elements of one length without an object each: element i is bytes i*keyBytes.. of `keys` and of `data`. */
export interface PackedElements {
  count: number;
  keyBytes: number;
  keys: Uint8Array;
  /** 0 in a set without data. */
  dataBytes: number;
  data: Uint8Array;
}

export type Elements = readonly Element[] | PackedElements;

export type NftablesOperation =
  /** What exists already is no error for an add unless `exclusive` is set (NLM_F_EXCL: EEXIST). */
  | { op: 'tableAdd'; table: Table; exclusive?: boolean }
  /** With everything in it. */
  | { op: 'tableDelete'; table: TableRef }
  | { op: 'chainAdd'; chain: Chain; exclusive?: boolean }
  /** With its rules; EBUSY while a rule or a verdict map goes there. */
  | ({ op: 'chainDelete'; name: string } & InTable)
  /** At the end of the chain, or at `position`. */
  | { op: 'ruleAdd'; rule: Rule; position?: 'first' | { after: number } | { before: number } }
  | { op: 'ruleReplace'; rule: Rule; handle: number }
  | ({ op: 'ruleDelete'; chain: string; handle: number } & InTable)
  /** All rules of a chain. */
  | ({ op: 'ruleFlush'; chain: string } & InTable)
  | { op: 'setAdd'; set: NftSet; exclusive?: boolean }
  /** With its elements; EBUSY while a rule looks there. */
  | ({ op: 'setDelete'; name: string } & InTable)
  /** An element that exists with the same data is no error unless `exclusive`; with other data it is EEXIST. */
  | ({ op: 'elementsAdd'; set: string; elements: Elements; exclusive?: boolean } & InTable)
  | ({ op: 'elementsDelete'; set: string; elements: Elements } & InTable)
  | ({ op: 'setFlush'; set: string } & InTable);

/** A set and what is in it: packed where every element is a bare key with bytes, as objects otherwise. */
export interface InstalledSet {
  set: NftSet;
  /** Undefined when the dump was asked to leave them out. */
  elements: Elements | undefined;
}

/** One consistent state of one table. */
export interface TableDump {
  generation: number;
  table: Table;
  chains: Chain[];
  /** In order of evaluation within each chain. */
  rules: InstalledRule[];
  sets: InstalledSet[];
}

export function isPacked(elements: Elements): elements is PackedElements {
  return 'keyBytes' in elements;
}

/** How many elements there are. */
export function elementCount(elements: Elements): number {
  return isPacked(elements) ? elements.count : elements.length;
}
