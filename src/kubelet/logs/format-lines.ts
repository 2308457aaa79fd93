/**
 * CRI log bytes in, the text that `kubectl logs` shows out: block by block, without a string or an object a line.
 * A line is `<time> <stdout|stderr> <tags> <text>`; the tag P marks a piece of a line that goes on, whose newline is
 * dropped. Rules: staging/src/k8s.io/cri-client/pkg/logs/logs.go (parseCRILog, logWriter.write, ReadLogs).
 * Layer: kubelet/logs (pure). A line that is not of this form is skipped; one of any length takes no memory.
 */
import { compareLogTimes, type LogTime, readTimestamp, timestampEnd, writeTimestamp } from './log-time.ts';

/** A request's output, over all the files that it is read from. */
export interface LogOutput {
  readonly timestamps: boolean;
  /** Lines before it are not shown. */
  readonly since: LogTime | undefined;
  /** Bytes that may still be written; Infinity without a limit. */
  remainingBytes: number;
  /** Lines that may still be read, shown or not; Infinity without a limit. */
  remainingLines: number;
  /** The next text begins a line: it gets a timestamp, if they are asked for. */
  atLineStart: boolean;
}

export const isComplete = (output: LogOutput): boolean => output.remainingBytes <= 0 || output.remainingLines <= 0;

/** Header bytes that are waited for; a line with a longer one is no log line. */
export const maxHeaderBytes = 256;

/** Bytes that the output of `inputBytes` may need: a time without a fraction grows when it is written. */
export const outputCapacity = (inputBytes: number): number => inputBytes + Math.ceil(inputBytes / 8) + 64;

export interface Formatted {
  /** Bytes read; what is left is the beginning of a header, at most maxHeaderBytes. */
  consumed: number;
  /** Bytes written. */
  written: number;
}

const newline = 10;
const space = 32;
const colon = 58;
const letterP = 80;
const [letterS, letterT, letterD] = [115, 116, 100];
const [letterO, letterU, letterE, letterR] = [111, 117, 101, 114];

/** One file. Lines go on from block to block. */
export class LineFormatter {
  readonly #output: LogOutput;
  #state: 'header' | 'text' | 'skip' = 'header';
  #visible = true;
  #partial = false;
  #textIsEmpty = true;
  #textStart = 0;

  constructor(output: LogOutput) {
    this.#output = output;
  }

  /** Whether the file ended, or was cut by the end of a block, within a line. */
  get midLine(): boolean {
    return this.#state !== 'header';
  }

  /**
   * @param input begins with what was not consumed the last time
   * @param to at least outputCapacity(input.length) bytes
   */
  format(input: Buffer, to: Buffer): Formatted {
    const output = this.#output;
    const end = input.length;
    let [at, out] = [0, 0];
    while (at < end && !isComplete(output)) {
      if (this.#state === 'header') {
        const header = this.#readHeader(input, at, end);
        if (header === 'cut' && end - at < maxHeaderBytes) break;
        if (header === 'line' && this.#textStart - at <= maxHeaderBytes) {
          out = this.#beginLine(input, at, to, out);
          at = this.#textStart;
        } else {
          this.#state = 'skip';
        }
      }
      const found = input.indexOf(newline, at);
      const ends = found >= 0;
      const textEnd = ends ? found : end;
      if (this.#state === 'text') {
        if (textEnd > at) this.#textIsEmpty = false;
        if (this.#visible) out = this.#copy(input, at, ends && !this.#partial ? textEnd + 1 : textEnd, to, out);
      }
      at = ends ? textEnd + 1 : end;
      if (ends) this.#endLine();
    }
    return { consumed: at, written: out };
  }

  /** The file is over: a line that it left unfinished ends here. @returns bytes written to `to`, 0 or 1 */
  endFile(to: Buffer): number {
    const unfinished = this.#state === 'text' && !this.#partial && !this.#textIsEmpty && this.#visible;
    this.#state = 'header';
    if (!unfinished || isComplete(this.#output)) return 0;
    this.#output.remainingBytes--;
    this.#output.atLineStart = true;
    to[0] = newline;
    return 1;
  }

  /** Sets textStart and partial when it is a line's. */
  #readHeader(input: Buffer, start: number, end: number): 'line' | 'cut' | 'none' {
    const timeEnd = timestampEnd(input, start, end);
    if (timeEnd < 0) return timeEnd === -2 ? 'cut' : 'none';
    const stream = streamEnd(input, timeEnd, end);
    if (stream < 0) return stream === -2 ? 'cut' : 'none';
    let at = stream;
    // Tags are separated by colons; only the first is known.
    let firstTagEnd = -1;
    for (; at < end && input[at] !== space; at++) {
      if (input[at] === newline) return 'none';
      if (input[at] === colon && firstTagEnd < 0) firstTagEnd = at;
    }
    if (at === end) return 'cut';
    this.#partial = (firstTagEnd < 0 ? at : firstTagEnd) - stream === 1 && input[stream] === letterP;
    this.#textStart = at + 1;
    return 'line';
  }

  #beginLine(input: Buffer, start: number, to: Buffer, out: number): number {
    const { timestamps, since, atLineStart } = this.#output;
    this.#state = 'text';
    this.#textIsEmpty = true;
    this.#visible = since === undefined || compareLogTimes(readTimestamp(input, start), since) >= 0;
    if (!timestamps || !atLineStart || !this.#visible) return out;
    let written = writeTimestamp(input, start, timestampEnd(input, start, this.#textStart), to, out);
    to[written++] = space;
    return this.#count(out, written);
  }

  #copy(input: Buffer, start: number, end: number, to: Buffer, out: number): number {
    return this.#count(out, out + input.copy(to, out, start, end));
  }

  /** Takes what was written off the limit; what is beyond it was not written. */
  #count(from: number, to: number): number {
    const allowed = Math.min(to - from, this.#output.remainingBytes);
    this.#output.remainingBytes -= allowed;
    return from + allowed;
  }

  #endLine(): void {
    if (this.#state === 'text') {
      this.#output.atLineStart = !this.#partial || this.#textIsEmpty;
      this.#output.remainingLines--;
    }
    this.#state = 'header';
  }
}

/** Of ` stdout ` or ` stderr ` at `start`. @returns where it ends; -1: it is neither; -2: cut off by `end` */
function streamEnd(input: Buffer, start: number, end: number): number {
  const length = 8;
  if (end - start >= length) return isStream(input, start) ? start + length : -1;
  const there = input.subarray(start, end);
  return streams.some((name) => name.subarray(0, there.length).equals(there)) ? -2 : -1;
}

const streams = [Buffer.from(' stdout '), Buffer.from(' stderr ')];

function isStream(input: Buffer, at: number): boolean {
  if (input[at] !== space || input[at + 1] !== letterS || input[at + 2] !== letterT || input[at + 3] !== letterD) {
    return false;
  }
  if (input[at + 7] !== space) return false;
  const [a, b, c] = [input[at + 4], input[at + 5], input[at + 6]];
  return (a === letterO && b === letterU && c === letterT) || (a === letterE && b === letterR && c === letterR);
}
