/**
 * The words in which the tables of manifest fields are written: what a field holds, or why it is refused or ignored.
 * Layer: kubelet/static (pure data types). The tables are pod-fields.ts, container-fields.ts, volume-fields.ts,
 * object-fields.ts and service-fields.ts; field-reader.ts reads documents by them; docs and tests enumerate them with `fieldRows`.
 */

/** The reasons why a text is bad; none when it is good. */
export type TextCheck = (text: string) => readonly string[];

export type ValueSpec =
  /** With `check` or `oneOf`, the empty text means "not set", as in the API. */
  | { readonly type: 'string'; readonly check?: TextCheck; readonly oneOf?: readonly string[] }
  | { readonly type: 'boolean' }
  /** Whole number within the inclusive range; int64 as far as JavaScript counts exactly. */
  | { readonly type: 'integer'; readonly min?: number; readonly max?: number }
  /** A number within the inclusive range, or a name; the empty text means "not set". */
  | { readonly type: 'integerOrName'; readonly min: number; readonly max: number; readonly check: TextCheck }
  /** A string or a plain number, kept as text. */
  | { readonly type: 'quantity' }
  | { readonly type: 'list'; readonly of: ValueSpec }
  | { readonly type: 'map'; readonly of: ValueSpec; readonly checkKey?: TextCheck }
  | { readonly type: 'object'; readonly fields: ObjectSpec };

export type FieldSpec =
  /** `listedElsewhere`: the fields below are those of another field, and docs list them there. */
  | { readonly use: 'read'; readonly value: ValueSpec; readonly required?: boolean; readonly listedElsewhere?: boolean }
  /** Set to anything but a harmless value (or an empty list, map or text), the document is refused. */
  | { readonly use: 'refused'; readonly because: string; readonly unless?: readonly unknown[] }
  /** Accepted and dropped: on one node without an API server it changes nothing. */
  | { readonly use: 'ignored'; readonly because: string };

export type ObjectSpec = Readonly<Record<string, FieldSpec>>;

export const text = (check?: TextCheck): ValueSpec =>
  check === undefined ? { type: 'string' } : { type: 'string', check };
export const oneOf = (...words: readonly string[]): ValueSpec => ({ type: 'string', oneOf: words });
export const boolean: ValueSpec = { type: 'boolean' };
export const quantity: ValueSpec = { type: 'quantity' };
export const integer = (min: number, max: number): ValueSpec => ({ type: 'integer', min, max });
export const integerOrName = (min: number, max: number, check: TextCheck): ValueSpec => ({
  type: 'integerOrName',
  min,
  max,
  check,
});
export const list = (of: ValueSpec): ValueSpec => ({ type: 'list', of });
export const map = (of: ValueSpec, checkKey?: TextCheck): ValueSpec =>
  checkKey === undefined ? { type: 'map', of } : { type: 'map', of, checkKey };
export const object = (fields: ObjectSpec): ValueSpec => ({ type: 'object', fields });

export const read = (value: ValueSpec): FieldSpec => ({ use: 'read', value });
export const readAlike = (value: ValueSpec): FieldSpec => ({ use: 'read', value, listedElsewhere: true });
export const required = (value: ValueSpec): FieldSpec => ({ use: 'read', value, required: true });
export const refused = (because: string, ...unless: readonly unknown[]): FieldSpec => ({
  use: 'refused',
  because,
  unless,
});
export const ignored = (because: string): FieldSpec => ({ use: 'ignored', because });

/** Largest int32, the type of most numbers of the Pod API. */
export const maxInt32 = 2 ** 31 - 1;

/** One line of the table that docs/differences.md shows. */
export interface FieldRow {
  /** `spec.containers[].livenessProbe` */
  readonly path: string;
  readonly treatment: 'read' | 'refused' | 'ignored';
  /** Why, for refused and ignored fields. */
  readonly because?: string;
  /** Values of a refused field that are accepted. */
  readonly unless?: readonly unknown[];
}

/** Every field below an object, leaves and branches, in the order of the tables. */
export function fieldRows(fields: ObjectSpec, prefix = ''): FieldRow[] {
  return Object.entries(fields).flatMap(([name, spec]): FieldRow[] => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    if (spec.use === 'ignored') return [{ path, treatment: 'ignored', because: spec.because }];
    if (spec.use === 'refused') {
      return [{ path, treatment: 'refused', because: spec.because, unless: spec.unless ?? [] }];
    }
    return [{ path, treatment: 'read' }, ...(spec.listedElsewhere ? [] : rowsBelow(spec.value, path))];
  });
}

function rowsBelow(value: ValueSpec, path: string): FieldRow[] {
  if (value.type === 'object') return fieldRows(value.fields, path);
  if (value.type === 'list') return rowsBelow(value.of, `${path}[]`);
  return [];
}
