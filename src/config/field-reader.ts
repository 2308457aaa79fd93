/**
 * Reads a document by a field table: values typed and defaulted, unknown fields with a suggestion, fields without
 * effect warned about, dangerous ones refused.
 * Layer: config (pure). Must not know a particular kind: the table says everything. Rules between fields come after.
 */

import type { ConfigProblem } from './config-error.ts';
import type { FieldSpec, FieldTable, FieldValues } from './field-spec.ts';
import type { FieldPath, SchemaProblem } from './schema.ts';
import { isRecord } from './schema-compound.ts';
import { nearestName } from './suggest.ts';
import { maxProblems, type Place, type YamlSource } from './yaml-source.ts';

/** A field that was set to something that has no effect, or a value that is suspect; never a reason to stop. */
export interface ConfigWarning {
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  readonly field: string;
  readonly message: string;
}

export interface FieldReading<Table extends FieldTable> {
  readonly values: FieldValues<Table>;
  /** Paths of the fields that the document sets to something else than "not set". */
  readonly set: ReadonlySet<string>;
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigWarning[];
}

/** `registerWithTaints[0].effect`, `evictionHard[memory.available]`: Kubernetes' notation of field paths. */
export function fieldName(path: FieldPath): string {
  return path.reduce<string>((name, step) => {
    if (typeof step === 'number' || /[^A-Za-z0-9]/.test(step)) return `${name}[${step}]`;
    return name === '' ? step : `${name}.${step}`;
  }, '');
}

/** The problem with its place in the source. */
export function placed(source: YamlSource, path: FieldPath, problem: SchemaProblem): ConfigProblem {
  return { file: source.file, ...source.locate(path), field: fieldName(path), ...problem };
}

/**
 * Reads every field below the root but `skipped` ones (apiVersion, kind). Problems and warnings come in the order of
 * the document. `hints` maps names which are no fields, but which people try, to what they should use instead.
 */
export function readFields<const Table extends FieldTable>(
  source: YamlSource,
  table: Table,
  skipped: ReadonlySet<string>,
  hints: ReadonlyMap<string, string>,
): FieldReading<Table> {
  const paths = Object.keys(table);
  const values: Record<string, unknown> = {};
  for (const [path, spec] of Object.entries<FieldSpec<unknown>>(table)) values[path] = spec.fallback;
  const set = new Set<string>();
  const problems: ConfigProblem[] = [];
  const warnings: ConfigWarning[] = [];
  const report = (at: FieldPath, problem: SchemaProblem) => {
    if (problems.length < maxProblems) problems.push(placed(source, at, problem));
  };

  const readField = (spec: FieldSpec<unknown>, value: unknown, at: FieldPath) => {
    const before = problems.length;
    const read = spec.schema.read(value, at, report);
    if (read === undefined || problems.length > before || (!spec.explicitZero && isZero(read))) return;
    const path = at.join('.');
    values[path] = read;
    set.add(path);
    const verdict = judge(spec, read, path);
    if (verdict === undefined) return;
    if (spec.treatment === 'refused') report(at, verdict);
    else warnings.push({ file: source.file, ...source.locate(at), field: path, message: verdict.message });
  };

  const readMembers = (value: unknown, at: FieldPath) => {
    if (value === null || value === undefined) return;
    if (!isRecord(value)) {
      report(at, {
        code: 'CONFIG_TYPE',
        message: at.length === 0 ? 'the document must be a mapping' : 'must be a mapping',
      });
      return;
    }
    const prefix = at.length === 0 ? '' : `${at.join('.')}.`;
    for (const [key, member] of Object.entries(value)) {
      if (problems.length >= maxProblems) return;
      const path = `${prefix}${key}`;
      const here = [...at, key];
      if (skipped.has(path)) continue;
      // A key that contains a dot is no path: `logging.verbosity: 4` must not pass for the nested field.
      const spec = !key.includes('.') && Object.hasOwn(table, path) ? table[path] : undefined;
      if (spec !== undefined && member !== null) readField(spec, member, here);
      else if (spec === undefined && paths.some((other) => other.startsWith(`${path}.`))) {
        readMembers(member, here);
      } else if (spec === undefined) report(here, unknownField(key, prefix, paths, hints));
    }
  };
  readMembers(source.value, []);
  // Each value came from its own field's schema or default, which TypeScript cannot follow through the loops.
  return { values: values as FieldValues<Table>, set, problems: sorted(problems), warnings: sorted(warnings) };
}

/** The same problems or warnings by line and column. */
export function sorted<P extends Partial<Place>>(items: readonly P[]): P[] {
  return items.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}

// What Go's decoding cannot tell from a missing field that is no pointer.
function isZero(value: unknown): boolean {
  if (value === 0 || value === '') return true;
  if (value instanceof Map) return value.size === 0;
  return Array.isArray(value) && value.length === 0;
}

function judge(spec: FieldSpec<unknown>, value: unknown, path: string): SchemaProblem | undefined {
  if (spec.treatment !== 'warned' && spec.treatment !== 'refused') return undefined;
  // Gates are judged one by one, by the rules of the kind.
  if (path === 'featureGates') return undefined;
  const text = spec.schema.print(value);
  const harmless = spec.fallback === undefined ? spec.quiet : [spec.fallback, ...spec.quiet];
  if (harmless.some((other) => spec.schema.print(other) === text)) return undefined;
  if (spec.treatment === 'warned') {
    return { code: 'CONFIG_UNSUPPORTED', message: `has no effect in this version: ${spec.note}` };
  }
  const message = `${text} cannot be used in this version: ${spec.note}`;
  const [instead] = harmless;
  const fix =
    instead === undefined ? 'remove the field' : `remove the field or set it to ${spec.schema.print(instead)}`;
  return { code: 'CONFIG_UNSUPPORTED', message, fix };
}

function unknownField(
  key: string,
  prefix: string,
  paths: readonly string[],
  hints: ReadonlyMap<string, string>,
): SchemaProblem {
  const problem = { code: 'CONFIG_UNKNOWN_FIELD' as const, message: 'unknown field' };
  const [outer, ...inner] = key.split('.');
  if (prefix === '' && paths.includes(key)) {
    return {
      code: 'CONFIG_UNKNOWN_FIELD',
      message: 'must be nested',
      fix: `write ${outer}: {${inner.join(': {')}: ...}`,
    };
  }
  const hint = prefix === '' ? hints.get(key) : undefined;
  if (hint !== undefined) return { ...problem, fix: hint };
  const siblings = new Set(
    paths.filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length).split('.')[0] ?? ''),
  );
  const near = nearestName(key, siblings);
  const elsewhere = near === undefined ? paths.find((path) => path.split('.').at(-1) === key) : `${prefix}${near}`;
  return { ...problem, fix: elsewhere === undefined ? 'remove it' : `did you mean ${elsewhere}?` };
}
