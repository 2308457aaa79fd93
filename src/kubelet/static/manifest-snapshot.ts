/**
 * What a folder of manifests holds beyond pods: Services and EndpointSlices, for the proxy role through the agent.
 * Layer: kubelet/static (types only). The kubelet takes the same snapshots as PodSnapshots and reads its part of them.
 */
import type { EndpointSlice } from '../../api/discovery.ts';
import type { Service } from '../../api/service.ts';
import type { PodSnapshot } from '../pod-source.ts';

export interface ManifestPlace {
  /** Absolute path. */
  readonly file: string;
  /** 1-based. */
  readonly line: number;
}

export interface ManifestSnapshot extends PodSnapshot {
  /** By `namespace/name`, in the order of file names; defaulted as by an API server, but nothing is given out. */
  services: ReadonlyMap<string, Service>;
  /** By `namespace/name`. */
  endpointSlices: ReadonlyMap<string, EndpointSlice>;
  /** Where the Service or EndpointSlice stands, by `service namespace/name` and `endpointslice namespace/name`. */
  places: ReadonlyMap<string, ManifestPlace>;
}

/** A PodSource, since a listener for less can be handed more. */
export interface ManifestSource {
  /** As PodSource.start. */
  start(listener: (snapshot: ManifestSnapshot) => void, signal: AbortSignal): Promise<void>;
}
