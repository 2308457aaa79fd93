/**
 * The proxy's ServiceSource from the API server: two reflectors, one order.
 * Layer: agent/cluster (joins api's edges to the proxy's). Decides nothing about Services.
 */
import type { ApiClient } from '../../api/client.ts';
import type { EndpointSlice } from '../../api/discovery.ts';
import type { ReflectorEvent } from '../../api/known-objects.ts';
import { projectEndpointSlice } from '../../api/project-endpoint-slice.ts';
import { projectService } from '../../api/project-service.ts';
import { type ReflectorOptions, startReflector } from '../../api/reflector.ts';
import { collectionPath, endpointSlices, type Resource, services } from '../../api/resource.ts';
import { headlessLabel, type Service, serviceProxyNameLabel } from '../../api/service.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ServiceEvent, ServiceSource } from '../../proxy/service-source.ts';
import type { ObjectName } from '../../proxy/services/service-tracker.ts';

export interface ApiServiceSourceOptions {
  client: ApiClient;
  /** What the API server has of discovery.k8s.io. */
  sliceVersion: 'v1' | 'v1beta1';
  clock: Clock;
  log: Logger;
}

/** Others' and headless Services are not even sent (kube-proxy's selector, cmd/kube-proxy/app/server.go). */
const labelSelector = `!${serviceProxyNameLabel},!${headlessLabel}`;

export interface ApiServiceSource extends ServiceSource {
  /** What of both the API server does not tell just now, one line each: `endpointslices: <why>`. */
  troubles(): string[];
}

export function createApiServiceSource({
  client,
  sliceVersion,
  clock,
  log,
}: ApiServiceSourceOptions): ApiServiceSource {
  const errors = new Map<string, string>();
  return {
    troubles: () => [...errors].map(([resource, error]) => `${resource}: ${error}`),
    async start(listener, signal) {
      const follow = <T>(
        resource: Resource,
        project: ReflectorOptions<T>['project'],
        event: (event: ReflectorEvent<T>) => ServiceEvent,
      ): Promise<void> =>
        startReflector<T>({
          client,
          path: collectionPath(resource),
          labelSelector,
          project,
          listener: {
            events: (batch) => listener(batch.map(event)),
            status(error) {
              if (error === undefined) errors.delete(resource.name);
              else errors.set(resource.name, errorLine(error));
            },
          },
          signal,
          clock,
          log,
        }).synced;
      await Promise.all([
        follow(services, projectService, serviceEvent),
        follow(endpointSlices(sliceVersion), projectEndpointSlice, sliceEvent),
      ]);
    },
  };
}

const serviceEvent = (event: ReflectorEvent<Service>): ServiceEvent =>
  event.type === 'set'
    ? { event: 'serviceSet', service: event.object }
    : { event: 'serviceDeleted', service: nameOf(event) };

const sliceEvent = (event: ReflectorEvent<EndpointSlice>): ServiceEvent =>
  event.type === 'set' ? { event: 'sliceSet', slice: event.object } : { event: 'sliceDeleted', slice: nameOf(event) };

function nameOf({ key, uid }: { key: string; uid: string }): ObjectName {
  const [namespace = '', name = ''] = key.split('/');
  return { namespace, name, uid };
}
