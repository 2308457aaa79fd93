/**
 * What a container's start needs of volumes before its configuration can be planned: the env files that its variables come
 * from, and its subPaths at places that the runtime can mount.
 * Layer: kubelet/pods. The work on the disk is volumes/' own; its failures are the container's configuration errors.
 */
import type { Container, Pod } from '../../api/core.ts';
import { ContainerConfigError } from '../plan/container-config-error.ts';
import { subPathMounts } from '../plan/container-mounts.ts';
import { containerEnvironment, type EnvironmentContext } from '../plan/environment.ts';
import type { PodVolumes } from '../plan/pod-volume.ts';
import { VolumeError } from '../volumes/volume-error.ts';
import type { PodVolumes as VolumesEdge } from './pod-context.ts';

/** For EnvironmentContext.envFile. @throws ContainerConfigError */
export async function readEnvFiles(
  container: Container,
  volumes: PodVolumes,
  edge: Pick<VolumesEdge, 'readEnvFile'>,
): Promise<NonNullable<EnvironmentContext['envFile']>> {
  const texts = new Map<string, string | undefined>();
  const key = (volume: string, path: string): string => JSON.stringify([volume, path]);
  for (const { valueFrom } of container.env ?? []) {
    const { volumeName, path } = valueFrom?.fileKeyRef ?? {};
    if (volumeName === undefined || path === undefined || texts.has(key(volumeName, path))) continue;
    const hostPath = pathOf(volumeName, container, volumes);
    const subject = `container ${container.name}`;
    texts.set(key(volumeName, path), await asConfigError(container, () => edge.readEnvFile(hostPath, path, subject)));
  }
  return (volume, path) => texts.get(key(volume, path));
}

/** For MountContext.subPaths; of an image volume the runtime itself takes the part. @throws ContainerConfigError */
export async function prepareSubPaths(
  pod: Pod,
  container: Container,
  volumes: PodVolumes,
  environment: EnvironmentContext,
  edge: Pick<VolumesEdge, 'bindSubPaths'>,
): Promise<ReadonlyMap<number, string>> {
  if (!(container.volumeMounts ?? []).some(({ subPath, subPathExpr }) => subPath || subPathExpr)) return new Map();
  const mounts = subPathMounts(container, containerEnvironment(pod, container, environment));
  const ofImages = mounts.filter(({ volume }) => isImage(volume, container, volumes));
  const requests = mounts
    .filter((mount) => !ofImages.includes(mount))
    .map((mount) => ({ ...mount, volumePath: pathOf(mount.volume, container, volumes) }));
  const bound = await asConfigError(container, () => edge.bindSubPaths(pod.metadata.uid, container.name, requests));
  return new Map([...bound, ...ofImages.map(({ index, subPath }) => [index, subPath] as const)]);
}

/** @throws ContainerConfigError where a part of it is asked for and the runtime would mount the whole */
function isImage(name: string, container: Container, volumes: PodVolumes): boolean {
  const volume = volumes.get(name);
  if (volume?.kind !== 'image') return false;
  if (volume.partsRefused === undefined) return true;
  const message = `a part of the image of volume "${name}" cannot be mounted: ${volume.partsRefused}`;
  throw new ContainerConfigError(message, `container ${container.name}`, 'remove the subPath');
}

function pathOf(name: string, container: Container, volumes: PodVolumes): string {
  const volume = volumes.get(name);
  if (volume?.kind === 'path') return volume.hostPath;
  const message = `cannot find volume "${name}" to mount into container "${container.name}"`;
  throw new ContainerConfigError(message, `container ${container.name}`);
}

async function asConfigError<T>(container: Container, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof VolumeError)) throw error;
    throw new ContainerConfigError(error.message, `container ${container.name}`, error.fix);
  }
}
