/**
 * Which of two sightings of an object is the later one.
 * Layer: proxy/services (pure). Must not know what the object is.
 */
import type { WatchedMeta } from '../../api/service.ts';

/** Where an event comes from: a list is the truth as of now (also after etcd was restored), a watch event may be late. */
export type EventSource = 'watch' | 'list';

export interface ObjectVersion {
  uid: string;
  /** The resourceVersion as a number; NaN when there is none or it is no exact number: then nothing is known of its age. */
  version: number;
}

export function objectVersion(meta: WatchedMeta): ObjectVersion {
  const text = meta.resourceVersion ?? '';
  const version = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return { uid: meta.uid ?? '', version: Number.isSafeInteger(version) ? version : Number.NaN };
}

/** Whether `event` tells nothing beyond `known`: the same version again or, from a watch, an older one of that object. */
export function isOutdated(known: ObjectVersion | undefined, event: ObjectVersion, source: EventSource): boolean {
  if (known === undefined || known.uid !== event.uid) return false;
  return source === 'list' ? event.version === known.version : event.version <= known.version;
}
