/**
 * One YAML or JSON document as plain values, with the line and column of every field.
 * Layer: config (pure): takes text, reads no file. JSON needs no parser of its own, being a subset of YAML here.
 * Must not know any configuration kind; the reader of a kind asks `locate` where a bad value stands.
 */

import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
  type ScalarTag,
  visit,
  type YAMLMap,
} from 'yaml';
import { ConfigError, type ConfigProblem } from './config-error.ts';
import type { FieldPath } from './schema.ts';

/** 1-based place in the text. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface YamlSource {
  readonly file: string;
  /** Maps as objects, sequences as arrays; aliases and merge keys resolved. */
  readonly value: unknown;
  /** Where the field's key stands, or the list element; for a missing one its nearest ancestor. */
  locate(path: FieldPath): Place;
}

/** Files above this are refused unparsed: a configuration is a few KiB, and parsing costs many times its size. */
export const maxSourceBytes = 1024 * 1024;

/** As well: a kubeconfig of a thousand clusters just fits, and a megabyte of small tokens takes 2 to 17 s to parse. */
export const maxSourceTokens = 100_000;

/** More problems of one file than this are not told: nobody reads them, and finding each has its price. */
export const maxProblems = 100;

// Kubernetes reads YAML 1.1 (sigs.k8s.io/yaml), where these words are booleans; the rest follows YAML 1.2.
const yaml11Words = /^(?:y|Y|yes|Yes|YES|on|On|ON|n|N|no|No|NO|off|Off|OFF)$/;
const yaml11Bool: ScalarTag = {
  tag: 'tag:yaml.org,2002:bool',
  identify: (value) => typeof value === 'boolean',
  default: true,
  test: yaml11Words,
  resolve: (source) => /^(?:y|on)/i.test(source),
};

/**
 * Parses a file that holds exactly one document. Throws ConfigError with all syntax problems, code CONFIG_SYNTAX
 * (also for duplicate keys and a second document), or CONFIG_TOO_LARGE.
 */
export function parseYamlSource(text: string, file: string): YamlSource {
  const bytes = Buffer.byteLength(text);
  if (bytes > maxSourceBytes) {
    const message = `the file has ${bytes} bytes, more than the limit of ${maxSourceBytes}`;
    throw new ConfigError([{ code: 'CONFIG_TOO_LARGE', file, message, fix: 'check that it is the right file' }]);
  }
  if (hasTooManyTokens(text)) {
    const message = `the file has more than ${maxSourceTokens} YAML tokens`;
    throw new ConfigError([{ code: 'CONFIG_TOO_LARGE', file, message, fix: 'check that it is the right file' }]);
  }
  const lineCounter = new LineCounter();
  const parsed = parseAllDocuments(text, {
    lineCounter,
    prettyErrors: false,
    customTags: (tags) => [...tags, yaml11Bool],
    merge: true,
    stringKeys: true,
    // The library's own check compares each key with each other one; duplicateKeys below is linear.
    uniqueKeys: false,
  });
  const documents = Array.isArray(parsed) ? parsed : [];
  const placeOf = (offset: number): Place => {
    const { line, col } = lineCounter.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const problems: ConfigProblem[] = documents.flatMap((document) =>
    [...document.errors, ...document.warnings].map((error) => ({
      code: 'CONFIG_SYNTAX' as const,
      file,
      ...placeOf(error.pos[0]),
      message: error.code === 'RESOURCE_EXHAUSTION' ? 'the nesting is too deep' : error.message,
    })),
  );
  for (const { offset, message } of problems.length === 0 ? documents.flatMap(structuralFaults) : []) {
    problems.push({ code: 'CONFIG_SYNTAX', file, ...placeOf(offset), message });
  }
  problems.splice(maxProblems);
  const filled = documents.filter((document) => document.contents !== null && !isEmpty(document));
  const second = filled[1];
  if (second !== undefined && problems.length === 0) {
    const fix = 'keep one document and move the others to files of their own';
    const place = placeOf(second.range?.[0] ?? 0);
    problems.push({ code: 'CONFIG_SYNTAX', file, ...place, message: 'a second document begins here', fix });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const document = filled[0];
  return {
    file,
    value: document === undefined ? undefined : plainValue(document, file, placeOf(startOf(document.contents) ?? 0)),
    locate: (path) => placeOf(document === undefined ? 0 : offsetOf(document, path)),
  };
}

function hasTooManyTokens(text: string): boolean {
  let count = 0;
  for (const _ of new Lexer().lex(text)) if (++count > maxSourceTokens) return true;
  return false;
}

// A document of only comments or `---` parses to a null scalar.
function isEmpty(document: Document): boolean {
  return isScalar(document.contents) && document.contents.value === null && !document.contents.source;
}

interface Fault {
  readonly offset: number;
  readonly message: string;
}

// What the parser lets pass, but has no plain value: repeated keys, aliases to nothing or to what they stand in.
function structuralFaults(document: Document): Fault[] {
  const faults: Fault[] = [];
  // In document order; alias.resolve() would search the whole document for each alias.
  const anchors = new Map<string, Node>();
  visit(document, (_key, node, ancestors) => {
    if (isAlias(node)) {
      const target = anchors.get(node.source);
      const offset = startOf(node) ?? 0;
      if (target === undefined) faults.push({ offset, message: `the alias *${node.source} has no anchor before it` });
      else if (ancestors.includes(target)) {
        faults.push({ offset, message: `the alias *${node.source} stands inside what it refers to` });
      }
      return;
    }
    if ((isMap(node) || isSeq(node) || isScalar(node)) && node.anchor !== undefined) anchors.set(node.anchor, node);
    if (!isMap(node)) return;
    const seen = new Set<string>();
    for (const pair of node.items) {
      const key = keyOf(pair);
      const offset = startOf(pair.key) ?? 0;
      // Merge keys may stand more than once.
      if (seen.has(key) && key !== '<<') faults.push({ offset, message: 'the key stands twice in the same mapping' });
      seen.add(key);
    }
  });
  return faults;
}

function plainValue(document: Document, file: string, start: Place): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    // Circles and missing anchors have been found before: what the library still throws for is growth.
    const message = 'aliases make the document grow without measure';
    const problem = { code: 'CONFIG_SYNTAX' as const, file, ...start, message, fix: 'write the values out' };
    throw new ConfigError([problem], cause);
  }
}

function keyOf(pair: { readonly key: unknown }): string {
  return isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
}

function startOf(node: unknown): number | undefined {
  const range = (node as Node | null | undefined)?.range;
  return range?.[0];
}

const indexes = new WeakMap<YAMLMap, ReadonlyMap<string, Pair>>();

// One index for each map, however many of its fields are asked for.
function pairsOf(map: YAMLMap): ReadonlyMap<string, Pair> {
  const known = indexes.get(map);
  if (known !== undefined) return known;
  const index = new Map(map.items.map((pair) => [keyOf(pair), pair as Pair]));
  indexes.set(map, index);
  return index;
}

function offsetOf(document: Document, path: FieldPath): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    let next: unknown;
    if (isMap(node)) {
      const pair = pairsOf(node).get(String(step));
      if (pair === undefined) return offset;
      offset = startOf(pair.key) ?? offset;
      next = pair.value;
    } else if (isSeq(node)) {
      next = node.items[Number(step)];
      offset = startOf(next) ?? offset;
    } else {
      return offset;
    }
    node = next;
  }
  return offset;
}
