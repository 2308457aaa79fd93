/**
 * What is known about one field of a configuration kind: how to read it, its default, and what Keelson does with it.
 * Layer: config (pure). Tables of these are the single source of reading, warnings and docs/differences.md.
 */

import type { Schema } from './schema.ts';

/**
 * - `honoured`: it does what Kubernetes says, or what the note says.
 * - `warned`: it is read and checked, but has no effect in this version; a value other than the default is warned about.
 * - `refused`: going on without it would be dangerous; a value other than the default stops the start.
 * - `accepted`: no effect is needed, whatever the value; the note says why.
 */
export type Treatment = 'honoured' | 'warned' | 'refused' | 'accepted';

export interface FieldSpec<T, D extends T | undefined = T | undefined> {
  readonly schema: Schema<T>;
  /** The stock component's default; undefined when there is none. */
  readonly fallback: D;
  readonly treatment: Treatment;
  /** For docs/differences.md, without a full stop. For a refused field it continues "cannot be used: ". */
  readonly note: string;
  /** The Go field is a pointer: 0, '' and [] are values. Elsewhere they mean "not set", as after Go's decoding. */
  readonly explicitZero: boolean;
  /** Values besides the default that are neither warned about nor refused, since they ask for what happens anyway. */
  readonly quiet: readonly T[];
}

interface Options<T> {
  readonly explicitZero?: boolean;
  readonly quiet?: readonly T[];
}

type Make = <T, const D extends T | undefined>(
  schema: Schema<T>,
  fallback: D,
  note: string,
  options?: Options<T>,
) => FieldSpec<T, D>;

function make(treatment: Treatment): Make {
  return (schema, fallback, note, { explicitZero = false, quiet = [] } = {}) => ({
    schema,
    fallback,
    treatment,
    note,
    explicitZero,
    quiet,
  });
}

export const honoured: Make = make('honoured');
export const warned: Make = make('warned');
export const refused: Make = make('refused');
export const accepted: Make = make('accepted');

/** The type of a table's values: each field's, or its default's where it is not set. */
export type FieldValues<Table> = {
  readonly [K in keyof Table]: Table[K] extends FieldSpec<infer T, infer D> ? T | D : never;
};

/** A table whose entries are read without knowing their types. */
export type FieldTable = Readonly<Record<string, FieldSpec<unknown>>>;
