/**
 * A server with the streaming routes and nothing else: no identities, one pod, the fake runtime behind it. What the
 * kubelet's API server does around routes is done in the plainest way.
 * Layer: kubelet/server/streaming (test support). Must not be imported by production code.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { createFakeAuthority } from '../../../api/fake-pki.ts';
import { FakeClock } from '../../../base/fake-clock.ts';
import { silentLogger } from '../../../observe/logger.ts';
import type { ContainerRecord, SandboxRecord } from '../../plan/runtime-state.ts';
import { HttpStatusError } from '../http-status-error.ts';
import type { Route, RouteRequest } from '../route.ts';
import type { ServedPod, ServedPods } from '../served-pods.ts';
import { FakeStreamingRuntime } from './fake-streaming-runtime.ts';
import { type StreamingRuntime, streamingRoutes } from './streaming-routes.ts';

/** `shop/web`: container `main` (terminal) and sidecar `proxy` run, `done` exited, `lost` is gone from the runtime. */
export const webPod: ServedPod = {
  pod: {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop', uid: 'u1' },
    spec: {
      containers: ['main', 'done', 'lost'].map((name) => ({ name, image: 'i', tty: name === 'main' })),
      initContainers: [{ name: 'proxy', image: 'i', restartPolicy: 'Always' }],
    },
  },
  status: { phase: 'Running', conditions: [] },
  state: {
    sandboxes: [{ id: 'sandbox-1', ready: true } as SandboxRecord],
    containers: ['main', 'proxy', 'done', 'lost'].map(
      (name) => ({ name, id: `${name}-1`, phase: name === 'done' ? 'exited' : 'running' }) as ContainerRecord,
    ),
  },
};

export const webPods: ServedPods = {
  list: () => [webPod],
  find: (namespace, name, uid) =>
    namespace === 'shop' && name === 'web' && (uid === undefined || uid === 'u1') ? webPod : undefined,
};

export interface StreamingApi {
  fake: FakeStreamingRuntime;
  clock: FakeClock;
  /** Aborts what the server hands to the routes. */
  stop: AbortController;
  port: number;
  /** Connections of clients that are open here. */
  connections: Set<Socket>;
  /** How many upgrades are being served. */
  serving(): number;
  connect(): Promise<Socket>;
  close(): Promise<void>;
}

export interface StreamingApiOptions {
  pods?: ServedPods;
  runtime?: StreamingRuntime;
  tls?: boolean;
  idleTimeoutMs?: number;
}

export async function startStreamingApi(options: StreamingApiOptions = {}): Promise<StreamingApi> {
  const fake = new FakeStreamingRuntime();
  await fake.listen();
  for (const id of ['main-1', 'proxy-1', 'sandbox-1']) fake.running.add(id);
  const clock = new FakeClock();
  const stop = new AbortController();
  const routes = streamingRoutes({
    pods: options.pods ?? webPods,
    runtime: options.runtime ?? fake.runtime,
    idleTimeoutMs: options.idleTimeoutMs ?? 4 * 3600_000,
    log: silentLogger,
    clock,
  });
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    try {
      const found = findRoute(routes, request, stop.signal);
      if (found === undefined) throw new HttpStatusError(404, '404 page not found');
      await found.route.handle(found.request, response);
    } catch (error) {
      const [status, message] = error instanceof HttpStatusError ? [error.status, error.message] : [500, String(error)];
      response.writeHead(status).end(message);
    }
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => void answer(request, response);
  const identity = options.tls ? createFakeAuthority().issue({ names: ['127.0.0.1'] }) : undefined;
  const server: Server =
    identity === undefined
      ? createServer(onRequest)
      : (createTlsServer({ cert: identity.certificate, key: identity.key }, onRequest) as Server);
  const connections = new Set<Socket>();
  let serving = 0;
  server.on('connection', (socket: Socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
  });
  server.on('upgrade', async (request, socket, head) => {
    const found = findRoute(routes, request, stop.signal);
    if (found?.route.upgrade === undefined) {
      socket.destroy();
      return;
    }
    serving++;
    await found.route.upgrade(found.request, socket, head);
    serving--;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    fake,
    clock,
    stop,
    port,
    connections,
    serving: () => serving,
    async connect() {
      const socket =
        identity === undefined
          ? connect({ port, host: '127.0.0.1', allowHalfOpen: true })
          : connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
      socket.on('error', () => {});
      await once(socket, identity === undefined ? 'connect' : 'secureConnect');
      return socket;
    },
    async close() {
      for (const socket of connections) socket.destroy();
      server.close();
      await once(server, 'close');
      await fake.close();
    },
  };
}

function findRoute(
  routes: readonly Route[],
  request: IncomingMessage,
  signal: AbortSignal,
): { route: Route; request: RouteRequest } | undefined {
  const url = new URL(request.url ?? '', 'http://node');
  const method = request.method ?? '';
  const parts = url.pathname.split('/');
  for (const route of routes) {
    const wanted = route.path.split('/');
    if (!route.methods.includes(method) || wanted.length !== parts.length) continue;
    const params: Record<string, string> = {};
    const fits = wanted.every((part, i) => {
      const name = /^\{(\w+)\}$/.exec(part)?.[1];
      if (name !== undefined) params[name] = decodeURIComponent(parts[i] ?? '');
      return name !== undefined || part === parts[i];
    });
    if (fits) return { route, request: { params, url, method, request, signal } };
  }
  return undefined;
}
