/**
 * Cleans what a dead predecessor left of pods that are gone.
 * Layer: kubelet (edge, through the handed-in volumes and paths). Must be told which pods are known: it decides nothing.
 */
import { nextDelay } from '../base/backoff.ts';
import type { Clock } from '../base/clock.ts';
import { createSemaphore } from '../base/semaphore.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import type { PodPaths, PodVolumes } from './pods/pod-context.ts';
import { removeOrphanLogs } from './pods/pod-logs.ts';

export interface LeftoverDependencies {
  /** Asked anew for each leftover. */
  readonly isKnown: (uid: string) => boolean;
  readonly volumes: PodVolumes & { orphans(): Promise<string[]> };
  readonly paths: PodPaths;
  readonly clock: Clock;
  readonly log: Logger;
}

/** One whose server does not answer keeps a place for a minute. */
const parallelRemovals = 4;
/** So long the start of the role waits for it. */
const patienceMs = 10_000;
const retry = { initialMs: 5_000, maxMs: 300_000 };

/**
 * Directories, mounts and logs of pods that are neither wanted nor in the runtime. Resolves after the first attempt, or
 * after ten seconds of it. What fails is reported and tried again until the signal ends it: a CSI driver may register later,
 * a server may come back.
 */
export async function removeLeftovers(dependencies: LeftoverDependencies, signal: AbortSignal): Promise<void> {
  const attempt = async (delayMs: number): Promise<void> => {
    const stuck = await removeDirectories(dependencies, signal);
    if (!stuck || signal.aborted) return;
    const nextMs = nextDelay(delayMs, retry);
    const cancel = dependencies.clock.after(nextMs, () => {
      signal.removeEventListener('abort', cancel);
      attempt(nextMs).catch((error: unknown) =>
        dependencies.log.error({ error: errorLine(error) }, 'cannot remove what is left of old pods'),
      );
    });
    signal.addEventListener('abort', cancel, { once: true });
  };
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const cancel = dependencies.clock.after(patienceMs, resolve);
  await Promise.race([attempt(0), late]).finally(cancel);
  const { isKnown, paths, log } = dependencies;
  for (const pod of await removeOrphanLogs(isKnown, paths)) {
    log.info({ pod: `${pod.namespace}/${pod.name}`, uid: pod.uid }, 'removed the logs of a pod that is gone');
  }
}

/** @returns whether any stays */
async function removeDirectories(
  { isKnown, volumes, log }: LeftoverDependencies,
  signal: AbortSignal,
): Promise<boolean> {
  let stuck = false;
  const removals = createSemaphore(parallelRemovals);
  const remove = async (uid: string): Promise<void> => {
    if (signal.aborted || isKnown(uid)) return;
    try {
      await volumes.teardown(uid, signal);
      log.info({ uid }, 'removed the directory of a pod that is gone');
    } catch (error) {
      if (signal.aborted) return;
      stuck = true;
      log.warn({ uid, error: errorLine(error) }, 'cannot remove the directory of a pod that is gone');
    }
  };
  const uids = await volumes.orphans();
  await Promise.all(uids.map((uid) => removals.run(() => remove(uid))));
  return stuck;
}
