/**
 * One open log file that is read forward, block by block, from where it was left the last time.
 * Layer: kubelet/logs (edge to the disk). Knows nothing of rotation; follow-log.ts puts files in a row.
 */
import type { FileHandle } from 'node:fs/promises';
import type { BlockBuffers } from './block-buffers.ts';
import { LineFormatter, type LogOutput, maxHeaderBytes } from './format-lines.ts';

export class LogFile {
  readonly handle: FileHandle;
  /** Device and inode: the same file under whatever name. */
  readonly identity: string;
  readonly #formatter: LineFormatter;
  #position: number;
  /** The beginning of a header that is not complete yet. */
  #rest: Buffer = Buffer.alloc(0);

  private constructor(handle: FileHandle, identity: string, position: number, output: LogOutput) {
    this.handle = handle;
    this.identity = identity;
    this.#position = position;
    this.#formatter = new LineFormatter(output);
  }

  /** Owns the handle from now on. */
  static async of(handle: FileHandle, position: number, output: LogOutput): Promise<LogFile> {
    try {
      return new LogFile(handle, await identityOf(handle), position, output);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Whether what was read so far ends within a line. */
  get midLine(): boolean {
    return this.#formatter.midLine || this.#rest.length > 0;
  }

  /**
   * @returns the text of the next block, which may be empty, valid until the next call; undefined at the end of the file,
   * which may grow and be read on
   */
  async next(buffers: BlockBuffers): Promise<Buffer | undefined> {
    const { input } = buffers;
    const kept = this.#rest.copy(input);
    const { bytesRead } = await this.handle.read(input, kept, input.length - kept, this.#position);
    if (bytesRead === 0) {
      if (await this.#startAgainIfTruncated()) return Buffer.alloc(0);
      return undefined;
    }
    this.#position += bytesRead;
    const block = input.subarray(0, kept + bytesRead);
    const { output } = buffers;
    const { consumed, written } = this.#formatter.format(block, output);
    // More than a header is left only when the request has all that it wanted.
    this.#rest = consumed === block.length ? nothing : Buffer.from(block.subarray(consumed, consumed + maxHeaderBytes));
    if (block.length === input.length) buffers.grow();
    return output.subarray(0, written);
  }

  /** The file is over. @returns the newline that it lacks, if any */
  end(): Buffer {
    this.#rest = nothing;
    const newline = Buffer.alloc(1);
    return newline.subarray(0, this.#formatter.endFile(newline));
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  /** Somebody emptied the file in place; the runtime appends, so that what comes is at the beginning. */
  async #startAgainIfTruncated(): Promise<boolean> {
    const { size } = await this.handle.stat();
    if (size >= this.#position) return false;
    this.#position = 0;
    this.#rest = nothing;
    this.#formatter.endFile(Buffer.alloc(1));
    return true;
  }
}

const nothing = Buffer.alloc(0);

export async function identityOf(handle: FileHandle): Promise<string> {
  const { dev, ino } = await handle.stat({ bigint: true });
  return `${dev}:${ino}`;
}
