/**
 * One HTTP exchange as the client sees it, whatever the protocol version below.
 * Layer: api (types, and the reading of bodies). Bodies are read here with limits of size and of silence.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import { ApiError } from './api-error.ts';
import { tooLarge } from './json-lines.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Encoded, with its query. */
  readonly path: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Ends the exchange at any time, also while the body is read. */
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Must be read to its end or destroyed. */
  readonly body: Readable;
  /** After the body's end: whether that was the answer's end, and not the connection's. Node tells both alike. */
  readonly complete: () => boolean;
  /** The server that answered. */
  readonly server: string;
}

/**
 * The chunks of a body. Throws ApiError API_TIMEOUT when none comes for `silenceMs`, API_RESPONSE when the connection ended
 * before the body did, and the signal's reason when the request was aborted. Leaving the loop early ends the exchange.
 */
export async function* chunksOf(
  { body, complete, server }: HttpResponse,
  options: { readonly silenceMs: number; readonly clock: Clock; readonly signal: AbortSignal },
): AsyncGenerator<Buffer, void> {
  const silent = (): void => {
    const message = `sent nothing for ${options.silenceMs / 1000} s in the middle of an answer`;
    body.destroy(new ApiError('API_TIMEOUT', message, { object: `API server ${server}` }));
  };
  let cancel = options.clock.after(options.silenceMs, silent);
  try {
    for await (const chunk of body) {
      cancel();
      yield chunk;
      cancel = options.clock.after(options.silenceMs, silent);
    }
    if (!complete()) throw new Error('the connection ended before the answer');
  } catch (error) {
    if (options.signal.aborted) throw options.signal.reason;
    if (error instanceof ApiError) throw error;
    throw new ApiError('API_RESPONSE', 'the answer is cut off', { object: `API server ${server}`, cause: error });
  } finally {
    cancel();
    body.destroy();
  }
}

/** The whole body as text. Throws as chunksOf, and API_RESPONSE for more than `maxBytes`. */
export async function textOf(
  response: HttpResponse,
  maxBytes: number,
  options: { readonly silenceMs: number; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<string> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of chunksOf(response, options)) {
    total += chunk.length;
    if (total > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
