/**
 * Events of a source into a tracker.
 * Layer: proxy (pure).
 */
import type { ServiceEvent } from './service-source.ts';
import type { ServiceTracker } from './services/service-tracker.ts';

/** A source tells every change in order, so each is the truth whatever its version says (as after a restored etcd). */
export function feed(tracker: ServiceTracker, events: readonly ServiceEvent[]): void {
  for (const event of events) {
    if (event.event === 'serviceSet') tracker.serviceSet(event.service, 'list');
    else if (event.event === 'sliceSet') tracker.sliceSet(event.slice, 'list');
    else if (event.event === 'serviceDeleted') tracker.serviceDeleted(event.service);
    else if (event.event === 'sliceDeleted') tracker.sliceDeleted(event.slice);
    else tracker.setServiceCIDRs(event.prefixes);
  }
}
