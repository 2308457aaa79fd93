/**
 * What a pod worker works with: the runtime, the node's facts, the shared places and the edges that it may touch.
 * Layer: kubelet/pods (types only); kubelet.ts fills it in.
 */
import type { Container, LifecycleHandler, Pod, PodStatus } from '../../api/core.ts';
import type { BackoffLimits } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import type { Semaphore } from '../../base/semaphore.ts';
import type { RuntimeService } from '../../cri/service.ts';
import type { Logger } from '../../observe/logger.ts';
import type { PodCgroups } from '../cgroups/pod-cgroups.ts';
import type { PresentImage } from '../images/ensure-image.ts';
import type { IsolatePod } from '../isolation/isolate-pod.ts';
import type { SubPathMount } from '../plan/container-mounts.ts';
import type { ClusterDns } from '../plan/dns-config.ts';
import type { ObjectSources } from '../plan/environment.ts';
import type { PodVolumes as MadeVolumes } from '../plan/pod-volume.ts';
import type { NodeResources } from '../plan/resources.ts';
import type { ActualResources, ContainerRecord, PodRuntimeState } from '../plan/runtime-state.ts';
import type { SecurityDefaults } from '../plan/security-context.ts';
import type { Allocation } from '../resize/allocation.ts';
import type { PodResize } from '../resize/resize-conditions.ts';
import type { WaitingReason } from '../status/container-status.ts';
import type { PodVerdict } from '../status/pod-status.ts';
import type { InspectDependencies } from './inspect-pod.ts';
import type { RecordPodEvent } from './pod-events.ts';
import type { PodRuntimeCache } from './runtime-cache.ts';

/** Facts of the node that do not change while the daemon runs. */
export interface NodeFacts {
  nodeName: string;
  hostIPs: string[];
  /** `containerd` */
  runtimeName: string;
  resources: NodeResources;
  allocatable: { milliCores: number; memoryBytes: number };
  clusterDns: ClusterDns;
  /** The resolver file pods inherit; KubeletConfiguration resolvConf. */
  resolvConf: string;
  security: SecurityDefaults;
}

export interface PodPaths {
  /** Pod directories are `<rootDir>/pods/<uid>`. */
  rootDir: string;
  podLogDir: string;
  /** Flat links to container logs, `/var/log/containers`. */
  containerLogLinkDir: string;
}

/** A part of a volume for one container. */
export interface SubPathRequest extends SubPathMount {
  /** The volume's directory on the host. */
  readonly volumePath: string;
}

/** The pod's volumes on the host; implemented by volumes/. */
export interface PodVolumes {
  /** Makes or updates every volume of the pod that a container uses; idempotent. By volume name. Throws VolumeError. */
  mount(pod: Pod, signal?: AbortSignal): Promise<MadeVolumes>;
  /** Makes parts of volumes mountable: index in volumeMounts -> host path. Throws VolumeError. */
  bindSubPaths(
    uid: string,
    container: string,
    requests: readonly SubPathRequest[],
  ): Promise<ReadonlyMap<number, string>>;
  /** Text of a file in a volume; undefined when there is none. Throws VolumeError. */
  readEnvFile(volumePath: string, path: string, subject: string): Promise<string | undefined>;
  /** Unmounts and removes everything of the pod; idempotent. @param pod for events; undefined for an orphan */
  teardown(uid: string, signal?: AbortSignal, pod?: Pod): Promise<void>;
}

/** Pulls and finds images; implemented by images/. */
export interface PodImages {
  /** @param container any of the pod's, of whatever kind */
  ensure(pod: Pod, container: Container, signal: AbortSignal): Promise<PresentImage>;
  /** Drops the pull backoff of a pod that is gone. */
  forget(uid: string): void;
}

/** What the probes of one running instance say; without a probe: started, ready, alive. */
export interface ProbeVerdict {
  started: boolean;
  ready: boolean;
  /** The probe that failed for good: the instance is to be ended, with this grace if the probe sets one. */
  failed?: { probe: 'liveness' | 'startup'; message: string; graceSeconds?: number };
}

/** The probes of the pods' containers; implemented by probes/. Each change of a verdict wakes the pod's worker. */
export interface PodProbes {
  /**
   * Makes the probes that run those of the pod's running containers (sidecars, too); idempotent, and cheap when nothing
   * changed. `terminating`: only readiness probes go on.
   */
  follow(pod: Pod, state: PodRuntimeState, stage: { terminating: boolean }): void;
  /** By container id; pure read. */
  verdict(container: Container, record: ContainerRecord): ProbeVerdict;
  /** The pod is gone: its probes end. */
  forget(uid: string): void;
}

/**
 * Runs a lifecycle hook in or towards a container; implemented by lifecycle/. Resolves when the hook succeeded.
 * @throws HookError; rejects with the signal's reason when aborted
 */
export type RunHook = (handler: LifecycleHandler, target: HookTarget, signal: AbortSignal) => Promise<void>;

export interface HookTarget {
  pod: Pod;
  container: Container;
  containerId: string;
  /** Where httpGet goes without a host of its own; the node's address for hostNetwork pods. */
  podIP: string | undefined;
}

export interface PodContext extends InspectDependencies {
  runtime: RuntimeService;
  cache: PodRuntimeCache;
  node: NodeFacts;
  paths: PodPaths;
  volumes: PodVolumes;
  images: PodImages;
  probes: PodProbes;
  runHook: RunHook;
  /** What is known of the pod's resizes; nothing for one that asks for what it was admitted with. */
  resizeOf?(uid: string): PodResize | undefined;
  /** None where the runtime places containers by itself. */
  cgroups?: PodCgroups | undefined;
  /** Sets the pod's own cgroup to its resources; none where pods have no cgroup. */
  updatePodCgroup?: ((pod: Pod) => Promise<void>) | undefined;
  /** What sets the pod's sandbox apart from the usual. */
  isolate?: IsolatePod;
  sources: ObjectSources;
  /** Where Services are; nothing without an API server. */
  serviceVariables?(pod: Pod): ReadonlyMap<string, string>;
  clock: Clock;
  log: Logger;
  restartBackoff: BackoffLimits;
  /** Places for sandbox and container starts, as many as the cores can carry. */
  startSlots: Semaphore;
  /** Resolves when pods may get addresses; rejects when aborted. */
  networkReady(signal: AbortSignal): Promise<void>;
  /**
   * Resolves when every ConfigMap and Secret that the pod names is known, or known not to exist. Rejects when that takes
   * too long; the worker is woken when they come.
   */
  objectsKnown(pod: Pod, signal: AbortSignal): Promise<void>;
  publish(pod: Pod, status: PodStatus): void;
  /** What was published last, for a worker that is made anew; else what the API server has. */
  statusBefore(pod: Pod): PodStatus | undefined;
  recordEvent: RecordPodEvent;
}

/** What a worker remembers between two syncs; nothing here is needed after a restart. */
export interface PodMemory {
  waiting: Map<string, WaitingReason>;
  lastStatus: PodStatus | undefined;
  firstSeenMs: number;
  /** Set when a ConfigMap or Secret of the pod changed since its volumes were last written. */
  volumesStale: boolean;
  /** Set when the node ends the pod for good. */
  verdict: PodVerdict | undefined;
  /** The volumes of a pod that ended were removed. */
  volumesGone: boolean;
  /** Ids of containers whose preStop hook was begun while the pod ends: a repeated attempt does not run it again. */
  preStopped: Set<string>;
  /** See ResizeFacts. */
  told?: Map<string, ActualResources>;
  /** See ResizeState. */
  podCgroup?: Allocation | undefined;
}

/** Priorities of startSlots: a pod that has its sandbox goes before one that has nothing yet, so that pods finish early. */
export const startPriority = { sandbox: 0, container: 1 } as const;
