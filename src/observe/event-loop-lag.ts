/**
 * How late the event loop is, for benches. Layer: observe. Off unless asked for: sampling wakes an idle process.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';

export interface EventLoopLag {
  /** Milliseconds beyond the sampling period, since the previous call. */
  read(): { p50Ms: number; p99Ms: number; maxMs: number };
}

const samplingPeriodMs = 5;
const nsPerMs = 1e6;

export function startEventLoopLag(): EventLoopLag {
  const histogram = monitorEventLoopDelay({ resolution: samplingPeriodMs });
  histogram.enable();
  const beyond = (ns: number): number => Math.max(0, Number((ns / nsPerMs - samplingPeriodMs).toFixed(2)));
  return {
    read() {
      const lag = {
        p50Ms: beyond(histogram.percentile(50)),
        p99Ms: beyond(histogram.percentile(99)),
        maxMs: beyond(histogram.max),
      };
      histogram.reset();
      return lag;
    },
  };
}
