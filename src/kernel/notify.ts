/**
 * sd_notify(3) and sd_watchdog_enabled(3): tells systemd, or whoever set NOTIFY_SOCKET, how the service is doing.
 * Layer: kernel. Node has no unix datagram sockets, hence the addon. When to tell what is the agent's to decide.
 */
import { loadAddon } from './addon.ts';
import { toKernelError } from './kernel-errors.ts';

/**
 * Sends one datagram, e.g. `READY=1` or `STOPPING=1\nSTATUS=...`, without ever waiting.
 * @returns false when nobody asked to be told (no NOTIFY_SOCKET)
 * @throws KernelError, for example ECONNREFUSED
 */
export function sdNotify(state: string, environment: NodeJS.ProcessEnv = process.env): boolean {
  const socketPath = environment.NOTIFY_SOCKET;
  if (socketPath === undefined || socketPath === '') return false;
  try {
    loadAddon().sdNotify(socketPath, state);
  } catch (error) {
    throw toKernelError(error, `notify ${socketPath}`);
  }
  return true;
}

/**
 * How long systemd waits for a `WATCHDOG=1` (WatchdogSec= of the unit), milliseconds.
 * @returns undefined when it does not wait for this process: sd_watchdog_enabled(3) says how WATCHDOG_PID counts
 */
export function watchdogLimitMs(
  environment: NodeJS.ProcessEnv = process.env,
  pid: number = process.pid,
): number | undefined {
  const { WATCHDOG_USEC: limit, WATCHDOG_PID: owner } = environment;
  if (owner !== undefined && owner !== String(pid)) return undefined;
  // Sixteen digits: more is no time, and no exact number either.
  if (limit === undefined || !/^[1-9]\d{0,15}$/.test(limit)) return undefined;
  return Number(limit) / 1000;
}
