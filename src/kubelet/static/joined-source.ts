/**
 * Several sources of pods as one: the standalone folder and KubeletConfiguration's staticPodPath.
 * Layer: kubelet/static. The first source wins where two define the same object; the other is reported.
 */
import { manifestFileAnnotation } from '../plan/annotations.ts';
import type { PodSnapshot, PodSource } from '../pod-source.ts';
import { ManifestError } from './manifest-error.ts';

export function joinSources(sources: readonly PodSource[]): PodSource {
  const [only] = sources;
  if (sources.length === 1 && only) return only;
  return {
    async start(listener, signal) {
      const snapshots: (PodSnapshot | undefined)[] = sources.map(() => undefined);
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

export function joinSnapshots(snapshots: readonly PodSnapshot[]): PodSnapshot {
  const pods = new Map<string, PodSnapshot['pods'][number]>();
  const configMaps = new Map<string, NonNullable<ReturnType<PodSnapshot['configMaps']['get']>>>();
  const secrets = new Map<string, NonNullable<ReturnType<PodSnapshot['secrets']['get']>>>();
  const errors: PodSnapshot['errors'] = [];
  for (const snapshot of snapshots) {
    errors.push(...snapshot.errors);
    for (const pod of snapshot.pods) {
      const key = `${pod.metadata.namespace}/${pod.metadata.name}`;
      if (!pods.has(key)) pods.set(key, pod);
      else errors.push(duplicate('pod', key, pod.metadata.annotations?.[manifestFileAnnotation]));
    }
    for (const [key, object] of snapshot.configMaps) if (!configMaps.has(key)) configMaps.set(key, object);
    for (const [key, object] of snapshot.secrets) if (!secrets.has(key)) secrets.set(key, object);
  }
  return {
    pods: [...pods.values()],
    configMaps,
    secrets,
    errors,
    brokenFiles: new Set(snapshots.flatMap(({ brokenFiles }) => [...brokenFiles])),
  };
}

function duplicate(kind: string, key: string, file = 'unknown'): PodSnapshot['errors'][number] {
  const message = `${kind} ${key} is also defined in another folder, which wins`;
  return { file, error: new ManifestError('MANIFEST_DUPLICATE', message, { file }) };
}
