/**
 * What happens to a request between the listener and its route: path, identity, rights, method, then the handler, whose
 * errors become answers.
 * Layer: kubelet/server. Opens no port. Nothing about this node is said before identity and rights are clear, not even
 * whether a path exists. Rules: InstallAuthFilter of pkg/kubelet/server/server.go.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { UserInfo } from '../../api/token-review.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { Authenticate } from './authenticate.ts';
import { type Authorize, verbOf } from './authorize.ts';
import { HttpStatusError } from './http-status-error.ts';
import { sendText, writeRefusal } from './plain-answer.ts';
import type { Route, RouteRequest } from './route.ts';
import { type FoundPath, type RouteTable, subresourcesOf } from './route-table.ts';

/** What 10250 asks for and 10255 does not. */
export interface AccessControl {
  authenticate: Authenticate;
  authorize: Authorize;
}

export interface AnswerOptions {
  table: RouteTable;
  /** undefined: the read-only port. */
  access: AccessControl | undefined;
  log: Logger;
  /** Called when the answer is complete or cut off, for metrics. */
  onAnswered?(answered: AnsweredRequest): void;
}

export interface AnsweredRequest {
  method: string;
  /** The route's pattern; `other` when there is none. */
  path: string;
  /** 0 when the client went away before there was one. */
  status: number;
}

export interface Answerer {
  request(request: IncomingMessage, response: ServerResponse): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Whether the request is to be handed to `upgrade`; others that ask for an upgrade are answered as if they did not. */
  upgrades(request: IncomingMessage): boolean;
  /** Requests under way. */
  readonly active: number;
  /** Ends every request under way. */
  stop(): void;
}

interface Admitted {
  route: Route;
  params: FoundPath['params'];
  url: URL;
}

export function createAnswerer(options: AnswerOptions): Answerer {
  const { table, access, log, onAnswered = () => undefined } = options;
  const active = new Set<AbortController>();

  /** @throws HttpStatusError */
  const admit = async (request: IncomingMessage): Promise<Admitted> => {
    const { method = '' } = request;
    const target = table.find(request.url ?? '');
    if (access !== undefined) {
      const user = await identify(request, access);
      await allow(user, method, target?.found, access);
    }
    if (target === undefined) throw new HttpStatusError(400, 'the path is malformed');
    const { url, found } = target;
    if (found === undefined) throw new HttpStatusError(404, '404 page not found');
    const route = found.routes.find(({ methods }) => methods.includes(method));
    if (route === undefined) throw new HttpStatusError(405, '405: Method Not Allowed');
    return { route, params: found.params, url };
  };

  const identify = async (request: IncomingMessage, { authenticate }: AccessControl): Promise<UserInfo> => {
    const { user, ...rest } = await authenticate(request);
    if (user !== undefined) return user;
    if ('refused' in rest) {
      log.debug({ from: request.socket.remoteAddress, reason: rest.refused }, 'a request without a valid identity');
    }
    throw new HttpStatusError(401, 'Unauthorized');
  };

  /** @throws HttpStatusError 403, and 500 when the API server cannot be asked */
  const allow = async (
    user: UserInfo,
    method: string,
    found: FoundPath | undefined,
    { authorize }: AccessControl,
  ): Promise<void> => {
    const verb = verbOf(method);
    const subresources = subresourcesOf(found);
    for (const subresource of subresources) {
      try {
        if (await authorize(user, verb, subresource)) return;
      } catch (cause) {
        const who = `user=${user.name}, verb=${verb}, resource=nodes, subresource=${subresource}`;
        log.warn({ user: user.name, verb, subresource, error: errorLine(cause) }, 'rights cannot be asked for');
        throw new HttpStatusError(500, `Authorization error (${who})`, { cause });
      }
    }
    const who = `user=${user.name}, verb=${verb}, resource=nodes, subresource(s)=[${subresources.join(' ')}]`;
    throw new HttpStatusError(403, `Forbidden (${who})\n`);
  };

  const pathOf = (request: IncomingMessage): string => table.find(request.url ?? '')?.found?.routes[0]?.path ?? 'other';

  /** What the client is told; an error that is nobody's decision is logged here and told as little as possible. */
  const statusOf = (error: unknown, request: IncomingMessage): { status: number; message: string } => {
    if (error instanceof HttpStatusError) return error;
    log.error({ method: request.method, path: pathOf(request), error: errorLine(error) }, 'a request failed');
    return { status: 500, message: 'internal error, see the log of the node' };
  };

  const scopeOf = (gone: { once(event: 'close', then: () => void): unknown }): AbortController => {
    const scope = new AbortController();
    active.add(scope);
    gone.once('close', () => {
      active.delete(scope);
      scope.abort(new Error('the client went away'));
    });
    return scope;
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const scope = scopeOf(response);
    response.once('close', () => {
      const { method = '' } = request;
      onAnswered({ method, path: pathOf(request), status: response.headersSent ? response.statusCode : 0 });
    });
    try {
      const { route, params, url } = await admit(request);
      if (response.destroyed) return;
      await route.handle(routeRequest(request, params, url, scope), response);
    } catch (error) {
      // A client that is gone makes handlers fail, which is no news.
      if (scope.signal.aborted) return;
      const { status, message } = statusOf(error, request);
      if (response.headersSent) response.destroy();
      else sendText(response, status, message);
    }
  };

  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    // Node leaves the socket to whoever takes it: without a listener its error would end the daemon.
    socket.on('error', () => undefined);
    const scope = scopeOf(socket);
    const written = bytesWritten(socket);
    try {
      const { route, params, url } = await admit(request);
      if (socket.destroyed) return;
      if (route.upgrade === undefined) throw new HttpStatusError(400, 'this path cannot be upgraded');
      const { method = '' } = request;
      onAnswered({ method, path: route.path, status: 101 });
      await route.upgrade(routeRequest(request, params, url, scope), socket, head);
    } catch (error) {
      if (scope.signal.aborted) return;
      const { status, message } = statusOf(error, request);
      if (bytesWritten(socket) === written) writeRefusal(socket, status, message);
      else socket.destroy();
    }
  };

  return {
    get active() {
      return active.size;
    },
    request: (request, response) => void answer(request, response),
    upgrade: (request, socket, head) => void upgrade(request, socket, head),
    upgrades({ method = '', url = '' }) {
      const routes = table.find(url)?.found?.routes ?? [];
      return routes.some((route) => route.methods.includes(method) && route.upgrade !== undefined);
    },
    stop() {
      for (const scope of active) scope.abort(new Error('the server stops'));
    },
  };
}

const routeRequest = (
  request: IncomingMessage,
  params: FoundPath['params'],
  url: URL,
  { signal }: AbortController,
): RouteRequest => ({ request, params, url, signal, method: request.method ?? '' });

const bytesWritten = (socket: Duplex): number =>
  'bytesWritten' in socket && typeof socket.bytesWritten === 'number' ? socket.bytesWritten : 0;
