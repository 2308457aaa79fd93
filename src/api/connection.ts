/**
 * A TLS connection to one API server that carries many requests at once.
 * Layer: api (edge: sockets). HTTP/2 as every current API server speaks; HTTP/1.1 where it was switched off
 * (--disable-http2-serving) or a proxy stands before it. Node's own node:http2 and not undici: docs/adr names the megabytes.
 * Knows nothing of Kubernetes, and retries nothing.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2, constants as http2 } from 'node:http2';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { ApiError } from './api-error.ts';
import type { TlsMaterial } from './credentials.ts';
import type { HttpRequest, HttpResponse } from './http.ts';
import { connectionError } from './socket-failure.ts';

export interface Connection {
  /** Whether it takes one more request now. */
  readonly usable: boolean;
  /** Throws ApiError, or the signal's reason. Begins within this call, so that `usable` counts it at once. */
  request(request: HttpRequest): Promise<HttpResponse>;
  /** Takes no more requests, and ends after those that run. */
  retire(): void;
  /** Ends now, with every request. */
  destroy(): void;
}

/** client-go's values (apimachinery/pkg/util/net/http.go, HTTP2_READ_IDLE_TIMEOUT_SECONDS and HTTP2_PING_TIMEOUT_SECONDS). */
const pingEveryMs = 30_000;
const pingTimeoutMs = 15_000;
const connectTimeoutMs = 10_000;
/** Below Go's receive windows for a list that streams at full speed; what is buffered unread stays below them. */
const streamWindowBytes = 512 * 1024;
const connectionWindowBytes = 2 * 1024 * 1024;

export interface ConnectOptions {
  readonly clock: Clock;
  /** Called once when the connection takes no more requests. */
  readonly onUnusable?: () => void;
}

/** Connects, and agrees on the protocol. Throws ApiError API_UNREACHABLE or API_TLS, with `sent` false. */
export async function connect(server: string, tls: TlsMaterial, options: ConnectOptions): Promise<Connection> {
  const url = new URL(server);
  if (url.protocol === 'http:') return new Http1Connection(server, undefined);
  let socket: TLSSocket | undefined;
  let cancel = (): void => {};
  const tooSlow = new Promise<never>((_resolve, reject) => {
    cancel = options.clock.after(connectTimeoutMs, () => {
      const message = `did not answer within ${connectTimeoutMs / 1000} s`;
      reject(new ApiError('API_UNREACHABLE', message, { object: `API server ${server}`, sent: false }));
    });
  });
  try {
    socket = openSocket(url, tls);
    await Promise.race([secured(socket), tooSlow]);
    if (socket.alpnProtocol !== 'h2') {
      socket.destroy();
      return new Http1Connection(server, tls);
    }
    const secure = socket;
    const session = connectHttp2(server, {
      createConnection: () => secure,
      settings: { enablePush: false, initialWindowSize: streamWindowBytes },
    });
    const connection = new Http2Connection(server, session, secure, options);
    await Promise.race([connection.ready, tooSlow]);
    return connection;
  } catch (error) {
    socket?.destroy();
    throw connectionError(server, error, false);
  } finally {
    cancel();
  }
}

function openSocket(url: URL, tls: TlsMaterial): TLSSocket {
  const socket = connectTls({
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || 443),
    ALPNProtocols: ['h2', 'http/1.1'],
    ...forNode(tls),
  });
  socket.setNoDelay(true);
  // For HTTP/1.1 and for kernels in between; HTTP/2 pings besides.
  socket.setKeepAlive(true, pingEveryMs);
  return socket;
}

function forNode({ ca, ...rest }: TlsMaterial): Omit<TlsMaterial, 'ca'> & { ca: string[]; minVersion: 'TLSv1.2' } {
  return { ...rest, ca: [...ca], minVersion: 'TLSv1.2' };
}

function secured(socket: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.on('error', reject);
    socket.once('close', () => reject(new Error('closed while connecting')));
  });
}

class Http2Connection implements Connection {
  /** Resolves with the server's first SETTINGS, which say how many streams it takes. */
  readonly ready: Promise<void>;
  readonly #server: string;
  readonly #session: ClientHttp2Session;
  #streams = 0;
  #retired = false;
  readonly #onUnusable: () => void;

  constructor(server: string, session: ClientHttp2Session, socket: TLSSocket, options: ConnectOptions) {
    this.#server = server;
    this.#session = session;
    this.#onUnusable = options.onUnusable ?? (() => {});
    this.ready = new Promise((resolve, reject) => {
      session.once('remoteSettings', () => resolve());
      session.on('error', reject);
      session.once('close', () => reject(new Error('closed while connecting')));
    });
    // Nobody waits for it once the connection stands; the requests tell their own errors.
    this.ready.catch(() => {});
    session.once('connect', () => session.setLocalWindowSize(connectionWindowBytes));
    session.once('goaway', () => this.#unusable());
    session.once('close', () => this.#unusable());
    session.once('close', this.#ping(socket, options.clock));
  }

  get usable(): boolean {
    const most = this.#session.remoteSettings?.maxConcurrentStreams ?? 100;
    return !this.#retired && !this.#session.closed && !this.#session.destroyed && this.#streams < most;
  }

  request(request: HttpRequest): Promise<HttpResponse> {
    return new Promise((resolve, reject) => {
      const { signal, body } = request;
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const url = new URL(this.#server);
      const path = (url.pathname === '/' ? '' : url.pathname) + request.path;
      const pseudo = { ':method': request.method, ':path': path, ':authority': url.host, ':scheme': 'https' };
      let stream: ReturnType<ClientHttp2Session['request']>;
      try {
        stream = this.#session.request({ ...pseudo, ...request.headers }, { endStream: body === undefined });
      } catch (error) {
        reject(connectionError(this.#server, error, false));
        return;
      }
      this.#streams++;
      const onAbort = (): void => {
        stream.close(http2.NGHTTP2_CANCEL);
        stream.destroy(asError(signal.reason));
      };
      signal.addEventListener('abort', onAbort, { once: true });
      const failed = (error: unknown): void => {
        if (signal.aborted) reject(signal.reason);
        else reject(connectionError(this.#server, error, stream.rstCode !== http2.NGHTTP2_REFUSED_STREAM));
      };
      stream.on('error', failed);
      stream.once('response', (headers: IncomingHttpHeaders & { ':status'?: number }) => {
        // A session that is closed under its streams ends their bodies without an error, but with a code.
        const complete = (): boolean => (stream.rstCode ?? 0) === http2.NGHTTP2_NO_ERROR;
        resolve({ status: headers[':status'] ?? 0, headers, body: stream, complete, server: this.#server });
      });
      stream.once('close', () => {
        this.#streams--;
        signal.removeEventListener('abort', onAbort);
        failed(new Error(`the stream was closed without an answer, code ${stream.rstCode}`));
      });
      if (body !== undefined) stream.end(body);
    });
  }

  retire(): void {
    this.#unusable();
    if (!this.#session.destroyed) this.#session.close();
  }

  destroy(): void {
    this.#unusable();
    this.#session.destroy();
  }

  #unusable(): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#onUnusable();
  }

  /** A peer that vanished without a word is noticed within 45 seconds. */
  #ping(socket: TLSSocket, clock: Clock): () => void {
    const ping = (): void => {
      cancel = clock.after(pingEveryMs, ping);
      const received = socket.bytesRead;
      const giveUp = clock.after(pingTimeoutMs, () => {
        // On a slow line the answer may queue behind a long list; what comes at all is a sign of life.
        if (socket.bytesRead !== received) return;
        const message = `does not answer pings for ${pingTimeoutMs / 1000} s`;
        this.#session.destroy(new ApiError('API_UNREACHABLE', message, { object: `API server ${this.#server}` }));
      });
      // Also called when the session ends, which its own events tell.
      if (!this.#session.destroyed) this.#session.ping(() => giveUp());
    };
    let cancel = clock.after(pingEveryMs, ping);
    return () => cancel();
  }
}

/** Not one socket but an agent that keeps some: each running request has a socket of its own. */
class Http1Connection implements Connection {
  readonly #server: string;
  readonly #agent: HttpAgent | HttpsAgent;
  #retired = false;

  constructor(server: string, tls: TlsMaterial | undefined) {
    this.#server = server;
    const options = { keepAlive: true, keepAliveMsecs: pingEveryMs };
    this.#agent = tls === undefined ? new HttpAgent(options) : new HttpsAgent({ ...options, ...forNode(tls) });
  }

  get usable(): boolean {
    return !this.#retired;
  }

  request(request: HttpRequest): Promise<HttpResponse> {
    return new Promise((resolve, reject) => {
      const { signal, body } = request;
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const url = new URL(this.#server);
      const send = url.protocol === 'http:' ? httpRequest : httpsRequest;
      const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
      const outgoing = send({
        agent: this.#agent,
        host: url.hostname.replace(/^\[|\]$/g, ''),
        port: url.port || (url.protocol === 'http:' ? 80 : 443),
        method: request.method,
        path: (url.pathname === '/' ? '' : url.pathname) + request.path,
        headers: { ...request.headers, ...length },
      });
      const onAbort = (): void => {
        outgoing.destroy(asError(signal.reason));
      };
      signal.addEventListener('abort', onAbort, { once: true });
      let connected = false;
      outgoing.once('socket', (socket) => {
        socket.setNoDelay(true);
        connected = outgoing.reusedSocket;
        socket.once(url.protocol === 'http:' ? 'connect' : 'secureConnect', () => {
          connected = true;
        });
      });
      outgoing.on('error', (error) => {
        if (signal.aborted) reject(signal.reason);
        else {
          // The next request agrees on the protocol anew: the server may be another one now.
          this.#retired = true;
          reject(connectionError(this.#server, error, connected));
        }
      });
      outgoing.once('close', () => signal.removeEventListener('abort', onAbort));
      outgoing.once('response', (incoming) => {
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          body: incoming,
          complete: () => incoming.complete,
          server: this.#server,
        });
      });
      outgoing.end(body);
    });
  }

  retire(): void {
    // Sockets in use go on; the idle ones fall with the agent's own time limit or the server's.
    this.#retired = true;
  }

  destroy(): void {
    this.#retired = true;
    this.#agent.destroy();
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason });
}
