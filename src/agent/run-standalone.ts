/**
 * Composition root of `keelson run --standalone`: opens the edges, starts the roles in order, stops them in reverse.
 * Layer: agent; nothing but src/cli imports it. Stopping leaves pods, addresses and rules as they are.
 * Order: control socket (one daemon a run directory) -> runtime -> pod network -> kubelet -> proxy, which needs to know
 * what the pods are before it may touch what a predecessor left in the kernel.
 */
import { readdir } from 'node:fs/promises';
import type { RunOptions, StandaloneMode } from '../config/flags.ts';
import { sdNotify } from '../kernel/notify.ts';
import { joinSources } from '../kubelet/static/joined-source.ts';
import { ManifestError } from '../kubelet/static/manifest-error.ts';
import { shareSource } from '../kubelet/static/shared-source.ts';
import type { EventLoopLag } from '../observe/event-loop-lag.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { trafficOfPods } from '../proxy/services/traffic-options.ts';
import { serveControl } from './control-socket.ts';
import { folderSource, startKubeletRole } from './kubelet-role.ts';
import { followUplink, startNetworkRole } from './network-role.ts';
import { refuseCgroupV1 } from './node-cgroups.ts';
import { aborted, connectServices, readMachine, readVersion, refuseSwap } from './node-start.ts';
import { startServiceProxy } from './service-proxy.ts';
import { createStandaloneServiceSource } from './standalone/standalone-service-source.ts';
import {
  daemonReport,
  podReports,
  proxyReport,
  runtimeReport,
  type StartingReport,
  type StatusReport,
} from './status-report.ts';
import { startOwnWatchdog } from './watchdog.ts';

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
  await refuseCgroupV1(options);
  const { dir, podCIDRs, serviceNetwork } = options.mode;
  await refuseUnreadableFolder(dir);

  let report: () => StatusReport | StartingReport = () => ({ starting: true, version });
  const control = await serveControl(options.runDir, () => report());
  cleanup.defer(() => control.close());

  const machine = await readMachine(options);
  const connection = await connectServices(options, log, signal);
  cleanup.defer(() => connection.close());

  const network = await startNetworkRole(
    options,
    {
      podCIDRs,
      mtu: options.mtu ?? machine.mtu,
      ...(options.mtu === undefined && { followUplink: followUplink(machine, 0) }),
    },
    connection.runtime,
    log,
    signal,
  );
  cleanup.defer(() => network.stop());

  const { staticPodPath } = options.kubelet;
  const folders = [dir, ...(staticPodPath === undefined ? [] : [staticPodPath])];
  const manifests = shareSource(joinSources(folders.map((folder) => folderSource(folder, options, machine, log))));
  const kubelet = await startKubeletRole(options, machine, connection, manifests, log, signal);
  cleanup.defer(() => kubelet.stop());

  const { nodeName } = machine;
  const services = createStandaloneServiceSource({ manifests, pods: kubelet.board, nodeName, serviceNetwork, log });
  const proxy = await startServiceProxy(
    { nodeName, families: ['IPv4'], ...trafficOfPods(podCIDRs) },
    { source: services, unheard: (work) => network.withoutNftablesNotifications(work), log },
    signal,
  );
  cleanup.defer(() => proxy.stop());

  report = () => {
    const now = kubelet.status();
    return {
      ...daemonReport(version, machine, startedAt),
      runtime: runtimeReport(connection.version, now),
      network: network.status(),
      proxy: proxyReport(proxy.status()),
      waiting: [],
      pods: podReports(now),
      ending: now.ending.map(({ namespace, name, uid }) => ({ namespace, name, uid })),
      manifestErrors: [
        ...now.manifestErrors,
        ...services.problems().map((error) => ({ file: error.file, error: errorLine(error) })),
      ],
      ...(eventLoopLag ? { eventLoopLag: eventLoopLag.read() } : {}),
    };
  };
  log.info({ node: machine.nodeName, podCIDRs, folder: dir }, 'Keelson is running');
  sdNotify('READY=1');
  cleanup.use(startOwnWatchdog(log));
  await aborted(signal);
  sdNotify('STOPPING=1');
  log.info({}, 'Keelson stops; its pods go on');
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
