/**
 * systemd's watchdog (WatchdogSec= of the unit): tells it again and again that the daemon is alive. When that fails to
 * come in time, systemd ends the daemon and starts it anew; pods do not notice.
 * Layer: agent. Proves two things each time: the event loop turns, and the thread pool that all file work needs has a
 * thread left (a dead NFS server can take them all). The roles need no mark of their own: whatever their loops wait for
 * has a time limit (CRI calls, netlink batches, HTTP), so one that stands still stands on one of these two. What they
 * cannot reach (runtime, API server) is told elsewhere; a restart of the daemon would not mend it.
 */
import { stat } from 'node:fs/promises';
import { type Clock, systemClock } from '../base/clock.ts';
import { sdNotify, watchdogLimitMs } from '../kernel/notify.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';

export interface WatchdogOptions {
  /** As watchdogLimitMs gives it; undefined: nobody waits, and nothing is done. */
  limitMs: number | undefined;
  /** Sends one state to systemd; may throw. */
  notify: (state: string) => void;
  /** Resolves when work of the thread pool gets done; an error counts as done. */
  poolWork: () => Promise<unknown>;
  clock: Clock;
  log: Logger;
}

/** Signs of life in the time that systemd waits: one or two may come late on a machine that is busy. */
const signsPerLimit = 4;

/** To be called when the daemon has said READY=1; with it systemd begins to wait. */
export function startWatchdog(options: WatchdogOptions): Disposable {
  const { limitMs, notify, poolWork, clock, log } = options;
  if (limitMs === undefined) return { [Symbol.dispose]: () => undefined };
  let isWorking = false;
  let isMissed = false;
  let isRefused = false;
  let cancel = (): void => undefined;

  const sign = (): void => {
    try {
      notify('WATCHDOG=1');
      isRefused = false;
    } catch (error) {
      if (!isRefused) log.warn({ error: errorLine(error) }, 'systemd does not take a sign of life');
      isRefused = true;
    }
  };
  const tell = async (): Promise<void> => {
    isWorking = true;
    // That it was tried is what counts.
    await poolWork().catch(() => undefined);
    isWorking = false;
    if (isMissed) log.info({}, 'file work gets done again');
    isMissed = false;
    sign();
  };
  const turn = (): void => {
    cancel = clock.after(limitMs / signsPerLimit, turn);
    if (!isWorking) void tell();
    else if (!isMissed) {
      isMissed = true;
      log.error({ limitMs }, 'file work does not get done; systemd ends the daemon unless that changes');
    }
  };
  turn();
  return { [Symbol.dispose]: () => cancel() };
}

/** The watchdog of this process, as its environment says. */
export const startOwnWatchdog = (log: Logger): Disposable =>
  startWatchdog({
    limitMs: watchdogLimitMs(),
    notify: sdNotify,
    poolWork: () => stat('/proc/self'),
    clock: systemClock,
    log: log.child({ component: 'watchdog' }),
  });
