/**
 * RuntimeService and ImageService over a channel: which method takes which message, and how long each may take.
 * Layer: cri. No policy beyond deadlines: nothing is retried, cached or logged here.
 */
import type { ChannelCall, CriChannel } from './channel.ts';
import { type CriProtocol, criProtocol, type MessageCodec } from './codec.ts';
import type * as cri from './messages.generated.ts';
import type { CallOptions, ImageService, RuntimeService } from './service.ts';

/** KubeletConfiguration runtimeRequestTimeout: 2 minutes. */
export const defaultRequestTimeoutMs = 120_000;

interface BoundMethod {
  method: string;
  path: string;
  request: MessageCodec;
  response: MessageCodec;
}

type Transport = Pick<CriChannel, 'unary' | 'serverStream'>;
/** Milliseconds for one request; undefined: none. */
type Timeout<Request> = (request: Request) => number | undefined;

/**
 * Both services over `channel`. `requestTimeoutMs` (runtimeRequestTimeout) is the deadline of every call but: a sandbox
 * start gets twice as much, as the kubelet gives it (CNI runs inside); stopping and checkpointing add the time asked for
 * in the request; execSync has its own timeout plus that, and none when it asks for none; a pull has none.
 */
export function createServices(
  channel: Transport,
  requestTimeoutMs: number = defaultRequestTimeoutMs,
  protocol: CriProtocol = criProtocol(),
): { runtime: RuntimeService; image: ImageService } {
  const bind = (service: string, method: string): BoundMethod => bindMethod(protocol, service, method);
  const usual: Timeout<unknown> = () => requestTimeoutMs;
  const beyond = (seconds: number | undefined): number => (seconds ?? 0) * 1000 + requestTimeoutMs;

  function unary<Request extends object, Response>(
    service: string,
    method: string,
    timeout: Timeout<Request> = usual,
  ): (request: Request, options?: CallOptions) => Promise<Response> {
    const bound = bind(service, method);
    return async (request, options = {}) => {
      const timeoutMs = options.timeoutMs ?? timeout(request);
      const call: ChannelCall = { method, path: bound.path, timeoutMs, signal: options.signal };
      return bound.response.decode(await channel.unary(call, bound.request.encode(request))) as Response;
    };
  }

  const runtime = 'RuntimeService';
  const image = 'ImageService';
  const events = bind(runtime, 'GetContainerEvents');
  return {
    runtime: {
      version: unary(runtime, 'Version'),
      status: unary(runtime, 'Status'),
      runtimeConfig: unary(runtime, 'RuntimeConfig'),
      updateRuntimeConfig: unary(runtime, 'UpdateRuntimeConfig'),
      runPodSandbox: unary(runtime, 'RunPodSandbox', () => 2 * requestTimeoutMs),
      stopPodSandbox: unary(runtime, 'StopPodSandbox'),
      removePodSandbox: unary(runtime, 'RemovePodSandbox'),
      podSandboxStatus: unary(runtime, 'PodSandboxStatus'),
      listPodSandbox: unary(runtime, 'ListPodSandbox'),
      createContainer: unary(runtime, 'CreateContainer'),
      startContainer: unary(runtime, 'StartContainer'),
      stopContainer: unary(runtime, 'StopContainer', (request) => beyond(request.timeout)),
      removeContainer: unary(runtime, 'RemoveContainer'),
      listContainers: unary(runtime, 'ListContainers'),
      containerStatus: unary(runtime, 'ContainerStatus'),
      updateContainerResources: unary(runtime, 'UpdateContainerResources'),
      updatePodSandboxResources: unary(runtime, 'UpdatePodSandboxResources'),
      reopenContainerLog: unary(runtime, 'ReopenContainerLog'),
      execSync: unary(runtime, 'ExecSync', (request) => (request.timeout ? beyond(request.timeout) : undefined)),
      exec: unary(runtime, 'Exec'),
      attach: unary(runtime, 'Attach'),
      portForward: unary(runtime, 'PortForward'),
      containerStats: unary(runtime, 'ContainerStats'),
      listContainerStats: unary(runtime, 'ListContainerStats'),
      podSandboxStats: unary(runtime, 'PodSandboxStats'),
      listPodSandboxStats: unary(runtime, 'ListPodSandboxStats'),
      checkpointContainer: unary(runtime, 'CheckpointContainer', (request) => beyond(request.timeout)),
      getContainerEvents(request, options = {}) {
        const call: ChannelCall = { method: events.method, path: events.path, signal: options.signal };
        const bytes = channel.serverStream(call, events.request.encode(request));
        return decodeAll<cri.ContainerEventResponse>(bytes, events.response);
      },
    },
    image: {
      listImages: unary(image, 'ListImages'),
      imageStatus: unary(image, 'ImageStatus'),
      pullImage: unary(image, 'PullImage', () => undefined),
      removeImage: unary(image, 'RemoveImage'),
      imageFsInfo: unary(image, 'ImageFsInfo'),
    },
  };
}

function bindMethod({ schema, codecs }: CriProtocol, service: string, method: string): BoundMethod {
  const found = schema.services.get(service)?.get(method);
  const request = found && codecs.get(found.request);
  const response = found && codecs.get(found.response);
  if (!found || !request || !response) throw new Error(`CRI proto: ${service}/${method} is not defined`);
  return { method, path: found.path, request, response };
}

async function* decodeAll<Message>(messages: AsyncIterable<Buffer>, codec: MessageCodec): AsyncGenerator<Message> {
  for await (const bytes of messages) yield codec.decode(bytes) as Message;
}
