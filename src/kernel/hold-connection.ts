/**
 * Keeps a unix connection open for a while after this process dies, by a small process (native/hold) that inherits its
 * descriptor. Why: a container runtime cancels the calls of a client that vanishes, and a sandbox cancelled half-way
 * leaves a shim process and cgroups behind that nobody owns (seen with containerd 1.6 and 2.1). Held, the call comes to
 * its own end, and the successor finds a whole sandbox or none.
 * Layer: kernel (edge). Without the holder everything works but that: its absence is logged, not fatal.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';

/** Longer than any call that makes or removes a sandbox takes on a slow machine. */
const holdSeconds = 60;

/** Satisfies src/cri's ConnectionKeeper. */
export interface UnixConnectionKeeper {
  connected(socket: Socket): void;
  busy(): void;
  idle(): void;
}

/** @param holderPath the built native/hold program */
export function connectionKeeper(holderPath: string, log: Logger): UnixConnectionKeeper {
  let holder: ChildProcess | undefined;
  let isBusy = false;
  const tell = (mark: 'b' | 'i'): void => {
    isBusy = mark === 'b';
    if (holder?.stdin?.writable) holder.stdin.write(mark);
  };
  return {
    connected(socket) {
      const fd = descriptorOf(socket);
      if (fd === undefined) return;
      const child = spawn(holderPath, [String(holdSeconds)], {
        argv0: 'keelson-hold',
        // A session of its own: a Ctrl-C in the daemon's terminal is not for it.
        detached: true,
        stdio: ['pipe', 'ignore', 'ignore', fd],
      });
      child.on('error', (error) =>
        log.warn({ error: errorLine(error) }, 'runtime calls under way are lost if Keelson dies'),
      );
      child.stdin?.on('error', (error) => log.debug({ error: errorLine(error) }, 'the connection holder is gone'));
      // The daemon's own end must not wait for it.
      child.unref();
      if (child.stdin && 'unref' in child.stdin && typeof child.stdin.unref === 'function') child.stdin.unref();
      socket.once('close', () => child.stdin?.end());
      holder = child;
      if (isBusy) tell('b');
    },
    busy: () => tell('b'),
    idle: () => tell('i'),
  };
}

/** Node shows a socket's descriptor on its handle only. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } };
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined;
}
