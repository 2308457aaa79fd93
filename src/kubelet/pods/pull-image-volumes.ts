/**
 * Sees that the images are there that a container mounts as volumes, with the pod's credentials and the images part's
 * backoff. Layer: kubelet/pods. Only what this container mounts: the failure of one image keeps no other container.
 * Source: getImageVolumes in pkg/kubelet/kuberuntime/kuberuntime_manager.go.
 */
import type { Container, Pod } from '../../api/core.ts';
import { defaultsToAlwaysPull, parseImageReference } from '../../config/image-reference.ts';
import type * as cri from '../../cri/messages.generated.ts';
import type { PodVolumes } from '../plan/pod-volume.ts';
import type { PodContext } from './pod-context.ts';

/** By volume name. @throws ImageError */
export async function pullImageVolumes(
  pod: Pod,
  container: Container,
  volumes: PodVolumes,
  { images }: Pick<PodContext, 'images'>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, cri.ImageSpecInput>> {
  const present = new Map<string, cri.ImageSpecInput>();
  for (const { name } of container.volumeMounts ?? []) {
    const volume = volumes.get(name);
    if (volume?.kind !== 'image' || present.has(name)) continue;
    const { reference, pullPolicy } = volume;
    // Events and errors are the container's that waits for it.
    const asked = { name: container.name, image: reference, imagePullPolicy: pullPolicy ?? defaultPolicy(reference) };
    const { ref } = await images.ensure(pod, asked, signal);
    present.set(name, { image: ref, userSpecifiedImage: reference });
  }
  return present;
}

/** As the API server's; a reference that does not parse is refused by the images part. */
function defaultPolicy(reference: string): NonNullable<Container['imagePullPolicy']> {
  try {
    return defaultsToAlwaysPull(parseImageReference(reference)) ? 'Always' : 'IfNotPresent';
  } catch {
    return 'IfNotPresent';
  }
}
