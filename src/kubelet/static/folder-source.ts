/**
 * The objects of a folder of manifest files, followed by inotify with a slow rescan as the safety net.
 * Layer: kubelet/static (edge: disk). What the files mean is decided in manifest.ts and folder-state.ts. Hidden files and
 * subfolders are not read; symlinks are followed, as mounts of config maps are made of them.
 * Must not end a pod on a glance: a file that had objects must have been different, or gone, for a moment.
 */
import { createHash } from 'node:crypto';
import type { FSWatcher } from 'node:fs';
import { watch } from 'node:fs';
import { lstat, readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { FileError, readFileBounded } from '../../base/atomic-file.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import type { Logger } from '../../observe/logger.ts';
import type { FileRecord } from './folder-state.ts';
import { assembleSnapshot, breakRecord, newFileRecord, updateRecord } from './folder-state.ts';
import { maxManifestBytes, parseManifest } from './manifest.ts';
import type { ManifestErrorCode } from './manifest-error.ts';
import { ManifestError } from './manifest-error.ts';
import type { ManifestSnapshot, ManifestSource } from './manifest-snapshot.ts';

export interface FolderSourceOptions {
  folder: string;
  nodeName: string;
  /** KubeletConfiguration fileCheckFrequency, default 20 s. */
  rescanMs?: number;
  /** Wait after the first event of a burst, default 10 ms. */
  debounceMs?: number;
  /**
   * How long a file whose objects are in force must stay changed or gone before that counts, default 100 ms: editors
   * truncate and write, or rename and create.
   */
  settleMs?: number;
  /**
   * A folder that was never there counts as an empty one, and is looked for with each rescan: kubeadm configures one on a
   * worker and does not make it. Source: pkg/kubelet/config/file_linux.go (listConfig).
   */
  mayBeMissing?: boolean;
  clock: Clock;
  log: Logger;
}

/** A folder that is gone is looked for this often. */
const missingFolderRescanMs = 1000;

/**
 * Within this of the last change, a file may change again without its times showing it: before Linux 6.13 they move by
 * kernel ticks of up to 10 ms.
 */
const timestampGrainMs = 50;

const gone = 'gone';

interface KnownFile {
  record: FileRecord;
  /** ino, size and times of what the record was read from. */
  fingerprint: string;
  digest: string;
  /** The times cannot tell whether it changed right after the read: read again once. */
  racy: boolean;
  /** A change that is waiting to have lasted long enough. */
  pending: { seen: string; sinceMs: number } | undefined;
}

/** @param options.folder relative paths are resolved once, here: the absolute path is part of each pod's UID */
export function createFolderSource(options: FolderSourceOptions): ManifestSource {
  return {
    async start(listener, signal) {
      const follower = new FolderFollower({ ...options, folder: resolve(options.folder) }, listener, signal);
      await follower.start();
    },
  };
}

class FolderFollower {
  readonly #options: FolderSourceOptions;
  readonly #listener: (snapshot: ManifestSnapshot) => void;
  readonly #signal: AbortSignal;
  readonly #files = new Map<string, KnownFile>();
  #folderError: ManifestError | undefined;
  #watcher: FSWatcher | undefined;
  #watched = '';
  #nextScan: { dueMs: number; cancel: CancelTimer } | undefined;
  #scanning = false;
  #scanAgain = false;
  #changed = true;
  /** The folder was read once. */
  #seen = false;

  constructor(options: FolderSourceOptions, listener: (snapshot: ManifestSnapshot) => void, signal: AbortSignal) {
    this.#options = options;
    this.#listener = listener;
    this.#signal = signal;
  }

  /** The first scan. Throws ManifestError MANIFEST_FOLDER when the folder cannot be read. */
  async start(): Promise<void> {
    this.#signal.throwIfAborted();
    this.#signal.addEventListener('abort', () => this.#stop(), { once: true });
    // Events of the watch that come while this scan runs are kept for the next.
    this.#scanning = true;
    await this.#scan();
    this.#scanning = false;
    if (this.#folderError !== undefined) {
      this.#stop();
      throw this.#folderError;
    }
    this.#emit();
    this.#scheduleScan(this.#scanAgain ? 0 : this.#rescanMs());
  }

  #stop(): void {
    this.#nextScan?.cancel();
    this.#nextScan = undefined;
    this.#closeWatcher();
  }

  #rescanMs(): number {
    const { rescanMs = 20_000 } = this.#options;
    return this.#folderError === undefined ? rescanMs : Math.min(rescanMs, missingFolderRescanMs);
  }

  /** Makes sure that a scan begins within `delayMs`. */
  #scheduleScan(delayMs: number): void {
    if (this.#signal.aborted) return;
    const dueMs = this.#options.clock.now() + delayMs;
    if (this.#nextScan !== undefined && this.#nextScan.dueMs <= dueMs) return;
    this.#nextScan?.cancel();
    const cancel = this.#options.clock.after(delayMs, () => {
      this.#nextScan = undefined;
      void this.#rescan();
    });
    this.#nextScan = { dueMs, cancel };
  }

  async #rescan(): Promise<void> {
    if (this.#scanning) {
      this.#scanAgain = true;
      return;
    }
    this.#scanning = true;
    try {
      do {
        this.#scanAgain = false;
        await this.#scan();
        if (this.#signal.aborted) return;
        this.#emit();
      } while (this.#scanAgain);
    } finally {
      this.#scanning = false;
    }
    this.#scheduleScan(this.#rescanMs());
  }

  #emit(): void {
    if (!this.#changed) return;
    this.#changed = false;
    const snapshot = assembleSnapshot([...this.#files.values()].map(({ record }) => record));
    if (this.#folderError !== undefined) {
      snapshot.errors.push({ file: this.#options.folder, error: this.#folderError });
    }
    this.#listener(snapshot);
  }

  /** Never rejects: whatever cannot be read becomes an error of the snapshot. */
  async #scan(): Promise<void> {
    const { folder } = this.#options;
    let names: string[];
    try {
      await this.#followFolder();
      names = (await readdir(folder)).filter((name) => !name.startsWith('.')).sort();
    } catch (cause) {
      this.#closeWatcher();
      if (this.#options.mayBeMissing === true && !this.#seen && hasErrorCode(cause, 'ENOENT')) return;
      const error = manifestError('MANIFEST_FOLDER', folder, cause, 'create the folder and let root read it');
      // Its files may be on their way back: what was in force stays.
      if (error.message !== this.#folderError?.message) this.#changed = true;
      this.#folderError = error;
      return;
    }
    if (this.#folderError !== undefined) this.#changed = true;
    this.#folderError = undefined;
    this.#seen = true;
    const paths = new Set(names.map((name) => join(folder, name)));
    for (const path of paths) {
      if (this.#signal.aborted) return;
      await this.#look(path);
    }
    for (const [path, known] of this.#files) {
      if (!paths.has(path)) this.#lose(path, known);
    }
  }

  async #look(path: string): Promise<void> {
    const known = this.#files.get(path);
    let seen: string;
    try {
      const target = await stat(path, { bigint: true });
      if (target.isDirectory()) {
        if (known !== undefined) this.#lose(path, known);
        return;
      }
      seen = fingerprintOf(target);
    } catch (error) {
      if (hasErrorCode(error, 'ENOENT') && (await isGone(path))) {
        if (known !== undefined) this.#lose(path, known);
        return;
      }
      seen = `unreadable ${error instanceof Error ? error.message : String(error)}`;
    }
    if (known !== undefined && known.fingerprint === seen && !known.racy) {
      known.pending = undefined;
      return;
    }
    if (known !== undefined && known.fingerprint !== seen && !this.#hasSettled(known, seen)) return;
    await this.#read(path, known);
  }

  /** True once a file with objects in force has looked the same for `settleMs`; others need not wait. */
  #hasSettled(known: KnownFile, seen: string): boolean {
    if (known.record.objects.length === 0) return true;
    const { settleMs = 100, clock } = this.#options;
    const now = clock.now();
    // A wall clock set back must not make anyone wait for it.
    if (known.pending?.seen !== seen || known.pending.sinceMs > now) known.pending = { seen, sinceMs: now };
    const restMs = known.pending.sinceMs + settleMs - now;
    if (restMs > 0) this.#scheduleScan(restMs);
    return restMs <= 0;
  }

  #lose(path: string, known: KnownFile): void {
    if (!this.#hasSettled(known, gone)) return;
    this.#files.delete(path);
    this.#changed = true;
    // Now there may be room for another.
    if ([...this.#files.values()].some(({ record }) => isOverLimit(record))) this.#scheduleScan(0);
  }

  async #read(path: string, known: KnownFile | undefined): Promise<void> {
    const { nodeName, clock } = this.#options;
    const before = known?.record ?? newFileRecord(path);
    let next: KnownFile;
    try {
      const { data, stat: read } = await readFileBounded(path, maxManifestBytes);
      const digest = createHash('sha256').update(data).digest('hex');
      const racy = clock.now() - Number(read.ctimeMs) < timestampGrainMs;
      next = { record: before, fingerprint: fingerprintOf(read), digest, racy, pending: undefined };
      if (known === undefined || known.digest !== digest || isOverLimit(before)) {
        const otherObjects = this.#countObjects(path);
        next.record = updateRecord(before, parseManifest(data, path), { nodeName, seenAt: clock.now(), otherObjects });
      }
    } catch (cause) {
      if (hasErrorCode(cause, 'ENOENT') && (await isGone(path))) return this.#scheduleScan(0);
      const tooLarge = cause instanceof FileError && cause.code === 'FILE_TOO_LARGE';
      const code = tooLarge ? 'MANIFEST_TOO_LARGE' : 'MANIFEST_UNREADABLE';
      const record = breakRecord(before, manifestError(code, path, cause));
      const fingerprint = await stat(path, { bigint: true }).then(
        fingerprintOf,
        (error: Error) => `unreadable ${error.message}`,
      );
      // An input/output error may pass without a trace in the file's times: try again at each scan.
      next = { record, fingerprint, digest: '', racy: !(cause instanceof FileError), pending: undefined };
      this.#keep(path, known, next);
      return;
    }
    // Room may come when another file goes, and no event of this file tells so.
    if (isOverLimit(next.record)) next.racy = true;
    else if (next.racy) this.#scheduleScan(2 * timestampGrainMs);
    this.#keep(path, known, next);
  }

  #keep(path: string, known: KnownFile | undefined, next: KnownFile): void {
    if (known === undefined || !sameRecord(known.record, next.record)) this.#changed = true;
    this.#files.set(path, next);
  }

  #countObjects(except: string): number {
    let count = 0;
    for (const [path, { record }] of this.#files) if (path !== except) count += record.objects.length;
    return count;
  }

  /** Watches the folder; a new one of the same name is watched anew. Throws when it is no readable folder. */
  async #followFolder(): Promise<void> {
    const { folder, log, debounceMs = 10 } = this.#options;
    const { dev, ino } = await stat(folder, { bigint: true });
    const identity = `${dev}:${ino}`;
    if (this.#watched === identity) return;
    this.#closeWatcher();
    if (this.#signal.aborted) return;
    try {
      this.#watcher = watch(folder, { persistent: false }, () => this.#scheduleScan(debounceMs));
      this.#watcher.on('error', () => {
        this.#closeWatcher();
        this.#scheduleScan(missingFolderRescanMs);
      });
    } catch (error) {
      // Too many inotify watches: the rescan still finds every change. A missing folder fails in readdir next.
      const reason = error instanceof Error ? error.message : String(error);
      log.warn({ folder, error: reason }, 'cannot watch the folder of manifests, changes are found by the rescan only');
    }
    this.#watched = identity;
  }

  #closeWatcher(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = '';
  }
}

interface FileIdentity {
  ino: bigint;
  size: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
}

function fingerprintOf({ ino, size, mtimeNs, ctimeNs }: FileIdentity): string {
  return `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
}

function isOverLimit(record: FileRecord): boolean {
  return record.errors.some(({ code }) => code === 'MANIFEST_LIMIT');
}

/** Tells a file that is gone from a symlink to nothing, which is an error to report. */
async function isGone(path: string): Promise<boolean> {
  return lstat(path).then(
    () => false,
    (error: unknown) => hasErrorCode(error, 'ENOENT'),
  );
}

function manifestError(code: ManifestErrorCode, file: string, cause: unknown, fix?: string): ManifestError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const message = cause instanceof FileError ? reason : `cannot be read: ${reason}`;
  return new ManifestError(code, message, {
    file,
    cause,
    fix: fix ?? (cause instanceof FileError ? cause.fix : undefined),
  });
}

function sameRecord(a: FileRecord, b: FileRecord): boolean {
  const errors = (record: FileRecord): string => record.errors.map((error) => error.toLine()).join('\n');
  return a.objects === b.objects && a.everGood === b.everGood && errors(a) === errors(b);
}
