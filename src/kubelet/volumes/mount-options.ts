/**
 * mountOptions of a PersistentVolume as one argument of mount(8).
 * Layer: kubelet/volumes (pure). Which options there are is the file system's affair.
 * Source: pkg/volume/util (JoinMountOptions).
 */
import { VolumeError } from './volume-error.ts';

/**
 * The argument of `-o`: options of the PersistentVolume, once each, and `ro` where the volume is read-only.
 * @throws VolumeError VOLUME_MOUNT for a text that would be more than one option
 */
export function joinMountOptions(options: readonly string[], readOnly: boolean, subject: string): string {
  const joined = new Set<string>();
  for (const option of options) {
    if (!/^[\x21-\x7e]+$/.test(option)) {
      throw new VolumeError('VOLUME_MOUNT', `the mount option ${JSON.stringify(option.slice(0, 60))} cannot be used`, {
        object: subject,
        fix: 'correct mountOptions of the PersistentVolume',
      });
    }
    joined.add(option);
  }
  if (readOnly) {
    joined.delete('rw');
    joined.add('ro');
  }
  return [...joined].join(',');
}
