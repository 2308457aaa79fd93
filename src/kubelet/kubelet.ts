/**
 * The kubelet role: wires the pod source, the runtime cache, the workers and the status board, and cleans what a dead
 * predecessor left. Layer: kubelet (composition of the role). Knows no kernel and no other role: edges are handed in.
 */
import { mkdir } from 'node:fs/promises';
import type { Pod, ResourceList } from '../api/core.ts';
import type { BackoffLimits } from '../base/backoff.ts';
import type { Clock } from '../base/clock.ts';
import { createSemaphore } from '../base/semaphore.ts';
import type { ImageService, RuntimeService } from '../cri/service.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import type { NodeAdmission, NodeObjects, ServiceVariables } from './api/node-view.ts';
import type { PodCgroups } from './cgroups/pod-cgroups.ts';
import { createEvictablePods } from './eviction/evictable-pods.ts';
import { PodReleases } from './eviction/pod-releases.ts';
import { removeEndedContainers } from './eviction/remove-ended-containers.ts';
import type { StartEvictionOptions } from './eviction/start-eviction.ts';
import { createImageEnsurer, type EnsureImageOptions } from './images/ensure-image.ts';
import type { IsolatePod } from './isolation/isolate-pod.ts';
import { removeLeftovers } from './leftovers.ts';
import { createRunHook } from './lifecycle/run-hook.ts';
import type { ObjectSources } from './plan/environment.ts';
import { objectReferences, referenceKey } from './plan/object-references.ts';
import { isApiPod } from './plan/pod-origin.ts';
import type { PodRuntimeState } from './plan/runtime-state.ts';
import type { PodSnapshot, PodSource } from './pod-source.ts';
import type { NodeFacts, PodContext, PodPaths, PodProbes, PodVolumes, RunHook } from './pods/pod-context.ts';
import type { RecordPodEvent } from './pods/pod-events.ts';
import { PodIntake } from './pods/pod-intake.ts';
import type { PodPhaseOfWork } from './pods/pod-worker.ts';
import { PodWorkers } from './pods/pod-workers.ts';
import { PodRuntimeCache } from './pods/runtime-cache.ts';
import { createServedPods } from './pods/served-pods.ts';
import { terminationMessageReader } from './pods/termination-message.ts';
import type { ProbeCount } from './probes/probe-counts.ts';
import { ProbeWorkers } from './probes/probe-workers.ts';
import { AllocationFiles } from './resize/allocation-files.ts';
import { PodResizes } from './resize/pod-resizes.ts';
import type { ServedPods } from './server/served-pods.ts';
import { type PodWithStatus, StatusBoard } from './status/status-board.ts';

export interface KubeletOptions {
  runtime: RuntimeService;
  images: ImageService;
  source: PodSource;
  /** Makes the volumes edge; it is handed the objects that the source knows. */
  volumes(sources: ObjectSources): PodVolumes & { orphans(): Promise<string[]> };
  node: NodeFacts;
  paths: PodPaths;
  clock: Clock;
  log: Logger;
  restartBackoff: BackoffLimits;
  /** Sandbox and container starts at a time. */
  parallelStarts: number;
  /** Image pulls at a time. */
  parallelPulls: number;
  pullRate: { perSecond: number; burst: number };
  /** Told of each image that a container is about to be made of. */
  onImageUse?: EnsureImageOptions['onUse'];
  /** Registry credentials that any pod may pull with. */
  nodeCredentials?: EnsureImageOptions['nodeCredentials'];
  /** KubeletConfiguration maxPods. */
  maxPods: number;
  /** KubeletConfiguration syncFrequency: milliseconds between safety relists of the runtime. */
  syncFrequencyMs: number;
  networkReady(signal: AbortSignal): Promise<void>;
  /** ConfigMaps and Secrets of the API server, for its pods. */
  objects?: NodeObjects;
  /** Services of the API server, for pods' environment; only its own pods wait until they are known. */
  services?: ServiceVariables;
  /** The Node that pods of the API server are admitted to. */
  admission?: NodeAdmission;
  recordEvent?: RecordPodEvent;
  /** The uid of the API server's copy of a static pod, if it has one. */
  mirrorUidOf?: (pod: Pod) => string | undefined;
  /** Default: nothing is set apart. */
  isolate?: IsolatePod;
  /** Default: pods have none of their own. */
  cgroups?: PodCgroups | undefined;
  /** Sets the cgroup of a pod that is resized. Default: by `cgroups`. */
  updatePodCgroup?: (pod: Pod) => Promise<void>;
  /** Whether the kernel confines processes by AppArmor. */
  appArmor?: boolean;
  /** Default: those of probes/ and lifecycle/; tests hand in others. */
  probes?: PodProbes;
  runHook?: RunHook;
  /** An empty one, for who must hear of every pod: some end before `startKubelet` resolves. */
  board?: StatusBoard;
}

export interface KubeletStatus {
  pods: (PodWithStatus & { error: string | undefined })[];
  /** Pods that are being ended and that no source names any more. */
  ending: { namespace: string; name: string; uid: string }[];
  manifestErrors: { file: string; error: string }[];
  runtime: { healthy: boolean; mode: 'events' | 'relist' | undefined };
}

export interface Kubelet {
  status(): KubeletStatus;
  /** From the start it has the status of each pod of the first snapshot, computed from what the runtime has. */
  board: StatusBoard;
  /** The volumes of the pod are to be looked at again: a token of it is due. */
  volumesDue(uid: string): void;
  /** For the kubelet's API: every pod that the board has, with what the runtime has of it. */
  served: ServedPods;
  /** The series of `prober_probe_total`. */
  probeCounts(): Iterable<ProbeCount>;
  /** Running containers with a log, for its rotation. */
  loggedContainers(): { id: string; logPath: string }[];
  /** Whether the runtime may still run a container of the pod. */
  mayRun(uid: string): boolean;
  /** For evictions. */
  evictable: StartEvictionOptions['pods'];
  /** Makes room: what the runtime has of pods that ended. @throws AggregateError of what stayed */
  removeEndedContainers(): Promise<void>;
  /** Stops watching and working; pods go on. */
  stop(): Promise<void>;
}

const noVariables: ReadonlyMap<string, string> = new Map();

const emptySnapshot: PodSnapshot = {
  pods: [],
  configMaps: new Map(),
  secrets: new Map(),
  errors: [],
  brokenFiles: new Set(),
};

/** Resolves once the first manifests are read and the runtime's pods are known; pods then start in the background. */
export async function startKubelet(options: KubeletOptions, signal: AbortSignal): Promise<Kubelet> {
  const { log, clock, paths, runtime, objects, cgroups, recordEvent = () => {} } = options;
  const scope = new AbortController();
  const stopping = AbortSignal.any([signal, scope.signal]);
  let snapshot = emptySnapshot;
  const sources: ObjectSources = {
    configMap: (namespace, name) =>
      snapshot.configMaps.get(`${namespace}/${name}`) ?? objects?.configMap(namespace, name),
    secret: (namespace, name) => snapshot.secrets.get(`${namespace}/${name}`) ?? objects?.secret(namespace, name),
  };
  const { board = new StatusBoard() } = options;
  board.onChange(({ pod, status }, change) => {
    if (change !== 'status') return;
    const ready = status.conditions.find(({ type }) => type === 'Ready')?.status === 'True';
    const fields = {
      pod: `${pod.metadata.namespace}/${pod.metadata.name}`,
      phase: status.phase,
      ready,
      ip: status.podIP,
    };
    log.info(fields, 'pod status changed');
  });
  const inspect = { runtime, readTerminationMessage: terminationMessageReader(paths.rootDir) };
  const cache = new PodRuntimeCache({
    ...inspect,
    clock,
    log: log.child({ component: 'pleg' }),
    resyncPeriodMs: options.syncFrequencyMs,
  });
  const releases = new PodReleases();
  const volumes = releases.watch(options.volumes(sources));
  const nodeIP = options.node.hostIPs[0] ?? '127.0.0.1';
  const probeWorkers = new ProbeWorkers({
    runtime,
    clock,
    log: log.child({ component: 'probes' }),
    recordEvent,
    nodeIP,
    onChange: (uid) => workers.get(uid)?.wakeForProbes(),
  });
  const context: PodContext = {
    ...inspect,
    cache,
    node: options.node,
    paths,
    volumes,
    images: createImageEnsurer({
      images: options.images,
      sources,
      clock,
      log,
      recordEvent,
      maxParallelPulls: options.parallelPulls,
      pullRate: options.pullRate,
      ...(options.onImageUse ? { onUse: options.onImageUse } : {}),
      ...(options.nodeCredentials ? { nodeCredentials: options.nodeCredentials } : {}),
    }),
    probes: options.probes ?? probeWorkers,
    isolate: options.isolate,
    runHook: options.runHook ?? createRunHook({ runtime, nodeIP, clock, log, recordEvent }),
    sources,
    // Static pods get what is known by now: they may be what serves the API server.
    serviceVariables: (pod) => options.services?.variables(pod) ?? noVariables,
    clock,
    log,
    restartBackoff: options.restartBackoff,
    startSlots: createSemaphore(options.parallelStarts),
    networkReady: options.networkReady,
    objectsKnown: async (pod, waiting) => {
      if (!isApiPod(pod)) return;
      await objects?.known(pod, waiting);
      await options.services?.known(waiting);
    },
    publish: (pod, status) => board.set(pod, status),
    resizeOf: (uid) => resizes.of(uid),
    cgroups,
    updatePodCgroup: options.updatePodCgroup ?? cgroups?.update.bind(cgroups),
    // A manifest's pod begins anew: it may have been rejected for want of room that there is now.
    statusBefore: (pod) => (isApiPod(pod) ? (board.get(pod.metadata.uid)?.status ?? pod.status) : undefined),
    recordEvent,
  };
  await mkdir(paths.containerLogLinkDir, { recursive: true, mode: 0o755 });
  const workers = new PodWorkers(context, (identity) => board.delete(identity.uid));
  const allocationFiles = new AllocationFiles(paths.rootDir, log);
  const resizes = new PodResizes({
    files: allocationFiles,
    records: await allocationFiles.load(),
    annotationsOf: (uid) => cache.annotationsOf(uid),
    statusOf: (uid) => board.get(uid)?.status,
    node: options.node.resources,
    clock,
    log,
    recordEvent,
    wake: (uid) => workers.get(uid)?.wake(),
    takeAgain: () => intake.take(),
  });
  board.onChange(({ pod, status }, change) =>
    resizes.onStatus(pod.metadata.uid, change === 'deleted' ? undefined : status),
  );

  const mayRun = (uid: string): boolean =>
    cache.get(uid).containers.some(({ phase }) => phase === 'running' || phase === 'unknown');
  const intake = new PodIntake({
    snapshot: () => snapshot,
    nodeName: options.node.nodeName,
    maxPods: options.maxPods,
    appArmor: options.appArmor,
    admission: options.admission,
    allocatable: () => allocatableOf(options),
    objects,
    board,
    workers,
    resizes,
    holdsAny: (uid) => hasAny(cache.get(uid)),
    mayRun,
    clock,
    log,
    recordEvent,
    signal: stopping,
  });
  objects?.onChange((changed) => workers.wakeForVolumes((pod) => isApiPod(pod) && usesAny(pod, changed)));

  // Asked anew for each leftover: manifests go on changing, and their pods start, while this cleans.
  const isKnown = (uid: string): boolean =>
    workers.has(uid) ||
    snapshot.pods.some(({ metadata }) => metadata.uid === uid) ||
    cache.pods().some(({ identity }) => identity.uid === uid);
  let cleaned = false;
  const cleanOnce = async (): Promise<void> => {
    // What belongs to pods of an API server is not known before its first list.
    if (cleaned || snapshot.api?.synced === false) return;
    cleaned = true;
    await removeLeftovers({ isKnown, volumes, paths, clock, log }, stopping);
    await cgroups?.removeOrphans(isKnown);
  };
  let started = false;
  await cache.relist(stopping);
  await options.source.start((next) => {
    const before = snapshot;
    snapshot = next;
    reportManifestErrors(before, next, log);
    intake.take();
    const changed = changedObjects(before, next);
    if (changed.size > 0) workers.wakeForVolumes((pod) => usesAny(pod, changed));
    if (!started) return;
    cleanOnce().catch((error: unknown) =>
      log.error({ error: errorLine(error) }, 'cannot remove what is left of old pods'),
    );
  }, stopping);
  started = true;
  await cleanOnce();
  const following = cache.run(stopping, () => {
    log.info({ mode: cache.mode ?? 'connecting' }, 'container runtime answers');
    workers.reconcile();
    workers.wakeAll();
  });

  const served = createServedPods({
    board,
    cache,
    mirrorUidOf: options.mirrorUidOf,
    desired: (pod) => resizes.desired(pod),
  });
  return {
    board,
    served,
    evictable: createEvictablePods({ board, mayRun, worker: (uid) => workers.get(uid), releases }),
    removeEndedContainers: () =>
      removeEndedContainers({ pods: () => served.list(), runtime, refresh: (pod) => cache.refresh(pod), paths }),
    probeCounts: () => probeWorkers.counts(),
    loggedContainers: () =>
      cache.pods().flatMap(({ identity }) =>
        cache
          .get(identity.uid)
          .containers.filter(({ phase, logPath }) => phase === 'running' && logPath !== '')
          .map(({ id, logPath }) => ({ id, logPath })),
      ),
    volumesDue: (uid) => workers.get(uid)?.wakeForVolumes(),
    mayRun,
    status: () => ({
      pods: board.list().map((entry) => ({
        ...entry,
        error: workers.get(entry.pod.metadata.uid)?.lastError,
      })),
      ending: workers.workers().flatMap(({ phase, identity }) => (isEnding(phase) ? [identity] : [])),
      manifestErrors: snapshot.errors.map(({ file, error }) => ({ file, error: errorLine(error) })),
      runtime: { healthy: cache.healthy, mode: cache.mode },
    }),
    async stop() {
      workers.stop();
      resizes.stop();
      probeWorkers.stop();
      scope.abort(new Error('the kubelet role stops'));
      await following;
    },
  };
}

const isEnding = (phase: PodPhaseOfWork): boolean => phase === 'terminating' || phase === 'removing';

/** Without an API server nobody knows it better than the machine. */
function allocatableOf({ admission, node: { allocatable } }: KubeletOptions): ResourceList | undefined {
  if (admission) return admission.node()?.allocatable;
  return { cpu: `${allocatable.milliCores}m`, memory: String(allocatable.memoryBytes) };
}

const hasAny = ({ sandboxes, containers }: PodRuntimeState): boolean => sandboxes.length > 0 || containers.length > 0;

/** Each error once, and again only when it says something else. */
function reportManifestErrors(before: PodSnapshot, next: PodSnapshot, log: Logger): void {
  const known = new Set(before.errors.map(({ file, error }) => `${file}\n${errorLine(error)}`));
  for (const { file, error } of next.errors) {
    if (!known.has(`${file}\n${errorLine(error)}`)) log.error({ file, error: errorLine(error) }, 'manifest refused');
  }
}

/** `configMap/ns/name` and `secret/ns/name` of objects that came, went or changed. */
function changedObjects(before: PodSnapshot, next: PodSnapshot): Set<string> {
  const changed = new Set<string>();
  const compare = (kind: string, a: ReadonlyMap<string, object>, b: ReadonlyMap<string, object>): void => {
    for (const key of new Set([...a.keys(), ...b.keys()])) {
      const [old, fresh] = [a.get(key), b.get(key)];
      if (old !== fresh && JSON.stringify(old) !== JSON.stringify(fresh)) changed.add(`${kind}/${key}`);
    }
  };
  compare('configMap', before.configMaps, next.configMaps);
  compare('secret', before.secrets, next.secrets);
  return changed;
}

const usesAny = (pod: Pod, changed: ReadonlySet<string>): boolean =>
  objectReferences(pod).some((reference) => changed.has(referenceKey(reference)));
