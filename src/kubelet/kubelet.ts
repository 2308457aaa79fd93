/**
 * The kubelet role: wires the pod source, the runtime cache, the workers and the status board, and cleans what a dead
 * predecessor left. Layer: kubelet (composition of the role). Knows no kernel and no other role: edges are handed in.
 */
import { mkdir } from 'node:fs/promises';
import type { Pod } from '../api/core.ts';
import type { BackoffLimits } from '../base/backoff.ts';
import type { Clock } from '../base/clock.ts';
import { createSemaphore } from '../base/semaphore.ts';
import type { ImageService, RuntimeService } from '../cri/service.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { createImageEnsurer } from './images/ensure-image.ts';
import { admitPods, rejectedStatus } from './plan/admission.ts';
import type { ObjectSources } from './plan/environment.ts';
import type { PodRuntimeState } from './plan/runtime-state.ts';
import type { PodSnapshot, PodSource } from './pod-source.ts';
import type { NodeFacts, PodContext, PodPaths, PodVolumes } from './pods/pod-context.ts';
import { removeOrphanLogs } from './pods/pod-logs.ts';
import { PodWorkers } from './pods/pod-workers.ts';
import { PodRuntimeCache } from './pods/runtime-cache.ts';
import { terminationMessageReader } from './pods/termination-message.ts';
import { timestamp } from './status/container-status.ts';
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
  /** KubeletConfiguration maxPods. */
  maxPods: number;
  /** KubeletConfiguration syncFrequency: milliseconds between safety relists of the runtime. */
  syncFrequencyMs: number;
  networkReady(signal: AbortSignal): Promise<void>;
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
  /** Stops watching and working; pods go on. */
  stop(): Promise<void>;
}

const emptySnapshot: PodSnapshot = {
  pods: [],
  configMaps: new Map(),
  secrets: new Map(),
  errors: [],
  brokenFiles: new Set(),
};

/** Resolves once the first manifests are read and the runtime's pods are known; pods then start in the background. */
export async function startKubelet(options: KubeletOptions, signal: AbortSignal): Promise<Kubelet> {
  const { log, clock, paths, runtime } = options;
  const scope = new AbortController();
  const stopping = AbortSignal.any([signal, scope.signal]);
  let snapshot = emptySnapshot;
  const sources: ObjectSources = {
    configMap: (namespace, name) => snapshot.configMaps.get(`${namespace}/${name}`),
    secret: (namespace, name) => snapshot.secrets.get(`${namespace}/${name}`),
  };
  const board = new StatusBoard();
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
  const volumes = options.volumes(sources);
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
      maxParallelPulls: options.parallelPulls,
      pullRate: options.pullRate,
    }),
    sources,
    clock,
    log,
    restartBackoff: options.restartBackoff,
    startSlots: createSemaphore(options.parallelStarts),
    networkReady: options.networkReady,
    publish: (pod, status) => board.set(pod, status),
  };
  await mkdir(paths.containerLogLinkDir, { recursive: true, mode: 0o755 });
  const workers = new PodWorkers(context, (identity) => board.delete(identity.uid));

  await cache.relist(stopping);
  await options.source.start((next) => {
    const before = snapshot;
    snapshot = next;
    reportManifestErrors(before, next, log);
    const { admitted, rejected } = admitPods(next.pods, (uid) => isPresent(cache.get(uid)), options.maxPods);
    for (const { pod, reason, message } of rejected) {
      board.set(pod, rejectedStatus(pod, reason, message, timestamp(clock.now())));
    }
    const named = new Set(next.pods.map(({ metadata }) => metadata.uid));
    for (const { pod } of board.list()) {
      const { uid } = pod.metadata;
      if (!named.has(uid) && !workers.has(uid)) board.delete(uid);
    }
    workers.setWanted({ pods: admitted, unreadableManifests: next.brokenFiles });
    // Before any container is asked to stop: that takes a call to the runtime, this is still the same turn.
    for (const { phase, identity } of workers.workers()) if (phase === 'terminating') board.end(identity.uid);
    const changed = changedObjects(before, next);
    if (changed.size > 0) workers.wakeForVolumes((pod) => usesAny(pod, changed));
  }, stopping);
  // Asked anew for each leftover: manifests go on changing, and their pods start, while this cleans.
  const isKnown = (uid: string): boolean =>
    workers.has(uid) ||
    snapshot.pods.some(({ metadata }) => metadata.uid === uid) ||
    cache.pods().some(({ identity }) => identity.uid === uid);
  await removeLeftovers(isKnown, volumes, paths, log);
  const following = cache.run(stopping, () => {
    log.info({ mode: cache.mode ?? 'connecting' }, 'container runtime answers');
    workers.reconcile();
    workers.wakeAll();
  });

  return {
    board,
    status: () => ({
      pods: board.list().map((entry) => ({
        ...entry,
        error: workers.get(entry.pod.metadata.uid)?.lastError,
      })),
      ending: workers.workers().flatMap(({ phase, identity }) => (phase === 'terminating' ? [identity] : [])),
      manifestErrors: snapshot.errors.map(({ file, error }) => ({ file, error: errorLine(error) })),
      runtime: { healthy: cache.healthy, mode: cache.mode },
    }),
    async stop() {
      workers.stop();
      scope.abort(new Error('the kubelet role stops'));
      await following;
    },
  };
}

const isPresent = ({ sandboxes, containers }: PodRuntimeState): boolean =>
  sandboxes.length > 0 || containers.length > 0;

/** Directories, mounts and logs of pods that are neither wanted nor in the runtime. Failures are reported, not fatal. */
async function removeLeftovers(
  isKnown: (uid: string) => boolean,
  volumes: PodVolumes & { orphans(): Promise<string[]> },
  paths: PodPaths,
  log: Logger,
): Promise<void> {
  for (const uid of await volumes.orphans()) {
    if (isKnown(uid)) continue;
    try {
      await volumes.teardown(uid);
      log.info({ uid }, 'removed the directory of a pod that is gone');
    } catch (error) {
      log.warn({ uid, error: errorLine(error) }, 'cannot remove the directory of a pod that is gone');
    }
  }
  for (const pod of await removeOrphanLogs(isKnown, paths)) {
    log.info({ pod: `${pod.namespace}/${pod.name}`, uid: pod.uid }, 'removed the logs of a pod that is gone');
  }
}

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

function usesAny(pod: Pod, changed: ReadonlySet<string>): boolean {
  const { namespace } = pod.metadata;
  const used: (string | undefined)[] = [
    ...(pod.spec.volumes ?? []).flatMap(({ configMap, secret }) => [
      configMap && `configMap/${namespace}/${configMap.name}`,
      secret && `secret/${namespace}/${secret.secretName}`,
    ]),
    ...(pod.spec.imagePullSecrets ?? []).map(({ name }) => `secret/${namespace}/${name}`),
    ...pod.spec.containers.flatMap((container) => [
      ...(container.env ?? []).flatMap(({ valueFrom }) => [
        valueFrom?.configMapKeyRef && `configMap/${namespace}/${valueFrom.configMapKeyRef.name}`,
        valueFrom?.secretKeyRef && `secret/${namespace}/${valueFrom.secretKeyRef.name}`,
      ]),
      ...(container.envFrom ?? []).flatMap(({ configMapRef, secretRef }) => [
        configMapRef && `configMap/${namespace}/${configMapRef.name}`,
        secretRef && `secret/${namespace}/${secretRef.name}`,
      ]),
    ]),
  ];
  return used.some((key) => key !== undefined && changed.has(key));
}
