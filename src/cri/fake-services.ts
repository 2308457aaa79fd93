/**
 * RuntimeService of the fake: each CRI method mapped onto the records of fake-pods.ts.
 * Layer: cri (test support). Holds no state; what a test may steer is in FakeHooks.
 */
import { sleep } from '../base/clock.ts';
import { GrpcStatus } from './cri-error.ts';
import { type FakeContainer, type FakeGeneration, type FakePods, fail } from './fake-pods.ts';
import type { FakeServer } from './fake-server.ts';
import type * as cri from './messages.generated.ts';

export interface FakeExecResult {
  exitCode: number;
  stdout?: string;
  stderr?: string;
}

/** How processes behave; a test replaces what it needs. */
export interface FakeHooks {
  /** The exit code that SIGTERM leads to at once, or undefined: it is ignored and SIGKILL follows after the timeout. */
  onStop: (container: FakeContainer) => number | undefined;
  /** A text makes StartContainer fail with it, as for a command that does not exist. */
  onStart: (container: FakeContainer) => string | undefined;
  onExec: (container: FakeContainer, cmd: string[]) => FakeExecResult;
  /** Bytes that its processes use. */
  memoryUsage: (container: FakeContainer) => number;
  /** What Status(verbose) says of the CNI directories. */
  cniDirectories: { binDir: string; confDir: string };
}

const versions: Record<FakeGeneration, string> = { '1.6': '1.6.20', '1.7': '1.7.24', '2.1': '2.1.9' };

/** Registers all of RuntimeService but the event stream, which is the server's own. */
export function serveRuntime(server: FakeServer, pods: FakePods, generation: FakeGeneration, hooks: FakeHooks): void {
  serveNode(server, pods, generation, hooks);
  serveSandboxes(server, pods);
  serveContainers(server, pods, hooks);
  serveProcesses(server, pods, generation, hooks);
  serveStats(server, pods, hooks);
}

function serveNode(server: FakeServer, pods: FakePods, generation: FakeGeneration, hooks: FakeHooks): void {
  server.on<cri.VersionRequest, cri.VersionResponseInput>('version', () => ({
    version: '0.1.0',
    runtimeName: 'containerd',
    runtimeVersion: versions[generation],
    runtimeApiVersion: 'v1',
  }));
  server.on<cri.StatusRequest, cri.StatusResponseInput>('status', ({ verbose }) => {
    const network: cri.RuntimeConditionInput = pods.networkReady
      ? { type: 'NetworkReady', status: true }
      : { type: 'NetworkReady', status: false, reason: 'NetworkPluginNotReady', message: 'cni plugin not initialized' };
    const { binDir, confDir } = hooks.cniDirectories;
    const cni = generation === '2.1' ? { binDir: '', binDirs: [binDir], confDir } : { binDir, confDir };
    const info: Record<string, string> = verbose ? { config: JSON.stringify({ cni }) } : {};
    const handlers = generation === '2.1' ? ['', 'runc'] : [];
    return {
      status: { conditions: [{ type: 'RuntimeReady', status: true }, network] },
      info,
      runtimeHandlers: handlers.map((name) => ({ name, features: {} })),
    };
  });
  server.on<cri.UpdateRuntimeConfigRequest, cri.UpdateRuntimeConfigResponseInput>('updateRuntimeConfig', () => ({}));
  if (generation !== '2.1') return;
  server.on<cri.RuntimeConfigRequest, cri.RuntimeConfigResponseInput>('runtimeConfig', () => ({
    linux: { cgroupDriver: 'CGROUPFS' },
  }));
}

function serveSandboxes(server: FakeServer, pods: FakePods): void {
  server.on<cri.RunPodSandboxRequest, cri.RunPodSandboxResponseInput>('runPodSandbox', (request) => ({
    podSandboxId: pods.run(request).id,
  }));
  server.on<cri.StopPodSandboxRequest, cri.StopPodSandboxResponseInput>('stopPodSandbox', (request) => {
    pods.stopSandbox(request.podSandboxId);
    return {};
  });
  server.on<cri.RemovePodSandboxRequest, cri.RemovePodSandboxResponseInput>('removePodSandbox', (request) => {
    pods.removeSandbox(request.podSandboxId);
    return {};
  });
  server.on<cri.PodSandboxStatusRequest, cri.PodSandboxStatusResponseInput>('podSandboxStatus', (request) => ({
    status: pods.sandboxStatus(pods.sandbox('PodSandboxStatus', request.podSandboxId)),
  }));
  server.on<cri.ListPodSandboxRequest, cri.ListPodSandboxResponseInput>('listPodSandbox', ({ filter }) => ({
    items: [...pods.sandboxes.values()]
      .filter((s) => matches(filter, s.id, s.state, s.config.labels))
      .map(({ id, config: { metadata, labels, annotations }, state, createdAt, runtimeHandler }) => {
        return { id, metadata, labels, annotations, state, createdAt, runtimeHandler };
      }),
  }));
  server.on<cri.PortForwardRequest, cri.PortForwardResponseInput>('portForward', (request) => {
    const sandbox = pods.sandbox('PortForward', request.podSandboxId);
    if (sandbox.state !== 'SANDBOX_READY') fail('PortForward', GrpcStatus.unknown, 'sandbox container is not running');
    return { url: streamingUrl('portforward', sandbox.id) };
  });
}

function serveContainers(server: FakeServer, pods: FakePods, hooks: FakeHooks): void {
  server.on<cri.CreateContainerRequest, cri.CreateContainerResponseInput>('createContainer', (request) => ({
    containerId: pods.create(request).id,
  }));
  server.on<cri.StartContainerRequest, cri.StartContainerResponseInput>('startContainer', ({ containerId }) => {
    pods.start(containerId, (container) => hooks.onStart(container));
    return {};
  });
  server.on<cri.RemoveContainerRequest, cri.RemoveContainerResponseInput>('removeContainer', ({ containerId }) => {
    pods.removeContainer(containerId);
    return {};
  });
  server.on<cri.ListContainersRequest, cri.ListContainersResponseInput>('listContainers', ({ filter }) => ({
    containers: [...pods.containers.values()]
      .filter((c) => matches(filter, c.id, c.state, c.config.labels))
      .filter((c) => !filter?.podSandboxId || c.sandboxId.startsWith(filter.podSandboxId))
      .map(({ id, sandboxId, config: { metadata, image, labels, annotations }, imageId, state, createdAt }) => {
        return {
          id,
          podSandboxId: sandboxId,
          metadata,
          image,
          labels,
          annotations,
          imageRef: imageId,
          state,
          createdAt,
        };
      }),
  }));
  server.on<cri.ContainerStatusRequest, cri.ContainerStatusResponseInput>('containerStatus', ({ containerId }) => ({
    status: pods.containerStatus(pods.container('ContainerStatus', containerId)),
  }));
  server.on<cri.UpdateContainerResourcesRequest, cri.UpdateContainerResourcesResponseInput>(
    'updateContainerResources',
    ({ containerId, linux }) => {
      const container = pods.container('UpdateContainerResources', containerId);
      if (container.state === 'CONTAINER_EXITED') runningContainer(pods, 'UpdateContainerResources', containerId);
      // What is 0 or left out stays as it is.
      const given = Object.entries(linux ?? {}).filter(([, value]) => value !== 0 && value !== '');
      container.resources = { ...container.resources, ...Object.fromEntries(given) } as cri.LinuxContainerResources;
      return {};
    },
  );
}

function serveProcesses(server: FakeServer, pods: FakePods, generation: FakeGeneration, hooks: FakeHooks): void {
  // SIGTERM, the wait, SIGKILL. A caller that gives up during the wait leaves the container running, as in containerd.
  server.on<cri.StopContainerRequest, cri.StopContainerResponseInput>('stopContainer', async (request, signal) => {
    const { containerId, timeout } = request;
    const container =
      generation === '1.6' ? pods.container('StopContainer', containerId) : pods.findContainer(containerId);
    if (container?.state !== 'CONTAINER_RUNNING') return {};
    if (timeout > 0) {
      const exitCode = hooks.onStop(container);
      if (exitCode === undefined) await sleep(timeout * 1000, signal, server.clock);
      else pods.exit(container, exitCode);
    }
    pods.kill(container);
    return {};
  });
  server.on<cri.ReopenContainerLogRequest, cri.ReopenContainerLogResponseInput>('reopenContainerLog', (request) => {
    runningContainer(pods, 'ReopenContainerLog', request.containerId);
    return {};
  });
  server.on<cri.ExecSyncRequest, cri.ExecSyncResponseInput>('execSync', ({ containerId, cmd }) => {
    const container = runningContainer(pods, 'ExecSync', containerId);
    const { exitCode, stdout = '', stderr = '' } = hooks.onExec(container, cmd);
    return { exitCode, stdout: Buffer.from(stdout), stderr: Buffer.from(stderr) };
  });
  server.on<cri.ExecRequest, cri.ExecResponseInput>('exec', ({ containerId }) => ({
    url: streamingUrl('exec', runningContainer(pods, 'Exec', containerId).id),
  }));
  server.on<cri.AttachRequest, cri.AttachResponseInput>('attach', ({ containerId }) => ({
    url: streamingUrl('attach', runningContainer(pods, 'Attach', containerId).id),
  }));
}

/** Shapes only: every figure but the memory is 0. */
function serveStats(server: FakeServer, pods: FakePods, hooks: FakeHooks): void {
  const statsOf = (container: FakeContainer): cri.ContainerStatsInput => {
    const { metadata, labels, annotations } = container.config;
    const timestamp = server.clock.now() * 1e6;
    const value = { value: 0 };
    const memory = { value: hooks.memoryUsage(container) };
    return {
      attributes: { id: container.id, metadata, labels, annotations },
      cpu: { timestamp, usageCoreNanoSeconds: value },
      memory: { timestamp, workingSetBytes: memory, usageBytes: memory },
    };
  };
  server.on<cri.ContainerStatsRequest, cri.ContainerStatsResponseInput>('containerStats', ({ containerId }) => ({
    stats: statsOf(pods.container('ContainerStats', containerId)),
  }));
  server.on<cri.ListContainerStatsRequest, cri.ListContainerStatsResponseInput>('listContainerStats', () => ({
    stats: [...pods.containers.values()].filter((c) => c.state === 'CONTAINER_RUNNING').map(statsOf),
  }));
}

function runningContainer(pods: FakePods, method: string, id: string): FakeContainer {
  const container = pods.container(method, id);
  if (container.state === 'CONTAINER_RUNNING') return container;
  return fail(method, GrpcStatus.unknown, `container is in ${container.state} state`);
}

interface Filter {
  id: string;
  state: { state: string } | undefined;
  labelSelector: Record<string, string>;
}

function matches(filter: Filter | undefined, id: string, state: string, labels: Record<string, string>): boolean {
  if (filter === undefined) return true;
  if (!id.startsWith(filter.id)) return false;
  if (filter.state !== undefined && filter.state.state !== state) return false;
  return Object.entries(filter.labelSelector).every(([key, value]) => labels[key] === value);
}

function streamingUrl(kind: string, id: string): string {
  return `http://127.0.0.1:1/${kind}/${id.slice(0, 8)}`;
}
