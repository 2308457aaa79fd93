/**
 * Looks at the node each 10 s and evicts what must go; after an eviction it waits until that made room, then looks again
 * at once. Layer: kubelet/eviction (composition and timing). What a round does is evict-pods.ts'.
 * Source: pkg/kubelet/eviction/eviction_manager.go (Start), pkg/kubelet/kubelet.go (evictionMonitoringPeriod).
 */
import { sleep } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { type EvictablePods, type EvictionOptions, PodEvictor } from './evict-pods.ts';

export interface StartEvictionOptions extends EvictionOptions {
  readonly pods: EvictablePods & {
    /** Resolves when nothing of the pod uses anything any more: no process, no volume. */
    released(uid: string, signal: AbortSignal): Promise<void>;
  };
}

export interface Eviction {
  /** By signal, for the metric kubelet_evictions. */
  readonly evictions: ReadonlyMap<string, number>;
  /** The first look is done: the node's conditions are known. Never rejects. */
  readonly ready: Promise<void>;
  /** Resolves when the round under way ended. */
  stop(): Promise<void>;
}

const periodMs = 10_000;
/** How long a round waits for the pod before it to be gone. */
const releaseMs = 30_000;

export function startEviction(options: StartEvictionOptions, signal: AbortSignal): Eviction {
  const { clock, log, pods } = options;
  const evictor = new PodEvictor(options);
  const scope = new AbortController();
  const stopping = AbortSignal.any([signal, scope.signal]);
  const ready = Promise.withResolvers<void>();
  let complaint = '';

  const round = async (): Promise<string[]> => {
    try {
      const ended = await evictor.round();
      complaint = '';
      return ended;
    } catch (error) {
      // The runtime may be away for long: said once for each kind of trouble.
      if (complaint !== errorLine(error))
        log.warn({ error: errorLine(error) }, 'the node cannot be watched for evictions');
      complaint = errorLine(error);
      return [];
    }
  };
  const run = async (): Promise<void> => {
    while (!stopping.aborted) {
      const ended = await round();
      ready.resolve();
      const rest = new AbortController();
      const either = AbortSignal.any([stopping, rest.signal]);
      const released = Promise.all(ended.map((uid) => pods.released(uid, either)));
      const waits = ended.length > 0 ? [released, sleep(releaseMs, either, clock)] : [sleep(periodMs, either, clock)];
      for (const wait of waits) wait.catch(() => undefined);
      await Promise.race(waits).catch((error: unknown) => {
        if (!stopping.aborted) log.warn({ error: errorLine(error) }, 'waiting for an evicted pod failed');
      });
      rest.abort();
    }
  };
  const running = run();
  return {
    evictions: evictor.evictions,
    ready: ready.promise,
    async stop() {
      scope.abort(new Error('eviction stops'));
      await running;
    },
  };
}
