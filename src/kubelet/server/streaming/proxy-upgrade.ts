/**
 * Serves one upgrade request: the runtime is asked for the same upgrade, its answer is passed on as it is, and the two
 * connections are joined. Layer: kubelet/server/streaming (edge). Rules: apimachinery/pkg/util/proxy/upgradeaware.go.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../../../base/clock.ts';
import { HttpStatusError } from '../http-status-error.ts';
import { type JoinEnd, joinStreams } from './join-streams.ts';
import { askForUpgrade, livelySocket, type RuntimeAnswer, streamingUrl } from './runtime-connection.ts';
import { closeSoon, head as headBytes } from './stream-refusal.ts';

export interface UpgradeClient {
  request: IncomingMessage;
  socket: Duplex;
  /** What came behind the request's head. */
  head: Buffer;
}

export interface ProxyOptions {
  clock: Clock;
  idleTimeoutMs: number;
  signal: AbortSignal;
}

/** Milliseconds that a refusal of the runtime may take to pass. */
const refusalTimeoutMs = 10_000;
/** Headers of a refusal that belong to the runtime's connection, or that the new framing replaces. */
const perConnection = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'upgrade']);

/**
 * Resolves when the stream is over and both connections are closed. @param location what CRI answered
 * @throws HttpStatusError before anything was written; rejects with the signal's reason when aborted before that
 */
export async function proxyUpgrade(location: string, client: UpgradeClient, options: ProxyOptions): Promise<JoinEnd> {
  const url = streamingUrl(location);
  refuseBody(client.request);
  const answer = await askForUpgrade(url, client.request, options.signal);
  const { statusCode = 0, statusMessage, rawHeaders } = answer.response;
  if (!answer.upgraded) return passRefusal(answer, client.socket, options);
  const { connection, head } = answer;
  livelySocket(client.socket);
  client.socket.write(headBytes(statusCode, rawHeaders, statusMessage));
  if (head.length > 0) connection.unshift(head);
  if (client.head.length > 0) client.socket.unshift(client.head);
  return joinStreams(client.socket, connection, options);
}

/** No Kubernetes client sends a body here, and where it ends is read differently by different servers. */
function refuseBody({ headers }: IncomingMessage): void {
  if (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0) {
    throw new HttpStatusError(400, 'an upgrade request must have no body');
  }
}

/** The client hears what the runtime says, and then the connection ends. */
async function passRefusal(
  { response }: Extract<RuntimeAnswer, { upgraded: false }>,
  client: Duplex,
  { clock, signal }: ProxyOptions,
): Promise<JoinEnd> {
  const { statusCode = 0, statusMessage, rawHeaders } = response;
  if (statusCode < 400) {
    response.destroy();
    throw new HttpStatusError(500, `invalid upgrade response: status code ${statusCode}`);
  }
  const kept: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    if (!perConnection.has(name.toLowerCase())) kept.push(name, rawHeaders[i + 1] ?? '');
  }
  // Its length is not known yet: the end of the connection is the end of the body.
  client.write(headBytes(statusCode, [...kept, 'Connection', 'close'], statusMessage));
  const late = new AbortController();
  const cancel = clock.after(refusalTimeoutMs, () => late.abort());
  try {
    await pipeline(response, client, { signal: AbortSignal.any([signal, late.signal]) });
    closeSoon(client, clock);
  } catch {
    // Broken off by one of the two, or too slow: there is nobody left to tell.
  } finally {
    cancel();
    response.destroy();
  }
  return 'over';
}
