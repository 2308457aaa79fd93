/**
 * `keelson cleanup`: removes what Keelson made on this machine, from pods to files. Goes on after a failure and reports
 * all. Layer: agent. Must not touch pods, links, rules or files that carry none of Keelson's marks.
 */
import { rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { hasErrorCode } from '../base/errors.ts';
import { connectRuntime } from '../cri/connect.ts';
import type * as cri from '../cri/messages.generated.ts';
import type { RuntimeService } from '../cri/service.ts';
import { kernelMounts } from '../kernel/mounts.ts';
import { kernelNftables } from '../kernel/nftables.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import { manifestFileAnnotation, podOfLabels, terminationGracePeriodAnnotation } from '../kubelet/plan/annotations.ts';
import { removePodLogs } from '../kubelet/pods/pod-logs.ts';
import { createPodVolumes } from '../kubelet/volumes/pod-volumes.ts';
import { cleanupPodNetwork } from '../network/cleanup.ts';
import { iptablesLegacy } from '../network/forward/legacy-program.ts';
import { errorLine, KeelsonError } from '../observe/keelson-error.ts';
import { cleanupProxy } from '../proxy/cleanup.ts';
import { ControlSocketError, controlSocketPath, queryControl } from './control-socket.ts';
import { cniDirectories } from './network-role.ts';
import { removeNodeCgroups } from './node-cgroups.ts';
import { type RuntimeFacts, readRuntimeFacts } from './runtime-facts.ts';

export interface CleanupOptions {
  containerRuntimeEndpoint: string;
  rootDir: string;
  podLogDir: string;
  runDir: string;
  cniConfDir: string | undefined;
  cniBinDir: string | undefined;
}

export interface CleanupReport {
  removed: string[];
  failed: string[];
}

/** @throws ControlSocketError while a daemon runs: it would make everything again */
export async function cleanupNode(options: CleanupOptions): Promise<CleanupReport> {
  await refuseWhileRunning(options.runDir);
  const report: CleanupReport = { removed: [], failed: [] };
  const step = async (what: string, work: () => Promise<string[]>): Promise<void> => {
    try {
      report.removed.push(...(await work()));
    } catch (error) {
      report.failed.push(`${what}: ${errorLine(error)}`);
    }
  };
  let facts: RuntimeFacts | undefined;
  await step('pods', async () => {
    const connection = await connectRuntime(options.containerRuntimeEndpoint, { connectTimeoutMs: 3000 });
    try {
      facts = await readRuntimeFacts(connection.runtime);
      return await removePods(connection.runtime, options, report.failed);
    } finally {
      connection.close();
    }
  });
  await step('volumes', () => removePodDirectories(options.rootDir));
  await step('cgroups', removeNodeCgroups);
  const { confDir, binDir } = cniDirectories(options, facts);
  const socketPath = join(options.runDir, 'cni.sock');
  const network = await cleanupPodNetwork(
    { cniConfDir: confDir, cniBinDir: binDir, socketPath },
    { rtnetlinkOpener: kernelRtnetlink, nftablesOpener: kernelNftables, legacyFilter: iptablesLegacy },
  );
  report.removed.push(...network.removed);
  report.failed.push(...network.failed);
  const services = await cleanupProxy(kernelNftables);
  report.removed.push(...services.removed);
  report.failed.push(...services.failed);
  await step('files', () => removeEmptied(options));
  return report;
}

async function refuseWhileRunning(runDir: string): Promise<void> {
  try {
    await queryControl(runDir, 2000);
  } catch (error) {
    if (error instanceof ControlSocketError && error.code === 'DAEMON_NOT_RUNNING') return;
    throw error;
  }
  throw new KeelsonError('DAEMON_RUNNING', 'the daemon is running and would make everything again', {
    object: controlSocketPath(runDir),
    fix: 'stop it first (systemctl stop keelson)',
  });
}

async function removePods(runtime: RuntimeService, options: CleanupOptions, failed: string[]): Promise<string[]> {
  const removed: string[] = [];
  const { items } = await runtime.listPodSandbox({});
  const ours = items.filter(({ annotations }) => manifestFileAnnotation in annotations);
  await Promise.all(
    ours.map(async (sandbox) => {
      const pod = podOfLabels(sandbox.labels);
      const what = `pod ${pod?.namespace}/${pod?.name} (sandbox ${sandbox.id.slice(0, 13)})`;
      try {
        await removeSandbox(runtime, sandbox);
        if (pod) await removePodLogs(pod, { ...options, containerLogLinkDir: containerLogLinkDir(options) });
        removed.push(what);
      } catch (error) {
        failed.push(`${what}: ${errorLine(error)}`);
      }
    }),
  );
  return removed.sort();
}

const containerLogLinkDir = ({ podLogDir }: CleanupOptions): string => join(podLogDir, '..', 'containers');

async function removeSandbox(runtime: RuntimeService, sandbox: cri.PodSandbox): Promise<void> {
  const { containers } = await runtime.listContainers({ filter: { podSandboxId: sandbox.id } });
  await Promise.all(
    containers.map(({ id, annotations }) => {
      const grace = Number(annotations[terminationGracePeriodAnnotation] ?? '30');
      return runtime.stopContainer({ containerId: id, timeout: Number.isFinite(grace) ? grace : 30 });
    }),
  );
  await runtime.stopPodSandbox({ podSandboxId: sandbox.id });
  await runtime.removePodSandbox({ podSandboxId: sandbox.id });
}

async function removePodDirectories(rootDir: string): Promise<string[]> {
  const noObjects = { configMap: () => undefined, secret: () => undefined };
  const volumes = createPodVolumes({
    mounts: kernelMounts,
    rootDir,
    clock: systemClock,
    allocatable: { milliCores: 0, memoryBytes: 0 },
    sources: noObjects,
  });
  const removed: string[] = [];
  for (const uid of await volumes.orphans()) {
    await volumes.teardown(uid);
    removed.push(`pod directory ${join(rootDir, 'pods', uid)}`);
  }
  return removed;
}

/** Sockets of ours, then directories as far as nothing of somebody else's is in them. */
async function removeEmptied(options: CleanupOptions): Promise<string[]> {
  const removed: string[] = [];
  for (const socket of [controlSocketPath(options.runDir), join(options.runDir, 'cni.sock')]) {
    try {
      await unlink(socket);
      removed.push(`file ${socket}`);
    } catch (error) {
      if (!hasErrorCode(error, 'ENOENT', 'ENOTDIR')) throw error;
    }
  }
  const { rootDir, runDir, podLogDir } = options;
  for (const directory of [join(rootDir, 'pods'), rootDir, runDir, podLogDir, containerLogLinkDir(options)]) {
    try {
      await rmdir(directory);
      removed.push(`directory ${directory}`);
    } catch (error) {
      if (!hasErrorCode(error, 'ENOENT', 'ENOTEMPTY', 'EBUSY')) throw error;
    }
  }
  return removed;
}
