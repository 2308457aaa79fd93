/**
 * Takes the items out of a List while its bytes arrive, so that a list of 200 MB never is one string or one object tree.
 * Layer: api (pure). Knows of JSON only where strings and brackets begin and end; JSON.parse judges each item, and what
 * is left around the items (kind, metadata, or a Status instead of a list) is parsed when the body ended.
 */
import { ApiError } from './api-error.ts';
import { maxObjectBytes, tooLarge } from './json-lines.ts';

export interface ItemSplitter {
  /** The JSON texts of the items that this chunk finishes. Throws ApiError API_RESPONSE. */
  push(chunk: Buffer): string[];
  /** The document with an empty list of items. Throws ApiError API_RESPONSE when the body was cut off or no JSON. */
  end(): unknown;
}

const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const comma = 0x2c;
const lastWhiteSpace = 0x20;

/** Depth of what stands in the list of items: the document is 1, the list 2. */
const itemsDepth = 2;
const itemsKey = /[{,]\s*"items"\s*:\s*$/;
const maxEnvelopeBytes = 1024 * 1024;

export function createItemSplitter(maxItemBytes = maxObjectBytes): ItemSplitter {
  let depth = 0;
  let inString = false;
  let escaped = false;
  let inItems = false;
  let inItem = false;
  // Bytes of the unfinished item, and of everything around the items.
  let item: Buffer[] = [];
  let itemBytes = 0;
  const envelope: Buffer[] = [];
  let envelopeBytes = 0;

  const keepItem = (piece: Buffer): void => {
    itemBytes += piece.length;
    if (itemBytes > maxItemBytes) throw tooLarge(maxItemBytes);
    item.push(piece);
  };
  const keepEnvelope = (piece: Buffer): void => {
    envelopeBytes += piece.length;
    if (envelopeBytes > maxEnvelopeBytes) throw tooLarge(maxEnvelopeBytes);
    if (piece.length > 0) envelope.push(piece);
  };
  const takeItem = (): string => {
    const [only] = item;
    const text = item.length === 1 && only !== undefined ? only.toString() : Buffer.concat(item).toString();
    item = [];
    itemBytes = 0;
    return text;
  };

  return {
    push(chunk) {
      const items: string[] = [];
      // Where the piece begins that belongs to the current item or to the envelope.
      let start = 0;
      for (let at = 0; at < chunk.length; at++) {
        if (inString) {
          at = endOfString(chunk, escaped ? at + 1 : at);
          // The string goes on in the next chunk, and with it a backslash at the end of this one.
          escaped = at > chunk.length;
          inString = at >= chunk.length;
          continue;
        }
        const byte = chunk[at] as number;
        if (inItems && !inItem) {
          // Between items: only what may stand there.
          if (byte === closeBracket) {
            inItems = false;
            depth--;
            start = at;
          } else if (byte === openBrace) {
            inItem = true;
            depth++;
            start = at;
          } else if (byte !== comma && byte > lastWhiteSpace) throw malformed('an item is no object');
          continue;
        }
        if (byte === quote) inString = true;
        else if (byte === openBrace) depth++;
        else if (byte === openBracket) {
          depth++;
          if (depth !== itemsDepth) continue;
          keepEnvelope(chunk.subarray(start, at));
          start = at;
          if (!itemsKey.test(tailOf(envelope))) continue;
          keepEnvelope(chunk.subarray(at, at + 1));
          inItems = true;
        } else if (byte === closeBrace || byte === closeBracket) {
          depth--;
          if (!inItem || depth !== itemsDepth) continue;
          keepItem(chunk.subarray(start, at + 1));
          items.push(takeItem());
          inItem = false;
        }
      }
      if (inItem) keepItem(chunk.subarray(start));
      else if (!inItems) keepEnvelope(chunk.subarray(start));
      return items;
    },
    end() {
      if (depth !== 0 || inString || envelopeBytes === 0) throw malformed('the list is cut off');
      try {
        return JSON.parse(Buffer.concat(envelope).toString());
      } catch (cause) {
        throw malformed('the list is no JSON', cause);
      }
    },
  };
}

/** Where the quote stands that ends a string; `length` without one, one more when the last byte escapes the next. */
function endOfString(chunk: Buffer, from: number): number {
  let at = from;
  while (at < chunk.length && chunk[at] !== quote) at += chunk[at] === backslash ? 2 : 1;
  return at;
}

function tailOf(pieces: readonly Buffer[]): string {
  // A few bytes are enough for the key; it may lie across pieces of a byte each.
  let tail = '';
  for (let index = pieces.length - 1; index >= 0 && tail.length < 64; index--) {
    tail = (pieces[index]?.subarray(-64).toString('latin1') ?? '') + tail;
  }
  return tail;
}

function malformed(message: string, cause?: unknown): ApiError {
  return new ApiError('API_RESPONSE', message, cause === undefined ? {} : { cause });
}
