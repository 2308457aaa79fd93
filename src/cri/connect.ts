/**
 * The way in: from an endpoint string to the two typed services, with one clear error when the runtime cannot be used.
 * Layer: cri (edge). Used by agent/ only; everything else receives RuntimeService and ImageService.
 */
import { type ConnectionKeeper, CriChannel } from './channel.ts';
import { CriError } from './cri-error.ts';
import { checkSocket, socketPathOf } from './endpoint.ts';
import type { VersionResponse } from './messages.generated.ts';
import { createServices, defaultRequestTimeoutMs } from './runtime-client.ts';
import type { ImageService, RuntimeService } from './service.ts';

export interface ConnectOptions {
  signal?: AbortSignal;
  /** KubeletConfiguration runtimeRequestTimeout in milliseconds; 2 minutes when left out. */
  requestTimeoutMs?: number;
  /** How long the runtime may take to accept the first connection and answer Version, milliseconds. */
  connectTimeoutMs?: number;
  /** Is told of the connection that calls are made on; not of the event stream's. */
  keeper?: ConnectionKeeper;
}

export interface RuntimeConnection {
  runtime: RuntimeService;
  image: ImageService;
  /** What Version answered: `runtimeName`, `runtimeVersion`. */
  version: VersionResponse;
  /** Resolves as soon as a call would reach the runtime (again); CRI_UNAVAILABLE after `timeoutMs`. */
  waitUntilReady(timeoutMs: number, signal?: AbortSignal): Promise<void>;
  close(): void;
}

/** What a node asks for in Version, as every kubelet does. */
const kubeletApiVersion = '0.1.0';
const apiVersion = 'v1';

/**
 * Connects to `unix:///path` or `/path` and makes sure that CRI v1 is spoken there.
 * Throws CriError: CRI_ENDPOINT (malformed, missing, not a socket, no CRI v1 behind it), CRI_UNAVAILABLE (nobody answers);
 * or the signal's reason. Afterwards the channel reconnects by itself: calls made while the runtime is down fail at once
 * with CRI_UNAVAILABLE.
 */
export async function connectRuntime(endpoint: string, options: ConnectOptions = {}): Promise<RuntimeConnection> {
  const { requestTimeoutMs = defaultRequestTimeoutMs, connectTimeoutMs = 10_000, signal } = options;
  const socketPath = socketPathOf(endpoint);
  await checkSocket(socketPath);
  const channel = new CriChannel(socketPath, options.keeper);
  // On a connection of its own: containerd 1.7 deals events out to whoever reads, so a stale reader would take them away.
  const events = new CriChannel(socketPath);
  const close = (): void => {
    channel.close();
    events.close();
  };
  try {
    const services = createServices(
      {
        unary: (call, request) => channel.unary(call, request),
        serverStream: (call, request) => events.serverStream(call, request),
      },
      requestTimeoutMs,
    );
    await channel.waitUntilReady(connectTimeoutMs, signal);
    const callOptions = { timeoutMs: connectTimeoutMs, ...(signal === undefined ? {} : { signal }) };
    const version = await services.runtime.version({ version: kubeletApiVersion }, callOptions);
    if (version.runtimeApiVersion !== apiVersion) throw noCri(endpoint, `speaks CRI ${version.runtimeApiVersion}`);
    return {
      ...services,
      version,
      waitUntilReady: (timeoutMs, readySignal) => channel.waitUntilReady(timeoutMs, readySignal),
      close,
    };
  } catch (error) {
    close();
    throw explain(endpoint, error);
  }
}

function explain(endpoint: string, error: unknown): unknown {
  if (!(error instanceof CriError)) return error;
  if (error.isUnimplemented()) return noCri(endpoint, 'answers, but not as a CRI v1 runtime', error);
  if (!error.isUnavailable() && !error.isDeadline()) return error;
  return new CriError(error.code, `nobody answers: ${error.message}`, {
    object: endpoint,
    fix: 'start the container runtime, or name its socket (--container-runtime-endpoint)',
    cause: error,
  });
}

function noCri(object: string, message: string, cause?: unknown): CriError {
  const fix = 'use containerd 1.6 or later with its CRI plugin enabled';
  return new CriError('CRI_ENDPOINT', message, { object, fix, ...(cause === undefined ? {} : { cause }) });
}
