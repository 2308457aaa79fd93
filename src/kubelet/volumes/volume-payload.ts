/**
 * The files that a ConfigMap or Secret becomes in a volume: relative path -> content and mode.
 * Layer: kubelet/volumes (pure). Keys and item paths are checked again here, wherever the object came from.
 * Source: pkg/volume/configmap (MakePayload), pkg/volume/secret, pkg/volume/util/atomic_writer.go (validatePayload).
 */
import type { ConfigMap, KeyToPath, Secret } from '../../api/core.ts';
import { checkLocalNonReservedPath } from '../../config/paths.ts';
import { VolumeError } from './volume-error.ts';

export interface PayloadFile {
  readonly data: Uint8Array;
  /** Permission bits. */
  readonly mode: number;
  /** User ID of the owner; root unless given. */
  readonly owner?: number | undefined;
}

/** By path relative to the volume, without empty, `.` or `..` elements; no path is the parent of another. */
export type Payload = ReadonlyMap<string, PayloadFile>;

/** Mode of projected files when the volume names none. */
export const defaultMode = 0o644;

// PATH_MAX with room for the volume's own path, and NAME_MAX (linux/limits.h).
const maxPathBytes = 2048;
const maxNameBytes = 255;

/** What configMap and secret volumes have in common. */
export interface Projection {
  readonly items?: readonly KeyToPath[] | undefined;
  readonly defaultMode?: number | undefined;
  readonly optional?: boolean | undefined;
}

export function configMapContent(configMap: ConfigMap): Map<string, Uint8Array> {
  const content = new Map<string, Uint8Array>();
  for (const [key, text] of Object.entries(configMap.data ?? {})) content.set(key, Buffer.from(text));
  for (const [key, base64] of Object.entries(configMap.binaryData ?? {})) {
    content.set(key, Buffer.from(base64, 'base64'));
  }
  return content;
}

export function secretContent(secret: Secret): Map<string, Uint8Array> {
  const content = new Map<string, Uint8Array>();
  for (const [key, base64] of Object.entries(secret.data ?? {})) content.set(key, Buffer.from(base64, 'base64'));
  for (const [key, text] of Object.entries(secret.stringData ?? {})) content.set(key, Buffer.from(text));
  return content;
}

/**
 * @param content the object's keys, undefined when the object does not exist
 * @param subject `configMap default/settings`, @param volume `pod default/web: volume config`, for errors
 * @param groupReadable with an fsGroup: the group may read every file (mode | 0440)
 * Throws VolumeError VOLUME_OBJECT_MISSING, VOLUME_KEY_MISSING or VOLUME_PAYLOAD_PATH.
 */
export function projectPayload(
  content: ReadonlyMap<string, Uint8Array> | undefined,
  projection: Projection,
  names: { subject: string; volume: string },
  groupReadable: boolean,
): Payload {
  if (content === undefined) {
    if (projection.optional) return new Map();
    throw new VolumeError('VOLUME_OBJECT_MISSING', `${names.subject} does not exist`, {
      object: names.volume,
      fix: 'create it, or set optional: true',
    });
  }
  const items = projection.items?.length ? projection.items : [...content.keys()].map((key) => ({ key, path: key }));
  const payload = new Map<string, PayloadFile>();
  for (const item of items as readonly KeyToPath[]) {
    const data = content.get(item.key);
    if (data === undefined) {
      if (projection.optional) continue;
      throw new VolumeError('VOLUME_KEY_MISSING', `${names.subject} has no key ${JSON.stringify(item.key)}`, {
        object: names.volume,
        fix: 'add the key, or set optional: true',
      });
    }
    const mode = (item.mode ?? projection.defaultMode ?? defaultMode) | (groupReadable ? 0o440 : 0);
    payload.set(payloadPath(item.path, names.volume), { data, mode: mode & 0o777 });
  }
  refuseParents(payload, names.volume);
  return payload;
}

/**
 * Several payloads in one volume; of two files with one path the later wins, as with the kubelet.
 * Throws VolumeError VOLUME_PAYLOAD_PATH when one needs a directory where another has a file.
 */
export function joinPayloads(payloads: readonly Payload[], volume: string): Payload {
  const joined = new Map(payloads.flatMap((payload) => [...payload]));
  refuseParents(joined, volume);
  return joined;
}

/** The cleaned path. `..data` and the dated directories are the atomic writer's, so nothing may begin with `..`. */
export function payloadPath(path: string, volume: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  const clean = parts.join('/');
  const reasons = [...new Set([...checkLocalNonReservedPath(path), ...checkLocalNonReservedPath(clean)])];
  if (parts.length === 0) reasons.push('names no file');
  if (Buffer.byteLength(clean) > maxPathBytes || parts.some((part) => Buffer.byteLength(part) > maxNameBytes)) {
    reasons.push('is too long for a file name');
  }
  if (reasons.length === 0) return clean;
  const shown = JSON.stringify(path.slice(0, 100));
  throw new VolumeError('VOLUME_PAYLOAD_PATH', `the path ${shown} ${reasons.join('; ')}`, { object: volume });
}

function refuseParents(payload: Payload, volume: string): void {
  for (const path of payload.keys()) {
    const parts = path.split('/');
    for (let length = 1; length < parts.length; length++) {
      const parent = parts.slice(0, length).join('/');
      if (!payload.has(parent)) continue;
      const message = `the path ${JSON.stringify(path)} needs a directory where ${JSON.stringify(parent)} is a file`;
      throw new VolumeError('VOLUME_PAYLOAD_PATH', message, { object: volume });
    }
  }
}
