/**
 * The one question that every decoder of untrusted JSON asks first.
 * Layer: network/cni (pure).
 */
export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
