/**
 * `keelson cleanup`: removes what Keelson made on this machine, from pods to files, standalone or in a cluster. Goes on
 * after a failure and reports all. Layer: agent (composition). Must not touch pods, links, rules or files that carry none of
 * Keelson's marks. Whatever is left by a failure, or by a kill, the next cleanup finds.
 */
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { connectRuntime } from '../cri/connect.ts';
import { kernelMounts } from '../kernel/mounts.ts';
import { kernelNftables } from '../kernel/nftables.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import { removePodLogs } from '../kubelet/pods/pod-logs.ts';
import { podDirectoryUids, teardownVolumes } from '../kubelet/volumes/teardown-volumes.ts';
import { cleanupPodNetwork } from '../network/cleanup.ts';
import { iptablesLegacy } from '../network/forward/legacy-program.ts';
import { errorLine, KeelsonError } from '../observe/keelson-error.ts';
import { cleanupProxy } from '../proxy/cleanup.ts';
import { ensureNetworkPlugin } from './cleanup-cni.ts';
import { type PodDirectories, removeFiles, removePodDirectory, unmountBelow } from './cleanup-files.ts';
import { removePods } from './cleanup-pods.ts';
import { startFailurePath } from './cluster/start-failure.ts';
import { ControlSocketError, controlSocketPath, queryControl } from './control-socket.ts';
import { cniDirectories } from './network-role.ts';
import { removeNodeCgroups, removePodCgroup } from './node-cgroups.ts';
import { otherAgents, otherAgentText } from './other-agents.ts';
import { readOtherAgents } from './other-agents-facts.ts';
import { podsInUse } from './pods-in-use.ts';
import { type RuntimeFacts, readRuntimeFacts } from './runtime-facts.ts';

export interface CleanupOptions {
  containerRuntimeEndpoint: string;
  rootDir: string;
  /** Where pods of ours may have directories beside `rootDir`: that of the daemon under the name of a kubelet. */
  otherRootDirs: readonly string[];
  podLogDir: string;
  runDir: string;
  cniConfDir: string | undefined;
  cniBinDir: string | undefined;
}

export interface CleanupReport {
  removed: string[];
  /** What is left on purpose, and why. */
  kept: string[];
  failed: string[];
}

/** @throws KeelsonError DAEMON_RUNNING while a daemon runs, which would make everything again; ControlSocketError */
export async function cleanupNode(options: CleanupOptions): Promise<CleanupReport> {
  await refuseWhileRunning(options.runDir);
  const report: CleanupReport = { removed: [], kept: [], failed: [] };
  const step = async (what: string, work: () => Promise<string[]>): Promise<void> => {
    try {
      report.removed.push(...(await work()));
    } catch (error) {
      report.failed.push(`${what}: ${errorLine(error)}`);
    }
  };
  const roots = [options.rootDir, ...options.otherRootDirs].map(podDirectories);
  const facts = await endPods(options, roots, report);
  const running = await podsInUse();
  const [own] = roots;
  for (const uid of (await own?.uids()) ?? [])
    await step('volumes', async () => (own === undefined ? [] : removePodDirectory(uid, own, running)));
  await step('mounts', () => unmountBelow(options.rootDir, kernelMounts, running));
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
  const files = [controlSocketPath(options.runDir), socketPath, startFailurePath(options.runDir)];
  await step('files', () =>
    removeFiles({ ...options, files, containerLogLinkDir: containerLogLinkDir(options) }, kernelMounts),
  );
  return report;
}

/** @throws KeelsonError DAEMON_RUNNING; ControlSocketError */
export async function refuseWhileRunning(runDir: string): Promise<void> {
  try {
    await queryControl(runDir, 2000);
  } catch (error) {
    if (error instanceof ControlSocketError && error.code === 'DAEMON_NOT_RUNNING') return;
    throw error;
  }
  throw new KeelsonError('DAEMON_RUNNING', 'the daemon is running and would make everything again', {
    object: controlSocketPath(runDir),
    fix: 'stop it first (systemctl stop keelson kubelet)',
  });
}

/** With what else the runtime tells; undefined when it does not answer, or is not asked. */
async function endPods(
  options: CleanupOptions,
  roots: readonly PodDirectories[],
  report: CleanupReport,
): Promise<RuntimeFacts | undefined> {
  const kubelet = await otherKubelet(options);
  if (kubelet !== undefined) {
    report.kept.push(`pods and their volumes, since ${kubelet} and looks after them now`);
    return undefined;
  }
  const paths = { ...options, containerLogLinkDir: containerLogLinkDir(options) };
  try {
    const connection = await connectRuntime(options.containerRuntimeEndpoint, { connectTimeoutMs: 3000 });
    try {
      const facts = await readRuntimeFacts(connection.runtime);
      const pods = await removePods(connection.runtime, {
        withDirectory: new Set(await roots[0]?.uids()),
        prepare: () => ensureNetworkPlugin(connection.runtime, options),
        async removeRest(pod) {
          const removed = await removePodCgroup(pod.uid);
          // The runtime has just ended it.
          for (const root of roots) removed.push(...(await removePodDirectory(pod.uid, root, new Set())));
          await removePodLogs(pod, paths);
          return removed;
        },
      });
      report.removed.push(...pods.removed);
      report.failed.push(...pods.failed);
      return facts;
    } finally {
      connection.close();
    }
  } catch (error) {
    const again = 'the runtime may still have pods: start it and run keelson cleanup again';
    report.failed.push(`pods: ${errorLine(error)}; ${again}`);
    return undefined;
  }
}

/** A stock kubelet that took Keelson's place keeps the pods that it found, whoever made them. */
async function otherKubelet(options: CleanupOptions): Promise<string | undefined> {
  const { confDir } = cniDirectories(options, undefined);
  const facts = await readOtherAgents(
    { cniConfDir: confDir, daemonRuns: false },
    { rtnetlinkOpener: kernelRtnetlink, nftablesOpener: kernelNftables },
  );
  const found = otherAgents(facts).find(({ agent, state }) => agent === 'kubelet' && state === 'running');
  return found && otherAgentText(found);
}

const containerLogLinkDir = ({ podLogDir }: CleanupOptions): string => join(podLogDir, '..', 'containers');

const podDirectories = (rootDir: string): PodDirectories => ({
  uids: () => podDirectoryUids(rootDir),
  teardown: (uid) => teardownVolumes(uid, { mounts: kernelMounts, rootDir, clock: systemClock }),
  path: (uid) => join(rootDir, 'pods', uid),
});
