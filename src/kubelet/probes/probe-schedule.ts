/**
 * When a probe runs next. Layer: kubelet/probes (pure; times are handed in, epoch milliseconds).
 *
 * As in the kubelet, liveness and startup probes run on a grid of their period that begins when the pod comes to the node:
 * a container that has just started is not asked at once. Readiness probes are asked early, since there only good can come
 * of it: the kubelet does so at each sync of a pod that is not ready, here it is a few looks in the first second.
 * Source: pkg/kubelet/prober/worker.go run, prober_manager.go UpdatePodStatus.
 */

/** Milliseconds after a container may be asked whether it is ready. Another process in it costs more than a connection. */
export const earlyLooks = { network: [50, 300, 1000], exec: [300, 1000] } as const;

/**
 * The first point of the grid `anchorMs`, `anchorMs + periodMs`, ... that is not before `fromMs`. A clock that was set back
 * leaves the anchor in the future: then the grid reaches back, so that no probe waits for longer than a period.
 */
export function nextTick(anchorMs: number, periodMs: number, fromMs: number): number {
  if (fromMs > anchorMs) return anchorMs + Math.ceil((fromMs - anchorMs) / periodMs) * periodMs;
  const ahead = Math.ceil((anchorMs - fromMs) / periodMs) - 1;
  return anchorMs - Math.max(0, ahead) * periodMs;
}

/**
 * After a run that belonged to the tick `tickMs` and ended at `endedMs`: the next tick, or at once when that has passed
 * already, as a Go ticker keeps one tick for who is late. A clock that was set back begins the grid anew.
 */
export function nextRun(tickMs: number, periodMs: number, endedMs: number): { atMs: number; tickMs: number } {
  const next = Math.min(tickMs, endedMs) + periodMs;
  if (next >= endedMs) return { atMs: next, tickMs: next };
  const passed = Math.floor((endedMs - tickMs) / periodMs);
  return { atMs: endedMs, tickMs: tickMs + passed * periodMs };
}

/** Milliseconds. What is due within one of them runs together. */
const slackMs = 250;

/**
 * When a run of the grid really takes place: up to a quarter of a second later, together with others. An idle processor
 * that wakes for one probe spends more on waking than on the probe. Short periods are kept to the millisecond.
 */
export function together(atMs: number, periodMs: number): number {
  return periodMs < 20 * slackMs ? atMs : Math.ceil(atMs / slackMs) * slackMs;
}

/**
 * The next early look after `ranMs` (or the first one, when undefined); undefined when there is none left. Looks that
 * `nowMs` has passed are one look, now. `last` says that the container had its chance: a failure is worth an event.
 */
export function nextLook(
  looks: readonly number[],
  baseMs: number,
  ranMs: number | undefined,
  nowMs: number,
): { atMs: number; last: boolean } | undefined {
  const first = ranMs === undefined ? 0 : looks.findIndex((look) => baseMs + look > ranMs);
  if (first < 0) return undefined;
  const index = Math.max(
    first,
    looks.findLastIndex((look) => baseMs + look <= nowMs),
  );
  const look = looks[index];
  return look === undefined ? undefined : { atMs: Math.max(baseMs + look, nowMs), last: index === looks.length - 1 };
}

/** A daemon that begins again finds all its pods at once: their probes are spread over one period. */
export function restartDelay(periodMs: number, sinceStartMs: number, random: number): number {
  return periodMs > sinceStartMs ? Math.floor(random * periodMs) : 0;
}
