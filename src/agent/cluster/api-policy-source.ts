/**
 * Policies, namespaces and pods of the API server for the network role: three reflectors.
 * Layer: agent/cluster (joins api's edges to the network's). Decides nothing about policies.
 */
import { type ApiError, isApiError } from '../../api/api-error.ts';
import type { ApiClient } from '../../api/client.ts';
import type { ReflectorEvent } from '../../api/known-objects.ts';
import { projectNamespace, projectNetworkPolicy } from '../../api/project-network-policy.ts';
import { type ReflectorOptions, startReflector } from '../../api/reflector.ts';
import { collectionPath, namespaces, networkPolicies, pods, type Resource } from '../../api/resource.ts';
import type { Clock } from '../../base/clock.ts';
import { livePods, projectPolicyPod } from '../../network/policy/policy-pod.ts';
import type { PolicyEvent, PolicySource } from '../../network/policy/policy-source.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { MissingRights } from './missing-rights.ts';

export function createApiPolicySource({
  client,
  clock,
  log,
}: {
  /** Of the network's identity: a node's own may read none of the three. */
  client: ApiClient;
  clock: Clock;
  log: Logger;
}): PolicySource {
  const errors = new Map<string, ApiError>();
  /** Refused for good, though the reflector still hopes. */
  let lacks: string | undefined;
  return {
    troubles: () => Array.from(errors, ([resource, error]) => `${resource}: ${errorLine(error)}`),
    forbidden() {
      // Not found: a server without this group.
      const refused = Array.from(errors).find(([, error]) => isApiError(error, 'API_FORBIDDEN', 'API_NOT_FOUND'));
      const reason = refused && `${refused[0]}: ${errorLine(refused[1])}`;
      return reason === undefined && lacks === undefined
        ? undefined
        : `${reason ?? lacks} (apply deploy/network-policy.yaml)`;
    },
    async start(listener, signal) {
      const rights = new MissingRights(client, (missing) => {
        lacks = missing;
        listener([]);
      });
      const follow = <T>(
        resource: Resource,
        options: Pick<ReflectorOptions<T>, 'project' | 'fieldSelector'>,
        event: (event: ReflectorEvent<T>) => PolicyEvent,
      ): Promise<void> =>
        startReflector<T>({
          client,
          path: collectionPath(resource),
          ...options,
          listener: {
            events: (batch) => listener(batch.map(event)),
            status(error) {
              if (error === undefined) errors.delete(resource.name);
              else errors.set(resource.name, error);
              listener([]);
            },
            synced: () => rights.granted(resource),
            refused: () => void rights.refused(resource),
          },
          signal,
          clock,
          log,
        }).synced;
      await Promise.all([
        follow(networkPolicies, { project: projectNetworkPolicy }, (event) =>
          event.type === 'set'
            ? { event: 'policySet', policy: event.object }
            : { event: 'policyDeleted', key: event.key },
        ),
        follow(namespaces, { project: projectNamespace }, (event) =>
          event.type === 'set'
            ? { event: 'namespaceSet', namespace: event.object }
            : { event: 'namespaceDeleted', name: event.key },
        ),
        follow(pods, { project: projectPolicyPod, fieldSelector: livePods }, (event) =>
          event.type === 'set' ? { event: 'podSet', pod: event.object } : { event: 'podDeleted', key: event.key },
        ),
      ]);
    },
  };
}
