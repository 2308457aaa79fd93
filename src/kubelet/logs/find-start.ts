/**
 * Where in a log file to begin: the last n lines by reading backwards, and a time by samples, without reading the rest.
 * Rules of tail: staging/src/k8s.io/cri-client/pkg/logs/tail.go (lines of the file count, pieces too; an unfinished last
 * line does not). Layer: kubelet/logs (edge to the disk). Memory is one block, whatever the file.
 */
import type { FileHandle } from 'node:fs/promises';
import { compareLogTimes, type LogTime, readTimestamp, timestampEnd } from './log-time.ts';

const newline = 10;
const tailBlockBytes = 64 * 1024;

/** Offset of the last `lines` finished lines of a file of `size` bytes. */
export async function findTailStart(handle: FileHandle, size: number, lines: number): Promise<number> {
  if (lines >= size) return 0;
  const block = Buffer.allocUnsafe(Math.min(tailBlockBytes, size));
  let left = lines;
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - block.length);
    const length = await readFully(handle, block, end - start, start);
    for (let at = length - 1; at >= 0; ) {
      at = block.lastIndexOf(newline, at);
      if (at < 0) break;
      if (left === 0) return start + at + 1;
      left--;
      at--;
    }
    end = start;
  }
  return 0;
}

/** Below this a file is read whole: that takes less than a second, and no order of the times is relied upon. */
const scannedWholeBytes = 64 * 1024 * 1024;
const sampleCount = 256;
/** The runtime cuts lines at 16 KiB. */
const sampleBytes = 32 * 1024;
/** Lines of one moment are written by two threads, and may be out of order by that much. */
const disorderSeconds = 2;

/**
 * An offset before every line that is not older than `since`: 0, or in a large file the second sample before the first
 * one that is not. The samples must be in order of time; a clock that was set back shows there, and then it is 0.
 */
export async function findSinceStart(
  handle: FileHandle,
  size: number,
  since: LogTime,
  wholeBelowBytes = scannedWholeBytes,
): Promise<number> {
  if (size < wholeBelowBytes) return 0;
  const wanted = { seconds: since.seconds - disorderSeconds, nanos: since.nanos };
  const block = Buffer.allocUnsafe(Math.min(sampleBytes, size));
  /** Of the latest samples that are older, the last one second. */
  const older: [number, number] = [0, 0];
  let reached = false;
  let latest: LogTime | undefined;
  for (let index = 1; index < sampleCount; index++) {
    const sample = await readSample(handle, block, Math.floor((size / sampleCount) * index));
    if (sample === undefined) continue;
    const { time, offset } = sample;
    if (latest && time.seconds < latest.seconds - disorderSeconds) return 0;
    if (latest === undefined || compareLogTimes(time, latest) > 0) latest = time;
    reached ||= compareLogTimes(time, wanted) >= 0;
    if (!reached) older.splice(0, 2, older[1], offset);
  }
  return older[0];
}

/** The first line that begins after `offset`, or undefined when none is near. */
async function readSample(
  handle: FileHandle,
  block: Buffer,
  offset: number,
): Promise<{ time: LogTime; offset: number } | undefined> {
  const length = await readFully(handle, block, block.length, offset);
  const bytes = block.subarray(0, length);
  for (let at = bytes.indexOf(newline) + 1; at > 0; at = bytes.indexOf(newline, at) + 1) {
    if (timestampEnd(bytes, at, length) >= 0) return { time: readTimestamp(bytes, at), offset: offset + at };
  }
  return undefined;
}

/** A read may bring less than what is there. @returns bytes read, less than `length` at the end of the file only */
async function readFully(handle: FileHandle, block: Buffer, length: number, position: number): Promise<number> {
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(block, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
