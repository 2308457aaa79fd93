/**
 * Composition root of `keelson run --standalone`: opens the edges, starts the roles in order, stops them in reverse.
 * Layer: agent; nothing but src/cli imports it. Stopping leaves pods, addresses and rules as they are.
 * Order: control socket (one daemon a run directory) -> runtime -> pod network -> kubelet -> proxy, which needs to know
 * what the pods are before it may touch what a predecessor left in the kernel.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep, systemClock } from '../base/clock.ts';
import type { RunOptions, StandaloneMode } from '../config/flags.ts';
import { connectRuntime, type RuntimeConnection } from '../cri/connect.ts';
import type { RuntimeService } from '../cri/service.ts';
import { connectionKeeper } from '../kernel/hold-connection.ts';
import { kernelMounts } from '../kernel/mounts.ts';
import { kernelNftables } from '../kernel/nftables.ts';
import { sdNotify } from '../kernel/notify.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import { kernelSysctls } from '../kernel/sysctls.ts';
import { type Kubelet, startKubelet } from '../kubelet/kubelet.ts';
import type { PodSource } from '../kubelet/pod-source.ts';
import { createFolderSource } from '../kubelet/static/folder-source.ts';
import { joinSources } from '../kubelet/static/joined-source.ts';
import { ManifestError } from '../kubelet/static/manifest-error.ts';
import type { ManifestSource } from '../kubelet/static/manifest-snapshot.ts';
import { shareSource } from '../kubelet/static/shared-source.ts';
import { createPodVolumes } from '../kubelet/volumes/pod-volumes.ts';
import { type PodNetwork, startPodNetwork } from '../network/pod-network.ts';
import type { EventLoopLag } from '../observe/event-loop-lag.ts';
import { errorLine, KeelsonError } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { serveControl } from './control-socket.ts';
import { cniShimPath, holderPath, packageJsonPath } from './install-paths.ts';
import { type MachineFacts, readMachineFacts, swapDevices } from './node-facts.ts';
import { type RuntimeFacts, readRuntimeFacts } from './runtime-facts.ts';
import { startServiceProxy } from './service-proxy.ts';
import { createStandaloneServiceSource } from './standalone/standalone-service-source.ts';
import { podReports, proxyReport, type StartingReport, type StatusReport } from './status-report.ts';

const sandboxListTimeoutMs = 10_000;

/** Resolves after `signal` was aborted and everything is closed. @throws KeelsonError when a part cannot start */
export async function runStandalone(
  options: RunOptions<StandaloneMode>,
  log: Logger,
  signal: AbortSignal,
  eventLoopLag?: EventLoopLag,
): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const startedAt = new Date();
  const version = await readVersion();
  await refuseSwap(options);
  const { dir, podCIDR, serviceNetwork } = options.mode;
  await refuseUnreadableFolder(dir);

  let report: () => StatusReport | StartingReport = () => ({ starting: true, version });
  const control = await serveControl(options.runDir, () => report());
  cleanup.defer(() => control.close());

  const machine = await readMachine(options);
  const connection = await connectRuntime(options.containerRuntimeEndpoint, {
    signal,
    requestTimeoutMs: options.kubelet.runtimeRequestTimeoutMs,
    keeper: connectionKeeper(holderPath, log),
  });
  cleanup.defer(() => connection.close());
  const images = await connectImages(options, connection, signal);
  cleanup.defer(() => images.close());
  log.info(
    { runtime: connection.version.runtimeName, version: connection.version.runtimeVersion },
    'connected to the container runtime',
  );

  const network = await startNetwork(options, machine, connection.runtime, log, signal);
  cleanup.defer(() => network.stop());

  const manifests = shareSource(manifestSource(options, machine, log));
  const kubelet = await startKubeletRole(options, machine, connection, images, manifests, log, signal);
  cleanup.defer(() => kubelet.stop());

  const { nodeName } = machine;
  const services = createStandaloneServiceSource({ manifests, pods: kubelet.board, nodeName, serviceNetwork, log });
  const proxy = await startServiceProxy(
    { nodeName, families: ['IPv4'], podCIDRs: [podCIDR] },
    { source: services, unheard: (work) => network.withoutNftablesNotifications(work), log },
    signal,
  );
  cleanup.defer(() => proxy.stop());

  report = () => {
    const now = kubelet.status();
    return {
      version,
      nodeName: machine.nodeName,
      nodeIPs: machine.hostIPs,
      startedAt: startedAt.toISOString(),
      memoryBytes: process.memoryUsage.rss(),
      runtime: {
        name: connection.version.runtimeName,
        version: connection.version.runtimeVersion,
        healthy: now.runtime.healthy,
        mode: now.runtime.mode ?? 'connecting',
      },
      network: network.status(),
      proxy: proxyReport(proxy.status()),
      pods: podReports(now),
      ending: now.ending.map(({ namespace, name, uid }) => ({ namespace, name, uid })),
      manifestErrors: [
        ...now.manifestErrors,
        ...services.problems().map((error) => ({ file: error.file, error: errorLine(error) })),
      ],
      ...(eventLoopLag ? { eventLoopLag: eventLoopLag.read() } : {}),
    };
  };
  log.info({ node: machine.nodeName, podCIDR, folder: dir }, 'Keelson is running');
  sdNotify('READY=1');
  await aborted(signal);
  sdNotify('STOPPING=1');
  log.info({}, 'Keelson stops; its pods go on');
}

async function readVersion(): Promise<string> {
  const parsed: unknown = JSON.parse(await readFile(packageJsonPath, 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : 'unknown';
}

async function refuseSwap(options: RunOptions): Promise<void> {
  if (!options.kubelet.failSwapOn) return;
  const swap = await swapDevices();
  if (swap.length === 0) return;
  throw new KeelsonError('SWAP_ON', `swap is on (${swap.join(', ')})`, {
    object: 'node',
    fix: 'run swapoff -a, or set failSwapOn: false in the configuration file',
  });
}

/** Said before anything is made on the node; whether the folder stays readable is the folder source's affair. */
async function refuseUnreadableFolder(folder: string): Promise<void> {
  try {
    await readdir(folder);
  } catch (cause) {
    const fix = 'create the folder and let root read it';
    throw new ManifestError('MANIFEST_FOLDER', `cannot be read: ${errorLine(cause)}`, { file: folder, fix, cause });
  }
}

async function readMachine(options: RunOptions): Promise<MachineFacts> {
  const rtnetlink = await kernelRtnetlink.open();
  try {
    return await readMachineFacts(rtnetlink, { hostname: options.hostnameOverride, nodeIP: options.nodeIP });
  } finally {
    rtnetlink.close();
  }
}

/** The image service is the runtime's own unless the configuration names another endpoint. */
async function connectImages(
  options: RunOptions,
  runtime: RuntimeConnection,
  signal: AbortSignal,
): Promise<Pick<RuntimeConnection, 'image' | 'close'>> {
  const { imageServiceEndpoint, runtimeRequestTimeoutMs } = options.kubelet;
  if (imageServiceEndpoint === options.containerRuntimeEndpoint)
    return { image: runtime.image, close: () => undefined };
  return connectRuntime(imageServiceEndpoint, { signal, requestTimeoutMs: runtimeRequestTimeoutMs });
}

async function startNetwork(
  options: RunOptions<StandaloneMode>,
  machine: MachineFacts,
  runtime: RuntimeService,
  log: Logger,
  signal: AbortSignal,
): Promise<PodNetwork> {
  const { confDir, binDir } = cniDirectories(options, await readRuntimeFacts(runtime, signal));
  return startPodNetwork(
    {
      podCIDR: options.mode.podCIDR,
      mtu: machine.mtu,
      socketPath: join(options.runDir, 'cni.sock'),
      cniConfDir: confDir,
      cniBinDir: binDir,
      shimPath: cniShimPath,
    },
    {
      rtnetlinkOpener: kernelRtnetlink,
      sysctls: kernelSysctls,
      nftablesOpener: kernelNftables,
      log,
      knownSandboxes: () => knownSandboxes(runtime),
      signal,
    },
  );
}

/** Flags first, then what the runtime says, then the customary places. */
export function cniDirectories(
  options: Pick<RunOptions, 'cniConfDir' | 'cniBinDir'>,
  facts: RuntimeFacts | undefined,
): { confDir: string; binDir: string } {
  return {
    confDir: options.cniConfDir ?? facts?.cniConfDir ?? '/etc/cni/net.d',
    binDir: options.cniBinDir ?? facts?.cniBinDir ?? '/opt/cni/bin',
  };
}

async function knownSandboxes(runtime: RuntimeService): Promise<{ containerID: string; ip: string | undefined }[]> {
  const { items } = await runtime.listPodSandbox({}, { timeoutMs: sandboxListTimeoutMs });
  return Promise.all(
    items.map(async ({ id, state }) => {
      if (state !== 'SANDBOX_READY') return { containerID: id, ip: undefined };
      const { status } = await runtime.podSandboxStatus({ podSandboxId: id }, { timeoutMs: sandboxListTimeoutMs });
      return { containerID: id, ip: status?.network?.ip || undefined };
    }),
  );
}

/** The standalone folder, and KubeletConfiguration's staticPodPath. */
function manifestSource(options: RunOptions<StandaloneMode>, machine: MachineFacts, log: Logger): ManifestSource {
  const { staticPodPath, fileCheckFrequencyMs } = options.kubelet;
  const folders = [options.mode.dir, ...(staticPodPath === undefined ? [] : [staticPodPath])];
  return joinSources(
    folders.map((folder) =>
      createFolderSource({
        folder,
        nodeName: machine.nodeName,
        rescanMs: fileCheckFrequencyMs,
        clock: systemClock,
        log: log.child({ component: 'manifests' }),
      }),
    ),
  );
}

function startKubeletRole(
  options: RunOptions,
  machine: MachineFacts,
  connection: RuntimeConnection,
  images: Pick<RuntimeConnection, 'image'>,
  source: PodSource,
  log: Logger,
  signal: AbortSignal,
): Promise<Kubelet> {
  const { kubelet: config, rootDir, podLogDir } = options;
  return startKubelet(
    {
      runtime: connection.runtime,
      images: images.image,
      source,
      volumes: (sources) =>
        createPodVolumes({
          mounts: kernelMounts,
          rootDir,
          clock: systemClock,
          allocatable: { milliCores: machine.cores * 1000, memoryBytes: machine.memoryBytes },
          sources,
        }),
      node: {
        nodeName: machine.nodeName,
        hostIPs: machine.hostIPs,
        runtimeName: connection.version.runtimeName,
        resources: {
          memoryBytes: machine.memoryBytes,
          enforceCpuQuota: config.cpuCFSQuota,
          cpuQuotaPeriodUs: config.cpuCFSQuotaPeriodMicros,
        },
        allocatable: { milliCores: machine.cores * 1000, memoryBytes: machine.memoryBytes },
        clusterDns: { servers: [...config.clusterDNS], domain: config.clusterDomain ?? '' },
        resolvConf: config.resolvConf ?? '',
        security: { seccompDefault: config.seccompDefault, seccompProfileRoot: join(rootDir, 'seccomp') },
      },
      paths: { rootDir, podLogDir, containerLogLinkDir: join(podLogDir, '..', 'containers') },
      clock: systemClock,
      log: log.child({ component: 'kubelet' }),
      restartBackoff: { initialMs: 10_000, maxMs: config.maxContainerRestartPeriodMs },
      // Half of a start is waiting for the kernel and for containerd's own locks (bench/pods.ts, 2 to 8 places tried).
      parallelStarts: 2 * machine.cores,
      parallelPulls: config.maxParallelImagePulls ?? Number.MAX_SAFE_INTEGER,
      pullRate: { perSecond: config.registryPullQPS, burst: config.registryBurst },
      maxPods: config.podsPerCore > 0 ? Math.min(config.maxPods, machine.cores * config.podsPerCore) : config.maxPods,
      syncFrequencyMs: config.syncFrequencyMs,
      networkReady: networkGate(connection.runtime),
    },
    signal,
  );
}

/**
 * The runtime notices our conflist a moment after it is written, and again after its own restart. Asked before a sandbox
 * is made; remembers a yes, since a later no shows as a failed sandbox, which asks again.
 */
function networkGate(runtime: RuntimeService): (signal: AbortSignal) => Promise<void> {
  let ready = false;
  return async (signal) => {
    for (let delayMs = 20; !ready; delayMs = Math.min(delayMs * 2, 1000)) {
      const facts = await readRuntimeFacts(runtime, signal);
      ready = facts.networkReady;
      if (!ready) await sleep(delayMs, signal);
    }
  };
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
