/**
 * Calls to services that plugins on this node serve: messages of our own proto tables over a channel to their socket.
 * Layer: kubelet/plugins. Uses the codec and the channel of cri/, whose errors (CriError) pass through unchanged: what
 * they mean is the caller's to say. Nothing is retried or logged here.
 */
import type { ChannelCall } from '../../cri/channel.ts';
import { compileCodecs, type MessageCodec } from '../../cri/codec.ts';
import { readSchema, type SchemaTables } from '../../cri/schema.ts';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds. */
  readonly timeoutMs: number;
}

/** What a channel of cri/ offers. */
export interface UnaryChannel {
  unary(call: ChannelCall, request: Buffer): Promise<Buffer>;
}

interface Method {
  readonly path: string;
  readonly request: MessageCodec;
  readonly response: MessageCodec;
}

export type Invoke = (method: string, request: object, options: CallOptions) => Promise<unknown>;

/**
 * The methods of one service, compiled once.
 * @param packageName of the proto, `csi.v1`
 */
export function compileService(
  tables: SchemaTables,
  packageName: string,
  service: string,
): ReadonlyMap<string, Method> {
  const codecs = compileCodecs(readSchema(tables));
  const codec = (name: string): MessageCodec => {
    const found = codecs.get(name);
    if (found === undefined) throw new Error(`${packageName}: message ${name} is not defined`);
    return found;
  };
  return new Map(
    (tables.services[service] ?? []).map((line) => {
      const [name = '', request = '', response = ''] = line.split(' ');
      return [name, { path: `/${packageName}.${service}/${name}`, request: codec(request), response: codec(response) }];
    }),
  );
}

/** @throws CriError, also for an answer that is no message of the type */
export function invoker(methods: ReadonlyMap<string, Method>, channel: UnaryChannel): Invoke {
  return async (name, request, { signal, timeoutMs }) => {
    const method = methods.get(name);
    if (method === undefined) throw new Error(`method ${name} is not defined`);
    const bytes = await channel.unary(
      { method: name, path: method.path, signal, timeoutMs },
      method.request.encode(request),
    );
    return method.response.decode(bytes);
  };
}
