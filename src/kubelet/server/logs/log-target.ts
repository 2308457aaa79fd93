/**
 * Which instance of a container's a request for its log means, by the pod's status, or why there is none.
 * Rules and messages: pkg/kubelet/kubelet_pods.go (validateContainerLogStatus), pkg/kubelet/server/server.go.
 * Layer: kubelet/server/logs (pure).
 */
import type { ContainerStatus } from '../../../api/core.ts';
import type { ContainerRecord } from '../../plan/runtime-state.ts';
import { HttpStatusError } from '../http-status-error.ts';
import type { ServedPod } from '../served-pods.ts';

/** @throws HttpStatusError 404 for a container that the pod does not have, 400 for one without such a log */
export function logTarget(served: ServedPod, container: string, previous: boolean): ContainerRecord {
  const { pod, status, state } = served;
  const { name } = pod.metadata;
  const { containers, initContainers = [], ephemeralContainers = [] } = pod.spec;
  if (![...containers, ...initContainers, ...ephemeralContainers].some((spec) => spec.name === container)) {
    throw new HttpStatusError(404, `container ${quote(container)} not found in pod ${quote(name)}`);
  }
  const found = [status.containerStatuses, status.initContainerStatuses, status.ephemeralContainerStatuses]
    .flatMap((list) => list ?? [])
    .find((entry) => entry.name === container);
  const subject = `container ${quote(container)} in pod ${quote(name)}`;
  if (found === undefined) throw new HttpStatusError(400, `${subject} is not available`);
  const containerID = previous ? previousId(found, subject) : currentId(found, subject);
  const id = containerID.replace(/^[^:]*:\/\//, '');
  const record = state.containers.find((instance) => instance.id === id);
  if (record === undefined) throw new HttpStatusError(400, `unable to retrieve container logs for ${containerID}`);
  return record;
}

function previousId({ lastState }: ContainerStatus, subject: string): string {
  const id = lastState.terminated?.containerID;
  if (!id) throw new HttpStatusError(400, `previous terminated ${subject} not found`);
  return id;
}

function currentId({ state, lastState, containerID }: ContainerStatus, subject: string): string {
  if (state.running) return containerID ?? '';
  if (state.terminated || lastState.terminated) {
    // Where the next instance could not be started, the one before it has the log.
    const id = state.terminated?.containerID || lastState.terminated?.containerID;
    if (!id) throw new HttpStatusError(400, `${subject} is terminated`);
    return id;
  }
  if (!state.waiting) throw new HttpStatusError(400, `${subject} is waiting to start - no logs yet`);
  const { reason = '' } = state.waiting;
  throw new HttpStatusError(400, `${subject} is waiting to start: ${pullFailures[reason] ?? reason}`);
}

const pullFailures: Readonly<Record<string, string | undefined>> = {
  ErrImagePull: "image can't be pulled",
  ImagePullBackOff: 'trying and failing to pull image',
};

/** Names come from the request's path: what is not printable must not reach a terminal. */
export const quote = (name: string): string => JSON.stringify(name);
