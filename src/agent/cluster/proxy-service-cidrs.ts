/**
 * The cluster's Service networks, from ServiceCIDR objects where the API server has them (networking.k8s.io/v1 from
 * Kubernetes 1.33): so that an address without a Service gets no answer instead of leaving the node.
 * Layer: agent/cluster. Nothing waits for it: Services are served without. Source: pkg/proxy/config (ServiceCIDRConfig).
 */

import { isApiError } from '../../api/api-error.ts';
import type { ApiClient } from '../../api/client.ts';
import { projectMeta } from '../../api/project-service.ts';
import { RawObject } from '../../api/raw-object.ts';
import { startReflector } from '../../api/reflector.ts';
import { collectionPath, type Resource } from '../../api/resource.ts';
import type { WatchedMeta } from '../../api/service.ts';
import type { Clock } from '../../base/clock.ts';
import { networkOf } from '../../linux/ip-bytes.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

const serviceCIDRs: Resource = { prefix: '/apis/networking.k8s.io/v1', name: 'servicecidrs', namespaced: false };

interface ServiceCIDR {
  metadata: WatchedMeta;
  prefixes: readonly string[];
}

export interface ServiceCIDROptions {
  client: ApiClient;
  /** All of them, canonical, after each change. */
  onChange(prefixes: readonly string[]): void;
  clock: Clock;
  log: Logger;
}

/** Until `signal` is aborted. Resolves when it is known whether the API server has any; never rejects. */
export async function followServiceCIDRs(
  { client, onChange, clock, log }: ServiceCIDROptions,
  signal: AbortSignal,
): Promise<void> {
  try {
    if (!(await client.get(serviceCIDRs.prefix, listsServiceCIDRs, { signal }))) return;
  } catch (error) {
    if (!signal.aborted && !isApiError(error, 'API_NOT_FOUND'))
      log.warn(
        { error: errorLine(error) },
        'Service networks are not known; addresses without a Service leave the node',
      );
    return;
  }
  const known = new Map<string, readonly string[]>();
  startReflector<ServiceCIDR>({
    client,
    path: collectionPath(serviceCIDRs),
    project: projectServiceCIDR,
    listener: {
      events(batch) {
        for (const event of batch)
          if (event.type === 'set') known.set(event.object.metadata.name, event.object.prefixes);
          else known.delete(event.key);
        onChange([...known.values()].flat());
      },
      status: () => undefined,
    },
    signal,
    clock,
    log,
  });
}

const listsServiceCIDRs = (value: unknown): boolean =>
  new RawObject(value).objects('resources').some((resource) => resource.text('name') === serviceCIDRs.name);

/** What is no prefix is left out: it must not close other addresses. @throws ObjectShapeError */
export function projectServiceCIDR(value: unknown): ServiceCIDR {
  const raw = new RawObject(value);
  const prefixes = (raw.object('spec')?.texts('cidrs') ?? []).flatMap((text) => {
    try {
      return [networkOf(text)];
    } catch {
      return [];
    }
  });
  return { metadata: projectMeta(raw), prefixes };
}
