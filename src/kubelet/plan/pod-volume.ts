/**
 * What a container may be given of a volume once the volume is there, and which volumes of a pod anything uses.
 * Layer: kubelet/plan (pure). volumes/ makes the volumes, container-mounts.ts turns them into mounts.
 */
import type { Pod, PullPolicy } from '../../api/core.ts';
import { containersOf } from './container-kind.ts';

export type PodVolume =
  | {
      readonly kind: 'path';
      /** Directory or file on the host. */
      readonly hostPath: string;
      /** Whatever a mount says: content that the kubelet writes, or a claim that is read-only. */
      readonly readOnly: boolean;
      /** Whether the runtime may give it the container's SELinux label; never what others use, too. */
      readonly relabel: boolean;
      /** Why its files are those of an earlier look; undefined when they are up to date. */
      readonly stale?: Error | undefined;
      /** A group that every container of the pod is in for its sake. */
      readonly gid?: number | undefined;
    }
  | {
      readonly kind: 'device';
      readonly hostPath: string;
      readonly readOnly: boolean;
      readonly gid?: number | undefined;
    }
  /** The runtime mounts it; to be pulled before. */
  | {
      readonly kind: 'image';
      readonly reference: string;
      readonly pullPolicy: PullPolicy | undefined;
      /** Why the runtime would mount the whole image instead of a part; undefined where it mounts parts. */
      readonly partsRefused?: string | undefined;
    };

/** By `spec.volumes[].name`. */
export type PodVolumes = ReadonlyMap<string, PodVolume>;

/** Groups that volumes want, besides those of the pod's securityContext (GetExtraSupplementalGroupsForPod). */
export function volumeGroups(pod: Pod, volumes: PodVolumes): number[] {
  const known = new Set(pod.spec.securityContext?.supplementalGroups);
  const wanted = [...volumes.values()].flatMap((volume) => (volume.kind === 'image' ? [] : (volume.gid ?? [])));
  return [...new Set(wanted)].filter((gid) => !known.has(gid));
}

export interface VolumeUses {
  /** Volumes that any container mounts, has as a device, or reads a variable from. */
  readonly used: ReadonlySet<string>;
  /** Volumes whose later mounts some container sees (HostToContainer) or makes (Bidirectional). */
  readonly propagated: ReadonlySet<string>;
}

/** The kubelet mounts no volume that no container uses. Source: GetPodVolumeNames in pkg/volume/util. */
export function volumeUses(pod: Pod): VolumeUses {
  const used = new Set<string>();
  const propagated = new Set<string>();
  for (const { container } of containersOf(pod)) {
    for (const { name, mountPropagation = 'None' } of container.volumeMounts ?? []) {
      used.add(name);
      if (mountPropagation !== 'None') propagated.add(name);
    }
    for (const { name } of container.volumeDevices ?? []) used.add(name);
    for (const { valueFrom } of container.env ?? []) {
      if (valueFrom?.fileKeyRef !== undefined) used.add(valueFrom.fileKeyRef.volumeName);
    }
  }
  return { used, propagated };
}
