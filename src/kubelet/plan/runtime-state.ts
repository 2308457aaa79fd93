/**
 * What the runtime has of one pod, as plain data: the actual state that planning and status start from.
 * Layer: kubelet/plan (pure). pods/runtime-cache.ts fills it from CRI; nothing here knows gRPC or does I/O.
 */

export interface SandboxRecord {
  id: string;
  attempt: number;
  ready: boolean;
  createdAtMs: number;
  /** Empty for hostNetwork pods, before the network is up and after the sandbox stopped. */
  ips: string[];
  /** NODE when the pod uses the host's network namespace. */
  hostNetwork: boolean;
}

export type ContainerPhase = 'created' | 'running' | 'exited' | 'unknown';

export interface ContainerRecord {
  id: string;
  sandboxId: string;
  name: string;
  /** Restart count this instance was created with (CRI metadata.attempt). */
  attempt: number;
  phase: ContainerPhase;
  /** As the pod named it. */
  image: string;
  /** Resolved reference with digest. */
  imageRef: string;
  createdAtMs: number;
  startedAtMs: number | undefined;
  finishedAtMs: number | undefined;
  exitCode: number;
  reason: string;
  message: string;
  logPath: string;
  annotations: Record<string, string>;
  /** What the runtime has set; undefined when it does not tell (containerd 1.6). */
  resources?: ActualResources;
  /** Who its first process runs as; undefined when the runtime does not tell (containerd before 2.0). */
  user?: { uid: number; gid: number; supplementalGroups: number[] };
}

/** Zero: not set. */
export interface ActualResources {
  cpuShares: number;
  cpuQuotaUs: number;
  cpuPeriodUs: number;
  memoryLimitBytes: number;
}

/** Sandboxes and containers of one pod, each newest first. */
export interface PodRuntimeState {
  sandboxes: SandboxRecord[];
  containers: ContainerRecord[];
}

export const emptyRuntimeState: PodRuntimeState = { sandboxes: [], containers: [] };

/** The newest instance of a container, running or not. */
export function newestContainer(state: PodRuntimeState, name: string): ContainerRecord | undefined {
  return state.containers.find((container) => container.name === name);
}

/** The newest instance in one sandbox: what ran in an older one tells nothing of this one. */
export function newestInSandbox(state: PodRuntimeState, name: string, sandboxId: string): ContainerRecord | undefined {
  return state.containers.find((container) => container.name === name && container.sandboxId === sandboxId);
}

/** Newest first: by attempt, then by creation time (two sandboxes of a pod never share an attempt in a healthy runtime). */
export function sortNewestFirst<T extends { attempt: number; createdAtMs: number }>(records: T[]): T[] {
  return records.sort((a, b) => b.createdAtMs - a.createdAtMs || b.attempt - a.attempt);
}
