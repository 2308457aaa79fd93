/**
 * Labels and annotations that Keelson writes on sandboxes and containers. They are the only memory that survives
 * `kill -9`: a successor reads them to adopt pods, to end orphans with the right grace and to go on with a backoff.
 * Source of the io.kubernetes.* names: pkg/kubelet/types/labels.go, pkg/kubelet/kuberuntime/labels.go.
 * Layer: kubelet/plan (pure).
 */

export const podNameLabel = 'io.kubernetes.pod.name';
export const podNamespaceLabel = 'io.kubernetes.pod.namespace';
export const podUidLabel = 'io.kubernetes.pod.uid';
export const containerNameLabel = 'io.kubernetes.container.name';

export const containerHashAnnotation = 'io.kubernetes.container.hash';
export const restartCountAnnotation = 'io.kubernetes.container.restartCount';
export const terminationMessagePathAnnotation = 'io.kubernetes.container.terminationMessagePath';
export const terminationMessagePolicyAnnotation = 'io.kubernetes.container.terminationMessagePolicy';
export const containerPortsAnnotation = 'io.kubernetes.container.ports';
export const terminationGracePeriodAnnotation = 'io.kubernetes.pod.terminationGracePeriod';
/** The container's preStop hook as JSON, so that an orphan's is still run. */
export const preStopHandlerAnnotation = 'io.kubernetes.container.preStopHandler';

/** Ids of the images that a container has as volumes, in JSON: they are in use although it is made of another. */
export const imageVolumesAnnotation = 'keelson.dev/image-volumes';
/** Set on a container whose mounts became read-only with all below them: what `IfPossible` came to. */
export const recursiveReadOnlyAnnotation = 'keelson.dev/recursive-read-only';
/** Milliseconds to wait after this instance's exit before the next one may start. */
export const restartBackoffAnnotation = 'keelson.dev/restart-backoff-ms';
/** On each sandbox that Keelson made, with the value `keelson`: another kubelet's pods look alike, and `cleanup` leaves them. */
export const madeByAnnotation = 'keelson.dev/made-by';
/** Manifest that a sandbox's pod came from (standalone and static pods). */
export const manifestFileAnnotation = 'keelson.dev/config.file';

export interface PodIdentity {
  name: string;
  namespace: string;
  uid: string;
}

/**
 * The pod that a sandbox or container belongs to, or undefined when it is not a Kubernetes pod's. Names that could leave
 * a directory are nobody's: any client of the runtime writes labels, and directories are removed by these names.
 */
export function podOfLabels(labels: Record<string, string>): PodIdentity | undefined {
  const name = labels[podNameLabel];
  const namespace = labels[podNamespaceLabel];
  const uid = labels[podUidLabel];
  return isFileName(name) && isFileName(namespace) && isFileName(uid) ? { name, namespace, uid } : undefined;
}

const isFileName = (text: string | undefined): text is string =>
  text !== undefined && text !== '' && text !== '.' && text !== '..' && !/[/\0]/.test(text);
