/**
 * What a container has of its pod's volumes, as CRI mounts and devices, and the two host files of its own.
 * Layer: kubelet/plan (pure): volumes are there, subPaths are bound, images are pulled.
 * Source: makeMounts, makeBlockVolumes in pkg/kubelet/kubelet_pods.go.
 */
import type { Container, VolumeMount } from '../../api/core.ts';
import { checkLocalDescendingPath } from '../../config/paths.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { ContainerConfigError } from './container-config-error.ts';
import { expandPath } from './expansion.ts';
import { idMapping, type PodIsolation, usualIsolation } from './isolation.ts';
import type { PodVolumes } from './pod-volume.ts';

export interface MountContext {
  volumes: PodVolumes;
  /** Parts of volumes: index in volumeMounts -> directory or file on the host. */
  subPaths?: ReadonlyMap<number, string> | undefined;
  /** Image volumes: name -> what the runtime mounts. */
  images?: ReadonlyMap<string, cri.ImageSpecInput> | undefined;
  /** Host files that Keelson made for this instance. */
  hostsFilePath: string;
  terminationMessageFile: string;
  /** Default: usualIsolation. */
  isolation?: PodIsolation | undefined;
}

/** A volumeMount that takes a part of its volume. */
export interface SubPathMount {
  /** In volumeMounts. */
  readonly index: number;
  readonly volume: string;
  /** Relative, without `..`. */
  readonly subPath: string;
}

/**
 * The volumeMounts with a subPath, its variables replaced.
 * @param environment the container's. @throws ContainerConfigError for a path that would leave the volume
 */
export function subPathMounts(container: Container, environment: ReadonlyMap<string, string>): SubPathMount[] {
  const object = `container ${container.name}`;
  return (container.volumeMounts ?? []).flatMap((mount, index) => {
    const subPath = mount.subPathExpr ? expandPath(mount.subPathExpr, environment, object) : (mount.subPath ?? '');
    if (subPath === '') return [];
    const reasons = checkLocalDescendingPath(subPath);
    if (reasons.length === 0) return [{ index, volume: mount.name, subPath }];
    throw new ContainerConfigError(`subPath ${JSON.stringify(subPath.slice(0, 100))} ${reasons.join('; ')}`, object);
  });
}

/** In the order of volumeMounts, then the container's own files. @throws ContainerConfigError */
export function containerMounts(container: Container, context: MountContext): cri.MountInput[] {
  const list = (container.volumeMounts ?? []).map((mount, index) => volumeMount(container, mount, index, context));
  const taken = new Set(list.map((mount) => mount.containerPath));
  for (const [containerPath, hostPath] of [
    ['/etc/hosts', context.hostsFilePath],
    [terminationMessagePath(container), context.terminationMessageFile],
  ] as const) {
    if (!taken.has(containerPath)) list.push({ containerPath, hostPath, readonly: false, selinuxRelabel: true });
  }
  const { userNamespace } = context.isolation ?? usualIsolation;
  if (userNamespace === undefined) return list;
  const mapping = [idMapping(userNamespace)];
  return list.map((mount) => ({ ...mount, uidMappings: mapping, gidMappings: mapping }));
}

/** As the container's mounts have it, by which the file is found again. */
export const terminationMessagePath = (container: Container): string =>
  fromRoot(container.terminationMessagePath ?? '/dev/termination-log');

/** Block volumes. @throws ContainerConfigError */
export function containerDevices(container: Container, { volumes }: MountContext): cri.DeviceInput[] {
  const object = `container ${container.name}`;
  return (container.volumeDevices ?? []).map(({ name, devicePath }) => {
    const volume = volumes.get(name);
    if (volume?.kind !== 'device') {
      throw new ContainerConfigError(`cannot find volume "${name}" to pass into container "${container.name}"`, object);
    }
    if (!devicePath.startsWith('/')) {
      throw new ContainerConfigError(`devicePath ${JSON.stringify(devicePath)} must be an absolute path`, object);
    }
    return { hostPath: volume.hostPath, containerPath: devicePath, permissions: volume.readOnly ? 'r' : 'mrw' };
  });
}

/** A relative path counts from the root, as the kubelet takes it. */
const fromRoot = (path: string): string => (path.startsWith('/') ? path : `/${path}`);

function volumeMount(container: Container, mount: VolumeMount, index: number, context: MountContext): cri.MountInput {
  const volume = context.volumes.get(mount.name);
  const missing = (): never => {
    const message = `cannot find volume "${mount.name}" to mount into container "${container.name}"`;
    throw new ContainerConfigError(message, `container ${container.name}`);
  };
  if (volume === undefined || volume.kind === 'device') return missing();
  const all = {
    containerPath: fromRoot(mount.mountPath),
    ...(isRecursiveReadOnly(container, mount, context) ? { recursiveReadOnly: true } : {}),
    propagation: propagation(container, mount),
  };
  if (volume.kind === 'image') {
    const image = context.images?.get(mount.name) ?? missing();
    return { ...all, readonly: true, selinuxRelabel: true, image, imageSubPath: context.subPaths?.get(index) ?? '' };
  }
  const part = mount.subPath || mount.subPathExpr ? (context.subPaths?.get(index) ?? missing()) : undefined;
  return {
    ...all,
    hostPath: part ?? volume.hostPath,
    readonly: volume.readOnly || (mount.readOnly ?? false),
    ...(volume.relabel ? { selinuxRelabel: true } : {}),
  };
}

/** The API server refuses Bidirectional to others than privileged containers, too: their mounts would be the host's. */
function propagation(container: Container, { name, mountPropagation }: VolumeMount): cri.MountPropagation {
  if (mountPropagation === 'Bidirectional') {
    if (container.securityContext?.privileged) return 'PROPAGATION_BIDIRECTIONAL';
    const message = `volume ${name}: Bidirectional mount propagation is available only to privileged containers`;
    throw new ContainerConfigError(message, `container ${container.name}`);
  }
  return mountPropagation === 'HostToContainer' ? 'PROPAGATION_HOST_TO_CONTAINER' : 'PROPAGATION_PRIVATE';
}

/** Source: resolveRecursiveReadOnly in pkg/kubelet/kubelet_pods.go. */
function isRecursiveReadOnly(container: Container, mount: VolumeMount, context: MountContext): boolean {
  const { recursiveReadOnly = 'Disabled', mountPropagation = 'None' } = mount;
  if (recursiveReadOnly === 'Disabled') return false;
  const refuse = (why: string): never => {
    const asked = `volume ${mount.name} requested recursive read-only mode, but it is ${why}`;
    throw new ContainerConfigError(asked, `container ${container.name}`);
  };
  if (!mount.readOnly) refuse('not read-only');
  if (mountPropagation !== 'None') refuse(`not compatible with propagation ${mountPropagation}`);
  const possible = (context.isolation ?? usualIsolation).recursiveReadOnlyMounts;
  if (recursiveReadOnly === 'Enabled' && !possible) refuse('not supported by the runtime');
  return possible;
}
