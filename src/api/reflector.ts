/**
 * Follows one collection of the API server: lists it, watches it, and tells a listener every change in order, for ever.
 * Layer: api. Each object is projected as soon as it is parsed and then dropped; only a uid and a version of it stay. Whatever
 * fails is tried again: a broken watch goes on from its last version, an expired one (410) becomes a new list whose
 * difference to the old is told, with what was deleted meanwhile. Source: client-go/tools/cache/reflector.go.
 */
import { nextDelay } from '../base/backoff.ts';
import { type Clock, sleep, systemClock } from '../base/clock.ts';
import { isRecord } from '../config/schema-compound.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { silentLogger } from '../observe/logger.ts';
import { ApiError, isApiError } from './api-error.ts';
import type { ApiClient } from './client.ts';
import { chunksOf } from './http.ts';
import { createLineSplitter } from './json-lines.ts';
import { KnownObjects, type ReflectorEvent } from './known-objects.ts';
import { createItemSplitter } from './list-items.ts';
import { PassingRefusals } from './passing-refusal.ts';
import { identityOf, type JsonObject, parseObject, parseWatchEvent } from './watch-event.ts';

/** What it throws ends the reflector: `done` rejects with it. */
export interface ReflectorListener<T> {
  /** In the server's order, one batch for each piece of the network's; never empty. */
  events(batch: readonly ReflectorEvent<T>[]): void;
  /** Every object of a complete list has been told: after the start, and after each new list. */
  synced?(): void;
  /**
   * The error for which it waits to try again (forbidden, unreachable, ...); undefined when it works again. A refusal that
   * may pass by itself is not told (passing-refusal.ts).
   */
  status?(error: ApiError | undefined): void;
  /** Each refusal at once, also one that may pass: for who can ask whether it will. */
  refused?(error: ApiError): void;
}

export interface ReflectorOptions<T> {
  readonly client: ApiClient;
  /** As collectionPath() makes it, without a query. */
  readonly path: string;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /**
   * The few fields that the listener needs, copied; undefined for an object that it does not want. `raw` is untrusted. An
   * object for which it throws is told in the log and counts as not wanted.
   */
  readonly project: (raw: JsonObject) => T | undefined;
  readonly listener: ReflectorListener<T>;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  readonly log?: Logger;
  /**
   * Milliseconds before the first try after a failure, default 800. For what a user waits for, and where a refusal soon
   * passes: a node may read a Secret some moments after its pod was bound.
   */
  readonly firstRetryMs?: number;
  /** 0 to 1; for tests. */
  readonly random?: () => number;
}

export interface Reflector {
  /** Resolves after the first complete list was told; rejects with the signal's reason when it is aborted before. */
  readonly synced: Promise<void>;
  /** Resolves when the signal was aborted; rejects only with what the listener threw. */
  readonly done: Promise<void>;
}

/** client-go's values: NewReflector's backoff and minWatchTimeout, pager's page size. */
const backoff = { initialMs: 800, maxMs: 30_000 };
const minWatchSeconds = 300;
const pageSize = 500;
/** A watch that ends sooner and has told nothing counts as failed, so that a broken server is not asked in a tight loop. */
const shortestWatchMs = 1000;
/** Between two pieces of a list. */
const listSilenceMs = 60_000;
/** A list may have to wait for etcd; kube-apiserver gives up after 60 s itself. */
const listTimeoutMs = 70_000;
/** So long after its timeoutSeconds a watch that did not end is given up. */
const watchMarginMs = 30_000;
/** Refusals of a watch by the server, one after the other, after which its version is doubted and a new list made. */
const maxRefusedWatches = 3;
/** No server decides that a node is blind for longer. */
const longestRetryAfterMs = 60_000;

export function startReflector<T>(options: ReflectorOptions<T>): Reflector {
  const run = new ReflectorRun(options);
  const done = run.run();
  // Whoever waits for neither promise must not die of it; whoever waits for either sees it.
  done.catch(() => {});
  run.synced.promise.catch(() => {});
  return { synced: run.synced.promise, done };
}

class ReflectorRun<T> {
  readonly synced = Promise.withResolvers<void>();
  readonly #options: ReflectorOptions<T>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #known = new KnownObjects<T>();
  /** Where the next watch begins; undefined when a list is needed. */
  #version: string | undefined;
  /** The server's cache may be behind what was seen already: the next list has to be the newest state. */
  #newest = false;
  /** Whether to ask for a streaming list: until the server refuses. */
  #streaming = true;
  #delayMs = 0;
  /** A version was given up, and no watch has told anything since. */
  #listedAnew = false;
  #refusals = 0;
  readonly #passing: PassingRefusals;
  #told: string | undefined;
  /** Since when lists and watches have succeeded; undefined after a failure. */
  #worksSinceMs: number | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = (options.log ?? silentLogger).child({ watch: options.path });
    this.#random = options.random ?? Math.random;
    this.#passing = new PassingRefusals(this.#clock);
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    try {
      while (!signal.aborted) {
        try {
          await this.#listAndWatch();
        } catch (error) {
          if (signal.aborted) break;
          if (!(error instanceof ApiError)) throw error;
          await this.#failed(error);
        }
      }
    } catch (error) {
      if (!signal.aborted) {
        // A mistake of ours. Not every user of a reflector waits for `done`.
        this.#log.error({ error: errorLine(error) }, 'the listener of a watch failed: nothing is followed any more');
        this.synced.reject(error);
        throw error;
      }
    }
    this.synced.reject(signal.reason);
  }

  async #listAndWatch(): Promise<void> {
    if (this.#version === undefined && this.#streaming) {
      try {
        return await this.#watch(undefined);
      } catch (error) {
        // Servers before 1.27 know nothing of it, later ones may have it switched off.
        if (!isApiError(error, 'API_INVALID')) throw error;
        this.#streaming = false;
      }
    }
    if (this.#version === undefined) this.#version = await this.#list();
    await this.#watch(this.#version);
  }

  /** Tells the whole list and returns its version. */
  async #list(): Promise<string> {
    let page: { resourceVersion: string; next: string } | undefined;
    this.#known.beginList();
    do {
      const query = this.#query({
        limit: String(pageSize),
        ...(page !== undefined ? { continue: page.next } : !this.#newest && { resourceVersion: '0' }),
      });
      page = await this.#listPage(query);
    } while (page.next !== '');
    this.#listEnds();
    return page.resourceVersion;
  }

  async #listPage(query: string): Promise<{ resourceVersion: string; next: string }> {
    const { client, signal, path } = this.#options;
    const response = await client.stream(`${path}?${query}`, { signal, timeoutMs: listTimeoutMs });
    const splitter = createItemSplitter();
    for await (const chunk of chunksOf(response, { silenceMs: listSilenceMs, clock: this.#clock, signal })) {
      this.#tell(splitter.push(chunk).flatMap((item) => this.#set(parseObject(item, path))));
    }
    const list = splitter.end();
    const metadata = isRecord(list) && isRecord(list.metadata) ? list.metadata : {};
    const { resourceVersion, continue: next = '' } = metadata;
    if (typeof resourceVersion !== 'string' || typeof next !== 'string') {
      throw new ApiError('API_RESPONSE', 'the answer is no list', { object: path });
    }
    return { resourceVersion, next };
  }

  /** @param from a version, or undefined to get the whole list as the beginning of the watch */
  async #watch(from: string | undefined): Promise<void> {
    const { client, signal, path } = this.#options;
    const timeoutSeconds = Math.floor(minWatchSeconds * (1 + this.#random()));
    const streamed = from === undefined;
    const query = this.#query({
      watch: 'true',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(timeoutSeconds),
      ...(streamed ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' } : { resourceVersion: from }),
    });
    const beganMs = this.#clock.now();
    const response = await client.stream(`${path}?${query}`, { signal, timeoutMs: listTimeoutMs, unlimited: true });
    if (!streamed) this.#works();
    else this.#known.beginList();
    const splitter = createLineSplitter();
    const silenceMs = timeoutSeconds * 1000 + watchMarginMs;
    let initial = streamed;
    let heard = false;
    for await (const chunk of chunksOf(response, { silenceMs, clock: this.#clock, signal })) {
      const batch: ReflectorEvent<T>[] = [];
      let version = this.#version;
      try {
        for (const line of splitter.push(chunk)) {
          const event = parseWatchEvent(line, path);
          if (event === undefined) continue;
          heard = true;
          if (!initial) {
            this.#delayMs = 0;
            this.#listedAnew = false;
          }
          if (event.type !== 'BOOKMARK') {
            batch.push(...(event.type === 'DELETED' ? this.#delete(event.object) : this.#set(event.object)));
            // A state in the middle of a streaming list is none to go on from.
            if (!initial) version = identityOf(event.object)?.resourceVersion ?? version;
            continue;
          }
          if (initial && !event.endsInitialEvents) continue;
          version = event.resourceVersion;
          if (!initial) continue;
          initial = false;
          this.#tell(batch.splice(0));
          this.#listEnds();
          this.#works();
        }
      } finally {
        // Also what came before an ERROR event in the same piece: the next watch begins after it.
        this.#tell(batch);
        this.#version = version;
      }
    }
    if (initial) throw new ApiError('API_RESPONSE', 'the streaming list ended before its end', { object: path });
    if (!heard && this.#clock.now() - beganMs < shortestWatchMs) {
      throw new ApiError('API_RESPONSE', 'the watch ended as soon as it began', { object: path });
    }
    this.#delayMs = 0;
  }

  async #failed(error: ApiError): Promise<void> {
    const { listener, signal } = this.#options;
    // What failed after a good while is a new trouble, not more of the old.
    const workedMs = this.#clock.now() - (this.#worksSinceMs ?? Number.POSITIVE_INFINITY);
    if (workedMs > backoff.maxMs) this.#delayMs = 0;
    this.#worksSinceMs = undefined;
    const expired = error.code === 'API_EXPIRED' || error.causes.includes('ResourceVersionTooLarge');
    // Not being allowed to, being asked to wait, or a server in trouble says nothing about the version.
    const refused = isApiError(error, 'API_INVALID', 'API_NOT_FOUND', 'API_CONFLICT', 'API_FAILED');
    this.#refusals = refused ? this.#refusals + 1 : 0;
    if (error.code === 'API_FORBIDDEN') listener.refused?.(error);
    const line = errorLine(error);
    if (expired || this.#refusals >= maxRefusedWatches) {
      this.#log.debug({ error: line }, 'listing anew');
      this.#version = undefined;
      this.#newest = true;
      this.#refusals = 0;
      // After a compaction of etcd that is the ordinary way on; a second time in a row it is not.
      if (!this.#listedAnew) {
        this.#listedAnew = true;
        return;
      }
    }
    const { firstRetryMs = backoff.initialMs } = this.#options;
    this.#delayMs = nextDelay(this.#delayMs, { ...backoff, initialMs: firstRetryMs });
    if (this.#passing.mayPass(error)) this.#log.debug({ error: line }, 'refused for now, asking again');
    else {
      if (line !== this.#told) this.#log.warn({ error: line }, 'watch failed, trying again');
      this.#told = line;
      listener.status?.(error);
    }
    // Up to twice the delay: nodes that lost the same server do not return in step.
    const askedMs = Math.min(error.retryAfterMs ?? 0, longestRetryAfterMs);
    const delayMs = Math.max(this.#delayMs * (1 + this.#random()), askedMs);
    await sleep(delayMs, signal, this.#clock);
  }

  #works(): void {
    this.#refusals = 0;
    this.#passing.succeeded();
    this.#worksSinceMs ??= this.#clock.now();
    if (this.#told === undefined) return;
    this.#told = undefined;
    this.#log.info({}, 'watch works again');
    this.#options.listener.status?.(undefined);
  }

  #listEnds(): void {
    this.#newest = false;
    this.#tell(this.#known.endList());
    this.#options.listener.synced?.();
    this.synced.resolve();
  }

  #set(raw: JsonObject): ReflectorEvent<T>[] {
    const identity = this.#identify(raw);
    if (identity === undefined || this.#known.isTold(identity)) return [];
    return this.#known.set(identity, this.#project(raw, identity.key));
  }

  #delete(raw: JsonObject): ReflectorEvent<T>[] {
    const identity = this.#identify(raw);
    return identity === undefined ? [] : this.#known.delete(identity, this.#project(raw, identity.key));
  }

  #identify(raw: JsonObject) {
    const identity = identityOf(raw);
    if (identity === undefined) this.#log.warn({}, 'an object without name or resourceVersion is left out');
    return identity;
  }

  #project(raw: JsonObject, key: string): T | undefined {
    try {
      return this.#options.project(raw);
    } catch (error) {
      this.#log.warn({ object: key, error: errorLine(error) }, 'an object cannot be read and is left out');
      return undefined;
    }
  }

  #tell(batch: readonly ReflectorEvent<T>[]): void {
    if (batch.length > 0) this.#options.listener.events(batch);
  }

  #query(parameters: Readonly<Record<string, string>>): string {
    const { fieldSelector, labelSelector } = this.#options;
    return new URLSearchParams({
      ...parameters,
      ...(fieldSelector !== undefined && { fieldSelector }),
      ...(labelSelector !== undefined && { labelSelector }),
    }).toString();
  }
}
