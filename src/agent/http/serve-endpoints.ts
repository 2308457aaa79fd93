/**
 * A small HTTP server for health checks and metrics: GET and HEAD of a few fixed paths, without authentication, so it
 * belongs on loopback or shows nothing that is secret. Layer: agent (edge). The kubelet's API is another server's.
 */
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface Answer {
  status: number;
  contentType: string;
  body: string;
  headers?: Readonly<Record<string, string>>;
}

/** By exact path. */
export type Endpoints = ReadonlyMap<string, () => Answer | Promise<Answer>>;

export interface Listener {
  /** The port in use, also when 0 was asked for. */
  port: number;
  close(): Promise<void>;
}

export const plainText = (body: string, status = 200): Answer => ({
  status,
  contentType: 'text/plain; charset=utf-8',
  body,
});

/** Nobody needs more than a scraper and a few probes at once. */
const maxConnections = 64;
const requestTimeoutMs = 10_000;

/**
 * @param address where to listen; an IPv4 or IPv6 literal @param port 0 to 65535
 * @throws KeelsonError HTTP_LISTEN
 */
export async function serveEndpoints(
  address: string,
  port: number,
  endpoints: Endpoints,
  log: Logger,
): Promise<Listener> {
  const server = createServer(
    {
      requestTimeout: requestTimeoutMs,
      headersTimeout: requestTimeoutMs,
      keepAliveTimeout: 30_000,
      maxHeaderSize: 8192,
    },
    (request, response) => {
      void answer(request.method ?? '', request.url ?? '', response, endpoints, log);
    },
  );
  server.maxConnections = maxConnections;
  await listen(server, address, port);
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : port,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function listen(server: Server, address: string, port: number): Promise<void> {
  try {
    server.listen(port, address);
    await once(server, 'listening');
  } catch (cause) {
    throw new KeelsonError('HTTP_LISTEN', `cannot listen: ${errorLine(cause)}`, {
      object: `${address}:${port}`,
      fix: 'end what uses the address (ss -ltnp), or choose another port',
      cause,
    });
  }
}

async function answer(
  method: string,
  url: string,
  response: ServerResponse,
  endpoints: Endpoints,
  log: Logger,
): Promise<void> {
  const [path = ''] = url.split('?', 1);
  const endpoint = endpoints.get(path);
  let result: Answer;
  if (endpoint === undefined) result = plainText('404 page not found\n', 404);
  else if (method !== 'GET' && method !== 'HEAD') result = plainText('405 method not allowed\n', 405);
  else {
    try {
      result = await endpoint();
    } catch (error) {
      log.error({ path, error: errorLine(error) }, 'an endpoint failed');
      result = plainText('500 internal error, see the log\n', 500);
    }
  }
  response.writeHead(result.status, {
    'content-type': result.contentType,
    'content-length': Buffer.byteLength(result.body),
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
    ...result.headers,
  });
  response.end(method === 'HEAD' ? undefined : result.body);
}
