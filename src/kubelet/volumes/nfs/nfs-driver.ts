/**
 * NFS volumes: one mount for each pod, by mount(8) and its helper of nfs-common as the kubelet does it.
 * Layer: kubelet/volumes/nfs (edge: mounts, processes). A server that does not answer costs its own pod time, nothing
 * else: whatever may ask the server runs in a child with a time limit. Source: pkg/volume/nfs/nfs.go.
 */
import type { Mounts } from '../../../linux/host.ts';
import { ensureMountPoint, ensureParents, realRoot, removeMountPoint } from '../driver-directory.ts';
import { driverDirectory, driverVolumePath } from '../driver-paths.ts';
import { mountFailed } from '../mount-failed.ts';
import { joinMountOptions } from '../mount-options.ts';
import { type UnmountDependencies, unmountNetwork } from '../unmount.ts';
import type { DriverVolume, MountedVolume, VolumeDriver } from '../volume-driver.ts';
import { VolumeError } from '../volume-error.ts';
import { type NfsSource, nfsDevice } from './nfs-source.ts';

export interface NfsDriverOptions extends UnmountDependencies {
  readonly mounts: Mounts;
  readonly rootDir: string;
}

/** mount.nfs itself tries for two minutes. */
const mountTimeoutMs = 123_000;

export function createNfsDriver(options: NfsDriverOptions): VolumeDriver<NfsSource> {
  const { mounts, rootDir, run } = options;

  const unmountAll = async (target: string, signal: AbortSignal): Promise<void> => {
    const isMounted = (await mounts.list()).some((mount) => mount.target === target);
    if (isMounted) await unmountNetwork(target, options, signal);
  };

  return {
    directory: driverDirectory.nfs,

    async setUp(volume: DriverVolume<NfsSource>, signal): Promise<MountedVolume> {
      const { subject, specName, source, mode } = volume;
      if (mode === 'Block') {
        throw new VolumeError('VOLUME_CLAIM', 'an NFS volume has no device: volumeMode Block is not for it', {
          object: subject,
        });
      }
      const device = nfsDevice(source, subject);
      const mountOptions = joinMountOptions(volume.mountOptions, volume.readOnly, subject);
      const elements = driverVolumePath(volume.pod.metadata.uid, 'volumes', driverDirectory.nfs, specName);
      const root = await realRoot(rootDir);
      const target = await ensureParents(root, elements);
      // The table first: to look at the directory itself would ask the server that is mounted there.
      const top = (await mounts.list()).findLast((mount) => mount.target === target);
      if (top !== undefined && !top.fsType.startsWith('nfs')) {
        const message = `${target} has a ${top.fsType} mounted that Keelson did not mount`;
        throw new VolumeError('VOLUME_FOREIGN_MOUNT', message, { object: subject, fix: `umount ${target}` });
      }
      const mounted = { hostPath: target, ownership: 'leave' } as const;
      if (top !== undefined) return mounted;
      await ensureMountPoint(root, elements);
      const args = ['-t', 'nfs', ...(mountOptions === '' ? [] : ['-o', mountOptions]), '--', device, target];
      try {
        const answer = await run('mount', args, { timeoutMs: mountTimeoutMs, signal });
        if (answer.outcome === 'ended' && answer.status === 0) return mounted;
        throw mountFailed(volume, `mount ${args.join(' ')}`, answer, {
          // mount(8) then hands the text to the kernel as it is, which asks for an address.
          fix: 'check that nfs-common is installed on the node and that the server exports the path to it',
        });
      } catch (error) {
        // It may have been mounted in its last moment. The pod may be about to end: this is done all the same.
        await unmountAll(target, new AbortController().signal);
        await removeMountPoint(root, elements);
        throw error;
      }
    },

    async tearDown(podUid, specName, signal): Promise<void> {
      const elements = driverVolumePath(podUid, 'volumes', driverDirectory.nfs, specName);
      const root = await realRoot(rootDir);
      await unmountAll([root, ...elements].join('/'), signal);
      await removeMountPoint(root, elements);
    },
  };
}
