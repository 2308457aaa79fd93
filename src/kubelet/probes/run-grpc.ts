/**
 * The grpc probe: asks the standard health service without TLS; only SERVING is success, whatever else a failure.
 * Layer: kubelet/probes (edge: @grpc/grpc-js, which CRI needs anyway). Source: pkg/probe/grpc/grpc.go.
 */
import { Client, connectivityState, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Probe } from '../../api/core.ts';
import { decodeHealthStatus, encodeHealthRequest, healthCheckPath } from './health-message.ts';
import { joinHostPort, kubeUserAgent } from './http-target.ts';
import { type ProbeOutcome, probeError } from './probe-outcome.ts';
import type { ProbeRequest } from './run-probe.ts';

const channelOptions = {
  'grpc.primary_user_agent': kubeUserAgent('probe'),
  // A health status is a few bytes.
  'grpc.max_receive_message_length': 64 * 1024,
  'grpc.max_metadata_size': 64 * 1024,
  // Nothing that outlives the probe, and no proxy of the node's environment.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
};

/** Rejects with the signal's reason when aborted. */
export async function runGrpcProbe(action: NonNullable<Probe['grpc']>, request: ProbeRequest): Promise<ProbeOutcome> {
  const { host, signal, timeoutSeconds } = request;
  const { port, service = '' } = action;
  if (host === undefined) return probeError('the pod has no IP address');
  signal.throwIfAborted();
  const address = joinHostPort(host, port);
  const target = `${host.includes(':') ? 'ipv6' : 'ipv4'}:${address}`;
  const client = new Client(target, credentials.createInsecure(), {
    ...channelOptions,
    'grpc.default_authority': address,
  });
  // The library's deadlines are wall-clock dates.
  const deadline = Date.now() + timeoutSeconds * 1000;
  const failure = (output: string): ProbeOutcome => ({ result: 'failure', output });
  try {
    if (!(await connected(client, deadline, signal))) {
      const reason = 'context deadline exceeded';
      return failure(
        `timeout: failed to connect service ${JSON.stringify(address)} within ${timeoutSeconds}s: ${reason}`,
      );
    }
    const answer = await check(client, encodeHealthRequest(service), deadline, signal);
    if ('code' in answer) return failure(refusal(answer, timeoutSeconds));
    const serving = decodeHealthStatus(answer);
    if (serving === 'SERVING') return { result: 'success', output: 'service healthy' };
    return failure(`service unhealthy (responded with ${JSON.stringify(serving)})`);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (!(error instanceof RangeError)) throw error;
    return failure(`error: health rpc probe failed: rpc error: code = Internal desc = ${error.message}`);
  } finally {
    client.close();
  }
}

/**
 * False when there is no connection before the deadline; a refused one is tried again until then. Not Client.waitForReady:
 * closing a client that waits there lets it connect again behind our back.
 */
function connected(client: Client, deadline: number, signal: AbortSignal): Promise<boolean> {
  const channel = client.getChannel();
  return new Promise((resolve, reject) => {
    let waiting = true;
    const leave = (): void => {
      waiting = false;
      signal.removeEventListener('abort', onAbort);
    };
    const onAbort = (): void => {
      leave();
      reject(signal.reason);
    };
    const look = (late?: Error): void => {
      if (!waiting) return;
      const state = late ? undefined : channel.getConnectivityState(true);
      if (state !== undefined && state !== connectivityState.READY) {
        channel.watchConnectivityState(state, deadline, look);
      } else {
        leave();
        resolve(state !== undefined);
      }
    };
    signal.addEventListener('abort', onAbort, { once: true });
    look();
  });
}

const identity = (bytes: Buffer): Buffer => bytes;

function check(client: Client, request: Buffer, deadline: number, signal: AbortSignal): Promise<Buffer | ServiceError> {
  return new Promise((resolve, reject) => {
    const call = client.makeUnaryRequest<Buffer, Buffer>(
      healthCheckPath,
      identity,
      identity,
      request,
      new Metadata(),
      { deadline },
      (error, answer) => {
        signal.removeEventListener('abort', onAbort);
        if (signal.aborted) reject(signal.reason);
        else resolve(error ?? answer ?? Buffer.alloc(0));
      },
    );
    const onAbort = (): void => call.cancel();
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

function refusal({ code, details }: ServiceError, timeoutSeconds: number): string {
  switch (code) {
    case status.UNIMPLEMENTED:
      return `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${details}`;
    case status.DEADLINE_EXCEEDED:
      return `timeout: health rpc did not complete within ${timeoutSeconds}s`;
    default:
      return `error: health rpc probe failed: rpc error: code = ${goName(code)} desc = ${details}`;
  }
}

/** `NOT_FOUND` -> `NotFound` */
const goName = (code: status): string =>
  (status[code] ?? String(code)).toLowerCase().replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
