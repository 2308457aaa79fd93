/**
 * The four kinds of containers a pod has, and how one is found by name: names are unique over all of them.
 * Layer: kubelet/plan (pure). Must not decide what is done with a container.
 */
import type { Container, EphemeralContainer, Pod } from '../../api/core.ts';

/** `sidecar`: an init container that goes on running beside the others (restartPolicy Always). */
export type ContainerKind = 'init' | 'sidecar' | 'container' | 'ephemeral';

export interface KindOfContainer {
  kind: ContainerKind;
  container: Container;
}

/** Of init containers only: on another container the same policy means no more than that it is restarted. */
export const isSidecar = (initContainer: Container): boolean => initContainer.restartPolicy === 'Always';

export const initKind = (initContainer: Container): 'init' | 'sidecar' =>
  isSidecar(initContainer) ? 'sidecar' : 'init';

/** Init containers and sidecars in their order, then the main ones, then ephemeral ones. */
export function containersOf({ spec }: Pod): KindOfContainer[] {
  return [
    ...(spec.initContainers ?? []).map((container) => ({ kind: initKind(container), container })),
    ...spec.containers.map((container) => ({ kind: 'container', container }) as const),
    ...(spec.ephemeralContainers ?? []).map((container) => ({ kind: 'ephemeral', container }) as const),
  ];
}

export function findContainer({ spec }: Pod, name: string): KindOfContainer | undefined {
  const named = (container: Container): boolean => container.name === name;
  const main = spec.containers.find(named);
  if (main) return { kind: 'container', container: main };
  const init = spec.initContainers?.find(named);
  if (init) return { kind: initKind(init), container: init };
  const ephemeral: EphemeralContainer | undefined = spec.ephemeralContainers?.find(named);
  return ephemeral && { kind: 'ephemeral', container: ephemeral };
}
