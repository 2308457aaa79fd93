/**
 * The unix socket on which the CNI plugin binary hands over its environment and stdin.
 * One connection is one call: the client sends `{"env":{...},"stdin":"..."}` and half-closes, the daemon answers
 * `{"exit":0|1}`, a line feed and the bytes for stdout, and closes (docs/network.md).
 * Layer: network/cni. Must not interpret CNI; every limit that a hostile or broken client could strain is here.
 */
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { type Clock, systemClock } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { NetworkError } from '../network-error.ts';
import { CniError, cniErrorCode } from './cni-error.ts';
import { isObject } from './json-object.ts';
import { type CniAnswer, type CniCall, renderError } from './verbs.ts';
import { newestVersion } from './version.ts';

/** sun_path is 108 bytes with the NUL (include/uapi/linux/un.h); beyond it libuv would cut the name. */
export const longestSocketPath = 107;

export interface ServerLimits {
  /** Bytes of one request. */
  requestBytes: number;
  /** From connection to the end of the request, milliseconds. */
  arrivalMs: number;
  /** Connections open at once; more are told to try again. */
  connections: number;
}

const defaultLimits: ServerLimits = { requestBytes: 1024 * 1024, arrivalMs: 10_000, connections: 256 };

export interface CniServer {
  /** Stops listening, lets the calls under way finish and removes the socket. Safe to repeat. */
  close(): Promise<void>;
}

export interface CniServerOptions {
  /** Absolute path of the socket; its directory is made with mode 0700 when absent. */
  socketPath: string;
  handle: (call: CniCall) => Promise<CniAnswer>;
  log: Logger;
  limits?: Partial<ServerLimits>;
  clock?: Clock;
}

/**
 * Listens with mode 0600, in place of the socket that a dead predecessor left.
 * @throws NetworkError NETWORK_SOCKET_PATH_TOO_LONG, NETWORK_SOCKET_IN_USE
 */
export async function startCniServer(options: CniServerOptions): Promise<CniServer> {
  const { socketPath, log } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const clock = options.clock ?? systemClock;
  checkSocketPath(socketPath);
  // A directory of 0700 keeps others out in the moment before the socket itself has its mode.
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
  await removeStaleSocket(socketPath);

  const sockets = new Set<Socket>();
  const calls = new Set<Promise<void>>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // A client that hangs up has nobody left to tell; its call is finished all the same.
    socket.on('error', (error) => log.debug({ error: error.message }, 'CNI client went away'));
    const call = serve(socket, sockets.size > limits.connections, limits, clock, options.handle);
    calls.add(call);
    void call.finally(() => calls.delete(call));
  });
  await listen(server, socketPath);
  await chmod(socketPath, 0o600);
  server.on('error', (error) => log.error({ error: error.message }, 'CNI socket'));

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    // Those who have not finished their request yet will find the next daemon.
    for (const socket of sockets) if (!socket.readableEnded) socket.destroy();
    await Promise.all(calls);
    await closed;
  };
  return { close: () => (closing ??= close()) };
}

/** @throws NetworkError NETWORK_SOCKET_PATH_TOO_LONG */
export function checkSocketPath(socketPath: string): void {
  const bytes = Buffer.byteLength(socketPath);
  if (bytes <= longestSocketPath) return;
  throw new NetworkError('NETWORK_SOCKET_PATH_TOO_LONG', `${bytes} bytes, the kernel takes ${longestSocketPath}`, {
    object: `socket ${socketPath}`,
    fix: 'choose a shorter --run-dir',
  });
}

async function serve(
  socket: Socket,
  tooMany: boolean,
  limits: ServerLimits,
  clock: Clock,
  handle: CniServerOptions['handle'],
): Promise<void> {
  let answer: CniAnswer;
  // What still arrives after a refusal is thrown away, but not for ever.
  const cancelDeadline = clock.after(limits.arrivalMs * 2, () => socket.destroy());
  try {
    if (tooMany) throw new CniError(cniErrorCode.tryAgainLater, `more than ${limits.connections} CNI calls at once`);
    const text = await receive(socket, limits, clock);
    cancelDeadline();
    if (text === undefined) return;
    answer = await handle(decodeCall(text));
  } catch (error) {
    // Only refusals of this file get here: `handle` answers its own.
    const refusal = error instanceof CniError ? error : new CniError(cniErrorCode.internal, errorLine(error));
    answer = { exit: 1, stdout: renderError(refusal, newestVersion) };
  }
  socket.resume();
  await reply(socket, `${JSON.stringify({ exit: answer.exit })}\n${answer.stdout}`);
  if (socket.readableEnded) cancelDeadline();
  else socket.once('end', cancelDeadline);
}

/** The request text, or undefined when the client hung up before its end. */
function receive(socket: Socket, limits: ServerLimits, clock: Clock): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const cancel = clock.after(limits.arrivalMs, () => {
      settle(() => reject(new CniError(cniErrorCode.ioFailure, `no complete request within ${limits.arrivalMs} ms`)));
    });
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size <= limits.requestBytes) chunks.push(chunk);
      else {
        settle(() =>
          reject(new CniError(cniErrorCode.ioFailure, `request is larger than ${limits.requestBytes} bytes`)),
        );
      }
    };
    const onEnd = (): void => settle(() => resolve(Buffer.concat(chunks).toString('utf8')));
    const onClose = (): void => settle(() => resolve(undefined));
    const settle = (finish: () => void): void => {
      cancel();
      socket.off('data', onData).off('end', onEnd).off('close', onClose);
      finish();
    };
    socket.on('data', onData).on('end', onEnd).on('close', onClose);
  });
}

function decodeCall(text: string): CniCall {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new CniError(cniErrorCode.undecodable, 'request of the plugin binary is not JSON', '', cause);
  }
  const env = isObject(parsed) ? parsed.env : undefined;
  const stdin = isObject(parsed) ? parsed.stdin : undefined;
  if (!isObject(env) || typeof stdin !== 'string') {
    throw new CniError(cniErrorCode.undecodable, 'request of the plugin binary lacks env or stdin');
  }
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (typeof value !== 'string') throw new CniError(cniErrorCode.undecodable, `env ${name} is not a string`);
    if (name.startsWith('CNI_')) variables[name] = value;
  }
  return { env: variables, stdin };
}

/** Resolves when the answer is with the kernel or the client is gone. */
function reply(socket: Socket, text: string): Promise<void> {
  if (socket.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    socket.end(text, () => resolve());
  });
}

function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Removes a socket on which nobody answers. @throws NetworkError NETWORK_SOCKET_IN_USE */
async function removeStaleSocket(socketPath: string): Promise<void> {
  const found = await lstat(socketPath).catch((error: unknown) => {
    if (hasErrorCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (!found) return;
  const object = `socket ${socketPath}`;
  if (!found.isSocket()) {
    throw new NetworkError('NETWORK_SOCKET_IN_USE', 'exists and is not a socket', { object, fix: 'remove the file' });
  }
  if (await answers(socketPath)) {
    throw new NetworkError('NETWORK_SOCKET_IN_USE', 'another process answers on it', {
      object,
      fix: 'stop the other Keelson or choose another --run-dir',
    });
  }
  await unlink(socketPath);
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    // ECONNREFUSED: bound once, nobody listens. Anything else (EAGAIN: backlog full) is somebody.
    probe.once('error', (error) => resolve(!hasErrorCode(error, 'ECONNREFUSED')));
  });
}
