/**
 * What sets a pod's sandbox apart: the handler of its RuntimeClass, ids of its own, what the handler can mount. A pod
 * that asks for nothing of it, as most do, costs nothing here.
 * Layer: kubelet/isolation (edge: asks the runtime). Rules: NamespacesForPod in pkg/kubelet/kuberuntime/util,
 * HandlerSupportsUserNamespaces in pkg/kubelet/kubelet.go.
 */
import type { Pod } from '../../api/core.ts';
import type { RuntimeService } from '../../cri/service.ts';
import { containersOf } from '../plan/container-kind.ts';
import { type PodIsolation, usualIsolation } from '../plan/isolation.ts';
import { IsolationError } from './isolation-error.ts';
import type { UserNamespaces } from './user-namespaces.ts';

export interface HandlerLookup {
  /** The runtime handler that the class names. @throws IsolationError RUNTIME_CLASS when there is no such class */
  handler(runtimeClass: string, signal: AbortSignal): Promise<string>;
}

export interface IsolationOptions {
  runtime: Pick<RuntimeService, 'status'>;
  userNamespaces: Pick<UserNamespaces, 'range'>;
  /** Absent without an API server, which has the classes. */
  runtimeClasses?: HandlerLookup | undefined;
}

/** Repeated for the same pod, the answer is the same; it comes or fails within seconds. @throws IsolationError, CriError, errors of files */
export type IsolatePod = (pod: Pod, signal?: AbortSignal) => Promise<PodIsolation>;

const callTimeoutMs = 10_000;

export function createPodIsolator(options: IsolationOptions): IsolatePod {
  return async (pod, signal = new AbortController().signal) => {
    const ownIds = pod.spec.hostUsers === false;
    const recursive = asksForRecursiveReadOnly(pod);
    const { runtimeClassName } = pod.spec;
    if (!runtimeClassName && !ownIds && !recursive) return usualIsolation;
    const runtimeHandler = runtimeClassName ? await lookUp(runtimeClassName, options, signal) : '';
    if (!ownIds && !recursive) return { ...usualIsolation, runtimeHandler };
    const { runtimeHandlers } = await options.runtime.status({}, { signal, timeoutMs: callTimeoutMs });
    const features = runtimeHandlers.find(({ name }) => name === runtimeHandler)?.features;
    if (ownIds && !features?.userNamespaces) throw withoutUserNamespaces(pod, runtimeHandler);
    return {
      runtimeHandler,
      recursiveReadOnlyMounts: features?.recursiveReadOnlyMounts ?? false,
      ...(ownIds ? { userNamespace: await options.userNamespaces.range(pod.metadata.uid) } : {}),
    };
  };
}

const asksForRecursiveReadOnly = (pod: Pod): boolean =>
  containersOf(pod).some(({ container }) =>
    (container.volumeMounts ?? []).some(({ recursiveReadOnly = 'Disabled' }) => recursiveReadOnly !== 'Disabled'),
  );

function lookUp(name: string, { runtimeClasses }: IsolationOptions, signal: AbortSignal): Promise<string> {
  if (runtimeClasses !== undefined) return runtimeClasses.handler(name, signal);
  throw new IsolationError('RUNTIME_CLASS', 'is not known: runtime classes come from an API server', {
    object: `RuntimeClass ${name}`,
    fix: 'remove runtimeClassName',
  });
}

function withoutUserNamespaces({ metadata }: Pod, handler: string): IsolationError {
  const who = handler === '' ? 'runtime' : `RuntimeClass handler "${handler}"`;
  return new IsolationError(
    'USER_NAMESPACE',
    `can't set \`spec.hostUsers: false\`, ${who} does not support user namespaces`,
    {
      object: `pod ${metadata.namespace}/${metadata.name}`,
      fix: 'use containerd 2.0 with runc 1.2 or newer, or remove hostUsers',
    },
  );
}
