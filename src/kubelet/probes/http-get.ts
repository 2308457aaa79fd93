/**
 * One GET with its redirects, on connections of its own: for probes and hooks. Trusts no certificate and needs none, keeps
 * at most 10 KiB of the body, and knows no proxy. A socket instead of node:http: that costs half the CPU, and probes are
 * most of what an idle node does.
 * Layer: kubelet/probes (edge: TCP and TLS), shared with kubelet/lifecycle. Decides nothing about the answer.
 */
import { connect, isIP, type Socket } from 'node:net';
import { createSecureContext, type SecureContext, connect as tlsConnect } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { dialFailure, dialTimeout, readFailure } from './dial-failure.ts';
import { HttpAnswerReader } from './http-answer.ts';
import { isRedirect, nextRequest } from './http-redirect.ts';
import { type HttpTarget, requestBytes, targetUrl } from './http-target.ts';
import { maxOutputBytes } from './probe-outcome.ts';

export interface HttpGetOptions {
  clock: Clock;
  signal: AbortSignal;
  /** For everything together, redirects and body included; undefined: as long as it takes. */
  timeoutMs?: number;
}

export type HttpGetResult =
  | {
      kind: 'answer';
      status: number;
      /** At most 10 KiB. */
      body: string;
      /** What kept the body from being read. */
      bodyFault?: string;
    }
  /** `gaveHttp`: an HTTPS request was answered without TLS. */
  | { kind: 'failed'; message: string; gaveHttp?: true };

/** Go's client would take 10 MiB of headers. */
const limits = { headBytes: 256 * 1024, bodyBytes: maxOutputBytes };

/** Rejects with the signal's reason only; what goes wrong otherwise is a result. */
export async function httpGet(target: HttpTarget, options: HttpGetOptions): Promise<HttpGetResult> {
  const { clock, signal, timeoutMs } = options;
  const deadlineMs = timeoutMs === undefined ? undefined : clock.now() + timeoutMs;
  let current = target;
  for (let made = 1; ; made++) {
    const from = current;
    const exchanged = await exchange(
      from,
      { clock, signal, ...(deadlineMs === undefined ? {} : { timeoutMs: deadlineMs - clock.now() }) },
      (status, location) => 'stay' in nextRequest(target, from, { status, location }, made),
    );
    if (exchanged.kind === 'failed') return exchanged;
    const step = nextRequest(target, from, exchanged, made);
    if ('failed' in step) {
      const shown = exchanged.location === undefined ? targetUrl(from) : shownLocation(exchanged.location, from);
      return { kind: 'failed', message: `Get ${JSON.stringify(shown)}: ${step.failed}` };
    }
    if ('stay' in step) return exchanged;
    current = step.next;
  }
}

/** Go names the address that it would have asked next. */
const shownLocation = (location: string, from: HttpTarget): string =>
  URL.parse(location, targetUrl(from))?.href ?? location.slice(0, 200);

type Exchanged = (Extract<HttpGetResult, { kind: 'answer' }> & { location: string | undefined }) | Failed;
type Failed = Extract<HttpGetResult, { kind: 'failed' }>;

/** One request. `wantsBody` is asked of redirects only: what leads on is not worth reading. */
function exchange(
  target: HttpTarget,
  { clock, signal, timeoutMs }: HttpGetOptions,
  wantsBody: (status: number, location: string | undefined) => boolean,
): Promise<Exchanged> {
  const { host, port } = target;
  const failed = (reason: string): Failed => ({
    kind: 'failed',
    message: `Get ${JSON.stringify(targetUrl(target))}: ${reason}`,
  });
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const reader = new HttpAnswerReader(limits);
    let connected = false;
    const socket = open(target);
    const leave = (): void => {
      cancelTimer?.();
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
    };
    const end = (result: Exchanged): void => {
      leave();
      resolve(result);
    };
    const onAbort = (): void => {
      leave();
      reject(signal.reason);
    };
    const answer = (bodyFault?: string): void =>
      end({
        kind: 'answer',
        status: reader.status,
        location: reader.location,
        body: reader.body(),
        ...(bodyFault === undefined ? {} : { bodyFault }),
      });
    const timedOut = (): void => {
      if (reader.headComplete) {
        answer('context deadline exceeded (Client.Timeout or context cancellation while reading body)');
      } else {
        const reason = connected ? 'context deadline exceeded' : dialTimeout(host, port);
        end(failed(`${reason} (Client.Timeout exceeded while awaiting headers)`));
      }
    };
    const advance = (): void => {
      if (!reader.headComplete) {
        if (reader.fault !== undefined) end(failed(reader.fault));
      } else if (isRedirect(reader.status) && !wantsBody(reader.status, reader.location)) answer();
      else if (reader.done) answer(reader.fault);
    };
    const cancelTimer = timeoutMs === undefined ? undefined : clock.after(Math.max(timeoutMs, 0), timedOut);
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => {
      connected = true;
    });
    socket.once(target.scheme === 'https' ? 'secureConnect' : 'connect', () => socket.write(requestBytes(target)));
    socket.on('data', (chunk: Buffer) => {
      reader.push(chunk);
      advance();
    });
    socket.on('end', () => {
      reader.end();
      advance();
    });
    socket.on('error', (error) => {
      if (reader.headComplete) answer(readFailure(error, host, port));
      // What comes back from a server without TLS looks like a record of an unknown version.
      else if (target.scheme === 'https' && hasErrorCode(error, 'ERR_SSL_WRONG_VERSION_NUMBER')) {
        end({ ...failed('http: server gave HTTP response to HTTPS client'), gaveHttp: true });
      } else end(failed(connected ? readFailure(error, host, port) : dialFailure(error, host, port)));
    });
    // Destroyed by the other side's reset before anything came.
    socket.on('close', () => {
      reader.end();
      advance();
    });
  });
}

let secureContext: SecureContext | undefined;

function open({ scheme, host, port }: HttpTarget): Socket {
  if (scheme === 'http') return connect({ host, port, noDelay: true });
  // No root certificates: none is looked at, and loading them costs milliseconds a connection.
  secureContext ??= createSecureContext({ ca: [], minVersion: 'TLSv1.2' });
  return tlsConnect({
    host,
    port,
    secureContext,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    servername: isIP(host) === 0 ? host : '',
  });
}
