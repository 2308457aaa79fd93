/**
 * Writes the volumes of a pod once what it names is known, and says in an event when that fails.
 * Layer: kubelet/pods. How volumes are made is volumes/' own.
 */
import type { Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { PodVolumes } from '../plan/pod-volume.ts';
import type { PodContext, PodMemory } from './pod-context.ts';
import { warning } from './pod-events.ts';

/** @throws VolumeError; the volumes count as stale then */
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
    return await context.volumes.mount(pod, signal);
  } catch (error) {
    memory.volumesStale = true;
    if (!signal.aborted) context.recordEvent(pod, warning('FailedMount', errorLine(error)));
    throw error;
  }
}
