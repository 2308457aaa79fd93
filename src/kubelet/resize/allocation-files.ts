/**
 * The record of what a resized pod was given: `<rootDir>/pods/<uid>/allocated-resources`. It is written when a resize is
 * accepted, before anything is done about it, and goes with the pod's directory. A pod that was never resized has none:
 * what it was admitted with stands on its sandbox.
 * Layer: kubelet/resize (edge: files). The kubelet's own allocated_pods_state is left alone: it is another form.
 */
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '../../base/atomic-file.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { isRecord } from '../../config/schema-compound.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { isPodUid } from '../volumes/volume-paths.ts';
import { type Allocation, formatAllocation, readAllocation } from './allocation.ts';

const recordName = 'allocated-resources';
/** A pod's whole spec is smaller: etcd takes 1.5 MiB at most. */
const maxRecordBytes = 1024 * 1024;

export interface AllocationRecord {
  allocation: Allocation;
  /** Of the pod whose wish it was; undefined from API servers that count none. */
  generation: number | undefined;
}

export class AllocationFiles {
  readonly #rootDir: string;
  readonly #log: Logger;

  constructor(rootDir: string, log: Logger) {
    this.#rootDir = rootDir;
    this.#log = log;
  }

  /** By uid. A record that cannot be read is told and left out: the pod then has what its sandbox says. */
  async load(): Promise<Map<string, AllocationRecord>> {
    const records = new Map<string, AllocationRecord>();
    for (const uid of await this.#pods()) {
      const file = this.#path(uid);
      try {
        const { data } = await readFileBounded(file, maxRecordBytes, { noFollow: true });
        const record = parseRecord(data.toString());
        if (record) records.set(uid, record);
        else this.#log.warn({ uid, file }, 'is no record of allocated resources');
      } catch (error) {
        if (hasErrorCode(error, 'ENOENT') || hasErrorCode(error, 'ENOTDIR')) continue;
        this.#log.warn({ uid, file, error: errorLine(error) }, 'cannot read what a pod was given');
      }
    }
    return records;
  }

  /** On disk once it resolves. Throws errors of files; then the record is as before. */
  async save(uid: string, { allocation, generation }: AllocationRecord): Promise<void> {
    const path = this.#path(uid);
    await mkdir(join(path, '..'), { recursive: true, mode: 0o750 });
    const text = `{"generation":${generation ?? null},"allocation":${formatAllocation(allocation)}}`;
    await writeFileAtomic(path, text, { mode: 0o600 });
  }

  /** For a pod that went while its record was written: the directory goes too when nothing else is in it. */
  async remove(uid: string): Promise<void> {
    const path = this.#path(uid);
    await rm(path, { force: true });
    await rmdir(join(path, '..')).catch((error: unknown) => {
      if (!hasErrorCode(error, 'ENOTEMPTY') && !hasErrorCode(error, 'ENOENT')) throw error;
    });
  }

  async #pods(): Promise<string[]> {
    try {
      return (await readdir(join(this.#rootDir, 'pods'))).filter(isPodUid);
    } catch (error) {
      if (hasErrorCode(error, 'ENOENT')) return [];
      throw error;
    }
  }

  /** The uid was checked when the pod was read; once more, since it becomes a path. */
  #path(uid: string): string {
    if (!isPodUid(uid)) throw new Error(`the UID ${JSON.stringify(uid)} is no file name`);
    return join(this.#rootDir, 'pods', uid, recordName);
  }
}

function parseRecord(text: string): AllocationRecord | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (!isRecord(value)) return undefined;
    const { generation } = value;
    const allocation = readAllocation(value.allocation);
    if (allocation === undefined || !(generation === null || Number.isSafeInteger(generation))) return undefined;
    return { allocation, generation: typeof generation === 'number' ? generation : undefined };
  } catch {
    return undefined;
  }
}
