/**
 * From decoded JSON to a Secret as volumes, environments and image pulls read it.
 * Layer: api (pure). Must not put a value into an error: shape errors of `data` name the key only.
 */
import { checkDns1123Subdomain } from '../config/names.ts';
import type { Secret } from './core.ts';
import { withoutAnnotations } from './project-config-map.ts';
import { projectObjectMeta } from './project-pod.ts';
import { ObjectShapeError, RawObject } from './raw-object.ts';

/** @throws ObjectShapeError */
export function projectSecret(value: unknown): Secret {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: withoutAnnotations(projectObjectMeta(metadata, checkDns1123Subdomain)),
    type: raw.text('type'),
    data: secretData(raw),
    immutable: raw.boolean('immutable'),
  };
}

function secretData(raw: RawObject): Record<string, string> | undefined {
  try {
    return raw.textMap('data');
  } catch (error) {
    if (!(error instanceof ObjectShapeError)) throw error;
    // Its message shows what it found.
    throw new ObjectShapeError('data', 'a map of base64 texts', undefined);
  }
}
