/**
 * Where a kubelet's pods come from, as full snapshots: folders of manifests, the API server.
 * Layer: kubelet (types only). static/folder-source.ts and api/api-pod-source.ts implement it.
 */
import type { ConfigMap, Pod, Secret } from '../api/core.ts';
import type { AskedFor } from '../api/unsupported-fields.ts';

export interface PodSnapshot {
  pods: Pod[];
  /** By `namespace/name`. */
  configMaps: ReadonlyMap<string, ConfigMap>;
  secrets: ReadonlyMap<string, Secret>;
  /** What could not be used, one entry a file. */
  errors: { file: string; error: Error }[];
  /** Files that were never readable since the start. */
  brokenFiles: ReadonlySet<string>;
  /** Set when an API server is one of the sources. */
  api?: ApiPart;
}

export interface ApiPart {
  /** Its first list came: until then nothing may be taken for gone (pkg/kubelet/config SourcesReady). */
  synced: boolean;
  /** By uid, of pods that ask for something that this version does not do. */
  askedFor: ReadonlyMap<string, AskedFor>;
}

export interface PodSource {
  /** Calls `listener` with the first snapshot before it resolves, then after each change. Throws when there is no folder. */
  start(listener: (snapshot: PodSnapshot) => void, signal: AbortSignal): Promise<void>;
}
