/**
 * One worker for each pod that should be or still is on the node. Compares the wanted set with the workers and the
 * runtime: starts, ends, adopts, and waits with a successor until the pod of the same name before it is gone.
 * Layer: kubelet/pods. Must not look into a pod's containers.
 */
import type { Pod } from '../../api/core.ts';
import { manifestFileAnnotation, type PodIdentity } from '../plan/annotations.ts';
import type { PodContext } from './pod-context.ts';
import { PodWorker } from './pod-worker.ts';

export interface WantedPods {
  pods: Pod[];
  /** Manifests that were never readable since the start: pods that came from them are left alone. */
  unreadableManifests: ReadonlySet<string>;
}

export class PodWorkers {
  readonly #context: PodContext;
  readonly #onGone: (identity: PodIdentity) => void;
  readonly #workers = new Map<string, PodWorker>();
  /** Undefined until the first complete snapshot: nothing may be taken for an orphan before it is known what is wanted. */
  #wanted: Map<string, Pod> | undefined;
  #unreadable: ReadonlySet<string> = new Set();

  constructor(context: PodContext, onGone: (identity: PodIdentity) => void) {
    this.#context = context;
    this.#onGone = onGone;
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
    this.reconcile();
  }

  /** Safe to call at any time; also after a relist of the runtime. */
  reconcile(): void {
    const wanted = this.#wanted;
    if (!wanted) return;
    for (const worker of this.#workers.values()) {
      if (!wanted.has(worker.identity.uid) && worker.phase === 'syncing') worker.terminate();
    }
    for (const { identity, annotations } of this.#context.cache.pods()) {
      this.#endIfOrphan(identity, annotations);
    }
    for (const pod of wanted.values()) this.#startIfFree(pod);
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
    // Another agent's pod (it carries the labels, but names no manifest) is not ours to end.
    const manifest = annotations[manifestFileAnnotation];
    if (manifest === undefined) return;
    if (this.#unreadable.has(manifest)) return;
    this.#add(identity, undefined).terminate();
  }

  /** A pod whose namesake is still ending waits; #finished comes back to it. */
  #startIfFree(pod: Pod): void {
    if (this.#workers.has(pod.metadata.uid)) return;
    for (const { identity } of this.#workers.values()) {
      if (identity.name === pod.metadata.name && identity.namespace === pod.metadata.namespace) return;
    }
    this.#add(pod.metadata, pod).wake();
  }

  #add({ name, namespace, uid }: PodIdentity, pod: Pod | undefined): PodWorker {
    const worker = new PodWorker({ name, namespace, uid }, pod, this.#context, (done) => this.#finished(done));
    this.#workers.set(uid, worker);
    return worker;
  }

  #finished(worker: PodWorker): void {
    this.#workers.delete(worker.identity.uid);
    this.#onGone(worker.identity);
    // The same pod may be wanted again, or its successor was waiting.
    for (const pod of this.#wanted?.values() ?? []) {
      if (pod.metadata.name === worker.identity.name && pod.metadata.namespace === worker.identity.namespace) {
        this.#startIfFree(pod);
      }
    }
  }
}
