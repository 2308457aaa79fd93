/**
 * Which pods use which volume of which driver, as the records on disk say: read once after the start, then kept up by
 * whoever writes a record. Layer: kubelet/csi (edge: disk). The last user of a volume unstages it.
 */
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { csiDirectory } from '../volumes/claims/csi-source.ts';
import { volumesOnDisk } from '../volumes/claims/volumes-on-disk.ts';
import type { CsiPaths } from './csi-paths.ts';
import { recordOf, type VolumeRecord, type VolumeUser } from './volume-record.ts';

/** One volume on this node. */
export const volumeKey = (driver: string, volumeHandle: string): string => `${driver}\n${volumeHandle}`;

const userKey = ({ podUid, specName }: VolumeUser): string => `${podUid}/${specName}`;

export class VolumeUsers {
  readonly #rootDir: string;
  readonly #paths: CsiPaths;
  readonly #log: Logger;
  readonly #users = new Map<string, Set<string>>();
  /** Users of who knows which volume. */
  readonly #damaged = new Set<string>();
  #loaded: Promise<void> | undefined;

  constructor(rootDir: string, paths: CsiPaths, log: Logger) {
    this.#rootDir = rootDir;
    this.#paths = paths;
    this.#log = log;
  }

  async add(key: string, user: VolumeUser): Promise<void> {
    await this.#load();
    this.#add(key, user);
  }

  async delete(key: string, user: VolumeUser): Promise<void> {
    await this.#load();
    const users = this.#users.get(key);
    users?.delete(userKey(user));
    if (users?.size === 0) this.#users.delete(key);
    this.#damaged.delete(userKey(user));
  }

  /** Of a volume whose record somebody removed by hand. @returns what nobody uses any more */
  async forget(user: VolumeUser): Promise<string[]> {
    await this.#load();
    const used = [...this.#users.keys()];
    for (const key of used) await this.delete(key, user);
    return used.filter((key) => !this.#users.has(key));
  }

  /** Whether anybody but `user` has the volume, or may have it. */
  async hasOthers(key: string, user: VolumeUser): Promise<boolean> {
    await this.#load();
    const own = userKey(user);
    return [...(this.#users.get(key) ?? []), ...this.#damaged].some((other) => other !== own);
  }

  /** Every volume that has a record on disk now. */
  async recorded(): Promise<(VolumeUser & { readonly record: VolumeRecord })[]> {
    const found: (VolumeUser & { readonly record: VolumeRecord })[] = [];
    for (const { podUid, specName } of await volumesOnDisk(this.#rootDir, [csiDirectory])) {
      const user = { podUid, specName };
      try {
        const record = await recordOf(user, this.#paths);
        if (record !== undefined) found.push({ ...user, record });
      } catch (error) {
        // Its pod's own teardown says it again; until then no volume is unstaged that it may have.
        this.#damaged.add(userKey(user));
        this.#log.warn({ pod: podUid, volume: specName, error: errorLine(error) }, 'CSI record left out');
      }
    }
    return found;
  }

  #add(key: string, user: VolumeUser): void {
    const users = this.#users.get(key) ?? new Set();
    this.#users.set(key, users.add(userKey(user)));
  }

  #load(): Promise<void> {
    this.#loaded ??= this.#read().catch((error: unknown) => {
      this.#loaded = undefined;
      throw error;
    });
    return this.#loaded;
  }

  async #read(): Promise<void> {
    for (const { record, ...user } of await this.recorded()) {
      this.#add(volumeKey(record.driverName, record.volumeHandle), user);
    }
  }
}
