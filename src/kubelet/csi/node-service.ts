/**
 * The Node service of one CSI driver, one typed method a call, and what a failed call means for the volume.
 * Layer: kubelet/csi (edge to the driver's socket). No policy: nothing is retried, cached or logged here.
 */
import { CriChannel } from '../../cri/channel.ts';
import { CriError, GrpcStatus } from '../../cri/cri-error.ts';
import { compileService, type Invoke, invoker } from '../plugins/grpc-methods.ts';
import { CsiError } from './csi-error.ts';
import type * as csi from './messages.generated.ts';
import * as tables from './schema.generated.ts';

export type NodeCapability = csi.NodeServiceCapability_RPC_Type;

/** Every method throws CsiError CSI_REFUSED or CSI_UNCERTAIN, or the signal's reason (then the outcome is uncertain, too). */
export interface CsiNodeService {
  stage(request: csi.NodeStageVolumeRequestInput, signal: AbortSignal): Promise<void>;
  unstage(request: csi.NodeUnstageVolumeRequestInput, signal: AbortSignal): Promise<void>;
  publish(request: csi.NodePublishVolumeRequestInput, signal: AbortSignal): Promise<void>;
  unpublish(request: csi.NodeUnpublishVolumeRequestInput, signal: AbortSignal): Promise<void>;
  expand(request: csi.NodeExpandVolumeRequestInput, signal: AbortSignal): Promise<csi.NodeExpandVolumeResponse>;
  volumeStats(
    request: csi.NodeGetVolumeStatsRequestInput,
    signal: AbortSignal,
  ): Promise<csi.NodeGetVolumeStatsResponse>;
  capabilities(signal: AbortSignal): Promise<ReadonlySet<NodeCapability>>;
  info(signal: AbortSignal): Promise<csi.NodeGetInfoResponse>;
  close(): void;
}

export interface NodeServiceOptions {
  readonly driver: string;
  /** Absolute path of the driver's socket. */
  readonly endpoint: string;
  /** Milliseconds for each call; default 2 minutes (csiTimeout of pkg/volume/csi). */
  readonly timeoutMs?: number;
}

const defaultTimeoutMs = 120_000;
/** Numbers are shown while a user waits for them. */
const statsTimeoutMs = 10_000;
/** Source: isFinalError of pkg/volume/csi/csi_client.go; 10 is ABORTED: another operation on the volume is pending. */
const uncertainStatuses: ReadonlySet<number> = new Set([
  GrpcStatus.cancelled,
  GrpcStatus.deadlineExceeded,
  GrpcStatus.unavailable,
  GrpcStatus.resourceExhausted,
  10,
]);

let methods: ReturnType<typeof compileService> | undefined;

/** Connects at the first call, and again by itself after the driver was restarted. */
export function connectNodeService(options: NodeServiceOptions): CsiNodeService {
  const { driver, endpoint, timeoutMs = defaultTimeoutMs } = options;
  methods ??= compileService(tables, 'csi.v1', 'Node');
  const channel = new CriChannel(endpoint);
  const invoke: Invoke = invoker(methods, channel);
  const call = async (method: string, request: object, signal: AbortSignal, ms = timeoutMs): Promise<unknown> => {
    try {
      return await invoke(method, request, { signal, timeoutMs: ms });
    } catch (cause) {
      signal.throwIfAborted();
      throw callError(driver, method, cause);
    }
  };
  return {
    async stage(request, signal) {
      await call('NodeStageVolume', request, signal);
    },
    async unstage(request, signal) {
      await call('NodeUnstageVolume', request, signal);
    },
    async publish(request, signal) {
      await call('NodePublishVolume', request, signal);
    },
    async unpublish(request, signal) {
      await call('NodeUnpublishVolume', request, signal);
    },
    expand: async (request, signal) =>
      (await call('NodeExpandVolume', request, signal)) as csi.NodeExpandVolumeResponse,
    volumeStats: async (request, signal) =>
      (await call('NodeGetVolumeStats', request, signal, statsTimeoutMs)) as csi.NodeGetVolumeStatsResponse,
    async capabilities(signal) {
      const answer = (await call('NodeGetCapabilities', {}, signal)) as csi.NodeGetCapabilitiesResponse;
      return new Set(answer.capabilities.flatMap(({ rpc }) => (rpc === undefined ? [] : [rpc.type])));
    },
    info: async (signal) => (await call('NodeGetInfo', {}, signal)) as csi.NodeGetInfoResponse,
    close: () => channel.close(),
  };
}

/** The longest sentence of a driver that is shown. */
const maxMessage = 1000;

function callError(driver: string, method: string, cause: unknown): CsiError {
  const said = (cause instanceof Error ? cause.message : String(cause)).slice(0, maxMessage);
  const grpcStatus = cause instanceof CriError ? cause.grpcStatus : undefined;
  // Without a status the call was not sent, or its answer made no sense: an earlier one may still be under way.
  const uncertain = grpcStatus === undefined || uncertainStatuses.has(grpcStatus);
  return new CsiError(uncertain ? 'CSI_UNCERTAIN' : 'CSI_REFUSED', `${method}: ${said}`, {
    object: `CSI driver ${driver}`,
    driver,
    ...(grpcStatus !== undefined && { grpcStatus }),
    ...(grpcStatus === GrpcStatus.unavailable && { fix: "check that the driver's pod on this node runs" }),
    cause,
  });
}
