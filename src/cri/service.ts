/**
 * The container runtime as the kubelet role sees it: RuntimeService and ImageService of CRI v1, one typed method a call.
 * Layer: cri (pure types). The gRPC client and the stateful fake both implement it. Message types come from
 * messages.generated.ts, made from proto/ by script/generate-cri-types.ts.
 */
import type * as cri from './messages.generated.ts';

export interface CallOptions {
  signal?: AbortSignal;
  /** Milliseconds; each method has a default that suits it (KubeletConfiguration runtimeRequestTimeout). */
  timeoutMs?: number;
}

type Unary<Request, Response> = (request: Request, options?: CallOptions) => Promise<Response>;

export interface RuntimeService {
  version: Unary<cri.VersionRequestInput, cri.VersionResponse>;
  status: Unary<cri.StatusRequestInput, cri.StatusResponse>;
  /** containerd >= 2.0; UNIMPLEMENTED before. */
  runtimeConfig: Unary<cri.RuntimeConfigRequestInput, cri.RuntimeConfigResponse>;
  updateRuntimeConfig: Unary<cri.UpdateRuntimeConfigRequestInput, cri.UpdateRuntimeConfigResponse>;
  runPodSandbox: Unary<cri.RunPodSandboxRequestInput, cri.RunPodSandboxResponse>;
  stopPodSandbox: Unary<cri.StopPodSandboxRequestInput, cri.StopPodSandboxResponse>;
  removePodSandbox: Unary<cri.RemovePodSandboxRequestInput, cri.RemovePodSandboxResponse>;
  podSandboxStatus: Unary<cri.PodSandboxStatusRequestInput, cri.PodSandboxStatusResponse>;
  listPodSandbox: Unary<cri.ListPodSandboxRequestInput, cri.ListPodSandboxResponse>;
  createContainer: Unary<cri.CreateContainerRequestInput, cri.CreateContainerResponse>;
  startContainer: Unary<cri.StartContainerRequestInput, cri.StartContainerResponse>;
  /** The runtime waits up to `timeout` seconds between SIGTERM and SIGKILL; the call's deadline is set beyond that. */
  stopContainer: Unary<cri.StopContainerRequestInput, cri.StopContainerResponse>;
  removeContainer: Unary<cri.RemoveContainerRequestInput, cri.RemoveContainerResponse>;
  listContainers: Unary<cri.ListContainersRequestInput, cri.ListContainersResponse>;
  containerStatus: Unary<cri.ContainerStatusRequestInput, cri.ContainerStatusResponse>;
  updateContainerResources: Unary<cri.UpdateContainerResourcesRequestInput, cri.UpdateContainerResourcesResponse>;
  /** containerd >= 2.1; UNIMPLEMENTED before. */
  updatePodSandboxResources: Unary<cri.UpdatePodSandboxResourcesRequestInput, cri.UpdatePodSandboxResourcesResponse>;
  reopenContainerLog: Unary<cri.ReopenContainerLogRequestInput, cri.ReopenContainerLogResponse>;
  execSync: Unary<cri.ExecSyncRequestInput, cri.ExecSyncResponse>;
  exec: Unary<cri.ExecRequestInput, cri.ExecResponse>;
  attach: Unary<cri.AttachRequestInput, cri.AttachResponse>;
  portForward: Unary<cri.PortForwardRequestInput, cri.PortForwardResponse>;
  containerStats: Unary<cri.ContainerStatsRequestInput, cri.ContainerStatsResponse>;
  listContainerStats: Unary<cri.ListContainerStatsRequestInput, cri.ListContainerStatsResponse>;
  podSandboxStats: Unary<cri.PodSandboxStatsRequestInput, cri.PodSandboxStatsResponse>;
  listPodSandboxStats: Unary<cri.ListPodSandboxStatsRequestInput, cri.ListPodSandboxStatsResponse>;
  checkpointContainer: Unary<cri.CheckpointContainerRequestInput, cri.CheckpointContainerResponse>;
  /**
   * Server stream of container lifecycle events, containerd >= 1.7 (UNIMPLEMENTED before: the iteration throws CriError).
   * Ends by throwing when the connection is lost; the caller relists and subscribes again.
   */
  getContainerEvents(
    request: cri.GetEventsRequestInput,
    options?: { signal?: AbortSignal },
  ): AsyncIterable<cri.ContainerEventResponse>;
}

export interface ImageService {
  listImages: Unary<cri.ListImagesRequestInput, cri.ListImagesResponse>;
  imageStatus: Unary<cri.ImageStatusRequestInput, cri.ImageStatusResponse>;
  /** No default deadline: a pull lasts as long as the runtime makes progress; abort it through the signal. */
  pullImage: Unary<cri.PullImageRequestInput, cri.PullImageResponse>;
  removeImage: Unary<cri.RemoveImageRequestInput, cri.RemoveImageResponse>;
  imageFsInfo: Unary<cri.ImageFsInfoRequestInput, cri.ImageFsInfoResponse>;
}
