/**
 * Finds what a streaming request names: the pod by namespace and name (or uid), its running container, its ready sandbox.
 * Layer: kubelet/server/streaming (pure). Texts and statuses are those of the kubelet, which clients show to people
 * (pkg/kubelet/server/server.go getExec, getAttach, getPortForward; pkg/kubelet/kubelet_pods.go GetExec and its like).
 */
import type { Container, Pod } from '../../../api/core.ts';
import { HttpStatusError } from '../http-status-error.ts';
import type { ServedPod, ServedPods } from '../served-pods.ts';
import { quote } from './stream-options.ts';

export interface ContainerTarget {
  containerId: string;
  /** What the pod's spec says of the container: an attach must say the same. */
  tty: boolean;
}

type Params = Readonly<Record<string, string>>;

/**
 * The pod of `{namespace}`, `{pod}` and, when the path has it, `{uid}`. Unlike the kubelet's exec, which ignores a wrong
 * uid and uses the pod that has the name now, a wrong uid finds no pod. @throws HttpStatusError 404
 */
export function findPod(pods: ServedPods, { namespace = '', pod = '', uid }: Params): ServedPod {
  const named = pods.find(namespace, pod);
  if (named === undefined) throw new HttpStatusError(404, 'pod does not exist');
  if (uid === undefined) return named;
  const found = pods.find(namespace, pod, uid);
  if (found === undefined) throw new HttpStatusError(404, 'pod not found');
  return found;
}

/**
 * The newest running instance of `{container}`: a main, init, sidecar or ephemeral one; undefined when none runs.
 */
export function runningContainer(
  { pod, state }: ServedPod,
  { container: name = '' }: Params,
): ContainerTarget | undefined {
  const spec = containerSpec(pod, name);
  const record = state.containers.find((container) => container.name === name && container.phase === 'running');
  return spec && record && { containerId: record.id, tty: spec.tty ?? false };
}

/** For exec and run. @throws HttpStatusError 500 when the container does not run (the kubelet's status for it) */
export function containerToExec(served: ServedPod, params: Params): ContainerTarget {
  const target = runningContainer(served, params);
  if (target === undefined) throw new HttpStatusError(500, `container not found (${quote(params.container ?? '')})`);
  return target;
}

/** For attach. @throws HttpStatusError 500 when the container does not run */
export function containerToAttach(served: ServedPod, params: Params): ContainerTarget {
  const target = runningContainer(served, params);
  if (target === undefined) {
    throw new HttpStatusError(500, `container ${word(params.container ?? '')} not found in pod ${fullName(served)}`);
  }
  return target;
}

/** The newest sandbox of the pod, if it is ready. @throws HttpStatusError 500 */
export function readySandbox(served: ServedPod): string {
  const [newest] = served.state.sandboxes;
  if (newest?.ready !== true) throw new HttpStatusError(500, `pod not found ("${fullName(served)}")`);
  return newest.id;
}

const fullName = ({ pod: { metadata } }: ServedPod): string => `${metadata.name}_${metadata.namespace}`;

/** As in quotes, without them. */
const word = (text: string): string => quote(text).slice(1, -1);

function containerSpec({ spec }: Pod, name: string): Container | undefined {
  const { containers, initContainers = [], ephemeralContainers = [] } = spec;
  return [...containers, ...initContainers, ...ephemeralContainers].find((container) => container.name === name);
}
