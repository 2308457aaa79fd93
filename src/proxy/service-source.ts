/**
 * Where the proxy's Services and EndpointSlices come from: a manifest folder, or the API server.
 * Layer: proxy (types only). Must not know who implements it.
 */
import type { EndpointSlice } from '../api/discovery.ts';
import type { Service } from '../api/service.ts';
import type { ObjectName } from './services/service-tracker.ts';

export type ServiceEvent =
  | { event: 'serviceSet'; service: Service }
  | { event: 'serviceDeleted'; service: ObjectName }
  | { event: 'sliceSet'; slice: EndpointSlice }
  | { event: 'sliceDeleted'; slice: ObjectName }
  /** The cluster's Service networks, of both families, in place of those before. */
  | { event: 'serviceCIDRs'; prefixes: readonly string[] };

export interface ServiceSource {
  /**
   * Hands over all objects, in as many calls of `listener` as it likes, before it resolves: until then the proxy leaves the
   * kernel as its predecessor left it. Then every change, in order, until `signal` is aborted.
   */
  start(listener: (events: readonly ServiceEvent[]) => void, signal: AbortSignal): Promise<void>;
}
