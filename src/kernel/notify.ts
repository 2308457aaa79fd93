/**
 * sd_notify(3): tells systemd, or whoever set NOTIFY_SOCKET, how the service is doing.
 * Layer: kernel. Node has no unix datagram sockets, hence the addon.
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
