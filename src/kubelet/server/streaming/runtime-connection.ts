/**
 * Dials the runtime's streaming server at the URL that CRI gave, and asks it for the upgrade that the client asked for.
 * Layer: kubelet/server/streaming (edge). Goes where the runtime says and nowhere else: no redirects, no proxies.
 */
import { type ClientRequest, type IncomingMessage, request as plainRequest, type RequestOptions } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { errorLine } from '../../../observe/keelson-error.ts';
import { HttpStatusError } from '../http-status-error.ts';

/** The runtime's answer: its connection after a 101, else the response, whose body is to be read. */
export type RuntimeAnswer =
  | { upgraded: true; response: IncomingMessage; connection: Duplex; head: Buffer }
  | { upgraded: false; response: IncomingMessage };

/** Milliseconds for connection and answer; the streaming server runs nothing before it answers. */
const answerTimeoutMs = 30_000;
/** Milliseconds after which the kernel asks a silent peer whether it is there still (as Go's servers do). */
const keepAliveMs = 15_000;

/**
 * Of the client's headers, those that are for this server alone, or that say how long a body is: none is sent on.
 * The runtime need not see anybody's token.
 */
const withheld = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'content-length',
  'transfer-encoding',
  'trailer',
  'te',
  'expect',
  'keep-alive',
]);

/** Names and values in turn, for the request to the runtime; names keep their case and the rest its order. */
export function forwardedHeaders(rawHeaders: readonly string[], method: string): string[] {
  const kept: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    if (!withheld.has(name.toLowerCase())) kept.push(name, rawHeaders[i + 1] ?? '');
  }
  if (method !== 'GET') kept.push('Content-Length', '0');
  return kept;
}

/** @throws HttpStatusError 500 when the URL is not one of a streaming server */
export function streamingUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.password !== '') {
    throw new HttpStatusError(500, 'the container runtime gave no usable address of its streaming server');
  }
  return url;
}

/** @throws HttpStatusError 500 when there is no connection or no answer; rejects with the signal's reason when aborted */
export async function askForUpgrade(url: URL, asked: IncomingMessage, signal: AbortSignal): Promise<RuntimeAnswer> {
  signal.throwIfAborted();
  const method = asked.method ?? 'GET';
  const options: RequestOptions = {
    // An address in brackets is for URLs only.
    hostname: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port || (url.protocol === 'https:' ? 443 : 80),
    path: `${url.pathname}${url.search}`,
    method,
    headers: forwardedHeaders(asked.rawHeaders, method),
    agent: false,
    timeout: answerTimeoutMs,
  };
  // Loaded when needed: containerd serves streams over TLS only when configured to.
  const open = url.protocol === 'https:' ? (await import('node:https')).request : plainRequest;
  let request: ClientRequest | undefined;
  const onAbort = (): void => void request?.destroy();
  try {
    return await new Promise<RuntimeAnswer>((resolve, reject) => {
      request = open(options);
      request.on('upgrade', (response, connection, head) => {
        livelySocket(connection);
        resolve({ upgraded: true, response, connection, head });
      });
      request.on('response', (response) => resolve({ upgraded: false, response }));
      request.on('error', reject);
      request.on('timeout', () => request?.destroy(new Error(`no answer within ${answerTimeoutMs / 1000} s`)));
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
      request.end();
    });
  } catch (cause) {
    signal.throwIfAborted();
    throw new HttpStatusError(500, `error dialing backend: ${errorLine(cause)}`, { cause });
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Small frames go at once, a peer that is gone is noticed, and silence is the joint's to judge. */
export function livelySocket(stream: Duplex): void {
  if (!(stream instanceof Socket)) return;
  stream.setNoDelay(true);
  stream.setKeepAlive(true, keepAliveMs);
  stream.setTimeout(0);
}
