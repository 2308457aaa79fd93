/**
 * What a streaming request is told when it cannot be served: errors as an HTTP status and text, and that answer written to
 * a connection that asked for an upgrade. Layer: kubelet/server/streaming. Rules: cri-streaming/pkg/streaming/errors.go.
 */
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import { CriError } from '../../../cri/cri-error.ts';
import { errorLine } from '../../../observe/keelson-error.ts';
import { HttpStatusError } from '../http-status-error.ts';

export interface Refusal {
  status: number;
  message: string;
  headers: Readonly<Record<string, string>>;
}

/** After this many seconds the runtime has forgotten the requests that it waits for (cri-streaming cacheTTL). */
const retryAfterSeconds = 60;
const lingerMs = 10_000;

export function refusalOf(error: unknown): Refusal {
  if (error instanceof HttpStatusError) return { status: error.status, message: error.message, headers: {} };
  if (!(error instanceof CriError)) return { status: 500, message: errorLine(error), headers: {} };
  const message = error.message;
  if (error.isNotFound()) return { status: 404, message, headers: {} };
  if (error.code === 'CRI_EXHAUSTED') {
    return { status: 429, message, headers: { 'Retry-After': String(retryAfterSeconds) } };
  }
  return { status: 500, message, headers: {} };
}

/** Writes the answer and the end. */
export function writeRefusal(client: Duplex, { status, message, headers }: Refusal, clock: Clock): void {
  const body = Buffer.from(message);
  const fields = {
    'Content-Type': 'text/plain; charset=utf-8',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': String(body.length),
    Connection: 'close',
    ...headers,
  };
  client.end(Buffer.concat([head(status, Object.entries(fields).flat()), body]));
  closeSoon(client, clock);
}

/**
 * For a client that was sent the end: what it still sends is discarded until it ends, too (a reset could overtake the
 * answer), and after some seconds it is cut.
 */
export function closeSoon(client: Duplex, clock: Clock): void {
  const cancel = clock.after(lingerMs, () => client.destroy());
  client.once('close', cancel);
  client.on('error', () => {});
  client.resume();
  if (client.closed) cancel();
}

/** Status line and header block. @param rawHeaders names and values in turn, as node:http gives them */
export function head(status: number, rawHeaders: readonly string[], reason = STATUS_CODES[status] ?? ''): Buffer {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  // Node reads the bytes of headers as latin1.
  return Buffer.from(`${text}\r\n`, 'latin1');
}
