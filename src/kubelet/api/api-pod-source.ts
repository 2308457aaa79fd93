/**
 * The pod source of a node in a cluster: the pods of its manifests at once, and those of the API server from its first
 * list on, so that manifests run without an API server and nothing is taken for gone before it is known.
 * Layer: kubelet/api. Mirror pods are the API server's copies of manifests' pods and are not run.
 */
import type { AskedFor } from '../../api/unsupported-fields.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { isMirrorPod } from '../plan/pod-origin.ts';
import type { PodSnapshot, PodSource } from '../pod-source.ts';
import type { ApiPods } from './api-pods.ts';

export interface ApiPodSourceOptions {
  pods: ApiPods;
  /** Folders of manifests; none when the node has none. */
  manifests: PodSource | undefined;
  clock: Clock;
}

/** What comes within this time becomes one snapshot, milliseconds. */
const coalesceMs = 2;

const noManifests: PodSnapshot = {
  pods: [],
  configMaps: new Map(),
  secrets: new Map(),
  errors: [],
  brokenFiles: new Set(),
};

export function createApiPodSource({ pods, manifests, clock }: ApiPodSourceOptions): PodSource {
  return {
    async start(listener, signal) {
      let latest: PodSnapshot | undefined = manifests === undefined ? noManifests : undefined;
      let cancel: CancelTimer | undefined;
      const publish = (): void => {
        cancel?.();
        cancel = undefined;
        if (latest !== undefined && !signal.aborted) listener(joined(latest, pods));
      };
      const stop = pods.onChange(({ statusOnly, lastSight }) => {
        if (!statusOnly) cancel ??= clock.after(coalesceMs, publish);
        if (lastSight && cancel !== undefined) publish();
      });
      signal.addEventListener('abort', () => {
        stop();
        cancel?.();
      });
      if (manifests === undefined) {
        publish();
        return;
      }
      await manifests.start((snapshot) => {
        latest = snapshot;
        publish();
      }, signal);
    },
  };
}

/** A manifest's pod wins over a pod of the API server that has its name: it was on this node first. */
function joined(manifests: PodSnapshot, api: ApiPods): PodSnapshot {
  const names = new Set(manifests.pods.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`));
  const askedFor = new Map<string, AskedFor>();
  const own = api.list().filter(({ pod }) => {
    return !isMirrorPod(pod) && !names.has(`${pod.metadata.namespace}/${pod.metadata.name}`);
  });
  for (const { pod, askedFor: asked } of own) {
    if (asked.unsupported.length + asked.ignored.length > 0) askedFor.set(pod.metadata.uid, asked);
  }
  return {
    ...manifests,
    pods: [...manifests.pods, ...(api.synced ? own.map(({ pod }) => pod) : [])],
    api: { synced: api.synced, askedFor },
  };
}
