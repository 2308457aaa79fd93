/**
 * The client of the API server: typed requests with credentials, limits, retries and clear errors.
 * Layer: api. Answers are `unknown` until the caller's parse function has looked at them. Lists and watches are streams
 * (reflector.ts); nothing is cached here.
 */
import type { Clock } from '../base/clock.ts';
import { sleep, systemClock } from '../base/clock.ts';
import { createTokenBucket } from '../base/token-bucket.ts';
import type { ClusterAccess } from '../config/kubeconfig.ts';
import type { Logger } from '../observe/logger.ts';
import { silentLogger } from '../observe/logger.ts';
import { ApiError, errorOfStatus, isApiError } from './api-error.ts';
import { createCredentialSource } from './credentials.ts';
import { type HttpRequest, type HttpResponse, textOf } from './http.ts';
import { maxObjectBytes } from './json-lines.ts';
import { retryDelay } from './retry.ts';
import { createTransport } from './transport.ts';

/** Reads an untrusted value; throws an Error whose message says what is wrong with it. */
export type Parse<T> = (value: unknown) => T;

export interface RequestOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds for each attempt, default 30,000. */
  readonly timeoutMs?: number;
  /** A repetition changes nothing, so that it is repeated also when it may have been carried out. Default: GET only. */
  readonly idempotent?: boolean;
  /** Not counted against the client's own rate limit: heartbeats, and watches that live for minutes. */
  readonly unlimited?: boolean;
}

export type PatchType = 'json' | 'merge' | 'strategic';

/** Source: staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go (DeleteOptions). */
export interface DeleteOptions {
  /** The object is deleted only while it is this one: 409 for a namesake. */
  readonly uid?: string;
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground';
}

/** Paths are those of resource.ts, with a query where one is needed. Every method throws ApiError or the signal's reason. */
export interface ApiClient {
  get<T>(path: string, parse: Parse<T>, options?: RequestOptions): Promise<T>;
  create<T>(path: string, body: object, parse: Parse<T>, options?: RequestOptions): Promise<T>;
  /** PUT: with a resourceVersion in `body` it is refused with API_CONFLICT when the object has changed. */
  update<T>(path: string, body: object, parse: Parse<T>, options?: RequestOptions): Promise<T>;
  patch<T>(path: string, type: PatchType, body: object, parse: Parse<T>, options?: RequestOptions): Promise<T>;
  delete(path: string, deletion?: DeleteOptions, options?: RequestOptions): Promise<void>;
  /**
   * A GET whose answer is read while it comes. `timeoutMs` counts until the answer begins. The body must be read to its
   * end or destroyed; `signal` also ends the reading.
   */
  stream(path: string, options: RequestOptions & { readonly signal: AbortSignal }): Promise<HttpResponse>;
  /** Ends every request and every connection. */
  close(): void;
}

/** Epoch milliseconds, by the client's clock. */
export interface ServerTime {
  readonly sentMs: number;
  readonly answeredMs: number;
  /** The header Date as it came: whole seconds; undefined when there is none. */
  readonly date: string | undefined;
}

export interface ApiClientOptions {
  readonly access: ClusterAccess;
  /** `keelson/<version>` */
  readonly userAgent: string;
  /** kubeAPIQPS and kubeAPIBurst; default no limit. */
  readonly rateLimit?: { readonly qps: number; readonly burst: number };
  /**
   * Each request waits for it, longer than its own time limit if need be: a node that joins has no certificate yet, and
   * what fails would be tried again late. Rejects with the signal's reason.
   */
  readonly ready?: (signal: AbortSignal) => Promise<void>;
  /** What each answer of an API server says of the time there. Must not throw. */
  readonly onServerTime?: ((time: ServerTime) => void) | undefined;
  readonly clock?: Clock;
  readonly log?: Logger;
  /** 0 to 1; for tests. */
  readonly random?: () => number;
}

const defaultTimeoutMs = 30_000;
const maxStatusBytes = 1024 * 1024;
const patchContentType: Readonly<Record<PatchType, string>> = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
};

interface Call {
  readonly method: HttpRequest['method'];
  readonly path: string;
  readonly body?: object;
  readonly contentType?: string;
  readonly options: RequestOptions;
}

/** Makes no connection yet. Files of the kubeconfig are read with the first request. */
export function createApiClient(options: ApiClientOptions): ApiClient {
  const { access, userAgent, clock = systemClock, log = silentLogger, random = Math.random } = options;
  const credentials = createCredentialSource(access, { clock, log });
  const transport = createTransport(access.servers, { clock });
  const closing = new AbortController();
  const { qps, burst } = options.rateLimit ?? { qps: 0, burst: 1 };
  const bucket = createTokenBucket(qps, burst);

  /** Sends once; resolves with an answer below 400. `signal` must end the request when its time is over. */
  const sendOnce = async (call: Call, signal: AbortSignal): Promise<HttpResponse> => {
    const used = await credentials.current();
    const sentMs = clock.now();
    const response = await transport.send(
      {
        method: call.method,
        path: call.path,
        headers: {
          accept: 'application/json',
          'user-agent': userAgent,
          ...(used.authorization !== undefined && { authorization: used.authorization }),
          ...(call.body !== undefined && { 'content-type': call.contentType ?? 'application/json' }),
        },
        ...(call.body !== undefined && { body: JSON.stringify(call.body) }),
        signal,
      },
      used.tls,
    );
    // Above 500 it may be a proxy's.
    if (response.status <= 500) {
      options.onServerTime?.({ sentMs, answeredMs: clock.now(), date: response.headers.date });
    }
    if (response.status < 400) return response;
    if (response.status === 401) credentials.refused(used);
    // 502 to 504: this server, or what stands before it, cannot work; another may.
    if (response.status > 500) transport.avoid(response.server);
    const text = await textOf(response, maxStatusBytes, { silenceMs: defaultTimeoutMs, clock, signal });
    const retryAfter = response.headers['retry-after'];
    throw errorOfStatus(objectOf(call), response.status, jsonOrText(text), retryAfter);
  };

  /** One attempt with its time limit; `read` takes the answer within it. */
  const attemptOnce = async <T>(
    call: Call,
    read: (response: HttpResponse, signal: AbortSignal) => Promise<T> | T,
  ): Promise<T> => {
    const timeoutMs = call.options.timeoutMs ?? defaultTimeoutMs;
    const server = transport.current;
    const timeout = new AbortController();
    const cancel = clock.after(timeoutMs, () => {
      const message = `the API server did not answer within ${timeoutMs / 1000} s`;
      timeout.abort(new ApiError('API_TIMEOUT', message, { object: objectOf(call) }));
    });
    const ends = [timeout.signal, closing.signal, ...(call.options.signal ? [call.options.signal] : [])];
    const signal = AbortSignal.any(ends);
    try {
      return await read(await sendOnce(call, signal), signal);
    } catch (error) {
      if (isApiError(error, 'API_TIMEOUT')) transport.avoid(server);
      throw error;
    } finally {
      cancel();
    }
  };

  const send = async <T>(call: Call, read: (response: HttpResponse, signal: AbortSignal) => Promise<T> | T) => {
    const { signal, idempotent = call.method === 'GET' } = call.options;
    const either = signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]);
    let renewed = false;
    await options.ready?.(either);
    for (let number = 1; ; number++) {
      either.throwIfAborted();
      // First come, first served is not promised; each waits about a token's time.
      while (call.options.unlimited !== true && !bucket.take(clock.now())) await sleep(1000 / qps, either, clock);
      const before = await credentials.current();
      try {
        return await attemptOnce(call, read);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        let delayMs = retryDelay(error, { number, idempotent, random: random() });
        // A token may have been replaced since it was read: once more with what the file says now.
        if (error.code === 'API_UNAUTHORIZED' && !renewed && (await credentials.current()) !== before) {
          renewed = true;
          delayMs = 0;
        }
        if (delayMs === undefined) throw error;
        log.debug({ object: objectOf(call), error: error.message, delayMs }, 'request is sent again');
        await sleep(delayMs, either, clock);
      }
    }
  };

  const sendJson = <T>(call: Call, parse: Parse<T>): Promise<T> =>
    send(call, async (response, signal) => {
      const text = await textOf(response, maxObjectBytes, { silenceMs: defaultTimeoutMs, clock, signal });
      try {
        return parse(JSON.parse(text));
      } catch (cause) {
        const message = `the answer is not what was asked for: ${cause instanceof Error ? cause.message : String(cause)}`;
        throw new ApiError('API_RESPONSE', message, { object: objectOf(call), status: response.status, cause });
      }
    });

  return {
    get: (path, parse, options = {}) => sendJson({ method: 'GET', path, options }, parse),
    create: (path, body, parse, options = {}) => sendJson({ method: 'POST', path, body, options }, parse),
    update: (path, body, parse, options = {}) => sendJson({ method: 'PUT', path, body, options }, parse),
    patch: (path, type, body, parse, options = {}) =>
      sendJson({ method: 'PATCH', path, body, contentType: patchContentType[type], options }, parse),
    delete: (path, deletion = {}, options = {}) =>
      sendJson({ method: 'DELETE', path, body: deleteBody(deletion), options }, () => undefined),
    stream: (path, options) => send({ method: 'GET', path, options }, (response) => response),
    close() {
      closing.abort(new ApiError('API_UNREACHABLE', 'the client was closed', { sent: false }));
      transport.close();
    },
  };
}

function deleteBody({ uid, gracePeriodSeconds, propagationPolicy }: DeleteOptions): object {
  return {
    apiVersion: 'v1',
    kind: 'DeleteOptions',
    ...(uid !== undefined && { preconditions: { uid } }),
    ...(gracePeriodSeconds !== undefined && { gracePeriodSeconds }),
    ...(propagationPolicy !== undefined && { propagationPolicy }),
  };
}

/** Without the query, which differs from time to time: the same trouble is the same line. */
function objectOf({ method, path }: Call): string {
  return `${method} ${path.replace(/\?.*/, '')}`;
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Proxies and load balancers answer in their own words.
    return text;
  }
}
