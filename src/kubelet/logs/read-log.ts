/**
 * Reads a container's log as `kubectl logs` asks for it: all of it, its end, since a time, or on and on across rotation
 * until the container ended. Memory does not depend on the file.
 * Rules: staging/src/k8s.io/cri-client/pkg/logs/logs.go (ReadLogs).
 * Layer: kubelet/logs. The caller paces it by asking for the next chunk; nothing here knows HTTP.
 */
import type { FileHandle } from 'node:fs/promises';
import { type Clock, sleep } from '../../base/clock.ts';
import { BlockBuffers } from './block-buffers.ts';
import { findSinceStart, findTailStart } from './find-start.ts';
import { FollowedLog, type FollowOptions } from './follow-log.ts';
import { isComplete, type LogOutput } from './format-lines.ts';
import { LogFile } from './log-file.ts';
import type { LogTime } from './log-time.ts';
import { isAbsent, openLog } from './open-log.ts';

export interface LogOptions {
  /** Each line begins with its time. */
  timestamps?: boolean;
  /** Only lines of that time or later. */
  since?: LogTime | undefined;
  /** Only so many lines from the end, 0 or more; a piece of a line that the runtime cut counts as one. */
  tailLines?: number | undefined;
  /** At most so many bytes of output, 1 or more. */
  limitBytes?: number | undefined;
}

export interface LogPlace {
  path: string;
  /** The file must be below it. */
  podLogDir: string;
  clock: Clock;
}

/** Between rename and reopen, rotation leaves no file of the log's name. */
const rotationMs = 200;
/** The runtime reports the end after the last line was read from the pipe, which may be before it is in the file. */
const lastLinesMs = 50;
/** How long the rest of a line is waited for in a file that another one has replaced. */
const lastPieceMs = 200;

export class LogReader {
  readonly #output: LogOutput;
  readonly #buffers: BlockBuffers;
  readonly #follow: FollowedLog | undefined;
  #file: LogFile;
  /** The file before: late lines may still come to it. */
  #before: LogFile | undefined;

  private constructor(file: LogFile, output: LogOutput, buffers: BlockBuffers, follow: FollowedLog | undefined) {
    this.#file = file;
    this.#output = output;
    this.#buffers = buffers;
    this.#follow = follow;
  }

  /** Close it in any case. @throws LogError */
  static async open(place: LogPlace, options: LogOptions, following?: FollowOptions): Promise<LogReader> {
    const { tailLines } = options;
    const output: LogOutput = {
      timestamps: options.timestamps ?? false,
      since: options.since,
      remainingBytes: options.limitBytes ?? Number.POSITIVE_INFINITY,
      // Lines that come while the last ones are being sent are not wanted.
      remainingLines: following ? Number.POSITIVE_INFINITY : (tailLines ?? Number.POSITIVE_INFINITY),
      atLineStart: true,
    };
    const handle = await openSettled(place);
    let follow: FollowedLog | undefined;
    try {
      const { size } = await handle.stat();
      const start = await findStart(handle, size, options);
      const file = await LogFile.of(handle, start, output);
      follow = following && new FollowedLog(place.path, place.podLogDir, following);
      // Looks at the name once more, so that nothing happened between opening and watching that was not seen.
      follow?.startFrom(file.identity);
      return new LogReader(file, output, new BlockBuffers(size - start), follow);
    } catch (error) {
      await follow?.close();
      await handle.close();
      throw error;
    }
  }

  /**
   * The text, in chunks that are never empty; each is valid until the next one is asked for. Throws the signal's reason
   * when it is aborted, and Node's error when the disk fails. To be called once.
   */
  async *read(signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    const follow = this.#follow;
    let ended = false;
    for (;;) {
      if (this.#before) yield* this.#readToEnd(this.#before, signal);
      yield* this.#readToEnd(this.#file, signal);
      if (isComplete(this.#output) || follow === undefined) return;
      const next = await follow.take();
      if (next) yield* this.#goOnTo(next, follow, signal);
      else if (ended) return;
      else if (follow.isRunning) {
        this.#buffers.shrink();
        await follow.wait(signal);
      } else {
        ended = true;
        await follow.pause(lastLinesMs, signal);
        follow.look();
      }
    }
  }

  async close(): Promise<void> {
    await this.#follow?.close();
    await this.#before?.close();
    await this.#file.close();
  }

  async *#readToEnd(file: LogFile, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    while (!isComplete(this.#output)) {
      signal.throwIfAborted();
      const chunk = await file.next(this.#buffers);
      if (chunk === undefined) return;
      if (chunk.length > 0) yield chunk;
    }
  }

  async *#goOnTo(next: FileHandle, follow: FollowedLog, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    const [before, file] = [this.#before, this.#file];
    const opened = await LogFile.of(next, 0, this.#output);
    // From here on `close` closes all that is open, wherever this is left.
    this.#before = file;
    this.#file = opened;
    await before?.close();
    if (file.midLine) await follow.pause(lastPieceMs, signal);
    yield* this.#readToEnd(file, signal);
    const newline = file.end();
    if (newline.length > 0) yield newline;
  }
}

async function openSettled({ path, podLogDir, clock }: LogPlace): Promise<FileHandle> {
  try {
    return await openLog(path, podLogDir);
  } catch (error) {
    if (!isAbsent(error)) throw error;
    await sleep(rotationMs, undefined, clock);
    return openLog(path, podLogDir);
  }
}

async function findStart(handle: FileHandle, size: number, { tailLines, since }: LogOptions): Promise<number> {
  if (tailLines !== undefined) return findTailStart(handle, size, tailLines);
  return since === undefined ? 0 : findSinceStart(handle, size, since);
}
