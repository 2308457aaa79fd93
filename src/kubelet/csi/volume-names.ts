/**
 * Names that are digests of others, as every part of a cluster computes them.
 * Layer: kubelet/csi (pure). Source: pkg/volume/csi/{csi_mounter,csi_attacher}.go.
 */
import { createHash } from 'node:crypto';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The handle of an inline volume (makeVolumeHandle). */
export const inlineVolumeHandle = (podUid: string, volumeName: string): string => `csi-${sha256(podUid + volumeName)}`;

/** The name of a VolumeAttachment (getAttachmentName). */
export const attachmentName = (volumeHandle: string, driver: string, nodeName: string): string =>
  `csi-${sha256(volumeHandle + driver + nodeName)}`;

/** The directory of a staged volume below its driver's (makeDeviceMountPath). */
export const stagingDirectoryName = (volumeHandle: string): string => sha256(volumeHandle);
