/**
 * Text to plain values: every YAML or JSON document of a file, with the line of each field.
 * Layer: kubelet/static (pure). Knows no kinds. Input is hostile: size, tokens, depth, documents and what aliases multiply
 * to are bounded, and the two quadratic features of the yaml library (its check for duplicate keys: 285 s for 150,000
 * keys, and its pretty errors: 99 s for 1 MB of quotes) are replaced by linear ones.
 * YAML is read as Kubernetes reads it, by YAML 1.1: 0644 is octal, yes is a boolean.
 */
import type { CST, Document, Node, Pair } from 'yaml';
import { Composer, isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, Parser } from 'yaml';
import type { FieldPath } from './manifest-error.ts';

export interface YamlDocument {
  /** Maps as objects, sequences as arrays; aliases and merge keys resolved. */
  readonly value: unknown;
  /** 1-based line where the document's content begins. */
  readonly line: number;
  /** 1-based line of a field's key or of a list element; of its nearest ancestor when it is missing. */
  lineOf(path: FieldPath): number;
}

export interface YamlProblem {
  readonly line: number;
  readonly message: string;
  readonly fix?: string;
}

/** Bounds on one file; each is far above what a person or a generator writes. */
export const yamlLimits = {
  bytes: 3 * 1024 * 1024,
  tokens: 500_000,
  depth: 64,
  documents: 1000,
  /** Values that come into being through aliases, beyond those written out. */
  aliasedValues: 20_000,
} as const;

/** Problems shown for one file; a broken file has one cause and a hundred consequences. */
const maxProblems = 5;

class YamlRefusal extends Error {
  readonly offset: number;
  readonly fix: string | undefined;
  constructor(offset: number, message: string, fix?: string) {
    super(message);
    this.offset = offset;
    this.fix = fix;
  }
}

/** Parses all documents; when `problems` is not empty, `documents` is. Never throws for bad text. */
export function parseYamlDocuments(text: string): { documents: YamlDocument[]; problems: YamlProblem[] } {
  const lines = new LineCounter();
  const lineAt = (offset: number): number => Math.max(1, lines.linePos(offset).line);
  try {
    const documents = compose(readTokens(text, lines), text.length, lines);
    const problems = documents.flatMap((document) =>
      // Warnings are unresolved tags: a value would silently be something else than written.
      [...document.errors, ...document.warnings].map((error) => ({
        line: lineAt(error.pos[0]),
        message: error.message,
      })),
    );
    if (problems.length > 0) return { documents: [], problems: problems.slice(0, maxProblems) };
    const values: YamlDocument[] = [];
    for (const document of documents) {
      const walk = new ValueWalk(lineAt);
      const value = walk.value(document.contents, 0);
      if (value === null) continue;
      const line = lineAt(document.contents?.range?.[0] ?? 0);
      values.push({ value, line, lineOf: (path) => walk.lineOf(value, path, line) });
    }
    return { documents: values, problems: [] };
  } catch (error) {
    if (!(error instanceof YamlRefusal)) throw error;
    const problem = { line: lineAt(error.offset), message: error.message };
    return { documents: [], problems: [error.fix === undefined ? problem : { ...problem, fix: error.fix }] };
  }
}

/** Lexes and parses with the token and depth bounds, before anything recursive sees the text. */
function readTokens(text: string, lines: LineCounter): CST.Token[] {
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  let count = 0;
  let offset = 0;
  lines.addNewLine(0);
  for (const lexeme of new Lexer().lex(text)) {
    if (++count > yamlLimits.tokens) throw new YamlRefusal(offset, `has more than ${yamlLimits.tokens} YAML tokens`);
    offset += lexeme.length;
    tokens.push(...parser.next(lexeme));
  }
  tokens.push(...parser.end());
  const begun = tokens.filter((token) => token.type === 'document');
  if (begun.length > yamlLimits.documents) {
    throw new YamlRefusal(0, `has more than ${yamlLimits.documents} documents`, 'split the file');
  }
  for (const token of begun) checkDepth(token);
  return tokens;
}

function checkDepth(root: CST.Token): void {
  let level: CST.Token[] = [root];
  for (let depth = 0; level.length > 0; depth++) {
    const [first] = level;
    if (first !== undefined && depth > yamlLimits.depth + 1) {
      throw new YamlRefusal(first.offset, `is nested more than ${yamlLimits.depth} levels deep`);
    }
    const next: CST.Token[] = [];
    for (const token of level) {
      if ('items' in token) {
        for (const item of token.items) {
          if (item.key) next.push(item.key);
          if (item.value) next.push(item.value);
        }
      }
      if ('value' in token && token.value) next.push(token.value);
    }
    level = next;
  }
}

function compose(tokens: CST.Token[], length: number, lineCounter: LineCounter): Document.Parsed[] {
  const composer = new Composer({
    schema: 'yaml-1.1',
    merge: true,
    uniqueKeys: false,
    prettyErrors: false,
    lineCounter,
    // What go-yaml does not have, or leaves a string: 10:20 is no number and 2026-01-01 no date for Kubernetes.
    customTags: (tags) => tags.filter((tag) => typeof tag === 'object' && !foreignTag.test(tag.tag) && !isClock(tag)),
  });
  return [...composer.compose(tokens, false, length)] as Document.Parsed[];
}

const foreignTag = /:(?:timestamp|binary|omap|pairs|set)$/;

function isClock(tag: { format?: string }): boolean {
  return tag.format === 'TIME';
}

/** Turns the nodes of one document into values and remembers the line of each member. */
class ValueWalk {
  readonly #lineAt: (offset: number) => number;
  readonly #lines = new WeakMap<object, Map<string | number, number>>();
  readonly #anchors = new Map<string, Node>();
  readonly #open = new Set<Node>();
  #aliasDepth = 0;
  #aliased = 0;

  constructor(lineAt: (offset: number) => number) {
    this.#lineAt = lineAt;
  }

  value(node: unknown, parentOffset: number): unknown {
    if (isAlias(node)) return this.#alias(node.source, startOf(node, parentOffset));
    if (this.#aliasDepth > 0 && ++this.#aliased > yamlLimits.aliasedValues) {
      throw new YamlRefusal(
        startOf(node, parentOffset),
        'its aliases multiply to too many values',
        'write the values out',
      );
    }
    const offset = startOf(node, parentOffset);
    if (isScalar(node)) {
      this.#remember(node.anchor, node);
      return scalarValue(node.value, offset);
    }
    if (!isMap(node) && !isSeq(node)) return null;
    this.#remember(node.anchor, node);
    if (this.#open.has(node)) throw new YamlRefusal(offset, 'an alias contains itself', 'write the values out');
    this.#open.add(node);
    const result = isMap(node) ? this.#map(node.items, offset) : this.#list(node.items, offset);
    this.#open.delete(node);
    return result;
  }

  lineOf(root: unknown, path: FieldPath, fallback: number): number {
    let value = root;
    let line = fallback;
    for (const step of path) {
      if (typeof value !== 'object' || value === null) return line;
      const known = this.#lines.get(value)?.get(step);
      if (known === undefined) return line;
      line = known;
      value = (value as Record<string | number, unknown>)[step];
    }
    return line;
  }

  #remember(anchor: string | undefined, node: Node): void {
    if (anchor !== undefined) this.#anchors.set(anchor, node);
  }

  #alias(name: string, offset: number): unknown {
    const target = this.#anchors.get(name);
    if (target === undefined) throw new YamlRefusal(offset, `the alias *${name} has no anchor before it`);
    this.#aliasDepth++;
    const value = this.value(target, offset);
    this.#aliasDepth--;
    return value;
  }

  #list(items: readonly unknown[], offset: number): unknown[] {
    const lines = new Map<number, number>();
    const list = items.map((item, index) => {
      lines.set(index, this.#lineAt(startOf(item, offset)));
      return this.value(item, offset);
    });
    this.#lines.set(list, lines);
    return list;
  }

  #map(items: readonly Pair[], offset: number): Record<string, unknown> {
    const lines = new Map<string, number>();
    const own = new Map<string, unknown>();
    const merged: Record<string, unknown>[] = [];
    for (const pair of items) {
      const at = startOf(pair.key, offset);
      if (isScalar(pair.key) && pair.key.source === '<<' && pair.key.type === 'PLAIN') {
        merged.push(...this.#merge(pair.value, at));
        continue;
      }
      const key = keyText(pair.key, at);
      if (isScalar(pair.key)) this.#remember(pair.key.anchor, pair.key);
      if (own.has(key)) {
        throw new YamlRefusal(at, `the key ${JSON.stringify(key)} stands twice in the same mapping`, 'remove one');
      }
      lines.set(key, this.#lineAt(at));
      own.set(key, this.value(pair.value, at));
    }
    for (const source of merged) {
      for (const [key, value] of Object.entries(source)) {
        if (own.has(key)) continue;
        own.set(key, value);
        lines.set(key, this.#lines.get(source)?.get(key) ?? this.#lineAt(offset));
      }
    }
    // fromEntries keeps a key named __proto__ an ordinary one.
    const map = Object.fromEntries(own);
    this.#lines.set(map, lines);
    return map;
  }

  #merge(node: unknown, offset: number): Record<string, unknown>[] {
    const value = this.value(node, offset);
    const sources = Array.isArray(value) ? value : [value];
    return sources.map((source) => {
      if (typeof source === 'object' && source !== null && !Array.isArray(source)) return source;
      throw new YamlRefusal(offset, 'the merge key << needs a mapping or a list of mappings');
    });
  }
}

function startOf(node: unknown, fallback: number): number {
  return (node as Node | null | undefined)?.range?.[0] ?? fallback;
}

function keyText(key: unknown, offset: number): string {
  if (isScalar(key)) {
    if (typeof key.value === 'string') return key.value;
    // `8080: x` means the key "8080"; yes, on or null as a key would become something nobody wrote.
    if (typeof key.value === 'number' && key.source !== undefined) return key.source;
    if (key.source) throw new YamlRefusal(offset, `the key ${key.source} is not a string`, 'put it into quotes');
  }
  throw new YamlRefusal(offset, 'a key must be a string');
}

function scalarValue(value: unknown, offset: number): unknown {
  if (value === null || value === undefined) return null;
  if (typeof value === 'number' && !Number.isFinite(value))
    throw new YamlRefusal(offset, `${value} is not a number here`);
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  throw new YamlRefusal(offset, 'is not a string, number or boolean');
}
