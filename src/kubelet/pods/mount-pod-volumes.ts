/**
 * Writes the volumes of a pod once what it names is known, and says in an event when that fails.
 * Layer: kubelet/pods. How volumes are made is volumes/' own.
 */
import type { Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { PodVolumes } from '../plan/pod-volume.ts';
import type { PodContext, PodMemory } from './pod-context.ts';
import { warning } from './pod-events.ts';

/**
 * Volumes whose files could not be brought up to date are among what is returned, but count as stale: containers may start with
 * them, and the next pass tries again. @throws VolumeError; the volumes count as stale then, too
 */
export async function mountVolumes(
  pod: Pod,
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<PodVolumes> {
  try {
    await context.objectsKnown(pod, signal);
    // Before, not after: what changes while files are written comes again.
    memory.volumesStale = false;
    const volumes = await context.volumes.mount(pod, signal);
    const stale = staleReason(volumes);
    if (stale !== undefined) {
      memory.volumesStale = true;
      context.recordEvent(pod, warning('FailedMount', errorLine(stale)));
    }
    return volumes;
  } catch (error) {
    memory.volumesStale = true;
    if (!signal.aborted) context.recordEvent(pod, warning('FailedMount', errorLine(error)));
    throw error;
  }
}

/** Why files of the pod are not up to date; undefined when all are. */
export function staleReason(volumes: PodVolumes): Error | undefined {
  const reasons = [...volumes.values()].flatMap((volume) => (volume.kind === 'path' && volume.stale) || []);
  return reasons.length > 1 ? new AggregateError(reasons) : reasons[0];
}
