/**
 * Reads what the runtime has of one pod: two filtered lists, then details only of what changed since `known`.
 * Layer: kubelet/pods (edge to CRI). Decides nothing. Works on containerd 1.6, 1.7 and 2.x.
 */

import { CriError } from '../../cri/cri-error.ts';
import type * as cri from '../../cri/messages.generated.ts';
import type { CallOptions, RuntimeService } from '../../cri/service.ts';
import {
  podUidLabel,
  terminationMessagePathAnnotation,
  terminationMessagePolicyAnnotation,
} from '../plan/annotations.ts';
import {
  type ContainerPhase,
  type ContainerRecord,
  emptyRuntimeState,
  type PodRuntimeState,
  type SandboxRecord,
  sortNewestFirst,
} from '../plan/runtime-state.ts';

const nsPerMs = 1_000_000;

const phases: Record<cri.ContainerState, ContainerPhase> = {
  CONTAINER_CREATED: 'created',
  CONTAINER_RUNNING: 'running',
  CONTAINER_EXITED: 'exited',
  CONTAINER_UNKNOWN: 'unknown',
};

export const containerPhase = (state: cri.ContainerState): ContainerPhase => phases[state];

export interface InspectDependencies {
  runtime: RuntimeService;
  /** What the container left as its last words; '' for none. See termination-message.ts. */
  readTerminationMessage(request: TerminationMessageRequest): Promise<string>;
}

export interface TerminationMessageRequest {
  /** Host file behind terminationMessagePath, or undefined when the container has no such mount. */
  hostPath: string | undefined;
  logPath: string;
  fallbackToLogs: boolean;
}

/**
 * @param known an earlier result for the same pod; records that did not change are taken from it
 * @throws CriError
 */
export async function inspectPod(
  dependencies: InspectDependencies,
  uid: string,
  known: PodRuntimeState = emptyRuntimeState,
  options: CallOptions = {},
): Promise<PodRuntimeState> {
  const labelSelector = { [podUidLabel]: uid };
  const { runtime } = dependencies;
  const [sandboxList, containerList] = await Promise.all([
    runtime.listPodSandbox({ filter: { labelSelector } }, options),
    runtime.listContainers({ filter: { labelSelector } }, options),
  ]);
  const sandboxes = await Promise.all(
    sandboxList.items.map((item) =>
      sandboxRecord(
        runtime,
        item,
        known.sandboxes.find(({ id }) => id === item.id),
        options,
      ),
    ),
  );
  const containers = await Promise.all(
    containerList.containers.map((item) =>
      containerRecord(
        dependencies,
        item,
        known.containers.find(({ id }) => id === item.id),
        options,
      ),
    ),
  );
  return {
    sandboxes: sortNewestFirst(sandboxes.filter((record) => record !== undefined)),
    containers: sortNewestFirst(containers.filter((record) => record !== undefined)),
  };
}

async function sandboxRecord(
  runtime: RuntimeService,
  item: cri.PodSandbox,
  known: SandboxRecord | undefined,
  options: CallOptions,
): Promise<SandboxRecord | undefined> {
  const ready = item.state === 'SANDBOX_READY';
  const settled = known && known.ready === ready && (!ready || known.ips.length > 0 || known.hostNetwork);
  if (settled) return known;
  if (known && !ready) return { ...known, ready, ips: [] };
  return readSandbox(runtime, item.id, options);
}

/** One sandbox by id; undefined when the runtime no longer has it. */
export async function readSandbox(
  runtime: RuntimeService,
  id: string,
  options: CallOptions = {},
): Promise<SandboxRecord | undefined> {
  const status = await orUndefined(runtime.podSandboxStatus({ podSandboxId: id }, options));
  if (!status?.status) return undefined;
  const { metadata, state, createdAt, network, linux } = status.status;
  const ready = state === 'SANDBOX_READY';
  const ips = network ? [network.ip, ...network.additionalIps.map(({ ip }) => ip)].filter((ip) => ip !== '') : [];
  return {
    id,
    attempt: metadata?.attempt ?? 0,
    ready,
    createdAtMs: createdAt / nsPerMs,
    ips: ready ? ips : [],
    hostNetwork: linux?.namespaces?.options?.network === 'NODE',
  };
}

async function containerRecord(
  dependencies: InspectDependencies,
  item: cri.Container,
  known: ContainerRecord | undefined,
  options: CallOptions,
): Promise<ContainerRecord | undefined> {
  const phase = containerPhase(item.state);
  return known?.phase === phase ? known : readContainer(dependencies, item.id, item.podSandboxId, options);
}

/** One container by id; undefined when the runtime no longer has it. */
export async function readContainer(
  dependencies: InspectDependencies,
  id: string,
  sandboxId: string,
  options: CallOptions = {},
): Promise<ContainerRecord | undefined> {
  const response = await orUndefined(dependencies.runtime.containerStatus({ containerId: id }, options));
  const status = response?.status;
  if (!status) return undefined;
  const phase = containerPhase(status.state);
  return {
    id,
    sandboxId,
    name: status.metadata?.name ?? '',
    attempt: status.metadata?.attempt ?? 0,
    phase,
    image: status.image?.userSpecifiedImage || status.image?.image || '',
    imageRef: status.imageRef,
    createdAtMs: status.createdAt / nsPerMs,
    startedAtMs: status.startedAt > 0 ? status.startedAt / nsPerMs : undefined,
    finishedAtMs: status.finishedAt > 0 ? status.finishedAt / nsPerMs : undefined,
    exitCode: status.exitCode,
    reason: status.reason,
    message: phase === 'exited' ? await lastWords(dependencies, status) : status.message,
    logPath: status.logPath,
    annotations: status.annotations,
    ...resourcesOf(status),
    ...userOf(status),
  };
}

function resourcesOf({ resources }: cri.ContainerStatus): Pick<ContainerRecord, 'resources'> {
  const linux = resources?.linux;
  if (linux === undefined) return {};
  const { cpuShares, cpuQuota, cpuPeriod, memoryLimitInBytes } = linux;
  return {
    resources: { cpuShares, cpuQuotaUs: cpuQuota, cpuPeriodUs: cpuPeriod, memoryLimitBytes: memoryLimitInBytes },
  };
}

function userOf({ user }: cri.ContainerStatus): Pick<ContainerRecord, 'user'> {
  if (user?.linux === undefined) return {};
  const { uid, gid, supplementalGroups } = user.linux;
  return { user: { uid, gid, supplementalGroups } };
}

async function lastWords(dependencies: InspectDependencies, status: cri.ContainerStatus): Promise<string> {
  const path = status.annotations[terminationMessagePathAnnotation];
  const policy = status.annotations[terminationMessagePolicyAnnotation];
  const mount = status.mounts.find(({ containerPath }) => containerPath === path);
  const message = await dependencies.readTerminationMessage({
    hostPath: mount?.hostPath,
    logPath: status.logPath,
    fallbackToLogs: policy === 'FallbackToLogsOnError' && status.exitCode !== 0,
  });
  return [status.message, message].filter((text) => text !== '').join(': ');
}

async function orUndefined<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof CriError && error.isNotFound()) return undefined;
    throw error;
  }
}
