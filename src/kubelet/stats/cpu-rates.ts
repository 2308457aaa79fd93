/**
 * CPU in use now, from counters that only grow: the rate since an earlier sample of the same cgroup.
 * Layer: kubelet/stats (pure; keeps two samples a cgroup). cAdvisor samples every 10 to 15 s for this; here the samples
 * are those that somebody asked for, so the window is as long as the time between requests, and never under 10 s once
 * two samples lie that far apart.
 */

interface Point {
  readonly timeMs: number;
  readonly usageNs: number;
}

interface Track {
  /** The window's begin. */
  base: Point;
  /** Becomes the base when a sample comes that is a whole window younger. */
  recent: Point;
}

const windowMs = 10_000;
/** Shorter than this the counter's own steps would show. */
const shortestMs = 100;

export class CpuRates {
  readonly #tracks = new Map<string, Track>();

  /**
   * Nanocores (10^9 is one core) as of this sample; undefined when there is nothing to compare with.
   * @param startedMs when the counter was 0, if known: a first sample then gives the average since
   */
  observe(key: string, timeMs: number, usageNs: number, startedMs: number | undefined): number | undefined {
    const now: Point = { timeMs, usageNs };
    const track = this.#tracks.get(key);
    // A counter that went back belongs to another cgroup of the same name.
    if (track === undefined || usageNs < track.recent.usageNs) {
      const base = startedMs === undefined ? now : { timeMs: startedMs, usageNs: 0 };
      this.#tracks.set(key, { base, recent: now });
      return rate(base, now);
    }
    // A clock that was put back: begin anew.
    if (timeMs < track.recent.timeMs) this.#tracks.set(key, { base: now, recent: now });
    else if (timeMs - track.recent.timeMs >= windowMs) {
      track.base = track.recent;
      track.recent = now;
    }
    return rate(track.base, now);
  }

  /** Forgets all cgroups but these. */
  retain(keys: ReadonlySet<string>): void {
    for (const key of this.#tracks.keys()) if (!keys.has(key)) this.#tracks.delete(key);
  }

  get size(): number {
    return this.#tracks.size;
  }
}

function rate(base: Point, now: Point): number | undefined {
  const elapsedMs = now.timeMs - base.timeMs;
  if (elapsedMs < shortestMs) return undefined;
  return Math.max(0, Math.round(((now.usageNs - base.usageNs) / elapsedMs) * 1000));
}
