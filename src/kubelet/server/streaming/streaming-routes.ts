/**
 * The streaming part of the kubelet's API: exec, attach, port-forward and run. The runtime has the streams and serves them
 * itself; each upgrade is checked here, asked for by CRI, and joined with the runtime's streaming server.
 * Layer: kubelet/server/streaming. Who may call is decided before. Rules: pkg/kubelet/server/server.go.
 */
import type { Duplex } from 'node:stream';
import { type Clock, systemClock } from '../../../base/clock.ts';
import type { CallOptions, RuntimeService } from '../../../cri/service.ts';
import { errorLine } from '../../../observe/keelson-error.ts';
import type { Logger } from '../../../observe/logger.ts';
import { HttpStatusError } from '../http-status-error.ts';
import type { Route, RouteRequest } from '../route.ts';
import type { ServedPods } from '../served-pods.ts';
import { proxyUpgrade } from './proxy-upgrade.ts';
import { runCommand } from './run-command.ts';
import { forwardedPorts, streamOptions } from './stream-options.ts';
import { refusalOf, writeRefusal } from './stream-refusal.ts';
import { containerToAttach, containerToExec, findPod, readySandbox } from './stream-target.ts';

export type StreamingRuntime = Pick<RuntimeService, 'exec' | 'attach' | 'portForward' | 'execSync'>;

export interface StreamingOptions {
  pods: ServedPods;
  runtime: StreamingRuntime;
  /** Milliseconds of silence after which a stream is cut (streamingConnectionIdleTimeout, 4 h); 0: never. */
  idleTimeoutMs: number;
  log: Logger;
  clock?: Clock;
}

/** Asks CRI where the stream is to be had. */
type Locate = (call: CallOptions) => Promise<string>;
/** Checks a request; throws HttpStatusError for what it must be refused for. Calls nothing. */
type Prepare = (request: RouteRequest) => Locate;

/** All with the Node's subresource `proxy`, none on the read-only port. */
export function streamingRoutes(options: StreamingOptions): Route[] {
  const { pods, runtime } = options;

  const exec: Prepare = ({ url, params }) => {
    const streams = streamOptions(url.searchParams);
    const { containerId } = containerToExec(findPod(pods, params), params);
    const cmd = url.searchParams.getAll('command');
    return async (call) => (await runtime.exec({ containerId, cmd, ...streams }, call)).url;
  };
  const attach: Prepare = ({ url, params }) => {
    const { stdin, stdout, stderr } = streamOptions(url.searchParams);
    // Whether the process has a terminal was settled when it was started.
    const { containerId, tty } = containerToAttach(findPod(pods, params), params);
    return async (call) => (await runtime.attach({ containerId, stdin, stdout, stderr, tty }, call)).url;
  };
  const portForward: Prepare = ({ url, params, request }) => {
    const port = forwardedPorts(url.searchParams, request.headers);
    const podSandboxId = readySandbox(findPod(pods, params));
    return async (call) => (await runtime.portForward({ podSandboxId, port }, call)).url;
  };

  const container = ['/{namespace}/{pod}/{container}', '/{namespace}/{pod}/{uid}/{container}'];
  const stream = (name: string, paths: readonly string[], prepare: Prepare): Route[] =>
    paths.map((path) => ({
      methods: ['GET', 'POST'],
      path: `/${name}${path}`,
      subresources: ['proxy'],
      async handle(request) {
        prepare(request);
        // The kubelet says so with this status, not with 400.
        throw new HttpStatusError(500, 'Upgrade request required');
      },
      upgrade: (request, socket, head) => serveStream(name, prepare, request, socket, head, options),
    }));
  return [
    ...stream('exec', container, exec),
    ...stream('attach', container, attach),
    ...stream('portForward', ['/{namespace}/{pod}', '/{namespace}/{pod}/{uid}'], portForward),
    ...container.map((path) => runRoute(`/run${path}`, options)),
  ];
}

/** Never rejects: what goes wrong is told to the client. */
async function serveStream(
  name: string,
  prepare: Prepare,
  request: RouteRequest,
  socket: Duplex,
  head: Buffer,
  { log, idleTimeoutMs, clock = systemClock }: StreamingOptions,
): Promise<void> {
  // Without a listener a client that breaks off would end the daemon.
  socket.on('error', () => {});
  const { signal, params } = request;
  const fields = { stream: name, pod: `${params.namespace}/${params.pod}`, container: params.container };
  try {
    const location = await prepare(request)({ signal });
    const client = { request: request.request, socket, head };
    const end = await proxyUpgrade(location, client, { clock, idleTimeoutMs, signal });
    log.debug({ ...fields, end }, 'stream ended');
  } catch (error) {
    if (signal.aborted) {
      socket.destroy();
      return;
    }
    const refusal = refusalOf(error);
    log.debug({ ...fields, status: refusal.status, error: errorLine(error) }, 'stream refused');
    writeRefusal(socket, refusal, clock);
  }
}

function runRoute(path: string, { pods, runtime }: StreamingOptions): Route {
  return {
    methods: ['POST'],
    path,
    subresources: ['proxy'],
    async handle({ url, params, signal }, response) {
      const { containerId } = containerToExec(findPod(pods, params), params);
      const output = await runCommand(runtime, containerId, url.searchParams.get('cmd') ?? '', signal);
      response.writeHead(200, {
        ...(output.length > 0 ? { 'content-type': 'application/json' } : {}),
        'x-content-type-options': 'nosniff',
        'content-length': output.length,
      });
      response.end(output);
    },
  };
}
