/**
 * What sets a pod's sandbox apart from the usual: another runtime handler, ids of its own, what the handler can mount.
 * Layer: kubelet/plan (types and their form for CRI, pure). isolation/ finds it out.
 */
import type * as cri from '../../cri/messages.generated.ts';

/** Consecutive ids of the host that a pod's user namespace has as 0, 1, 2, ... */
export interface IdRange {
  readonly hostId: number;
  readonly length: number;
}

export interface PodIsolation {
  /** Of the pod's RuntimeClass; '' is the runtime's default. */
  readonly runtimeHandler: string;
  /** Of a pod with hostUsers: false. */
  readonly userNamespace?: IdRange | undefined;
  /** Whether the handler can make all below a mount read-only. */
  readonly recursiveReadOnlyMounts: boolean;
}

export const usualIsolation: PodIsolation = { runtimeHandler: '', recursiveReadOnlyMounts: false };

export function userNamespaceOption({ hostId, length }: IdRange): cri.UserNamespaceInput {
  const mapping = idMapping({ hostId, length });
  return { mode: 'POD', uids: [mapping], gids: [mapping] };
}

export const idMapping = ({ hostId, length }: IdRange): cri.IDMappingInput => ({ hostId, containerId: 0, length });
