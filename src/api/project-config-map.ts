/**
 * From decoded JSON to a ConfigMap as volumes and environments read it.
 * Layer: api (pure). Keys become file names: kubelet/volumes checks them where they do.
 */
import { checkDns1123Subdomain } from '../config/names.ts';
import type { ConfigMap } from './core.ts';
import { projectObjectMeta } from './project-pod.ts';
import { RawObject } from './raw-object.ts';

/** @throws ObjectShapeError */
export function projectConfigMap(value: unknown): ConfigMap {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: withoutAnnotations(projectObjectMeta(metadata, checkDns1123Subdomain)),
    data: raw.textMap('data'),
    binaryData: raw.textMap('binaryData'),
    immutable: raw.boolean('immutable'),
  };
}

/** kubectl keeps a second copy of the whole object there, which nobody on a node reads. */
export function withoutAnnotations<Meta extends { annotations?: unknown }>(metadata: Meta): Meta {
  return { ...metadata, annotations: undefined };
}
