/**
 * Changes on their way from the API server into the kernel of one address family: how many there are, and since when the
 * pods and Services that they are about are different.
 * Layer: agent/cluster (pure; time is handed in). Bounded: beyond some thousands a sample more says nothing.
 * Source: pkg/proxy/endpointschangetracker.go (LastChangeTriggerTimes).
 */
import type { IpFamily } from '../../api/service.ts';
import type { ServiceEvent } from '../../proxy/service-source.ts';

const most = 10_000;

interface Changes {
  services: number;
  endpoints: number;
  /** By slice; epoch milliseconds. */
  triggers: Map<string, number[]>;
  count: number;
}

const none = (): Changes => ({ services: 0, endpoints: 0, triggers: new Map(), count: 0 });

export class ProgrammingLatency {
  readonly #family: IpFamily;
  /** Older ones tell of what was there before us. */
  readonly #sinceMs: number;
  #waiting = none();
  #taken = none();

  constructor(family: IpFamily, sinceMs: number) {
    this.#family = family;
    this.#sinceMs = sinceMs;
  }

  /** Not in the kernel yet. */
  get pending(): { services: number; endpoints: number } {
    return {
      services: this.#waiting.services + this.#taken.services,
      endpoints: this.#waiting.endpoints + this.#taken.endpoints,
    };
  }

  /** Of other families' slices nothing is counted. */
  heard(events: readonly ServiceEvent[]): void {
    const { triggers } = this.#waiting;
    for (const event of events) {
      if (event.event === 'serviceSet' || event.event === 'serviceDeleted') this.#waiting.services++;
      else if (event.event === 'serviceCIDRs') continue;
      else if (event.event === 'sliceDeleted') {
        this.#waiting.endpoints++;
        // Its annotation is of the last change before, and says nothing about its end.
        triggers.delete(`${event.slice.namespace}/${event.slice.name}`);
      } else if (event.slice.addressType === this.#family) {
        this.#waiting.endpoints++;
        const { metadata, lastChangeTriggerMs } = event.slice;
        if (lastChangeTriggerMs === undefined || lastChangeTriggerMs <= this.#sinceMs) continue;
        if (this.#waiting.count++ >= most) continue;
        const key = `${metadata.namespace}/${metadata.name}`;
        triggers.set(key, [...(triggers.get(key) ?? []), lastChangeTriggerMs]);
      }
    }
  }

  /** A batch begins with all of them. */
  taken(): void {
    const { services, endpoints, triggers, count } = this.#waiting;
    this.#waiting = none();
    this.#taken.services += services;
    this.#taken.endpoints += endpoints;
    if (this.#taken.count + count > most) return;
    this.#taken.count += count;
    for (const [key, times] of triggers)
      this.#taken.triggers.set(key, [...(this.#taken.triggers.get(key) ?? []), ...times]);
  }

  /** The kernel has what was taken. @returns how long each change took, milliseconds, 0 where clocks disagree */
  applied(nowMs: number): number[] {
    const { triggers } = this.#taken;
    this.#taken = none();
    return [...triggers.values()].flat().map((triggeredMs) => Math.max(0, nowMs - triggeredMs));
  }
}
