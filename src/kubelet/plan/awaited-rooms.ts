/**
 * Which critical pods wait for which pods to end: the memory between a preemption and the admission that follows it.
 * Layer: kubelet/plan (pure state). Nothing of it is needed after a restart: the victims' status says that they failed.
 */
import type { Pod } from '../../api/core.ts';
import type { Preemption } from './admission.ts';

export class AwaitedRooms {
  readonly #victims = new Map<string, readonly string[]>();
  readonly #mayRun: (uid: string) => boolean;

  /** @param mayRun whether a container of the pod may still run */
  constructor(mayRun: (uid: string) => boolean) {
    this.#mayRun = mayRun;
  }

  /** Whether the critical pod has to go on waiting. */
  awaits(uid: string): boolean {
    return this.#victims.get(uid)?.some(this.#mayRun) ?? false;
  }

  /** Whether a pod waits for the end of this one, which has come. */
  isAwaited(uid: string): boolean {
    if (this.#victims.size === 0 || this.#mayRun(uid)) return false;
    return [...this.#victims.values()].some((victims) => victims.includes(uid));
  }

  /** @param waiting every critical pod that waits, whenever it began */
  note(preemptions: readonly Preemption[], waiting: readonly Pod[]): void {
    for (const { pod, victims } of preemptions) {
      this.#victims.set(
        pod.metadata.uid,
        victims.map(({ metadata }) => metadata.uid),
      );
    }
    const still = new Set(waiting.map(({ metadata }) => metadata.uid));
    for (const uid of this.#victims.keys()) if (!still.has(uid)) this.#victims.delete(uid);
  }
}
