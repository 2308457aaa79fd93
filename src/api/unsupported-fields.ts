/**
 * What a Pod asks for that this version does not do. Nothing of it is passed over in silence: `unsupported` is refused,
 * `ignored` is run without and told in an event.
 * Layer: api (pure). Source: PodSpec in staging/src/k8s.io/api/core/v1/types.go. Fields that only the scheduler or
 * controllers read are not looked at.
 */
import { RawObject } from './raw-object.ts';

export interface AskedFor {
  /** Field paths, e.g. `spec.initContainers`; the pod must not run without them. */
  readonly unsupported: readonly string[];
  /** Paths of probes, which are treated as absent. */
  readonly probes: readonly string[];
  /** Paths of other fields without which the pod runs as well. */
  readonly ignored: readonly string[];
}

const volumeTypes = ['emptyDir', 'hostPath', 'configMap', 'secret', 'projected', 'downwardAPI'];
const otherVolumeTypes = [
  'persistentVolumeClaim',
  'ephemeral',
  'csi',
  'image',
  'nfs',
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
const projections = ['configMap', 'secret', 'downwardAPI', 'serviceAccountToken'];
const probes = ['livenessProbe', 'readinessProbe', 'startupProbe'];
/** A message is to be read; a pod with thousands of volumes names these. */
const maxPaths = 20;

/** The paths that the pod must not run without. @throws ObjectShapeError */
export function unsupportedFields(value: unknown): readonly string[] {
  return askedFor(value).unsupported;
}

/** @param value a Pod as decoded. @throws ObjectShapeError */
export function askedFor(value: unknown): AskedFor {
  const spec = new RawObject(value).object('spec') ?? new RawObject({}, 'spec');
  const found = { unsupported: [] as string[], probes: [] as string[], ignored: [] as string[] };
  const refuse = (path: string): unknown => found.unsupported.length < maxPaths && found.unsupported.push(path);

  if (spec.values('initContainers').length > 0) refuse('spec.initContainers');
  if (spec.values('resourceClaims').length > 0) refuse('spec.resourceClaims');
  if (spec.object('resources') !== undefined) refuse('spec.resources');
  if (spec.object('overhead') !== undefined) refuse('spec.overhead');
  if (spec.text('runtimeClassName')) refuse('spec.runtimeClassName');
  if (spec.text('hostnameOverride')) refuse('spec.hostnameOverride');
  if (spec.boolean('hostUsers') === false) refuse('spec.hostUsers');
  if (spec.boolean('setHostnameAsFQDN') === true) refuse('spec.setHostnameAsFQDN');
  // kubectl debug adds one to a pod that runs: that must not end it.
  if (spec.values('ephemeralContainers').length > 0) found.ignored.push('spec.ephemeralContainers');
  const pod = spec.object('securityContext');
  if (pod?.text('supplementalGroupsPolicy') === 'Strict') refuse('spec.securityContext.supplementalGroupsPolicy');
  if (pod !== undefined) securityModules(pod, 'spec.securityContext', refuse, found.ignored);

  spec.objects('volumes').forEach((volume, index) => {
    const path = `spec.volumes[${index}]`;
    const type = [...volumeTypes, ...otherVolumeTypes].find((name) => volume.object(name) !== undefined);
    if (type === undefined) refuse(path);
    else if (!volumeTypes.includes(type)) refuse(`${path}.${type}`);
    const medium = volume.object('emptyDir')?.text('medium') ?? '';
    if (medium !== '' && medium !== 'Memory') refuse(`${path}.emptyDir.medium`);
    volume
      .object('projected')
      ?.objects('sources')
      .forEach((source, sourceIndex) => {
        if (projections.every((name) => source.object(name) === undefined)) {
          refuse(`${path}.projected.sources[${sourceIndex}]`);
        }
      });
  });
  spec.objects('containers').forEach((container, index) => {
    const path = `spec.containers[${index}]`;
    for (const field of ['lifecycle', ...probes]) {
      if (container.object(field) === undefined) continue;
      if (field === 'lifecycle') refuse(`${path}.${field}`);
      else found.probes.push(`${path}.${field}`);
    }
    containerFields(container, path, refuse, found.ignored);
  });
  found.ignored.splice(maxPaths);
  found.probes.splice(maxPaths);
  return found;
}

function containerFields(
  container: RawObject,
  path: string,
  refuse: (path: string) => unknown,
  ignored: string[],
): void {
  if (container.text('restartPolicy')) refuse(`${path}.restartPolicy`);
  for (const list of ['restartPolicyRules', 'volumeDevices']) {
    if (container.values(list).length > 0) refuse(`${path}.${list}`);
  }
  const resources = container.object('resources');
  if ((resources?.values('claims').length ?? 0) > 0) refuse(`${path}.resources.claims`);
  const limits = Object.keys(resources?.textMap('limits') ?? {});
  if (limits.some((name) => name.startsWith('hugepages-'))) refuse(`${path}.resources.limits`);
  container.objects('env').forEach((variable, index) => {
    if (variable.object('valueFrom')?.object('fileKeyRef')) refuse(`${path}.env[${index}].valueFrom.fileKeyRef`);
  });
  container.objects('volumeMounts').forEach((mount, index) => {
    for (const field of ['subPath', 'subPathExpr']) {
      if (mount.text(field)) refuse(`${path}.volumeMounts[${index}].${field}`);
    }
    if (mount.text('recursiveReadOnly') === 'Enabled') refuse(`${path}.volumeMounts[${index}].recursiveReadOnly`);
  });
  const own = container.object('securityContext');
  if (own?.text('procMount') === 'Unmasked') refuse(`${path}.securityContext.procMount`);
  if (own !== undefined) securityModules(own, `${path}.securityContext`, refuse, ignored);
}

/** A profile that is asked for protects the node; labels of SELinux do nothing on a node that has none. */
function securityModules(context: RawObject, path: string, refuse: (path: string) => unknown, ignored: string[]): void {
  const appArmor = context.object('appArmorProfile')?.text('type') ?? 'Unconfined';
  if (appArmor !== 'Unconfined') refuse(`${path}.appArmorProfile`);
  if (context.object('seLinuxOptions') !== undefined) ignored.push(`${path}.seLinuxOptions`);
}
