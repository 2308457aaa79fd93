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
import { type BackoffLimits, nextDelay } from '../../base/backoff.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { networkOf } from '../../linux/ip-bytes.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

const serviceCIDRs: Resource = { prefix: '/apis/networking.k8s.io/v1', name: 'servicecidrs', namespaced: false };

/** Nothing waits for it. */
const backoff: BackoffLimits = { initialMs: 1_000, maxMs: 60_000 };

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
  if (!(await hasServiceCIDRs(client, signal, clock, log))) return;
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

/** Asked until the API server says; false when `signal` is aborted. */
async function hasServiceCIDRs(client: ApiClient, signal: AbortSignal, clock: Clock, log: Logger): Promise<boolean> {
  let told: string | undefined;
  for (let delayMs = 0; !signal.aborted; ) {
    try {
      return await client.get(serviceCIDRs.prefix, listsServiceCIDRs, { signal });
    } catch (error) {
      if (signal.aborted || isApiError(error, 'API_NOT_FOUND')) return false;
      const line = errorLine(error);
      if (line !== told)
        log.warn({ error: line }, 'Service networks are not known; addresses without a Service leave the node');
      told = line;
      delayMs = nextDelay(delayMs, backoff);
      // Rejects when stopped, which the loop sees.
      await sleep(delayMs, signal, clock).catch(() => undefined);
    }
  }
  return false;
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
