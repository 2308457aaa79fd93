/**
 * Which ids of the host each pod with a user namespace of its own has: one range a pod, none shared, none with the host's
 * own users. The file `<rootDir>/pods/<uid>/userns` is the record, in the kubelet's form: it goes with the pod's
 * directory, and its ids are free again.
 * Layer: kubelet/isolation (edge: files). Source: pkg/kubelet/userns/userns_manager.go.
 */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '../../base/atomic-file.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { createSemaphore } from '../../base/semaphore.ts';
import { isRecord } from '../../config/schema-compound.ts';
import type { IdRange } from '../plan/isolation.ts';
import { isPodUid } from '../volumes/volume-paths.ts';
import { IsolationError } from './isolation-error.ts';

const recordName = 'userns';
const maxRecordBytes = 4096;
/** Ids end there. */
const maxId = 2 ** 32 - 2;

export interface UserNamespacesOptions {
  rootDir: string;
  /** KubeletConfiguration userNamespaces.idsPerPod, a multiple of 65536. */
  idsPerPod: number;
  /** So many ranges there are. */
  maxPods: number;
}

export class UserNamespaces {
  readonly #options: UserNamespacesOptions;
  /** Two pods must not find the same range free. */
  readonly #turn = createSemaphore(1);

  constructor(options: UserNamespacesOptions) {
    this.#options = options;
  }

  /**
   * The pod's range: the one that it has, else the lowest free one, which is recorded before it is returned.
   * @throws IsolationError USER_NAMESPACE when a record cannot be understood or no range is free; errors of files
   */
  range(uid: string): Promise<IdRange> {
    if (!isPodUid(uid)) throw fault(`pod ${JSON.stringify(uid)}`, 'the UID is no file name');
    return this.#turn.run(async () => (await this.#read(uid)) ?? this.#allocate(uid));
  }

  async #allocate(uid: string): Promise<IdRange> {
    const { idsPerPod: length, maxPods } = this.#options;
    const taken = new Set<number>();
    for (const other of await this.#pods()) {
      const range = await this.#read(other);
      if (range === undefined) continue;
      // Of another length, if the configuration changed: it may lie across several of ours.
      const end = range.hostId + range.length;
      for (let index = Math.floor(range.hostId / length); index * length < end; index++) taken.add(index);
    }
    // The first range is the host's own users'.
    for (let index = 1; index <= maxPods && (index + 1) * length <= maxId; index++) {
      if (taken.has(index)) continue;
      const range = { hostId: index * length, length };
      await this.#write(uid, range);
      return range;
    }
    throw fault(`pod ${uid}`, 'could not find an empty slot to allocate a user namespace');
  }

  async #pods(): Promise<string[]> {
    try {
      return (await readdir(join(this.#options.rootDir, 'pods'))).filter(isPodUid);
    } catch (error) {
      if (hasErrorCode(error, 'ENOENT')) return [];
      throw error;
    }
  }

  /** Undefined when the pod has none. */
  async #read(uid: string): Promise<IdRange | undefined> {
    const path = this.#path(uid);
    try {
      const { data } = await readFileBounded(path, maxRecordBytes, { noFollow: true });
      return parseRecord(data.toString(), path);
    } catch (error) {
      if (hasErrorCode(error, 'ENOENT') || hasErrorCode(error, 'ENOTDIR')) return undefined;
      throw error;
    }
  }

  async #write(uid: string, { hostId, length }: IdRange): Promise<void> {
    const mapping = [{ hostId, containerId: 0, length }];
    await mkdir(join(this.#options.rootDir, 'pods', uid), { recursive: true, mode: 0o750 });
    const text = JSON.stringify({ uidMappings: mapping, gidMappings: mapping });
    await writeFileAtomic(this.#path(uid), text, { mode: 0o600 });
  }

  #path(uid: string): string {
    return join(this.#options.rootDir, 'pods', uid, recordName);
  }
}

/** One mapping, the same for users and groups, that begins at 0 in the pod. @throws IsolationError */
export function parseRecord(text: string, path: string): IdRange {
  const wrong = (cause?: unknown): IsolationError =>
    fault(`file ${path}`, 'is no record of user namespace ids', 'end the pod and remove the file', cause);
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (error) {
    throw wrong(error);
  }
  if (!isRecord(record)) throw wrong();
  const [users, groups] = [record.uidMappings, record.gidMappings].map(onlyMapping);
  if (!users || !groups || users.hostId !== groups.hostId || users.length !== groups.length) throw wrong();
  return users;
}

function onlyMapping(list: unknown): IdRange | undefined {
  if (!Array.isArray(list) || list.length !== 1 || !isRecord(list[0])) return undefined;
  const { hostId, containerId, length } = list[0];
  const whole = (value: unknown): value is number => typeof value === 'number' && Number.isSafeInteger(value);
  if (!whole(hostId) || !whole(length) || containerId !== 0) return undefined;
  return hostId >= 65_536 && length >= 65_536 && hostId + length <= maxId ? { hostId, length } : undefined;
}

const fault = (object: string, message: string, fix?: string, cause?: unknown): IsolationError =>
  new IsolationError('USER_NAMESPACE', message, {
    object,
    ...(fix === undefined ? {} : { fix }),
    ...(cause === undefined ? {} : { cause }),
  });
