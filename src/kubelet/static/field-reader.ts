/**
 * Reads one plain value by the tables of fields: types, ranges, single texts, unknown, refused and ignored fields.
 * Layer: kubelet/static (pure). Reports every problem and goes on; what is bad is left out of the result, so that the
 * rules that compare fields still see the rest. List elements keep their index. Must not know particular kinds.
 */
import { parseQuantity, QuantityError } from '../../config/quantity.ts';
import { nearestName } from '../../config/suggest.ts';
import type { FieldSpec, ObjectSpec, TextCheck, ValueSpec } from './field-spec.ts';
import { fieldRows } from './field-spec.ts';
import type { FieldPath, Report } from './manifest-error.ts';
import { printPath, shown } from './manifest-error.ts';

type Plain = Readonly<Record<string, unknown>>;

export function isPlainObject(value: unknown): value is Plain {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The document as far as it is good. `root` is the table of the whole document, for hints on misplaced fields.
 */
export function readDocument(value: Plain, root: ObjectSpec, report: Report): Plain {
  return readObject(value, root, [], { root, report });
}

interface Context {
  readonly root: ObjectSpec;
  readonly report: Report;
}

function readObject(value: Plain, fields: ObjectSpec, path: FieldPath, context: Context): Plain {
  const good: [string, unknown][] = [];
  for (const [name, member] of Object.entries(value)) {
    const here = [...path, name];
    // A field without a value is a field that is not set, but its name must be right all the same.
    const absent = member === null;
    const spec = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (spec === undefined) reportUnknown(name, fields, here, context);
    else if (absent) continue;
    else if (spec.use === 'read') {
      const read = readValue(member, spec.value, here, context, spec.required === true);
      if (read !== undefined) good.push([name, read]);
    } else if (spec.use === 'refused' && !isHarmless(member, spec.unless ?? []))
      reportRefused(spec, here, context.report);
  }
  for (const [name, spec] of Object.entries(fields)) {
    if (spec.use === 'read' && spec.required && (value[name] ?? undefined) === undefined)
      context.report([...path, name], 'is missing');
  }
  return Object.fromEntries(good);
}

function isHarmless(value: unknown, unless: readonly unknown[]): boolean {
  if (value === '' || (Array.isArray(value) && value.length === 0)) return true;
  const text = JSON.stringify(value);
  return unless.some((other) => JSON.stringify(other) === text);
}

function reportRefused(spec: FieldSpec & { use: 'refused' }, path: FieldPath, report: Report): void {
  const [instead] = spec.unless ?? [];
  const fix = instead === undefined ? 'remove the field' : `remove the field or set it to ${shown(instead)}`;
  report(path, `is not supported: ${spec.because}`, { code: 'MANIFEST_UNSUPPORTED', fix });
}

function reportUnknown(name: string, fields: ObjectSpec, path: FieldPath, context: Context): void {
  const near = nearestName(name, Object.keys(fields));
  const elsewhere = near === undefined ? placeOf(name, context.root) : undefined;
  const parent = printPath(path.slice(0, -1));
  const fix =
    near !== undefined
      ? `did you mean ${near}?`
      : elsewhere !== undefined
        ? `it belongs to ${elsewhere}`
        : `remove it: ${parent === '' ? 'the document' : parent} has no such field`;
  context.report(path, 'unknown field', { code: 'MANIFEST_UNKNOWN_FIELD', fix });
}

/** The only object in which a field of this name exists, for fields indented wrongly; `name` is in too many to tell. */
function placeOf(name: string, root: ObjectSpec): string | undefined {
  const [row, second] = fieldRows(root).filter((candidate) => candidate.path.split('.').at(-1) === name);
  if (row === undefined || second !== undefined) return undefined;
  const parent = row.path.split('.').slice(0, -1).join('.');
  return parent === '' ? 'the document itself' : parent;
}

function readValue(value: unknown, spec: ValueSpec, path: FieldPath, context: Context, isRequired: boolean): unknown {
  const { report } = context;
  const wrongType = (expected: string, fix?: string): undefined => {
    const options = { code: 'MANIFEST_TYPE' as const, ...(fix === undefined ? {} : { fix }) };
    report(path, `must be ${expected}, not ${shown(value)}`, options);
  };
  switch (spec.type) {
    case 'string':
      if (typeof value !== 'string') {
        const literal = typeof value === 'number' || typeof value === 'boolean';
        return wrongType('a string', literal ? 'put it into quotes' : undefined);
      }
      return readText(value, spec, path, report, isRequired);
    case 'boolean':
      return typeof value === 'boolean' ? value : wrongType('true or false');
    case 'integer':
      if (typeof value !== 'number' || !Number.isInteger(value)) {
        return wrongType('a whole number', typeof value === 'string' ? 'write it without quotes' : undefined);
      }
      return readInteger(value, spec, path, report);
    case 'integerOrName':
      if (typeof value === 'number' && Number.isInteger(value)) return readInteger(value, spec, path, report);
      if (typeof value !== 'string') return wrongType('a whole number or a name');
      if (/^\d+$/.test(value)) return wrongType('a whole number or a name', 'write it without quotes');
      return readText(value, spec, path, report, isRequired);
    case 'quantity':
      if (typeof value !== 'string' && typeof value !== 'number') return wrongType('a quantity such as 250m or 128Mi');
      return readQuantity(String(value), path, report);
    case 'list':
      if (!Array.isArray(value)) return wrongType('a list');
      return value.map((item, index) => {
        const read = readValue(item, spec.of, [...path, index], context, true);
        return read ?? (spec.of.type === 'object' ? {} : '');
      });
    case 'map':
      if (!isPlainObject(value)) return wrongType('a mapping');
      return readMap(value, spec, path, context);
    case 'object':
      return isPlainObject(value) ? readObject(value, spec.fields, path, context) : wrongType('a mapping');
  }
}

function readText(
  value: string,
  spec: { readonly check?: TextCheck; readonly oneOf?: readonly string[] },
  path: FieldPath,
  report: Report,
  isRequired: boolean,
): string | undefined {
  const reasons = spec.check?.(value) ?? [];
  if (value === '' && (reasons.length > 0 || spec.oneOf !== undefined)) {
    if (isRequired) report(path, 'must not be empty');
    return undefined;
  }
  if (value.includes('\0')) {
    report(path, 'must not contain a NUL character');
    return undefined;
  }
  if (spec.oneOf !== undefined && !spec.oneOf.includes(value)) {
    const near = nearestName(value, spec.oneOf);
    const options = near === undefined ? {} : { fix: `did you mean ${near}?` };
    report(path, `must be ${spec.oneOf.join(', ').replace(/, ([^,]*)$/, ' or $1')}, not ${shown(value)}`, options);
    return undefined;
  }
  if (reasons.length > 0) report(path, `${shown(value)} ${reasons.join('; ')}`);
  return reasons.length > 0 ? undefined : value;
}

function readInteger(
  value: number,
  spec: { readonly min?: number; readonly max?: number },
  path: FieldPath,
  report: Report,
): number | undefined {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = spec;
  if (value >= min && value <= max) return value;
  // File modes are the only bounded numbers that people write in octal.
  const print = max === 0o777 ? (n: number) => `0${n.toString(8)}` : String;
  const bound = value < min ? `${print(min)} or more` : `${print(max)} or less`;
  report(path, `must be ${bound}, not ${print(value)}`);
  return undefined;
}

function readQuantity(value: string, path: FieldPath, report: Report): string | undefined {
  try {
    if (parseQuantity(value).nanos >= 0n) return value;
    report(path, `must not be negative, not ${shown(value)}`);
  } catch (error) {
    if (!(error instanceof QuantityError)) throw error;
    report(path, error.message, error.fix === undefined ? {} : { fix: error.fix });
  }
  return undefined;
}

function readMap(value: Plain, spec: ValueSpec & { type: 'map' }, path: FieldPath, context: Context): Plain {
  const good: [string, unknown][] = [];
  for (const [key, member] of Object.entries(value)) {
    const here = [...path, key];
    const reasons = spec.checkKey?.(key) ?? [];
    if (reasons.length > 0) context.report(here, `the key ${shown(key)} ${reasons.join('; ')}`);
    // Go decodes a null in a map of texts to the empty text: `data: {key: }` is an empty file.
    const read = readValue(member === null && spec.of.type === 'string' ? '' : member, spec.of, here, context, false);
    if (reasons.length === 0 && read !== undefined) good.push([key, read]);
  }
  return Object.fromEntries(good);
}
