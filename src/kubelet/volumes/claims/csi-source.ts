/**
 * What the CSI driver's setUp is handed as DriverVolume.source: a bound PersistentVolume, or a pod's own inline volume.
 * Layer: kubelet/volumes (pure types). resolve-volume.ts fills it in, kubelet/csi reads it.
 */
import type { CsiVolumeSource } from '../../../api/core.ts';
import type { CsiPersistentVolumeSource } from '../../../api/persistent-volume.ts';
import { driverDirectory } from '../driver-paths.ts';

export const csiDirectory = driverDirectory.csi;

export type CsiSource =
  | {
      readonly type: 'persistent';
      readonly csi: CsiPersistentVolumeSource;
      /** The claim that the PersistentVolume is bound to. */
      readonly claim: { readonly namespace: string; readonly name: string; readonly uid: string };
      /** Quantities: what the volume has been grown to, and what the claim's status says that it is. */
      readonly capacity: { readonly volume: string | undefined; readonly claimStatus: string | undefined };
    }
  | { readonly type: 'inline'; readonly csi: CsiVolumeSource };
