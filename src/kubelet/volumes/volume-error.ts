/**
 * Why a pod's volumes cannot be mounted or removed. Layer: kubelet/volumes (pure).
 * Must not be thrown for what the kernel refused in passing: those errors are the `cause`.
 */
import { KeelsonError } from '../../observe/keelson-error.ts';

/** Every code that a VolumeError can carry; docs/errors.md is compared with this list. */
export const volumeErrorCodes = [
  /** A ConfigMap or Secret that is not optional does not exist. */
  'VOLUME_OBJECT_MISSING',
  /** The object exists but lacks a key that `items` names. */
  'VOLUME_KEY_MISSING',
  /** A key or item path that would leave the volume. */
  'VOLUME_PAYLOAD_PATH',
  /** hostPath.type does not hold. */
  'VOLUME_HOST_PATH',
  /** A pod UID or volume name that is no file name, or something else where a directory of ours should be. */
  'VOLUME_PATH',
  /** Another file system is mounted where the volume should be. */
  'VOLUME_FOREIGN_MOUNT',
  /** Something is still mounted below the pod's directory, so nothing of it was deleted. */
  'VOLUME_STILL_MOUNTED',
  /** The volume has no type that this version mounts. */
  'VOLUME_UNSUPPORTED',
  /** The API server gave no service account token. */
  'VOLUME_TOKEN',
  /** No signer has issued a certificate for the pod, or one refused to. */
  'VOLUME_CERTIFICATE',
  /** A subPath that leaves its volume, or cannot be opened or made. */
  'VOLUME_SUB_PATH',
  /** An env file of a volume that is no file, or too long. */
  'VOLUME_ENV_FILE',
  /** A volume's files cannot be given to the pod's fsGroup. */
  'VOLUME_OWNERSHIP',
  /** The file system refused; the cause tells why. */
  'VOLUME_IO',
  /** A claim is missing, not bound, being deleted, another pod's, or not for how the pod or this node uses it. */
  'VOLUME_CLAIM',
  /** `mount`, `mkfs`, `fsck` or `blkid` failed or is not installed; the message has its words. */
  'VOLUME_MOUNT',
  /** A host command did not end in time: the server or disk behind the volume does not answer. */
  'VOLUME_TIMEOUT',
] as const;

export type VolumeErrorCode = (typeof volumeErrorCodes)[number];

export class VolumeError extends KeelsonError {
  declare readonly code: VolumeErrorCode;

  /** @param object what it is about, e.g. `pod default/web: volume config` */
  constructor(
    code: VolumeErrorCode,
    message: string,
    details: { object: string; fix?: string | undefined; cause?: unknown },
  ) {
    super(code, message, {
      object: details.object,
      ...(details.fix === undefined ? {} : { fix: details.fix }),
      ...(details.cause === undefined ? {} : { cause: details.cause }),
    });
  }
}
