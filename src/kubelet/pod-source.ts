/**
 * Where a kubelet's pods come from, as full snapshots: a folder now, the API server later.
 * Layer: kubelet (types only). static/folder-source.ts implements it.
 */
import type { ConfigMap, Pod, Secret } from '../api/core.ts';

export interface PodSnapshot {
  pods: Pod[];
  /** By `namespace/name`. */
  configMaps: ReadonlyMap<string, ConfigMap>;
  secrets: ReadonlyMap<string, Secret>;
  /** What could not be used, one entry a file. */
  errors: { file: string; error: Error }[];
  /** Files that were never readable since the start. */
  brokenFiles: ReadonlySet<string>;
}

export interface PodSource {
  /** Calls `listener` with the first snapshot before it resolves, then after each change. Throws when there is no folder. */
  start(listener: (snapshot: PodSnapshot) => void, signal: AbortSignal): Promise<void>;
}
