/**
 * Where container logs are: CRI layout below the pod log directory, and the flat links that log collectors read.
 * Source: pkg/kubelet/kuberuntime/kuberuntime_container.go, legacy.go.
 * Layer: kubelet/plan (pure). Names come from validated objects; a slash in one would be a bug, so it throws.
 */
import { join } from 'node:path';
import { checkDns1123Label, checkDns1123Subdomain } from '../../config/names.ts';
import type { PodIdentity } from './annotations.ts';

/** `<podLogDir>/<namespace>_<name>_<uid>` */
export function podLogDirectory(podLogDir: string, pod: PodIdentity): string {
  return join(podLogDir, pathSegment(`${pod.namespace}_${pod.name}_${pod.uid}`));
}

/** Relative to the pod's log directory, as CRI wants it: `<container>/<restartCount>.log` */
export function containerLogPath(containerName: string, attempt: number): string {
  return join(pathSegment(containerName), `${attempt}.log`);
}

/** Whether a name in a container's log directory is of that instance: its log, or what rotation made of it. */
export function isLogOfAttempt(fileName: string, attempt: number): boolean {
  const log = `${attempt}.log`;
  return fileName === log || fileName.startsWith(`${log}.`);
}

/** `<pod>_<namespace>_<container>-<id>.log`, cut so that a file name stays within 255 bytes. */
export function containerLogLinkName(pod: PodIdentity, containerName: string, containerId: string): string {
  const suffix = `-${containerId}.log`;
  const prefix = pathSegment(`${pod.name}_${pod.namespace}_${containerName}`);
  return prefix.slice(0, 255 - suffix.length) + suffix;
}

/** UUIDs of the API server's pods, and the 32 hex digits of static ones. */
const podUid = /^(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/**
 * The pod that a log directory name belongs to, or undefined for a foreign one. Strict, since the answer decides what is
 * removed: `my_app_logs` beside our directories is somebody else's.
 */
export function podOfLogDirectory(directoryName: string): PodIdentity | undefined {
  const parts = directoryName.split('_');
  const [namespace = '', name = '', uid = ''] = parts;
  const ours =
    parts.length === 3 &&
    podUid.test(uid) &&
    checkDns1123Label(namespace).length === 0 &&
    checkDns1123Subdomain(name).length === 0;
  return ours ? { namespace, name, uid } : undefined;
}

function pathSegment(text: string): string {
  if (text === '' || text === '.' || text === '..' || /[/\0]/.test(text)) {
    throw new RangeError(`${JSON.stringify(text)} cannot be a path segment`);
  }
  return text;
}
