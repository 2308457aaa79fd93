/**
 * What a Pod asks for that this version does not do. Nothing of it is passed over in silence: `unsupported` is refused,
 * `ignored` is run without and told in an event.
 * Layer: api (pure). Source: PodSpec in staging/src/k8s.io/api/core/v1/types.go. Fields that only the scheduler or
 * controllers read are not looked at.
 */
import { RawObject } from './raw-object.ts';

export interface AskedFor {
  /** Field paths, e.g. `spec.resourceClaims`; the pod must not run without them. */
  readonly unsupported: readonly string[];
  /** Paths of fields without which the pod runs as well. */
  readonly ignored: readonly string[];
}

const volumeTypes = [
  'emptyDir',
  'hostPath',
  'configMap',
  'secret',
  'projected',
  'downwardAPI',
  'persistentVolumeClaim',
  'ephemeral',
  'csi',
  'image',
  'nfs',
];
/**
 * In-tree drivers: what is left of them in Kubernetes is a name that a CSI driver took over. A pod with one is not refused: it
 * would fail, and its controller make the next. It waits, and its events say why.
 */
export const otherVolumeTypes = [
  'iscsi',
  'fc',
  'flexVolume',
  'gitRepo',
  'glusterfs',
  'cephfs',
  'rbd',
  'cinder',
  'quobyte',
  'flocker',
  'scaleIO',
  'storageos',
  'azureFile',
  'azureDisk',
  'awsElasticBlockStore',
  'gcePersistentDisk',
  'vsphereVolume',
  'photonPersistentDisk',
  'portworxVolume',
];
const projections = [
  'configMap',
  'secret',
  'downwardAPI',
  'serviceAccountToken',
  'clusterTrustBundle',
  'podCertificate',
];
/** A message is to be read; a pod with thousands of volumes names these. */
const maxPaths = 20;

type Note = (path: string) => unknown;

/** The paths that the pod must not run without. @throws ObjectShapeError */
export function unsupportedFields(value: unknown): readonly string[] {
  return askedFor(value).unsupported;
}

/** @param value a Pod as decoded. @throws ObjectShapeError */
export function askedFor(value: unknown): AskedFor {
  const spec = new RawObject(value).object('spec') ?? new RawObject({}, 'spec');
  const found = { unsupported: [] as string[], ignored: [] as string[] };
  const refuse: Note = (path) => found.unsupported.length < maxPaths && found.unsupported.push(path);
  const ignore: Note = (path) => found.ignored.length < maxPaths && found.ignored.push(path);

  if (spec.values('resourceClaims').length > 0) refuse('spec.resourceClaims');

  spec.objects('volumes').forEach((volume, index) => {
    const path = `spec.volumes[${index}]`;
    if ([...volumeTypes, ...otherVolumeTypes].every((name) => volume.object(name) === undefined)) refuse(path);
    volume
      .object('projected')
      ?.objects('sources')
      .forEach((source, sourceIndex) => {
        if (projections.every((name) => source.object(name) === undefined)) {
          refuse(`${path}.projected.sources[${sourceIndex}]`);
        }
      });
  });
  for (const list of ['containers', 'initContainers', 'ephemeralContainers']) {
    spec.objects(list).forEach((container, index) => {
      // kubectl debug adds one to a pod that runs: what it asks for must not end the pod.
      const note = list === 'ephemeralContainers' ? ignore : refuse;
      containerFields(container, `spec.${list}[${index}]`, note, ignore);
    });
  }
  return found;
}

function containerFields(container: RawObject, path: string, refuse: Note, ignore: Note): void {
  const resources = container.object('resources');
  if ((resources?.values('claims').length ?? 0) > 0) refuse(`${path}.resources.claims`);
  // The gate ContainerStopSignals is off in 1.36: the image's signal is sent.
  if (container.object('lifecycle')?.text('stopSignal')) ignore(`${path}.lifecycle.stopSignal`);
}
