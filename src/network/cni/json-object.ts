/**
 * The one question that every decoder of untrusted JSON asks first.
 * Layer: network/cni (pure).
 */
export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A member of what containerd sends as `runtimeConfig`: it writes `HostPort` where the conventions say `hostPort`, and the
 * reference plugins' decoder (Go's encoding/json) takes any case. The exact name comes first.
 */
export function memberInAnyCase(object: JsonObject, name: string): unknown {
  if (Object.hasOwn(object, name)) return object[name];
  const lower = name.toLowerCase();
  const key = Object.keys(object).find((other) => other.toLowerCase() === lower);
  return key === undefined ? undefined : object[key];
}
