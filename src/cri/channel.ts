/**
 * One gRPC channel to the runtime's socket: calls with deadline and AbortSignal, statuses turned into CriError, and quick
 * reconnection after the runtime restarts. Bytes in, bytes out: messages are the business of runtime-client.ts.
 * Layer: cri (edge). The only importer of @grpc/grpc-js in src; load it lazily, it costs about 20 MB.
 */
import type { Socket } from 'node:net';
import { type ChannelCredentials, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { CriError, GrpcStatus } from './cri-error.ts';

/** The kubelet's own limit (pkg/kubelet: maxMsgSize); containerd sends at most as much. */
const maxMessageBytes = 16 * 1024 * 1024;

const channelOptions = {
  'grpc.max_receive_message_length': maxMessageBytes,
  'grpc.max_send_message_length': maxMessageBytes,
  // A restarting containerd is back within a second or two; a unix socket costs nothing to try.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  // No retry behind our back: pod workers decide what is safe to repeat. No debug registry, no shared pool.
  'grpc.enable_retries': 0,
  'grpc.enable_channelz': 0,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.service_config_disable_resolution': 1,
};

export interface ChannelCall {
  /** Bare CRI method name, for errors. */
  method: string;
  /** gRPC path, `/runtime.v1.RuntimeService/Version`. */
  path: string;
  signal?: AbortSignal | undefined;
  /** Milliseconds; undefined: no deadline. */
  timeoutMs?: number | undefined;
  /** Wait (within the deadline) for a connection instead of failing at once while the runtime is down. */
  waitForReady?: boolean | undefined;
}

/**
 * Keeps connections open beyond this process's death while calls that change something are under way. A runtime cancels
 * what a vanished client asked for, and a half-made sandbox leaves a shim behind (src/kernel/hold-connection.ts).
 */
export interface ConnectionKeeper {
  /** A connection was made; also after each restart of the runtime. The keeper must not read from or write to it. */
  connected(socket: Socket): void;
  /** The first of such calls began, the last of them ended. */
  busy(): void;
  idle(): void;
}

/** Cancelled half-way, these leave something behind. A pull that is cancelled is only a pull to repeat. */
const changingMethods: ReadonlySet<string> = new Set([
  'RunPodSandbox',
  'StopPodSandbox',
  'RemovePodSandbox',
  'CreateContainer',
  'StartContainer',
  'StopContainer',
  'RemoveContainer',
]);

const identity = (bytes: Buffer): Buffer => bytes;

export class CriChannel {
  #client: Client;

  readonly #keeper: ConnectionKeeper | undefined;
  /** Calls under way that change something in the runtime. */
  #changing = 0;

  /** `socketPath` is absolute. Connects at the first call; never throws. */
  constructor(socketPath: string, keeper?: ConnectionKeeper) {
    this.#keeper = keeper;
    this.#client = new Client(`unix://${socketPath}`, plainCredentials(keeper), channelOptions);
  }

  /** Resolves with the response bytes; rejects with CriError, or with the signal's reason when aborted. */
  async unary(call: ChannelCall, request: Buffer): Promise<Buffer> {
    if (!this.#keeper || !changingMethods.has(call.method)) return this.#send(call, request);
    if (this.#changing++ === 0) this.#keeper.busy();
    try {
      return await this.#send(call, request);
    } finally {
      if (--this.#changing === 0) this.#keeper.idle();
    }
  }

  #send(call: ChannelCall, request: Buffer): Promise<Buffer> {
    const { signal } = call;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const active = this.#client.makeUnaryRequest(
        call.path,
        identity,
        identity,
        request,
        metadataOf(call),
        deadlineOf(call),
        (error: ServiceError | null, response?: Buffer) => {
          signal?.removeEventListener('abort', cancel);
          if (error !== null) reject(failure(call, error));
          else if (response === undefined)
            reject(CriError.fromStatus(call.method, GrpcStatus.internal, 'empty response'));
          else resolve(response);
        },
      );
      const cancel = (): void => active.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  /**
   * Starts a server stream at once, so that nothing is missed between this call and the first iteration. The iteration
   * never ends by itself: it throws CriError (CRI_UNAVAILABLE also when the runtime closes it) or the signal's reason.
   */
  serverStream(call: ChannelCall, request: Buffer): AsyncIterable<Buffer> {
    const { signal } = call;
    const stream = this.#client.makeServerStreamRequest(
      call.path,
      identity,
      identity,
      request,
      metadataOf(call),
      deadlineOf(call),
    );
    let broken: ServiceError | undefined;
    // Also kept here because an error before the first iteration would reach no iterator and crash the process.
    stream.on('error', (error: ServiceError) => {
      broken = error;
    });
    const cancel = (): void => stream.cancel();
    if (signal?.aborted) cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    stream.on('end', () => signal?.removeEventListener('abort', cancel));
    return {
      async *[Symbol.asyncIterator]() {
        try {
          yield* stream as AsyncIterable<Buffer>;
        } catch (error) {
          throw failure(call, error as ServiceError);
        } finally {
          signal?.removeEventListener('abort', cancel);
          stream.cancel();
        }
        if (broken !== undefined) throw failure(call, broken);
        throw CriError.fromStatus(call.method, GrpcStatus.unavailable, 'the runtime ended the stream');
      },
    };
  }

  /** Resolves once connected; rejects with CRI_UNAVAILABLE after `timeoutMs`, or with the signal's reason. */
  waitUntilReady(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = (): void => reject(signal?.reason);
      if (signal?.aborted) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      this.#client.waitForReady(Date.now() + timeoutMs, (error) => {
        signal?.removeEventListener('abort', abort);
        if (error === undefined || error === null) return resolve();
        const message = `no connection within ${timeoutMs} ms`;
        reject(CriError.fromStatus('connection', GrpcStatus.unavailable, message, error));
      });
    });
  }

  /** Cancels nothing that is under way; later calls fail. */
  close(): void {
    this.#client.close();
  }
}

/** No TLS on a unix socket; the connector is where grpc-js hands its socket over. */
function plainCredentials(keeper: ConnectionKeeper | undefined): ChannelCredentials {
  const plain = credentials.createInsecure();
  if (keeper === undefined) return plain;
  const make = plain._createSecureConnector.bind(plain);
  plain._createSecureConnector = (...parameters) => {
    const connector = make(...parameters);
    return {
      connect(socket) {
        keeper.connected(socket);
        return connector.connect(socket);
      },
      waitForReady: () => connector.waitForReady(),
      getCallCredentials: () => connector.getCallCredentials(),
      destroy: () => connector.destroy(),
    };
  };
  return plain;
}

function metadataOf(call: ChannelCall): Metadata {
  return new Metadata(call.waitForReady ? { waitForReady: true } : {});
}

function deadlineOf(call: ChannelCall): { deadline?: number } {
  return call.timeoutMs === undefined ? {} : { deadline: Date.now() + call.timeoutMs };
}

function failure(call: ChannelCall, error: ServiceError): unknown {
  if (call.signal?.aborted) return call.signal.reason;
  const status = error.code ?? GrpcStatus.unknown;
  const detail = error.details || error.message;
  const message =
    status === GrpcStatus.deadlineExceeded ? `no answer within ${call.timeoutMs ?? 0} ms: ${detail}` : detail;
  return CriError.fromStatus(call.method, status, message, error);
}
