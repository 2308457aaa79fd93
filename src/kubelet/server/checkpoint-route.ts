/**
 * POST /checkpoint/{namespace}/{pod}/{container}: the runtime writes the state of a running container to a file.
 * Layer: kubelet/server. Rules: checkpoint of pkg/kubelet/server/server.go and CheckpointContainer of pkg/kubelet/kubelet.go.
 * Nothing removes the files: what they are for is their reader's to say.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { PodSpec } from '../../api/core.ts';
import type { RuntimeService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { newestContainer } from '../plan/runtime-state.ts';
import { HttpStatusError } from './http-status-error.ts';
import { sendJson } from './plain-answer.ts';
import type { Route } from './route.ts';
import type { ServedPods } from './served-pods.ts';

export interface CheckpointOptions {
  pods: ServedPods;
  runtime: Pick<RuntimeService, 'checkpointContainer'>;
  /** `<rootDir>/checkpoints` */
  directory: string;
  now(): number;
  log: Logger;
}

export function checkpointRoute({ pods, runtime, directory, now, log }: CheckpointOptions): Route {
  return {
    methods: ['POST'],
    path: '/checkpoint/{namespace}/{pod}/{container}',
    subresources: ['checkpoint'],
    async handle({ params, url, signal }, response) {
      const { namespace = '', pod: name = '', container = '' } = params;
      const served = pods.find(namespace, name);
      if (served === undefined) throw new HttpStatusError(404, 'pod does not exist');
      if (!containerNames(served.pod.spec).includes(container)) {
        throw new HttpStatusError(404, `container ${container} does not exist`);
      }
      const timeout = timeoutOf(url.searchParams.getAll('timeout').at(-1));
      const what = `checkpointing of ${namespace}/${name}/${container} failed`;
      const record = newestContainer(served.state, container);
      if (record === undefined) throw new HttpStatusError(500, `${what} (container ${container} not found)`);
      // Names are those of the pod that was found, so that they lead nowhere else.
      const { metadata } = served.pod;
      const stamp = new Date(now()).toISOString().replace(/\.\d+Z$/, 'Z');
      const file = `checkpoint-${metadata.name}_${metadata.namespace}-${container}-${stamp}.tar`;
      const location = join(directory, file);
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        const call = { signal, ...(timeout > 0 && { timeoutMs: timeout * 1000 }) };
        await runtime.checkpointContainer({ containerId: record.id, location, timeout }, call);
      } catch (cause) {
        if (!signal.aborted)
          log.warn({ pod: `${namespace}/${name}`, container, error: errorLine(cause) }, 'no checkpoint');
        throw new HttpStatusError(500, `${what} (${errorLine(cause)})`, { cause });
      }
      sendJson(response, { items: [location] });
    },
  };
}

const containerNames = ({ containers, initContainers = [], ephemeralContainers = [] }: PodSpec): string[] =>
  [...containers, ...initContainers, ...ephemeralContainers].map(({ name }) => name);

/** Seconds, 0 for the runtime's own. @throws HttpStatusError 404, as the kubelet has it */
function timeoutOf(text: string | undefined): number {
  if (text === undefined) return 0;
  if (/^[+-]?\d{1,15}$/.test(text)) return Number(text);
  throw new HttpStatusError(404, 'cannot parse value of timeout parameter');
}
