/**
 * How the containers of a pod use one of its volumes.
 * Layer: kubelet/volumes/claims (pure). Source: pkg/volume/util (GetPodVolumeNames).
 */
import type { Pod } from '../../../api/core.ts';
import { containersOf } from '../../plan/container-kind.ts';

export interface VolumeUse {
  /** A container has its files. */
  readonly mounted: boolean;
  /** A container has it as a device. */
  readonly asDevice: boolean;
}

export function volumeUse(pod: Pod, volumeName: string): VolumeUse {
  const containers = containersOf(pod).map(({ container }) => container);
  const named = ({ name }: { name: string }): boolean => name === volumeName;
  return {
    mounted: containers.some(({ volumeMounts }) => volumeMounts?.some(named)),
    asDevice: containers.some(({ volumeDevices }) => volumeDevices?.some(named)),
  };
}
