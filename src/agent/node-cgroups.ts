/**
 * The cgroups of this node and its kernel's settings, from configuration and facts.
 * Layer: agent (composition). What is written where is kubelet/cgroups' to decide.
 */
import { systemClock } from '../base/clock.ts';
import type { RunOptions } from '../config/flags.ts';
import type { RuntimeService } from '../cri/service.ts';
import { kernelSysctls } from '../kernel/sysctls.ts';
import { mountedCgroupFiles } from '../kubelet/cgroups/cgroup-files.ts';
import { cgroupDriver, podsHaveCgroups } from '../kubelet/cgroups/cgroup-mode.ts';
import { cgroupPath, isCgroupUid, podCgroup } from '../kubelet/cgroups/cgroup-name.ts';
import { CgroupTree } from '../kubelet/cgroups/cgroup-tree.ts';
import { ensureKernelSettings } from '../kubelet/cgroups/kernel-settings.ts';
import type { MachineAmounts } from '../kubelet/cgroups/node-settings.ts';
import type { RecordNodeEvent } from '../kubelet/cgroups/pods-limit.ts';
import { removeEmptyCgroups } from '../kubelet/cgroups/remove-empty.ts';
import { type NodeCgroups, startCgroups } from '../kubelet/cgroups/start-cgroups.ts';
import { SystemdBus } from '../kubelet/cgroups/systemd-bus.ts';
import { type ContainerHost, readContainerHost } from '../kubelet/node/container-host.ts';
import { evictionThresholds, thresholdUnits } from '../kubelet/node/eviction-thresholds.ts';
import { hostReader } from '../kubelet/node/host-reader.ts';
import { measureNode } from '../kubelet/node/node-measurements.ts';
import { pageSizeName } from '../kubelet/plan/resources.ts';
import { type Logger, silentLogger } from '../observe/logger.ts';
import type { MachineFacts } from './node-facts.ts';

export interface NodeCgroupsContext {
  options: RunOptions;
  machine: MachineFacts;
  host: Pick<ContainerHost, 'unifiedCgroups'>;
  runtime: RuntimeService;
  /** Default: nobody is told. */
  recordEvent?: RecordNodeEvent | undefined;
  log: Logger;
}

/** Where cgroup v2 is, and systemd has it, on every machine that has no v1. */
const cgroupMount = '/sys/fs/cgroup';

/**
 * @returns undefined when the runtime places containers by itself: by the configuration, or on cgroup v1 without one
 * @throws CgroupError for what a person has to put right first, CriError when the runtime fails
 */
export async function startNodeCgroups(context: NodeCgroupsContext, signal: AbortSignal) {
  const { options, host, runtime } = context;
  const { cgroups: config } = options.kubelet;
  const log = context.log.child({ component: 'cgroups' });
  const configured = options.configFile !== undefined;
  // Who only tries out a folder of manifests keeps the machine as it is.
  if (configured || options.mode.kind === 'cluster') {
    await ensureKernelSettings(kernelSysctls, config.protectKernelDefaults, log);
  }
  if (!podsHaveCgroups({ unified: host.unifiedCgroups, configured, perQOS: config.perQOS })) {
    const why = host.unifiedCgroups ? 'cgroupsPerQOS is false' : 'this machine has cgroup v1';
    log.warn({}, `pods get no cgroups of their own, since ${why}: only their containers are limited`);
    return undefined;
  }
  const driver = await cgroupDriver(runtime, config.driver, { clock: systemClock, log }, signal);
  const systemd = driver === 'systemd' ? new SystemdBus() : undefined;
  try {
    const cgroups = await begin(context, systemd, log);
    log.info({ driver, cgroupRoot: config.root }, 'pods have cgroups');
    return cgroups;
  } catch (error) {
    await systemd?.close();
    throw error;
  }
}

async function begin(context: NodeCgroupsContext, systemd: SystemdBus | undefined, log: Logger): Promise<NodeCgroups> {
  const { kubelet } = context.options;
  const { cgroups: config } = kubelet;
  const machine = await machineAmounts(context);
  const memory = evictionThresholds({ evictionHard: kubelet.evictionHard }).find(
    ({ signal: name }) => name === 'memory.available',
  );
  return startCgroups({
    files: mountedCgroupFiles(cgroupMount),
    systemd,
    cgroupRoot: config.root,
    machine,
    reservations: kubelet,
    evictionMemoryBytes: memory === undefined ? 0 : thresholdUnits(memory.value, machine.memoryBytes),
    enforce: config.enforce,
    systemReservedCgroup: config.systemReservedCgroup,
    kubeReservedCgroup: config.kubeReservedCgroup,
    pods: {
      enforceCpuQuota: kubelet.cpuCFSQuota,
      cpuQuotaPeriodUs: kubelet.cpuCFSQuotaPeriodMicros,
      podPidsLimit: config.podPidsLimit,
    },
    clock: systemClock,
    log,
    ...(context.recordEvent === undefined ? {} : { recordEvent: context.recordEvent }),
  });
}

/** Before anything is made on the node. @throws CgroupError CGROUP_V1 */
export async function refuseCgroupV1({ configFile, kubelet }: RunOptions): Promise<void> {
  const { unifiedCgroups: unified } = await readContainerHost(hostReader);
  podsHaveCgroups({ unified, configured: configFile !== undefined, perQOS: kubelet.cgroups.perQOS });
}

/**
 * For cleanup: the cgroup of a pod whose containers were stopped, of either driver, with what is left in it. On cgroup v1
 * pods have none of ours. @returns what was removed. @throws CgroupError
 */
export async function removePodCgroup(uid: string): Promise<string[]> {
  if (!isCgroupUid(uid)) return [];
  const files = mountedCgroupFiles(cgroupMount);
  const removed: string[] = [];
  for (const driver of ['cgroupfs', 'systemd'] as const) {
    for (const qos of ['Guaranteed', 'Burstable', 'BestEffort'] as const) {
      const name = podCgroup([], qos, uid);
      if ((await files.read(cgroupPath(driver, name), 'cgroup.controllers')) === undefined) continue;
      await using systemd = driver === 'systemd' ? disposable(new SystemdBus()) : undefined;
      const tree = new CgroupTree({
        files,
        systemd: systemd?.bus,
        clock: systemClock,
        log: silentLogger,
        controllers: new Set(),
      });
      await tree.remove(name);
      removed.push(`cgroup ${tree.path(name)}`);
    }
  }
  return removed;
}

const disposable = (bus: SystemdBus) => ({ bus, [Symbol.asyncDispose]: () => bus.close() });

/** For cleanup: the cgroups of pods, if no process is left in them. @returns what was removed */
export async function removeNodeCgroups(): Promise<string[]> {
  const files = mountedCgroupFiles(cgroupMount);
  const removed = await removeEmptyCgroups({ files, systemd: () => new SystemdBus(), clock: systemClock });
  return removed.map((path) => `cgroup ${path}`);
}

/** What the Node's capacity is made of; what cannot be read is not limited. */
async function machineAmounts({ options, machine }: NodeCgroupsContext): Promise<MachineAmounts> {
  const measured = await measureNode(hostReader, options.rootDir, undefined);
  const { cores, memoryBytes, hugePages } = measured.machine;
  return {
    cores: cores ?? machine.cores,
    memoryBytes: memoryBytes ?? machine.memoryBytes,
    pids: measured.observations['pid.available']?.capacity,
    hugePages: new Map(hugePages.map(({ pageBytes, pages }) => [pageSizeName(pageBytes), pageBytes * pages])),
    cpus: await hostReader.readText('/sys/devices/system/cpu/online').then(
      (text) => text.trim(),
      () => undefined,
    ),
  };
}
