/**
 * Schemas of lists, maps and objects, made of other schemas; problems are reported at the element they concern.
 * Layer: config (pure). Must not know KubeletConfiguration; see schema.ts for the contract of a schema.
 */

import { type FieldPath, type Report, type Schema, shown, type TextCheck } from './schema.ts';
import { nearestName } from './suggest.ts';

/** Whether the value is a mapping of YAML or JSON. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value as a JSON document has it. */
export const jsonOf = <T>(schema: Schema<T>, value: T): unknown => (schema.json ? schema.json(value) : value);

/** A list of any length; with `unique` each element may stand in it once. */
export function list<T>(element: Schema<T>, options: { readonly unique?: boolean } = {}): Schema<readonly T[]> {
  const base = {
    read(value: unknown, at: FieldPath, report: Report) {
      if (!Array.isArray(value)) {
        report(at, { code: 'CONFIG_TYPE', message: `must be a list, not ${shown(value)}` });
        return undefined;
      }
      const elements: T[] = [];
      const texts = new Set<string>();
      for (const [index, item] of value.entries()) {
        const read = element.read(item, [...at, index], report);
        if (read === undefined) continue;
        const printed = element.print(read);
        if (options.unique === true && texts.has(printed)) {
          report([...at, index], { code: 'CONFIG_VALUE', message: `${shown(item)} is listed twice` });
        }
        texts.add(printed);
        elements.push(read);
      }
      return elements;
    },
    print: (value: readonly T[]) => `[${value.map((item) => element.print(item)).join(', ')}]`,
    json: (value: readonly T[]) => value.map((item) => jsonOf(element, item)),
  };
  return element.elementKeys === undefined ? base : { ...base, elementKeys: element.elementKeys };
}

/** A map from names to values of one kind. `checkKey` returns the reasons why a key is bad. */
export function mapOf<T>(element: Schema<T>, checkKey?: TextCheck): Schema<ReadonlyMap<string, T>> {
  return {
    read(value, at, report) {
      if (!isRecord(value)) {
        report(at, { code: 'CONFIG_TYPE', message: `must be a mapping, not ${shown(value)}` });
        return undefined;
      }
      const entries = new Map<string, T>();
      for (const [key, item] of Object.entries(value)) {
        for (const reason of checkKey?.(key) ?? []) report([...at, key], { code: 'CONFIG_VALUE', message: reason });
        const read = element.read(item, [...at, key], report);
        if (read !== undefined) entries.set(key, read);
      }
      return entries;
    },
    print(value) {
      // Sorted, so that the order in a file makes no difference.
      const members = [...value].map(([key, item]) => `${key}: ${element.print(item)}`).sort();
      return `{${members.join(', ')}}`;
    },
    json: (value) => Object.fromEntries([...value].map(([key, item]) => [key, jsonOf(element, item)])),
  };
}

type Members = Readonly<Record<string, Schema<unknown>>>;
type Read<M extends Members> = { readonly [K in keyof M]: M[K] extends Schema<infer T> ? T | undefined : never };

/** An object with exactly these keys, each optional unless `required` names it; null counts as missing. */
export function object<const M extends Members>(members: M, required: readonly (keyof M & string)[]): Schema<Read<M>> {
  const keys = Object.keys(members);
  return {
    elementKeys: keys,
    read(value, at, report) {
      if (!isRecord(value)) {
        report(at, { code: 'CONFIG_TYPE', message: `must be a mapping, not ${shown(value)}` });
        return undefined;
      }
      for (const key of Object.keys(value)) {
        if (Object.hasOwn(members, key)) continue;
        const near = nearestName(key, keys);
        const fix = near === undefined ? `use ${keys.join(', ')}` : `did you mean ${near}?`;
        report([...at, key], { code: 'CONFIG_UNKNOWN_FIELD', message: 'unknown field', fix });
      }
      const read: Record<string, unknown> = {};
      for (const [key, schema] of Object.entries(members)) {
        const member = value[key] ?? undefined;
        if (member !== undefined) read[key] = schema.read(member, [...at, key], report);
        else if (required.includes(key)) report(at, { code: 'CONFIG_VALUE', message: `${key} is missing` });
      }
      // The loop above put each member's own type there, which TypeScript cannot follow through Object.entries.
      return read as Read<M>;
    },
    print: (value) =>
      `{${Object.entries<Schema<unknown>>(members)
        .filter(([key]) => value[key] !== undefined)
        .map(([key, schema]) => `${key}: ${schema.print(value[key])}`)
        .join(', ')}}`,
    json: (value) =>
      Object.fromEntries(
        Object.entries<Schema<unknown>>(members)
          .filter(([key]) => value[key] !== undefined)
          .map(([key, schema]) => [key, jsonOf(schema, value[key])]),
      ),
  };
}
