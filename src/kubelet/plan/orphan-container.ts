/**
 * What is still known of a container whose pod nobody names any more: its own annotations, as far as ending it needs them.
 * Rule: pkg/kubelet/kuberuntime/kuberuntime_container.go (restoreSpecsFromContainerLabels).
 * Layer: kubelet/plan (pure). Any client of the runtime writes annotations: what is not of the expected shape is absent.
 */
import type { Container, ContainerPort, IntOrString, LifecycleHandler, Pod } from '../../api/core.ts';
import { containerPortsAnnotation, type PodIdentity, preStopHandlerAnnotation } from './annotations.ts';
import type { ContainerRecord, PodRuntimeState } from './runtime-state.ts';

/** A pod with the containers that the runtime has, good for hooks only. */
export function orphanPod(identity: PodIdentity, state: PodRuntimeState): Pod {
  const newest = new Map<string, ContainerRecord>();
  for (const record of state.containers) if (!newest.has(record.name)) newest.set(record.name, record);
  const hostNetwork = state.sandboxes[0]?.hostNetwork ?? false;
  const { name, namespace, uid } = identity;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, uid },
    spec: { hostNetwork, containers: [...newest.values()].map(orphanContainer) },
  };
}

export function orphanContainer({ name, image, annotations }: ContainerRecord): Container {
  const preStop = handlerOf(parse(annotations[preStopHandlerAnnotation]));
  const ports = portsOf(parse(annotations[containerPortsAnnotation]));
  return { name, image, ...(ports.length > 0 ? { ports } : {}), ...(preStop ? { lifecycle: { preStop } } : {}) };
}

/** The text for preStopHandlerAnnotation. */
export const preStopAnnotation = (container: Container): string | undefined =>
  container.lifecycle?.preStop && JSON.stringify(container.lifecycle.preStop);

type Fields = Record<string, unknown>;

/** As much as a pod may hold in annotations. */
const maxCharacters = 262_144;

function parse(text: string | undefined): unknown {
  if (text === undefined || text.length > maxCharacters) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === 'string';
const isPort = (value: unknown): value is IntOrString => isText(value) || isPortNumber(value);
const isPortNumber = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536;

function handlerOf(value: unknown): LifecycleHandler | undefined {
  if (!isFields(value)) return undefined;
  const { exec, httpGet, sleep } = value;
  if (isFields(exec) && Array.isArray(exec.command) && exec.command.every(isText)) {
    return { exec: { command: exec.command } };
  }
  if (isFields(sleep) && typeof sleep.seconds === 'number' && sleep.seconds >= 0) {
    return { sleep: { seconds: sleep.seconds } };
  }
  if (!isFields(httpGet) || !isPort(httpGet.port)) return undefined;
  const { port, path, host, scheme, httpHeaders } = httpGet;
  const headers = Array.isArray(httpHeaders) ? httpHeaders.filter(isFields) : [];
  return {
    httpGet: {
      port,
      ...(isText(path) ? { path } : {}),
      ...(isText(host) ? { host } : {}),
      ...(scheme === 'HTTP' || scheme === 'HTTPS' ? { scheme } : {}),
      httpHeaders: headers.flatMap(({ name, value: text }) =>
        isText(name) && isText(text) ? [{ name, value: text }] : [],
      ),
    },
  };
}

/** Those with a name: hooks look them up by it. */
function portsOf(value: unknown): ContainerPort[] {
  if (!Array.isArray(value)) return [];
  return value
    .filter(isFields)
    .flatMap(({ name, containerPort }): ContainerPort[] =>
      isText(name) && isPortNumber(containerPort) ? [{ name, containerPort }] : [],
    );
}
