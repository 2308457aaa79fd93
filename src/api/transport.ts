/**
 * Connections to several equal API servers: one is used until it fails, then the next.
 * Layer: api. Opens a second connection when the first carries as many requests as the server takes (watches are long),
 * and new ones when the certificates changed. Sends each request once; what may be repeated is decided by retry.ts.
 */
import type { Clock } from '../base/clock.ts';
import { errorLine } from '../observe/keelson-error.ts';
import { ApiError } from './api-error.ts';
import { type Connection, connect } from './connection.ts';
import type { TlsMaterial } from './credentials.ts';
import type { HttpRequest, HttpResponse } from './http.ts';
import { connectionError } from './socket-failure.ts';

export interface Transport {
  /** Throws ApiError (API_UNREACHABLE when no server could be connected to), or the signal's reason. */
  send(request: HttpRequest, tls: TlsMaterial): Promise<HttpResponse>;
  /** The server that the next request goes to. */
  readonly current: string;
  /** The server answers badly or not at all: the next request goes to another. */
  avoid(server: string): void;
  /** Ends every connection, and with it every request. */
  close(): void;
}

export function createTransport(servers: readonly string[], options: { readonly clock: Clock }): Transport {
  const pools = servers.map((server) => new ServerPool(server, options.clock));
  let current = 0;

  return {
    get current() {
      return servers[current] ?? '';
    },
    async send(request, tls) {
      const errors: ApiError[] = [];
      for (let tried = 0; tried < pools.length; tried++) {
        const index = current;
        const pool = pools[index];
        if (pool === undefined) break;
        try {
          return await pool.send(request, tls);
        } catch (error) {
          if (request.signal.aborted || !(error instanceof ApiError)) throw error;
          // Requests side by side see the same failure; only the first moves on.
          if (current === index) current = (current + 1) % pools.length;
          errors.push(error);
          if (error.sent) throw error;
        }
      }
      const [only] = errors;
      if (errors.length === 1 && only !== undefined) throw only;
      const message = `no API server can be reached: ${errors.map(errorLine).join('; ')}`;
      throw new ApiError('API_UNREACHABLE', message, { sent: false, cause: new AggregateError(errors) });
    },
    avoid(server) {
      if (servers[current] === server) current = (current + 1) % pools.length;
    },
    close() {
      for (const pool of pools) pool.close();
    },
  };
}

class ServerPool {
  readonly #server: string;
  readonly #clock: Clock;
  #tls: TlsMaterial | undefined;
  #connections: Connection[] = [];
  #connecting: Promise<void> | undefined;
  #closed = false;

  constructor(server: string, clock: Clock) {
    this.#server = server;
    this.#clock = clock;
  }

  async send(request: HttpRequest, tls: TlsMaterial): Promise<HttpResponse> {
    for (;;) {
      request.signal.throwIfAborted();
      if (this.#closed) throw connectionError(this.#server, new Error('the client is closed'), false);
      if (this.#tls !== tls) this.#adopt(tls);
      // Chosen and used in one go: between two awaits another request could take the place.
      const connection = this.#connections.find((candidate) => candidate.usable);
      if (connection !== undefined) return await connection.request(request);
      this.#connecting ??= this.#connect(tls).finally(() => {
        this.#connecting = undefined;
      });
      await unlessAborted(this.#connecting, request.signal);
    }
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#connections) connection.destroy();
    this.#connections = [];
  }

  /** Requests that run keep the old certificate; each new one shows the new. */
  #adopt(tls: TlsMaterial): void {
    this.#tls = tls;
    for (const connection of this.#connections) connection.retire();
    this.#connections = [];
  }

  async #connect(tls: TlsMaterial): Promise<void> {
    let connection: Connection | undefined;
    const forget = (): void => {
      this.#connections = this.#connections.filter((other) => other !== connection);
    };
    connection = await connect(this.#server, tls, { clock: this.#clock, onUnusable: forget });
    if (this.#closed || this.#tls !== tls) connection.destroy();
    else this.#connections.push(connection);
  }
}

/** The promise goes on for others; only this wait ends with the signal. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
