/**
 * The lines of a watch, and the part of an object's metadata that every reader of lists and watches needs.
 * Layer: api (pure). Source: staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/watch.go.
 */
import { isRecord } from '../config/schema-compound.ts';
import { ApiError, errorOfStatus } from './api-error.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export interface ObjectIdentity {
  /** `namespace/name`, or `name` of what has no namespace. */
  readonly key: string;
  readonly uid: string;
  /** Opaque: only ever compared for equality and handed back. */
  readonly resourceVersion: string;
}

export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: JsonObject }
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string; readonly endsInitialEvents: boolean };

const initialEventsEnd = 'k8s.io/initial-events-end';

/**
 * One line of a watch; undefined for a type that does not exist today.
 * Throws ApiError: API_RESPONSE for what is no event, and what an ERROR event says (API_EXPIRED, ...).
 */
export function parseWatchEvent(line: string, path: string): WatchEvent | undefined {
  const event = parseObject(line, path);
  const { type, object } = event;
  if (!isRecord(object)) throw malformed(path, 'an event has no object');
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type, object };
    case 'BOOKMARK': {
      const metadata = isRecord(object.metadata) ? object.metadata : {};
      const { resourceVersion } = metadata;
      if (typeof resourceVersion !== 'string') throw malformed(path, 'a bookmark has no resourceVersion');
      const annotations = isRecord(metadata.annotations) ? metadata.annotations : {};
      return { type, resourceVersion, endsInitialEvents: annotations[initialEventsEnd] === 'true' };
    }
    case 'ERROR':
      throw errorOfStatus(`watch ${path}`, typeof object.code === 'number' ? object.code : 500, object);
    default:
      return undefined;
  }
}

/** A JSON object from its text. Throws ApiError API_RESPONSE. */
export function parseObject(text: string, path: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformed(path, 'the answer is no JSON', cause);
  }
  if (!isRecord(value)) throw malformed(path, 'the answer is no object');
  return value;
}

/** Undefined for an object whose metadata identifies nothing. */
export function identityOf(object: JsonObject): ObjectIdentity | undefined {
  const { metadata } = object;
  if (!isRecord(metadata)) return undefined;
  const { name, namespace, uid, resourceVersion } = metadata;
  if (typeof name !== 'string' || name === '' || typeof resourceVersion !== 'string') return undefined;
  const inNamespace = typeof namespace === 'string' && namespace !== '';
  return {
    key: inNamespace ? `${namespace}/${name}` : name,
    uid: typeof uid === 'string' ? uid : '',
    resourceVersion,
  };
}

function malformed(path: string, message: string, cause?: unknown): ApiError {
  return new ApiError('API_RESPONSE', message, { object: path, ...(cause !== undefined && { cause }) });
}
