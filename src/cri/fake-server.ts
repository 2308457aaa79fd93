/**
 * The wire side of the fake runtime: a transport without a wire. Requests and answers pass through the real codec, so that
 * a test sees exactly the shapes, refusals, deadlines and cancellations that the gRPC client gives.
 * Layer: cri (test support). Knows nothing of pods: fake-pods.ts and fake-images.ts register the methods.
 */
import type { Clock } from '../base/clock.ts';
import type { ChannelCall, CriChannel } from './channel.ts';
import { criProtocol, type MessageCodec } from './codec.ts';
import { CriError, GrpcStatus } from './cri-error.ts';
import type { MethodSchema } from './schema.ts';
import type { ImageService, RuntimeService } from './service.ts';

export type FakeMethod = keyof RuntimeService | keyof ImageService;

/** A call that reached the fake, in order of arrival. */
export interface FakeCall {
  method: FakeMethod;
  /** The decoded request; the method says of which type. */
  request: unknown;
  /** The deadline that the client set, milliseconds from the call. */
  timeoutMs: number | undefined;
  /** Clock time of arrival, milliseconds. */
  at: number;
}

export interface FailOptions {
  /** How many calls fail; 1 when left out. */
  times?: number;
  /** The call does its work and only the answer is lost, as when the runtime dies at the wrong moment. */
  afterEffect?: boolean;
}

type Handler = (request: unknown, signal: AbortSignal) => object | Promise<object>;

interface Failure {
  error: CriError;
  left: number;
  afterEffect: boolean;
}

interface Subscriber {
  queue: Buffer[];
  ended: CriError | undefined;
  wake: () => void;
}

/** containerd 1.7 keeps this many events while nobody reads them. */
const bufferedEvents = 1000;

export class FakeServer implements Pick<CriChannel, 'unary' | 'serverStream'> {
  readonly calls: FakeCall[] = [];
  readonly clock: Clock;
  /** Off: GetContainerEvents is unimplemented, as in containerd 1.6. */
  events = true;
  #methods = new Map<string, { handler: Handler; request: MessageCodec; response: MessageCodec }>();
  #event: MessageCodec;
  #failures = new Map<FakeMethod, Failure[]>();
  #gates = new Map<FakeMethod, Promise<void>[]>();
  #life = new AbortController();
  #subscribers = new Set<Subscriber>();
  #unread: Buffer[] = [];
  #codecs: Map<string, MessageCodec>;
  #schemas = new Map<string, MethodSchema>();

  constructor(clock: Clock) {
    this.clock = clock;
    const { schema, codecs } = criProtocol();
    this.#codecs = codecs;
    for (const methods of schema.services.values()) {
      for (const [name, method] of methods) this.#schemas.set(camelCase(name), method);
    }
    this.#event = this.#codec('ContainerEventResponse');
  }

  /** Registers the code behind a method; it may throw CriError and should give up when the signal aborts. */
  on<Request, Response extends object>(
    method: FakeMethod,
    handler: (request: Request, signal: AbortSignal) => Response | Promise<Response>,
  ): void {
    const schema = this.#schemas.get(method);
    if (schema === undefined) throw new Error(`CRI has no method ${method}`);
    this.#methods.set(method, {
      handler: handler as Handler,
      request: this.#codec(schema.request),
      response: this.#codec(schema.response),
    });
  }

  failNext(method: FakeMethod, error: CriError, { times = 1, afterEffect = false }: FailOptions = {}): void {
    const queue = this.#failures.get(method) ?? [];
    queue.push({ error, left: times, afterEffect });
    this.#failures.set(method, queue);
  }

  /** The next call of `method` arrives but does nothing until the returned function is called. */
  holdNext(method: FakeMethod): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    const queue = this.#gates.get(method) ?? [];
    queue.push(promise);
    this.#gates.set(method, queue);
    return resolve;
  }

  get isUp(): boolean {
    return !this.#life.signal.aborted;
  }

  /** Calls under way and event streams break with CRI_UNAVAILABLE; new ones fail; unread events are lost. */
  goDown(): void {
    this.#life.abort(unavailable('connection'));
    this.#unread = [];
    for (const subscriber of this.#subscribers) end(subscriber, unavailable('GetContainerEvents'));
  }

  comeBack(): void {
    if (!this.isUp) this.#life = new AbortController();
  }

  /** Hands an event to every reader, or keeps it for the first one to come. */
  emit(event: object): void {
    if (!this.isUp || !this.events) return;
    const bytes = this.#event.encode(event);
    if (this.#subscribers.size === 0 && this.#unread.length < bufferedEvents) this.#unread.push(bytes);
    for (const subscriber of this.#subscribers) {
      subscriber.queue.push(bytes);
      subscriber.wake();
    }
  }

  /** How many event streams are open. */
  get subscriberCount(): number {
    return this.#subscribers.size;
  }

  async unary(call: ChannelCall, bytes: Buffer): Promise<Buffer> {
    await undefined;
    call.signal?.throwIfAborted();
    const method = camelCase(call.method);
    const served = this.#methods.get(method);
    if (!this.isUp) throw unavailable(call.method);
    if (served === undefined) throw CriError.fromStatus(call.method, GrpcStatus.unimplemented, 'not implemented');
    const request = served.request.decode(bytes);
    this.calls.push({ method, request, timeoutMs: call.timeoutMs, at: this.clock.now() });
    const deadline = new AbortController();
    const cancelTimer =
      call.timeoutMs === undefined
        ? undefined
        : this.clock.after(call.timeoutMs, () => deadline.abort(deadlineExceeded(call)));
    const signal = AbortSignal.any([deadline.signal, this.#life.signal, ...(call.signal ? [call.signal] : [])]);
    try {
      const work = this.#run(method, served.handler, request, signal);
      return served.response.encode(await Promise.race([work, rejection(signal)]));
    } finally {
      cancelTimer?.();
    }
  }

  async #run(method: FakeMethod, handler: Handler, request: unknown, signal: AbortSignal): Promise<object> {
    const failure = this.#takeFailure(method);
    if (failure !== undefined && !failure.afterEffect) throw failure.error;
    await this.#gates.get(method)?.shift();
    signal.throwIfAborted();
    const response = await handler(request, signal);
    if (failure !== undefined) throw failure.error;
    return response;
  }

  #takeFailure(method: FakeMethod): Failure | undefined {
    const queue = this.#failures.get(method);
    const first = queue?.[0];
    if (first === undefined) return undefined;
    first.left -= 1;
    if (first.left <= 0) queue?.shift();
    return first;
  }

  serverStream(call: ChannelCall, _request: Buffer): AsyncIterable<Buffer> {
    const subscriber: Subscriber = { queue: [], ended: undefined, wake: () => undefined };
    const failure = this.#takeFailure('getContainerEvents');
    if (!this.isUp) subscriber.ended = unavailable(call.method);
    else if (failure !== undefined) subscriber.ended = failure.error;
    else if (!this.events) {
      subscriber.ended = CriError.fromStatus(call.method, GrpcStatus.unimplemented, 'method not implemented');
    } else {
      subscriber.queue = this.#unread;
      this.#unread = [];
      this.#subscribers.add(subscriber);
    }
    const abort = (): void => subscriber.wake();
    call.signal?.addEventListener('abort', abort, { once: true });
    const close = (): void => {
      call.signal?.removeEventListener('abort', abort);
      this.#subscribers.delete(subscriber);
    };
    return read(subscriber, call.signal, close);
  }

  #codec(message: string): MessageCodec {
    const codec = this.#codecs.get(message);
    if (codec === undefined) throw new Error(`CRI has no message ${message}`);
    return codec;
  }
}

async function* read(
  subscriber: Subscriber,
  signal: AbortSignal | undefined,
  close: () => void,
): AsyncGenerator<Buffer> {
  try {
    for (;;) {
      signal?.throwIfAborted();
      const next = subscriber.queue.shift();
      if (next !== undefined) yield next;
      else if (subscriber.ended !== undefined) throw subscriber.ended;
      else {
        await new Promise<void>((resolve) => {
          subscriber.wake = resolve;
        });
      }
    }
  } finally {
    close();
  }
}

function end(subscriber: Subscriber, error: CriError): void {
  subscriber.ended = error;
  subscriber.wake();
}

function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

function unavailable(method: string): CriError {
  return CriError.fromStatus(method, GrpcStatus.unavailable, 'the runtime is down');
}

function deadlineExceeded(call: ChannelCall): CriError {
  return CriError.fromStatus(call.method, GrpcStatus.deadlineExceeded, `no answer within ${call.timeoutMs ?? 0} ms`);
}

function camelCase(method: string): FakeMethod {
  return (method.charAt(0).toLowerCase() + method.slice(1)) as FakeMethod;
}
