/**
 * The pods part of `keelson cleanup`: which sandboxes of the runtime are Keelson's, and their end, like that of
 * `kubeadm reset`, which takes every sandbox.
 * Layer: agent, over the CRI edge. Touches no directory and no link. Goes on after a failure and reports every one.
 */
import { createSemaphore } from '../base/semaphore.ts';
import type * as cri from '../cri/messages.generated.ts';
import type { RuntimeService } from '../cri/service.ts';
import {
  madeByAnnotation,
  manifestFileAnnotation,
  type PodIdentity,
  podOfLabels,
  terminationGracePeriodAnnotation,
} from '../kubelet/plan/annotations.ts';
import { configSourceAnnotation } from '../kubelet/plan/pod-origin.ts';
import { errorLine } from '../observe/keelson-error.ts';

export interface PodCleanup {
  /** Pods that have a directory below the root directory. */
  readonly withDirectory: ReadonlySet<string>;
  /** Called once when there is any, before the first is ended. */
  readonly prepare?: () => Promise<void>;
  /** What else goes with a pod, once nothing of it runs and before the runtime forgets it. */
  readonly removeRest: (pod: PodIdentity) => Promise<string[]>;
}

export interface PodCleanupReport {
  removed: string[];
  failed: string[];
}

/** kubeadm reset gives none; a pod may ask for days. */
const longestGraceSeconds = 30;
const defaultGraceSeconds = 30;
/** Pods at a time: each waits for the grace of its containers. */
const parallel = 16;

/**
 * Ends and removes Keelson's pods. What is left of one after a failure, or after this process was killed, is still the
 * runtime's to list, so that the next cleanup finds it.
 * @throws CriError when the runtime does not list its sandboxes
 */
export async function removePods(runtime: RuntimeService, cleanup: PodCleanup): Promise<PodCleanupReport> {
  const { items } = await runtime.listPodSandbox({});
  const report: PodCleanupReport = { removed: [], failed: [] };
  const places = createSemaphore(parallel);
  const ours = items.filter((sandbox) => isKeelsons(sandbox, cleanup.withDirectory));
  if (ours.length > 0) await cleanup.prepare?.();
  await Promise.all(
    ours.map((sandbox) =>
      places.run(async () => {
        const pod = podOfLabels(sandbox.labels);
        const what = `pod ${pod?.namespace}/${pod?.name} (sandbox ${sandbox.id.slice(0, 13)})`;
        try {
          await endPod(runtime, sandbox);
          if (pod !== undefined) report.removed.push(...(await cleanup.removeRest(pod)));
          await runtime.removePodSandbox({ podSandboxId: sandbox.id });
          report.removed.push(what);
        } catch (error) {
          report.failed.push(`${what}: ${errorLine(error)}`);
        }
      }),
    ),
  );
  return { removed: report.removed.sort(), failed: report.failed.sort() };
}

/**
 * Marked as ours, or a kubelet's pod with a directory in our root directory: one that an older version made, or that was
 * taken over from the stock kubelet. Labels alone are every kubelet's.
 */
export function isKeelsons(
  { labels, annotations }: Pick<cri.PodSandbox, 'labels' | 'annotations'>,
  withDirectory: ReadonlySet<string>,
): boolean {
  if (manifestFileAnnotation in annotations || madeByAnnotation in annotations) return true;
  const pod = podOfLabels(labels);
  return pod !== undefined && configSourceAnnotation in annotations && withDirectory.has(pod.uid);
}

async function endPod(runtime: RuntimeService, { id }: cri.PodSandbox): Promise<void> {
  const { containers } = await runtime.listContainers({ filter: { podSandboxId: id } });
  await Promise.all(
    containers.map(({ id: containerId, annotations }) =>
      runtime.stopContainer({ containerId, timeout: graceOf(annotations) }),
    ),
  );
  await runtime.stopPodSandbox({ podSandboxId: id });
}

/** @returns whole seconds, 0 to 30 */
function graceOf(annotations: Readonly<Record<string, string>>): number {
  const grace = Number(annotations[terminationGracePeriodAnnotation] ?? defaultGraceSeconds);
  if (!Number.isFinite(grace)) return defaultGraceSeconds;
  return Math.min(Math.max(0, Math.trunc(grace)), longestGraceSeconds);
}
