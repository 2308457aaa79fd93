/**
 * From decoded JSON to the fields of a Pod's volume that the kubelet reads.
 * Layer: api (pure). Volumes of other types keep their name only: unsupported-fields.ts names what they ask for.
 */
import { checkDns1123Label } from '../config/names.ts';
import type { DownwardAPIFile, KeyToPath, ProjectedSource, Volume } from './core.ts';
import { checkedText, projectFieldRef, projectResourceFieldRef, quantityText } from './project-values.ts';
import type { RawObject } from './raw-object.ts';

const hostPathTypes = [
  'DirectoryOrCreate',
  'Directory',
  'FileOrCreate',
  'File',
  'Socket',
  'CharDevice',
  'BlockDevice',
] as const;

/** @param path `spec.volumes[0]`, for errors. @throws ObjectShapeError */
export function projectVolume(raw: RawObject, path: string): Volume {
  const [emptyDir, hostPath, configMap, secret, downwardAPI, projected] = [
    raw.object('emptyDir'),
    raw.object('hostPath'),
    raw.object('configMap'),
    raw.object('secret'),
    raw.object('downwardAPI'),
    raw.object('projected'),
  ];
  const mode = (source: RawObject): number | undefined => source.integer('defaultMode');
  return {
    name: checkedText(raw, 'name', checkDns1123Label, path),
    // Another medium (huge pages) is refused before this volume is looked at.
    emptyDir: emptyDir && {
      medium: emptyDir.text('medium') === 'Memory' ? 'Memory' : '',
      sizeLimit: quantityText(emptyDir, 'sizeLimit', `${path}.emptyDir`),
    },
    hostPath: hostPath && { path: hostPath.requiredText('path'), type: hostPath.word('type', hostPathTypes) ?? '' },
    configMap: configMap && { ...nameAndItems(configMap), defaultMode: mode(configMap) },
    secret: secret && {
      secretName: secret.text('secretName') ?? '',
      items: projectItems(secret),
      defaultMode: mode(secret),
      optional: secret.boolean('optional'),
    },
    downwardAPI: downwardAPI && { items: projectFiles(downwardAPI, path), defaultMode: mode(downwardAPI) },
    projected: projected && {
      sources: projected.objects('sources').map((source) => projectSource(source, path)),
      defaultMode: mode(projected),
    },
  };
}

function projectSource(raw: RawObject, path: string): ProjectedSource {
  const [configMap, secret, downwardAPI, token] = [
    raw.object('configMap'),
    raw.object('secret'),
    raw.object('downwardAPI'),
    raw.object('serviceAccountToken'),
  ];
  return {
    configMap: configMap && nameAndItems(configMap),
    secret: secret && nameAndItems(secret),
    downwardAPI: downwardAPI && { items: projectFiles(downwardAPI, path) },
    serviceAccountToken: token && {
      audience: token.text('audience'),
      expirationSeconds: token.integer('expirationSeconds'),
      path: token.requiredText('path'),
    },
  };
}

const nameAndItems = (raw: RawObject) => ({
  name: raw.text('name') ?? '',
  items: projectItems(raw),
  optional: raw.boolean('optional'),
});

const projectItems = (raw: RawObject): KeyToPath[] =>
  raw.objects('items').map((item) => ({
    key: item.requiredText('key'),
    path: item.requiredText('path'),
    mode: item.integer('mode'),
  }));

const projectFiles = (raw: RawObject, path: string): DownwardAPIFile[] =>
  raw.objects('items').map((item) => ({
    path: item.requiredText('path'),
    mode: item.integer('mode'),
    fieldRef: projectFieldRef(item.object('fieldRef')),
    resourceFieldRef: projectResourceFieldRef(item.object('resourceFieldRef'), path),
  }));
