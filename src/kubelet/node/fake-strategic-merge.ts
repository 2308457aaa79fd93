/**
 * Strategic merge patch as an API server applies it to a Node: objects merge, null removes, lists are replaced unless
 * they merge by key. Layer: kubelet/node (test support, pure). Must not be imported by production code.
 * Rules: apimachinery/pkg/util/strategicpatch (mergeMap, mergeSlice). Merging by a key that occurs twice meets the first
 * entry only, as there: that is the trap of Node addresses.
 */
const mergeKeys: Readonly<Record<string, string>> = { 'status.conditions': 'type', 'status.addresses': 'type' };

type Json = Record<string, unknown>;

/** A new object; throws Error where a real server answers 400 or stores nonsense. */
export function applyStrategicMerge(original: object, patch: object): object {
  return mergeObject(structuredClone(original) as Json, patch as Json, '');
}

function mergeObject(original: Json, patch: Json, path: string): Json {
  for (const [key, value] of Object.entries(patch)) {
    const at = path === '' ? key : `${path}.${key}`;
    const before = Object.hasOwn(original, key) ? original[key] : undefined;
    const mergeKey = Object.hasOwn(mergeKeys, at) ? mergeKeys[at] : undefined;
    if (value === null) delete original[key];
    else if (Array.isArray(value)) {
      original[key] = mergeKey === undefined ? value : mergeList(before, value, mergeKey, at);
    } else if (isObject(value)) {
      // Without an original the patch is taken as it is, nulls left out.
      original[key] = mergeObject(isObject(before) ? before : {}, value, at);
    } else original[key] = value;
  }
  return original;
}

function mergeList(before: unknown, patch: unknown[], mergeKey: string, path: string): unknown[] {
  const entries = patch.filter(isObject);
  const replaces = entries.some(({ $patch }) => $patch === 'replace');
  const plain = entries.filter(({ $patch }) => $patch === undefined);
  if (!Array.isArray(before)) {
    if (replaces) throw new Error(`${path}: a directive without a list to apply it to is stored as an entry`);
    return plain;
  }
  if (replaces) return plain;
  const merged = before.filter(isObject);
  for (const entry of plain) {
    if (entry[mergeKey] === undefined) throw new Error(`${path}: an entry lacks its merge key ${mergeKey}`);
    const index = merged.findIndex((other) => other[mergeKey] === entry[mergeKey]);
    if (index < 0) merged.push(entry);
    else merged[index] = mergeObject({ ...merged[index] }, entry, `${path}[]`);
  }
  return merged;
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
