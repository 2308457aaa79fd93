/**
 * Values that several parts of a Pod share, read from decoded JSON and checked once more: names, quantities, bounded
 * numbers. Layer: api (pure). The API server checked them already; a hostile or broken one did not.
 */
import { checkQualifiedName } from '../config/names.ts';
import { parseQuantity, QuantityError } from '../config/quantity.ts';
import type { EnvVarSource, ResourceList, ResourceRequirements } from './core.ts';
import { ObjectShapeError, type RawObject } from './raw-object.ts';

/** Largest int32, the type of most numbers of the Pod API. */
export const maxInt32 = 2 ** 31 - 1;

/** A required text that `check` finds nothing wrong with. @throws ObjectShapeError */
export function checkedText(raw: RawObject, field: string, check: (value: string) => string[], path: string): string {
  const value = raw.requiredText(field);
  const [reason] = check(value);
  if (reason !== undefined)
    throw new ObjectShapeError(`${path}.${field}`, `a name that is allowed: it ${reason}`, value);
  return value;
}

/** As checkedText; the empty text is absence. @throws ObjectShapeError */
export function optionalCheckedText(
  raw: RawObject,
  field: string,
  check: (value: string) => string[],
  path: string,
): string | undefined {
  return raw.text(field) ? checkedText(raw, field, check, path) : undefined;
}

/** A whole number from `min` to `max`. @throws ObjectShapeError */
export function boundedInteger(
  raw: RawObject,
  field: string,
  [min, max]: readonly [min: number, max: number],
  path: string,
): number | undefined {
  const value = raw.integer(field);
  if (value === undefined || (value >= min && value <= max)) return value;
  throw new ObjectShapeError(`${path}.${field}`, `a whole number from ${min} to ${max}`, value);
}

/** As boundedInteger, and it must be there. @throws ObjectShapeError */
export function requiredBoundedInteger(
  raw: RawObject,
  field: string,
  bounds: readonly [min: number, max: number],
  path: string,
): number {
  const value = boundedInteger(raw, field, bounds, path);
  if (value === undefined) throw new ObjectShapeError(`${path}.${field}`, 'a whole number', value);
  return value;
}

/** @throws ObjectShapeError */
export function quantityText(raw: RawObject, field: string, path: string): string | undefined {
  const text = raw.text(field);
  if (text !== undefined) checkQuantity(text, `${path}.${field}`);
  return text;
}

/** Amounts by resource; none is negative. @throws ObjectShapeError */
export function resourceList(raw: RawObject | undefined, field: string, path: string): ResourceList | undefined {
  const amounts = raw?.textMap(field);
  for (const [key, text] of Object.entries(amounts ?? {})) {
    const [reason] = checkQualifiedName(key);
    if (reason !== undefined) throw new ObjectShapeError(`${path}.${field}`, `names of resources: it ${reason}`, key);
    checkQuantity(text, `${path}.${field}.${key}`);
  }
  return amounts;
}

/** @throws ObjectShapeError */
export function projectResources(raw: RawObject | undefined, path: string): ResourceRequirements {
  return { limits: resourceList(raw, 'limits', path), requests: resourceList(raw, 'requests', path) };
}

function checkQuantity(text: string, path: string): void {
  try {
    if (parseQuantity(text).nanos >= 0n) return;
  } catch (error) {
    if (!(error instanceof QuantityError)) throw error;
  }
  throw new ObjectShapeError(path, 'a quantity that is not negative', text);
}

/** @throws ObjectShapeError */
export function projectFieldRef(raw: RawObject | undefined): EnvVarSource['fieldRef'] {
  return raw && { apiVersion: raw.text('apiVersion'), fieldPath: raw.requiredText('fieldPath') };
}

/** @throws ObjectShapeError */
export function projectResourceFieldRef(raw: RawObject | undefined, path: string): EnvVarSource['resourceFieldRef'] {
  return (
    raw && {
      containerName: raw.text('containerName'),
      resource: raw.requiredText('resource'),
      divisor: quantityText(raw, 'divisor', path),
    }
  );
}
