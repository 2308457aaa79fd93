/**
 * Which events are sent, and how: a repeated one becomes a count, many alike become one, and an object that never stops is
 * cut off. Layer: api (pure, time is handed in). Source: client-go/tools/record/events_cache.go, whose limits these are.
 */
import { createTokenBucket, type TokenBucket } from '../base/token-bucket.ts';

export interface ObjectReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  /** Absent for nodes. */
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  /** `spec.containers{web}` */
  readonly fieldPath?: string;
}

export interface EventInput {
  readonly object: ObjectReference;
  readonly type: 'Normal' | 'Warning';
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What to send: an event for the first time (`count` 1), or a count for one that was sent before under `name`. */
export interface CorrelatedEvent {
  readonly input: EventInput;
  readonly key: string;
  readonly count: number;
  readonly firstMs: number;
  readonly lastMs: number;
  /** The name under which it was stored; undefined for a new one. */
  readonly name: string | undefined;
}

const maxEntries = 4096;
const similarBeforeCombining = 10;
const combineWithinMs = 600_000;
const spamBurst = 25;
const spamPerSecond = 1 / 300;
/** Longer messages are cut: they may quote a program's output. */
const longestMessage = 1024;

export class EventCorrelator {
  readonly #similar = new RecentMap<{ messages: Set<string>; lastMs: number }>();
  readonly #sent = new RecentMap<{ count: number; firstMs: number; name: string | undefined }>();
  readonly #buckets = new RecentMap<TokenBucket>();

  /** Undefined when the event is not to be sent. */
  correlate(event: EventInput, nowMs: number): CorrelatedEvent | undefined {
    const message = event.message.slice(0, longestMessage);
    const { object, type, reason } = event;
    const objectKey = keyOf([object.apiVersion, object.kind, object.namespace, object.name, object.uid]);
    const groupKey = keyOf([objectKey, type, reason]);
    const combined = this.#isOneTooMany(groupKey, message, nowMs);
    const key = combined ? groupKey : keyOf([objectKey, object.fieldPath, type, reason, message]);
    const input = {
      ...event,
      message: combined ? `(combined from similar events): ${message}`.slice(0, longestMessage) : message,
    };
    const before = this.#sent.get(key);
    const sent = { count: (before?.count ?? 0) + 1, firstMs: before?.firstMs ?? nowMs, name: before?.name };
    this.#sent.set(key, sent);
    const bucket = this.#buckets.get(objectKey) ?? createTokenBucket(spamPerSecond, spamBurst);
    this.#buckets.set(objectKey, bucket);
    return bucket.take(nowMs) ? { input, key, ...sent, lastMs: nowMs } : undefined;
  }

  /** The event is stored under `name` now: repetitions count there. */
  stored({ key }: CorrelatedEvent, name: string): void {
    const sent = this.#sent.get(key);
    if (sent !== undefined) this.#sent.set(key, { ...sent, name });
  }

  #isOneTooMany(groupKey: string, message: string, nowMs: number): boolean {
    const known = this.#similar.get(groupKey);
    const fresh = known !== undefined && nowMs - known.lastMs <= combineWithinMs;
    const messages = fresh ? known.messages : new Set<string>();
    messages.add(message);
    this.#similar.set(groupKey, { messages, lastMs: nowMs });
    if (messages.size < similarBeforeCombining) return false;
    // Stays full, so that the next one is combined too, and does not grow.
    for (const one of messages) {
      messages.delete(one);
      break;
    }
    return true;
  }
}

function keyOf(parts: readonly (string | undefined)[]): string {
  return JSON.stringify(parts);
}

/** A map that forgets what was not used for longest. */
class RecentMap<Value> {
  readonly #entries = new Map<string, Value>();

  get(key: string): Value | undefined {
    return this.#entries.get(key);
  }

  set(key: string, value: Value): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= maxEntries) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      break;
    }
  }
}
