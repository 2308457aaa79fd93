/**
 * From decoded JSON to the fields of a Pod's volume that the kubelet reads.
 * Layer: api (pure). Of volumes that no node mounts any more only the type is kept.
 */
import { checkDns1123Label, checkDns1123Subdomain } from '../config/names.ts';
import type {
  ClusterTrustBundleProjection,
  CsiVolumeSource,
  DownwardAPIFile,
  KeyToPath,
  LabelSelector,
  PodCertificateProjection,
  ProjectedSource,
  StorageMedium,
  Volume,
} from './core.ts';
import {
  checkedText,
  optionalCheckedText,
  projectFieldRef,
  projectResourceFieldRef,
  quantityText,
} from './project-values.ts';
import { ObjectShapeError, type RawObject } from './raw-object.ts';
import { otherVolumeTypes } from './unsupported-fields.ts';

/** Values of hostPath.type; empty checks nothing. */
export const hostPathTypes = [
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
    emptyDir: emptyDir && {
      medium: projectMedium(emptyDir, `${path}.emptyDir`),
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
    ...projectMountedElsewhere(raw, path),
  };
}

/** Volumes that come from outside the pod and its objects. */
function projectMountedElsewhere(raw: RawObject, path: string): Omit<Volume, 'name'> {
  const [claim, csi, nfs, image] = [
    raw.object('persistentVolumeClaim'),
    raw.object('csi'),
    raw.object('nfs'),
    raw.object('image'),
  ];
  return {
    persistentVolumeClaim: claim && {
      claimName: checkedText(claim, 'claimName', checkDns1123Subdomain, `${path}.persistentVolumeClaim`),
      readOnly: claim.boolean('readOnly'),
    },
    ephemeral: raw.object('ephemeral') && {},
    csi: csi && projectCsi(csi, `${path}.csi`),
    nfs: nfs && {
      server: nfs.requiredText('server'),
      path: nfs.requiredText('path'),
      readOnly: nfs.boolean('readOnly'),
    },
    image: image && {
      reference: image.text('reference'),
      pullPolicy: image.word('pullPolicy', ['Always', 'IfNotPresent', 'Never']),
    },
    otherType: otherVolumeTypes.find((name) => raw.object(name) !== undefined),
  };
}

function projectCsi(raw: RawObject, path: string): CsiVolumeSource {
  const secret = raw.object('nodePublishSecretRef');
  return {
    // It becomes a directory's name.
    driver: checkedText(raw, 'driver', checkDriverName, path),
    readOnly: raw.boolean('readOnly'),
    fsType: raw.text('fsType'),
    volumeAttributes: raw.textMap('volumeAttributes'),
    nodePublishSecretRef: secret && {
      name: checkedText(secret, 'name', checkDns1123Subdomain, `${path}.nodePublishSecretRef`),
    },
  };
}

/** ValidateCSIDriverName: a subdomain in any case, at most 63 characters. */
const checkDriverName = (name: string): string[] =>
  name.length > 63 ? ['must be no more than 63 characters'] : checkDns1123Subdomain(name.toLowerCase());

function projectMedium(raw: RawObject, path: string): StorageMedium {
  const medium = raw.text('medium') ?? '';
  if (medium === '' || medium === 'Memory' || medium === 'HugePages') return medium;
  const [, size] = /^HugePages-(.+)$/.exec(medium) ?? [];
  if (size === undefined) {
    throw new ObjectShapeError(`${path}.medium`, "'', Memory, HugePages or HugePages-<size>", medium);
  }
  return `HugePages-${size}`;
}

function projectSource(raw: RawObject, path: string): ProjectedSource {
  const [configMap, secret, downwardAPI, token, bundle, certificate] = [
    raw.object('configMap'),
    raw.object('secret'),
    raw.object('downwardAPI'),
    raw.object('serviceAccountToken'),
    raw.object('clusterTrustBundle'),
    raw.object('podCertificate'),
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
    clusterTrustBundle: bundle && projectBundle(bundle, path),
    podCertificate: certificate && projectCertificate(certificate),
  };
}

const projectCertificate = (raw: RawObject): PodCertificateProjection => ({
  signerName: raw.requiredText('signerName'),
  keyType: raw.requiredText('keyType'),
  maxExpirationSeconds: raw.integer('maxExpirationSeconds'),
  credentialBundlePath: raw.text('credentialBundlePath'),
  keyPath: raw.text('keyPath'),
  certificateChainPath: raw.text('certificateChainPath'),
  userAnnotations: raw.textMap('userAnnotations'),
});

function projectBundle(raw: RawObject, path: string): ClusterTrustBundleProjection {
  const selector = raw.object('labelSelector');
  return {
    path: raw.requiredText('path'),
    name: optionalCheckedText(raw, 'name', checkBundleName, `${path}.projected.sources[].clusterTrustBundle`),
    signerName: raw.text('signerName'),
    labelSelector: selector && projectLabelSelector(selector),
    optional: raw.boolean('optional'),
  };
}

/** Of a bundle that a signer owns: `<signer with : for />:<name>` (ValidateClusterTrustBundleName). */
const checkBundleName = (name: string): string[] => name.split(':').flatMap(checkDns1123Subdomain);

const projectLabelSelector = (raw: RawObject): LabelSelector => ({
  matchLabels: raw.textMap('matchLabels'),
  matchExpressions: raw.objects('matchExpressions').map((requirement) => ({
    key: requirement.requiredText('key'),
    operator: requirement.requiredText('operator'),
    values: requirement.texts('values'),
  })),
});

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
