/**
 * Several sources of manifests as one: the standalone folder and KubeletConfiguration's staticPodPath.
 * Layer: kubelet/static. The first source wins where two define the same object; the other is reported.
 */
import { manifestFileAnnotation } from '../plan/annotations.ts';
import { ManifestError } from './manifest-error.ts';
import type { ManifestPlace, ManifestSnapshot, ManifestSource } from './manifest-snapshot.ts';

export function joinSources(sources: readonly ManifestSource[]): ManifestSource {
  const [only] = sources;
  if (sources.length === 1 && only) return only;
  return {
    async start(listener, signal) {
      const snapshots: (ManifestSnapshot | undefined)[] = sources.map(() => undefined);
      const publish = (): void => {
        const complete = snapshots.filter((snapshot) => snapshot !== undefined);
        // A part of the whole would look as if the pods of the rest were gone.
        if (complete.length === sources.length) listener(joinSnapshots(complete));
      };
      await Promise.all(
        sources.map((source, i) =>
          source.start((snapshot) => {
            snapshots[i] = snapshot;
            publish();
          }, signal),
        ),
      );
    },
  };
}

export function joinSnapshots(snapshots: readonly ManifestSnapshot[]): ManifestSnapshot {
  const pods = new Map<string, ManifestSnapshot['pods'][number]>();
  const errors: ManifestSnapshot['errors'] = [];
  const places = new Map<string, ManifestPlace>();
  for (const snapshot of snapshots) {
    errors.push(...snapshot.errors);
    for (const pod of snapshot.pods) {
      const key = `${pod.metadata.namespace}/${pod.metadata.name}`;
      if (!pods.has(key)) pods.set(key, pod);
      else errors.push(duplicate(`pod ${key}`, pod.metadata.annotations?.[manifestFileAnnotation]));
    }
    for (const [name, place] of snapshot.places) {
      if (!places.has(name)) places.set(name, place);
      else errors.push(duplicate(name, place.file));
    }
  }
  return {
    pods: [...pods.values()],
    configMaps: firstOfEach(snapshots.map(({ configMaps }) => configMaps)),
    secrets: firstOfEach(snapshots.map(({ secrets }) => secrets)),
    services: firstOfEach(snapshots.map(({ services }) => services)),
    endpointSlices: firstOfEach(snapshots.map(({ endpointSlices }) => endpointSlices)),
    places,
    errors,
    brokenFiles: new Set(snapshots.flatMap(({ brokenFiles }) => [...brokenFiles])),
  };
}

function firstOfEach<T>(maps: readonly ReadonlyMap<string, T>[]): ReadonlyMap<string, T> {
  const first = new Map<string, T>();
  for (const map of maps) for (const [key, object] of map) if (!first.has(key)) first.set(key, object);
  return first;
}

function duplicate(name: string, file = 'unknown'): ManifestSnapshot['errors'][number] {
  const message = `${name} is also defined in another folder, which wins`;
  return { file, error: new ManifestError('MANIFEST_DUPLICATE', message, { file }) };
}
