/**
 * GET /containerLogs/{namespace}/{pod}/{container}: what `kubectl logs` reads, streamed as it is found.
 * Rules: pkg/kubelet/server/server.go (getContainerLogs), pkg/kubelet/kubelet_pods.go (GetKubeletContainerLogs).
 * Layer: kubelet/server/logs (edge to HTTP). Files are read by kubelet/logs, at the pace of the client.
 */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../../../base/clock.ts';
import { errorLine } from '../../../observe/keelson-error.ts';
import type { Logger } from '../../../observe/logger.ts';
import type { FollowedContainer, FollowOptions } from '../../logs/follow-log.ts';
import { LogError } from '../../logs/log-error.ts';
import { LogReader } from '../../logs/read-log.ts';
import type { ContainerRecord } from '../../plan/runtime-state.ts';
import { HttpStatusError } from '../http-status-error.ts';
import type { Route, RouteRequest } from '../route.ts';
import type { ServedPod, ServedPods } from '../served-pods.ts';
import { parseLogQuery } from './log-query.ts';
import { logTarget, quote } from './log-target.ts';

export interface ContainerLogDependencies {
  pods: ServedPods;
  /** Calls `listener` after each change of a pod's status, and when a pod is gone; returns how to stop. */
  onPodChange(listener: (uid: string) => void): () => void;
  podLogDir: string;
  clock: Clock;
  log: Logger;
}

export function containerLogRoutes(dependencies: ContainerLogDependencies): Route[] {
  return [
    {
      methods: ['GET'],
      path: '/containerLogs/{namespace}/{pod}/{container}',
      subresources: ['proxy'],
      handle: (request, response) => answer(dependencies, request, response),
    },
  ];
}

async function answer(
  dependencies: ContainerLogDependencies,
  { params, url, signal }: RouteRequest,
  response: ServerResponse,
): Promise<void> {
  const { pods, podLogDir, clock, log } = dependencies;
  const { namespace = '', pod: name = '', container = '' } = params;
  const query = parseLogQuery(url.searchParams, clock.now());
  const served = pods.find(namespace, name);
  if (served === undefined) throw new HttpStatusError(404, `pod ${quote(name)} does not exist`);
  const record = logTarget(served, container, query.previous);
  const following: FollowOptions | undefined = query.follow
    ? { container: followed(dependencies, served, record), clock, log }
    : undefined;
  const reader = await openReader(() => LogReader.open({ path: record.logPath, podLogDir, clock }, query, following));
  try {
    response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
    // A follower is told at once that it is accepted: the first line may be long in coming.
    response.flushHeaders();
    for await (const chunk of reader.read(signal)) await send(response, chunk, signal);
    response.end();
  } catch (error) {
    // The answer has begun: a cut connection is all that can still tell the client.
    response.destroy();
    if (signal.aborted || response.errored !== null) return;
    const fields = { pod: `${namespace}/${name}`, container, error: errorLine(error) };
    log.warn(fields, 'sending a log was broken off');
  } finally {
    await reader.close();
  }
}

async function openReader(open: () => Promise<LogReader>): Promise<LogReader> {
  try {
    return await open();
  } catch (error) {
    if (!(error instanceof LogError)) throw error;
    throw new HttpStatusError(400, `failed to read the log: ${errorLine(error)}`, { cause: error });
  }
}

/** By uid and container id: a pod of the same name, or the next instance, is another one. */
function followed(
  { pods, onPodChange, clock }: ContainerLogDependencies,
  { pod }: ServedPod,
  record: ContainerRecord,
): FollowedContainer {
  const { namespace, name, uid } = pod.metadata;
  let [running, lookedAtMs] = [true, Number.NEGATIVE_INFINITY];
  return {
    // Asked for with every line; finding a pod costs more than that.
    isRunning() {
      if (Math.abs(clock.now() - lookedAtMs) < rememberedMs) return running;
      const { containers } = pods.find(namespace, name, uid)?.state ?? { containers: [] };
      running = containers.some(({ id, phase }) => id === record.id && phase === 'running');
      lookedAtMs = clock.now();
      return running;
    },
    onChange: (listener) =>
      onPodChange((changed) => {
        if (changed !== uid) return;
        lookedAtMs = Number.NEGATIVE_INFINITY;
        listener();
      }),
  };
}

const rememberedMs = 1000;

/** Resolves once the chunk is out and its memory may be used again; rejects when that will not be. */
function send(response: ServerResponse, chunk: Buffer, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    response.write(chunk, (error) => {
      signal.removeEventListener('abort', onAbort);
      if (error) reject(error);
      else resolve();
    });
  });
}
