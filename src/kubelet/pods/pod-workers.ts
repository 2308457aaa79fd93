/**
 * One worker for each pod that should be or still is on the node. Compares the wanted set with the workers and the
 * runtime: starts, ends, adopts, and waits with a successor until the pod of the same name before it is gone.
 * Layer: kubelet/pods. Must not look into a pod's containers.
 */
import type { Pod } from '../../api/core.ts';
import { manifestFileAnnotation, type PodIdentity } from '../plan/annotations.ts';
import { configSourceAnnotation } from '../plan/pod-origin.ts';
import type { PodVerdict } from '../status/pod-status.ts';
import type { PodContext } from './pod-context.ts';
import { PodWorker } from './pod-worker.ts';

export interface WantedPods {
  /** With those that are being deleted, until the API server has no more of them. */
  pods: Pod[];
  /** By uid: pods of these that the node ends for good. */
  verdicts?: ReadonlyMap<string, PodVerdict>;
  /** Every pod that an API server has for this node is among `pods`, so that another one is an orphan. */
  apiPodsComplete?: boolean;
  /** Manifests that were never readable since the start: pods that came from them are left alone. */
  unreadableManifests: ReadonlySet<string>;
}

export class PodWorkers {
  readonly #context: PodContext;
  readonly #onReleased: (identity: PodIdentity) => void;
  readonly #workers = new Map<string, PodWorker>();
  /** Undefined until the first complete snapshot: nothing may be taken for an orphan before it is known what is wanted. */
  #wanted: Map<string, Pod> | undefined;
  #unreadable: ReadonlySet<string> = new Set();
  #apiPodsComplete = false;
  #verdicts: ReadonlyMap<string, PodVerdict> = new Map();
  /** Deleted pods of which nothing is left here, but which the API server still has. */
  readonly #gone = new Set<string>();

  /** @param onReleased nothing of the pod is in use any more; what is left of it goes by itself */
  constructor(context: PodContext, onReleased: (identity: PodIdentity) => void) {
    this.#context = context;
    this.#onReleased = onReleased;
    context.cache.onChange((uid) => this.#onRuntimeChange(uid));
  }

  workers(): PodWorker[] {
    return [...this.#workers.values()];
  }

  get(uid: string): PodWorker | undefined {
    return this.#workers.get(uid);
  }

  has(uid: string): boolean {
    return this.#workers.has(uid);
  }

  /** Pods that are neither wanted nor spared but that the runtime has are ended; wanted ones get a worker. */
  setWanted(wanted: WantedPods): void {
    this.#wanted = new Map(wanted.pods.map((pod) => [pod.metadata.uid, pod]));
    this.#unreadable = wanted.unreadableManifests;
    this.#apiPodsComplete = wanted.apiPodsComplete ?? false;
    this.#verdicts = wanted.verdicts ?? new Map();
    for (const uid of this.#gone) if (!this.#wanted.has(uid)) this.#gone.delete(uid);
    this.reconcile();
  }

  /** Safe to call at any time; also after a relist of the runtime. */
  reconcile(): void {
    const wanted = this.#wanted;
    if (!wanted) return;
    for (const worker of this.#workers.values()) {
      const { uid } = worker.identity;
      const pod = wanted.get(uid);
      const verdict = this.#verdicts.get(uid);
      if (!pod) {
        worker.terminate();
        continue;
      }
      if (verdict) worker.fail(verdict);
      worker.update(pod);
    }
    for (const { identity, annotations } of this.#context.cache.pods()) {
      this.#endIfOrphan(identity, annotations);
    }
    for (const pod of wanted.values()) {
      if (pod.metadata.deletionTimestamp === undefined) this.#startIfFree(pod);
      else this.#end(pod);
    }
  }

  /** Every pod looks again at its volumes and at what failed for want of an object. */
  wakeForVolumes(uses: (pod: Pod) => boolean): void {
    for (const worker of this.#workers.values()) {
      if (worker.pod && uses(worker.pod)) worker.wakeForVolumes();
    }
  }

  wakeAll(): void {
    for (const worker of this.#workers.values()) worker.wake();
  }

  stop(): void {
    for (const worker of this.#workers.values()) worker.stop();
  }

  #onRuntimeChange(uid: string): void {
    const worker = this.#workers.get(uid);
    if (worker) {
      worker.wake();
      return;
    }
    const orphan = this.#context.cache.pods().find(({ identity }) => identity.uid === uid);
    if (orphan) this.#endIfOrphan(orphan.identity, orphan.annotations);
  }

  #endIfOrphan(identity: PodIdentity, annotations: Record<string, string>): void {
    if (!this.#wanted || this.#wanted.has(identity.uid) || this.#workers.has(identity.uid)) return;
    // Another agent's pod (it carries the labels, but no kubelet's annotations) is not ours to end.
    const manifest = annotations[manifestFileAnnotation];
    const ours =
      manifest === undefined
        ? this.#apiPodsComplete && annotations[configSourceAnnotation] !== undefined
        : !this.#unreadable.has(manifest);
    if (ours) this.#add(identity, undefined).terminate();
  }

  /** A pod that the API server is deleting, also one of which nothing was ever started here. */
  #end(pod: Pod): void {
    const { uid, deletionGracePeriodSeconds } = pod.metadata;
    if (this.#gone.has(uid)) return;
    (this.#workers.get(uid) ?? this.#add(pod.metadata, pod)).terminate(deletionGracePeriodSeconds);
  }

  /** A pod whose namesake is still ending waits; #released or #finished comes back to it. */
  #startIfFree(pod: Pod): void {
    if (this.#workers.has(pod.metadata.uid)) return;
    for (const { identity, phase } of this.#workers.values()) {
      if (phase !== 'removing' && sameName(identity, pod.metadata)) return;
    }
    const worker = this.#add(pod.metadata, pod);
    const verdict = this.#verdicts.get(pod.metadata.uid);
    if (verdict) worker.fail(verdict);
    else worker.wake();
  }

  #add({ name, namespace, uid }: PodIdentity, pod: Pod | undefined): PodWorker {
    const worker = new PodWorker({ name, namespace, uid }, pod, this.#context, {
      onReleased: (done) => this.#released(done),
      onFinished: (done) => this.#finished(done),
    });
    this.#workers.set(uid, worker);
    return worker;
  }

  #released({ identity }: PodWorker): void {
    this.#onReleased(identity);
    this.#startNamesake(identity);
  }

  #finished({ identity }: PodWorker): void {
    const { uid } = identity;
    this.#workers.delete(uid);
    if (this.#wanted?.get(uid)?.metadata.deletionTimestamp !== undefined) this.#gone.add(uid);
    this.#startNamesake(identity);
  }

  /** The same pod may be wanted again, or its successor was waiting. */
  #startNamesake(identity: PodIdentity): void {
    for (const pod of this.#wanted?.values() ?? []) {
      if (sameName(identity, pod.metadata) && pod.metadata.deletionTimestamp === undefined) this.#startIfFree(pod);
    }
  }
}

const sameName = (a: PodIdentity, b: PodIdentity): boolean => a.name === b.name && a.namespace === b.namespace;
