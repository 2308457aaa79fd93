/**
 * Joins a client's connection with the runtime's: bytes both ways with back-pressure, each side's end passed on, and both
 * gone when either is. Layer: kubelet/server/streaming (edge). Knows no protocol: SPDY and WebSocket frames are bytes here.
 * Memory is what two sockets buffer (their high water marks), whatever flows through.
 */
import type { Duplex } from 'node:stream';
import type { CancelTimer, Clock } from '../../../base/clock.ts';

/** How it ended: `over` when a side ended or broke, as streams do; `idle` after silence; `stopped` by the signal. */
export type JoinEnd = 'over' | 'idle' | 'stopped';

export interface JoinOptions {
  clock: Clock;
  /** After this many milliseconds without a byte either way (up to a quarter more) both are cut; 0: never. */
  idleTimeoutMs: number;
  /** Aborted when the server stops; also when the client's connection is closed, as servers have it. */
  signal: AbortSignal;
}

/** How long a side that was sent the end may take to end, too. */
const lingerMs = 10_000;
/** How long the runtime may take to read a closed client's last words: its stream's process runs on meanwhile. */
const lastWordsMs = 1_000;

/**
 * Resolves when both are closed; never rejects. The two do not end alike. The runtime's end is the end of the session:
 * what it sent before is still delivered to the client, however slowly that reads; what the client sends then goes
 * nowhere. The client's end is passed on, and the runtime may send on, but not be silent for long; a second is all it
 * gets when nobody is there to receive. A client that breaks off instead ends the runtime's connection at once.
 */
export function joinStreams(client: Duplex, runtime: Duplex, options: JoinOptions): Promise<JoinEnd> {
  const { clock, idleTimeoutMs, signal } = options;
  return new Promise((resolve) => {
    let end: JoinEnd = 'over';
    let cancelLinger: CancelTimer = () => {};
    let cancelIdle: CancelTimer = () => {};
    /** Counts what moved: chunks that came, and times that a full side took more. */
    let moves = 0;
    const noteMove = (): void => {
      moves++;
    };
    const cut = (): void => {
      client.destroy();
      runtime.destroy();
    };
    /** Silence is counted, not read from a clock that somebody may set. */
    const watchIdle = (before: number, silentQuarters: number): void => {
      cancelIdle = clock.after(idleTimeoutMs / 4, () => {
        const silent = moves === before ? silentQuarters + 1 : 0;
        if (silent < 4) return watchIdle(moves, silent);
        end = 'idle';
        cut();
      });
    };
    const lingerWhileSilent = (): void => {
      const before = moves;
      cancelLinger = clock.after(lingerMs, () => {
        if (moves === before) cut();
        else lingerWhileSilent();
      });
    };
    const lingerFor = (delayMs: number): void => {
      cancelLinger();
      cancelLinger = clock.after(delayMs, cut);
    };
    const runtimeIsOver = (): void => {
      client.unpipe(runtime);
      // Read on: its end is to be seen, and unread bytes would make a reset that overtakes what it was sent last.
      client.resume();
      client.end();
      runtime.destroy();
    };
    const clientIsClosed = (): void => {
      // Not whether it has an error: what could not be written to it is none of the runtime's.
      if (!client.readableEnded) {
        runtime.destroy();
        return;
      }
      runtime.unpipe(client);
      runtime.resume();
      lingerFor(lastWordsMs);
    };
    const runtimeHasAll = (): void => {
      if (!client.closed) lingerWhileSilent();
    };
    const onAbort = (): void => {
      // A client that is gone aborts it, too, and was seen to.
      if (client.closed) return;
      end = 'stopped';
      cut();
    };
    const settle = (): void => {
      if (!client.closed || !runtime.closed) return;
      cancelLinger();
      cancelIdle();
      signal.removeEventListener('abort', onAbort);
      resolve(end);
    };

    for (const stream of [client, runtime]) {
      stream.on('data', noteMove);
      stream.on('drain', noteMove);
      // Followed by `close`, which says all that there is to do.
      stream.on('error', () => {});
      stream.on('close', () => {
        if (stream === client) clientIsClosed();
        else runtimeIsOver();
        settle();
      });
    }
    client.on('finish', () => lingerFor(lingerMs));
    runtime.on('finish', runtimeHasAll);
    runtime.on('end', runtimeIsOver);
    if (idleTimeoutMs > 0) watchIdle(moves, 0);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    client.pipe(runtime);
    runtime.pipe(client);
    // One that is gone already says so no more.
    if (client.destroyed) clientIsClosed();
    if (runtime.destroyed) runtimeIsOver();
    settle();
  });
}
