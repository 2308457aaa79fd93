/**
 * What the query of an exec, attach or port-forward request asks for.
 * Layer: kubelet/server/streaming (pure). Parses untrusted queries; knows no pods and no runtime.
 * Rules: cri-streaming/pkg/streaming/remotecommand/httpstream.go NewOptions, portforward/websocket.go NewV4Options.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { HttpStatusError } from '../http-status-error.ts';

export interface StreamOptions {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  tty: boolean;
}

/**
 * `input`, `output`, `error` and `tty`: only `1` means yes, and of a repeated one the first counts. A terminal has no
 * stderr of its own. @throws HttpStatusError 400 when no stream is asked for
 */
export function streamOptions(query: URLSearchParams): StreamOptions {
  const isSet = (name: string): boolean => query.get(name) === '1';
  const tty = isSet('tty');
  const options = { stdin: isSet('input'), stdout: isSet('output'), stderr: isSet('error') && !tty, tty };
  if (!options.stdin && !options.stdout && !options.stderr) {
    throw new HttpStatusError(400, 'you must specify at least 1 of stdin, stdout, stderr');
  }
  return options;
}

/**
 * The ports of a port-forward. SPDY names them in its streams' headers; over WebSocket they are in the query, repeated or
 * with commas. @throws HttpStatusError 400 for a WebSocket without ports, or with one outside 1 to 65535
 */
export function forwardedPorts(query: URLSearchParams, headers: IncomingHttpHeaders): number[] {
  if (!isWebSocket(headers)) return [];
  const values = query.getAll('port');
  if (values.length === 0) throw new HttpStatusError(400, 'query parameter "port" is required');
  return values.flatMap((value) => {
    if (value === '') throw new HttpStatusError(400, 'query parameter "port" cannot be empty');
    return value.split(',').map((text) => portNumber(text, value));
  });
}

function portNumber(text: string, value: string): number {
  const port = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(port) || port > 65535) throw new HttpStatusError(400, `unable to parse ${quote(value)} as a port`);
  if (port < 1) throw new HttpStatusError(400, `port ${quote(value)} must be > 0`);
  return port;
}

/** Whether the request wants a WebSocket; SPDY otherwise. */
export function isWebSocket(headers: IncomingHttpHeaders): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket' && isUpgrade(headers);
}

/** Whether `Connection` has the word `upgrade` (apimachinery/pkg/util/httpstream IsUpgradeRequest). */
export function isUpgrade(headers: IncomingHttpHeaders): boolean {
  return headers.connection?.toLowerCase().includes('upgrade') ?? false;
}

/** A client's text in quotes for an answer, without what could break lines, and never long. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 256 ? `${text.slice(0, 256)}...` : text);
}
