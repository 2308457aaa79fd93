/**
 * Splits the body of a watch into its lines, however the network cut it.
 * Layer: api (pure). JSON writes line breaks inside strings as \n, so a byte 0x0a only ever ends an event.
 * Holds no more than one unfinished line, and that only up to a limit.
 */
import { ApiError } from './api-error.ts';

/** etcd takes 1.5 MiB by default, and JSON can be some times larger than what is stored. */
export const maxObjectBytes = 16 * 1024 * 1024;

const lineFeed = 0x0a;

export interface LineSplitter {
  /** The lines that this chunk finishes, without their end; empty lines are left out. Throws ApiError API_RESPONSE. */
  push(chunk: Buffer): string[];
  /** Bytes of a line that has no end yet. */
  readonly pending: number;
}

export function createLineSplitter(maxBytes = maxObjectBytes): LineSplitter {
  let pieces: Buffer[] = [];
  let pending = 0;
  return {
    get pending() {
      return pending;
    },
    push(chunk) {
      const lines: string[] = [];
      let start = 0;
      for (;;) {
        const end = chunk.indexOf(lineFeed, start);
        const piece = chunk.subarray(start, end < 0 ? chunk.length : end);
        pending += piece.length;
        if (pending > maxBytes) throw tooLarge(maxBytes);
        if (end < 0) {
          if (piece.length > 0) pieces.push(piece);
          return lines;
        }
        const line = pieces.length === 0 ? piece.toString() : Buffer.concat([...pieces, piece]).toString();
        if (line.trim() !== '') lines.push(line);
        pieces = [];
        pending = 0;
        start = end + 1;
      }
    },
  };
}

/** The refusal of an object or answer above `maxBytes`. */
export function tooLarge(maxBytes: number): ApiError {
  return new ApiError('API_RESPONSE', `the answer holds an object of more than ${maxBytes} bytes`, {
    fix: 'find the huge object and remove it',
  });
}
