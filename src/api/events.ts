/**
 * Records core/v1 Events: what `kubectl describe` shows of what happened to a pod or node.
 * Layer: api. Events are a courtesy: recording never waits, never throws, and drops what does not fit its queue; what the API
 * server refuses is dropped with a line in the log. Source: client-go/tools/record/event.go.
 */
import { type Clock, sleep, systemClock } from '../base/clock.ts';
import { createTokenBucket, type TokenBucket } from '../base/token-bucket.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { silentLogger } from '../observe/logger.ts';
import { isApiError } from './api-error.ts';
import type { ApiClient } from './client.ts';
import { type CorrelatedEvent, EventCorrelator, type EventInput } from './event-correlator.ts';
import { collectionPath, coreEvents, objectPath } from './resource.ts';

export interface EventRecorder {
  /** Puts the event into the queue; the time of the event is now. */
  record(event: EventInput): void;
  /** Resolves when the queue is empty, or the recorder's signal was aborted. */
  drained(): Promise<void>;
}

export interface EventRecorderOptions {
  readonly client: ApiClient;
  readonly source: { readonly component: string; readonly host: string };
  readonly signal: AbortSignal;
  /** eventRecordQPS and eventBurst; qps 0 means no limit. */
  readonly rateLimit?: { readonly qps: number; readonly burst: number };
  readonly clock?: Clock;
  readonly log?: Logger;
}

/** client-go's: its broadcaster's queue, and how often and how long it tries a server that is away. */
const maxQueued = 1000;
const maxAttempts = 12;
const retryMs = 10_000;
const longestName = 253;

export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  return new Recorder(options);
}

interface Queued {
  readonly event: EventInput;
  readonly atMs: number;
}

class Recorder implements EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #correlator = new EventCorrelator();
  readonly #bucket: TokenBucket;
  readonly #queue: Queued[] = [];
  #sending: Promise<void> | undefined;
  #dropped = 0;
  #names = 0;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLogger;
    this.#bucket = createTokenBucket(options.rateLimit?.qps ?? 0, options.rateLimit?.burst ?? 1);
  }

  record(event: EventInput): void {
    if (this.#options.signal.aborted) return;
    if (this.#queue.length >= maxQueued) {
      this.#dropped++;
      return;
    }
    this.#queue.push({ event, atMs: this.#clock.now() });
    this.#sending ??= this.#sendAll();
  }

  async drained(): Promise<void> {
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    const { signal, rateLimit } = this.#options;
    // Not within record(): it only puts into the queue.
    await Promise.resolve();
    try {
      for (;;) {
        const next = this.#queue.shift();
        if (next === undefined) return;
        const event = this.#correlator.correlate(next.event, next.atMs);
        if (event === undefined) continue;
        while (!this.#bucket.take(this.#clock.now())) await sleep(1000 / (rateLimit?.qps ?? 1), signal, this.#clock);
        await this.#send(event);
        if (this.#dropped > 0) this.#log.warn({ dropped: this.#dropped }, 'events did not fit the queue');
        this.#dropped = 0;
      }
    } catch (error) {
      // Nobody waits for events: a mistake here must not end the daemon.
      if (!signal.aborted) this.#log.error({ error: errorLine(error) }, 'events cannot be sent');
    } finally {
      // In the same turn in which the queue was seen empty, so that no event falls between two senders.
      this.#sending = undefined;
    }
  }

  async #send(event: CorrelatedEvent): Promise<void> {
    const { signal } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#store(event);
        return;
      } catch (error) {
        signal.throwIfAborted();
        const isAway = isApiError(error, 'API_UNREACHABLE', 'API_TIMEOUT', 'API_SERVER', 'API_THROTTLED', 'API_TLS');
        if (!isAway || attempt >= maxAttempts) {
          const { object, reason } = event.input;
          const about = `${object.kind} ${object.namespace ?? ''}/${object.name}`;
          this.#log.warn({ object: about, reason, error: errorLine(error) }, 'an event is dropped');
          return;
        }
        await sleep(retryMs, signal, this.#clock);
      }
    }
  }

  async #store(event: CorrelatedEvent): Promise<void> {
    const { client, signal } = this.#options;
    const { input, count, name } = event;
    const namespace = input.object.namespace ?? 'default';
    const lastTimestamp = timestamp(event.lastMs);
    const ignored = (): void => {};
    if (name !== undefined) {
      const patch = { count, lastTimestamp, message: input.message };
      try {
        await client.patch(objectPath(coreEvents, { namespace, name }), 'strategic', patch, ignored, { signal });
        return;
      } catch (error) {
        // Events live for an hour: the old one is gone, its count goes on in a new one.
        if (!isApiError(error, 'API_NOT_FOUND')) throw error;
      }
    }
    const fresh = this.#nameFor(input.object.name, event.lastMs);
    const { source } = this.#options;
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: fresh, namespace, ...(input.annotations && { annotations: input.annotations }) },
      involvedObject: input.object,
      reason: input.reason,
      message: input.message,
      type: input.type,
      source,
      reportingComponent: source.component,
      reportingInstance: source.host,
      firstTimestamp: timestamp(event.firstMs),
      lastTimestamp,
      count,
    };
    await client.create(collectionPath(coreEvents, namespace), body, ignored, { signal });
    this.#correlator.stored(event, fresh);
  }

  /** `<object>.<16 hexadecimal digits of nanoseconds>`, as client-go names events. */
  #nameFor(objectName: string, ms: number): string {
    const digits = (BigInt(ms) * 1_000_000n + BigInt(this.#names++ % 1_000_000)).toString(16);
    return `${objectName.slice(0, longestName - digits.length - 1)}.${digits}`;
  }
}

/** metav1.Time: whole seconds. */
function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
