/**
 * Deletes a directory tree that containers wrote: through open directories, never through a symlink, never into another
 * mount, whatever its depth. Layer: kubelet/volumes (edge: disk). What is mounted must have been unmounted before.
 */
import { hasErrorCode } from '../../base/errors.ts';
import type { Directory } from './directory.ts';
import { VolumeError } from './volume-error.ts';

/** Directories held open at once; deeper ones are first moved up. A container can nest without end, descriptors end. */
const maxDepth = 32;

/** Removes the entry and all below it; missing is fine. Throws VolumeError VOLUME_STILL_MOUNTED at a mount point. */
export async function removeTree(parent: Directory, name: string): Promise<void> {
  const removal = new Removal(parent, await parent.mountId(), movedUpPrefix(name));
  await removal.remove(parent, name, 0);
}

class Removal {
  readonly #top: Directory;
  readonly #mountId: string;
  readonly #prefix: string;
  #moved = 0;

  constructor(top: Directory, mountId: string, prefix: string) {
    this.#top = top;
    this.#mountId = mountId;
    this.#prefix = prefix;
  }

  async remove(parent: Directory, name: string, depth: number): Promise<void> {
    const stat = await parent.lstat(name);
    if (stat === undefined) return;
    if (!stat.isDirectory()) return parent.unlink(name);
    if (depth > maxDepth) {
      const shallow = await this.#moveUp(parent, name);
      return this.remove(this.#top, shallow, 0);
    }
    {
      await using directory = await parent.child(name);
      if ((await directory.mountId()) !== this.#mountId) throw mountedAt(directory.path);
      for (const entry of await directory.names()) await this.remove(directory, entry, depth + 1);
    }
    try {
      await parent.rmdir(name);
    } catch (cause) {
      // A mount of another namespace does not show here, the kernel knows it all the same.
      if (hasErrorCode(cause, 'EBUSY')) throw mountedAt(`${parent.path}/${name}`, cause);
      throw cause;
    }
  }

  async #moveUp(parent: Directory, name: string): Promise<string> {
    for (;;) {
      const shallow = `${this.#prefix}${this.#moved++}`;
      if ((await this.#top.lstat(shallow)) !== undefined) continue;
      await parent.rename(name, shallow, this.#top);
      return shallow;
    }
  }
}

/**
 * How directories begin that were moved out of the tree `name` to lie beside it while it was being removed. The tree
 * itself goes last, so after a kill its name still tells a successor to look for them.
 */
export function movedUpPrefix(name: string): string {
  return `.keelson-removing.${name}.`;
}

function mountedAt(path: string, cause?: unknown): VolumeError {
  return new VolumeError('VOLUME_STILL_MOUNTED', 'is a mount point', { object: path, fix: `umount ${path}`, cause });
}
