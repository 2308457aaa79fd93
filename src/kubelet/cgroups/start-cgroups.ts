/**
 * The cgroups of the node: that of all pods with what the node can give away, those of the classes, the reserved ones; and
 * with them the cgroups of pods. What is above pods is looked at again each minute: somebody else may have changed it.
 * Layer: kubelet/cgroups (composition over handed-in edges). Source: pkg/kubelet/cm/container_manager_linux.go
 * (setupNode), node_container_manager_linux.go, qos_container_manager_linux.go.
 */
import type { Clock } from '../../base/clock.ts';
import type { Quantity } from '../../config/quantity.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { BurstableWeight } from './burstable-weight.ts';
import { CgroupError } from './cgroup-error.ts';
import type { CgroupFiles } from './cgroup-files.ts';
import { cgroupNameOf, podsCgroup, qosCgroup, reservedCgroupName } from './cgroup-name.ts';
import { CgroupTree } from './cgroup-tree.ts';
import {
  bestEffortSettings,
  checkReservations,
  type MachineAmounts,
  podsSettings,
  type Reservations,
  reservedSettings,
} from './node-settings.ts';
import { type PodCgroups, QosPodCgroups } from './pod-cgroups.ts';
import type { PodSettingsContext } from './pod-settings.ts';
import { PodsLimit, type RecordNodeEvent } from './pods-limit.ts';
import type { SystemdUnits } from './systemd-units.ts';

/** The words of KubeletConfiguration enforceNodeAllocatable. */
export type Enforcement =
  | 'none'
  | 'pods'
  | 'system-reserved'
  | 'system-reserved-compressible'
  | 'kube-reserved'
  | 'kube-reserved-compressible';

export interface NodeCgroupsOptions {
  readonly files: CgroupFiles;
  /** Given when systemd keeps the cgroups; closed by `stop`. */
  readonly systemd?: SystemdUnits | undefined;
  /** KubeletConfiguration cgroupRoot: `/`. */
  readonly cgroupRoot: string;
  readonly machine: MachineAmounts;
  readonly reservations: Reservations;
  /** The hard eviction threshold of memory.available for this machine. */
  readonly evictionMemoryBytes: number;
  readonly enforce: ReadonlySet<string>;
  readonly systemReservedCgroup?: string | undefined;
  readonly kubeReservedCgroup?: string | undefined;
  readonly pods: Pick<PodSettingsContext, 'enforceCpuQuota' | 'cpuQuotaPeriodUs' | 'podPidsLimit'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** About the Node. */
  readonly recordEvent?: RecordNodeEvent;
}

export interface NodeCgroups extends PodCgroups {
  /** Leaves every cgroup as it is. */
  stop(): Promise<void>;
}

/** What pods' limits are made of, and what the kernel may lack. */
const required = ['cpu', 'memory', 'pids'];
const used = [...required, 'cpuset', 'hugetlb', 'io'];
const refreshMs = 60_000;

/** Resolves when the node's cgroups are there. @throws CgroupError for what a person has to put right first */
export async function startCgroups(options: NodeCgroupsOptions): Promise<NodeCgroups> {
  const { files, systemd, machine, reservations, enforce, clock, log, recordEvent = () => {} } = options;
  checkReservations(machine, reservations, options.evictionMemoryBytes);
  const tree = new CgroupTree({ files, systemd, controllers: await readControllers(files), clock, log });
  const root = cgroupNameOf(options.cgroupRoot);
  if (!(await tree.exists(root))) {
    throw new CgroupError('CGROUP_ROOT', 'does not exist', {
      object: `cgroup ${tree.path(root)}`,
      fix: 'make it, or remove cgroupRoot from the configuration file',
    });
  }
  const pageSizes = [...machine.hugePages.keys()];
  await limitReserved(options, tree, pageSizes);

  const limit = new PodsLimit({
    tree,
    name: podsCgroup(root),
    settings: podsSettings(machine, reservations, enforce.has('pods')),
    log,
    recordEvent,
  });
  await limit.begin();
  const bestEffort = bestEffortSettings(pageSizes);
  await tree.ensure(qosCgroup(root, 'BestEffort'), bestEffort);
  const weight = new BurstableWeight({ tree, name: qosCgroup(root, 'Burstable'), pageSizes, log });
  await weight.begin();

  const pods = new QosPodCgroups({
    tree,
    root,
    settings: { ...options.pods, hugePageSizes: pageSizes },
    onBurstable: (milliCores) => weight.raiseTo(milliCores),
    log,
  });
  const refresh = async (): Promise<void> => {
    try {
      await limit.enforce();
      await tree.ensure(qosCgroup(root, 'BestEffort'), bestEffort);
      await weight.set(pods.burstableMilliCores);
    } catch (error) {
      log.warn({ error: errorLine(error) }, "the cgroups of pods' classes cannot be set; tried again in a minute");
    }
  };
  const timer = repeat(refresh, clock);
  return {
    ensure: (pod) => pods.ensure(pod),
    follow: (pod) => pods.follow(pod),
    update: (pod) => pods.update(pod),
    remove: (uid) => pods.remove(uid),
    removeOrphans: (isKnown) => pods.removeOrphans(isKnown),
    async stop() {
      await timer.stop();
      await weight.idle();
      await systemd?.close();
    },
  };
}

/** @throws CgroupError CGROUP_CONTROLLERS naming those that pods cannot do without */
async function readControllers(files: CgroupFiles): Promise<Set<string>> {
  const available = new Set((await files.read('/', 'cgroup.controllers'))?.split(' '));
  const missing = required.filter((controller) => !available.has(controller));
  if (missing.length === 0) return new Set(used.filter((controller) => available.has(controller)));
  throw new CgroupError('CGROUP_CONTROLLERS', `cgroup v2 is there without ${missing.join(', ')}`, {
    object: 'node',
    fix:
      'boot a kernel that has them, without cgroup_disable= and with no cgroup v1 mount that holds them; or set' +
      ' cgroupsPerQOS: false',
  });
}

/** @throws CgroupError CGROUP_RESERVED when a cgroup is not there or nothing is reserved; of `ensure` */
async function limitReserved(options: NodeCgroupsOptions, tree: CgroupTree, pageSizes: readonly string[]) {
  const { enforce, reservations, recordEvent = () => {} } = options;
  for (const [word, path, amounts] of [
    ['system-reserved', options.systemReservedCgroup, reservations.systemReserved],
    ['kube-reserved', options.kubeReservedCgroup, reservations.kubeReserved],
  ] as const) {
    const compressible = enforce.has(`${word}-compressible`);
    if (!compressible && !enforce.has(word)) continue;
    try {
      await limitOne({ word, path, amounts, compressible, tree, pageSizes });
    } catch (error) {
      recordEvent({ type: 'Warning', reason: 'FailedNodeAllocatableEnforcement', message: errorLine(error) });
      throw error;
    }
    recordEvent({
      type: 'Normal',
      reason: 'NodeAllocatableEnforced',
      message: `Updated limits on ${word.replace('-', ' ')} cgroup ${path}`,
    });
  }
}

interface ReservedCgroup {
  word: string;
  path: string | undefined;
  amounts: ReadonlyMap<string, Quantity>;
  compressible: boolean;
  tree: CgroupTree;
  pageSizes: readonly string[];
}

async function limitOne({ word, path, amounts, compressible, tree, pageSizes }: ReservedCgroup): Promise<void> {
  const field = word === 'system-reserved' ? 'systemReserved' : 'kubeReserved';
  const settings = reservedSettings(amounts, compressible, pageSizes);
  if (path === undefined || settings === undefined) {
    const missing = path === undefined ? `${field}Cgroup` : field;
    throw new CgroupError('CGROUP_RESERVED', `enforceNodeAllocatable has ${word}, but nothing is said in ${missing}`, {
      object: 'node',
      fix: `set ${missing} in the configuration file`,
    });
  }
  const name = reservedCgroupName(tree.driver, path);
  if (name.length === 0 || !(await tree.exists(name))) {
    throw new CgroupError('CGROUP_RESERVED', 'is not there to be limited', {
      object: `cgroup ${path}`,
      fix: `make it, or name another one in ${field}Cgroup`,
    });
  }
  await tree.ensure(name, settings);
}

/** Never two at a time; the rest begins when the work ends. */
function repeat(work: () => Promise<void>, clock: Clock): { stop(): Promise<void> } {
  let stopped = false;
  let running = Promise.resolve();
  let cancel = (): void => {};
  const next = (): void => {
    cancel = clock.after(refreshMs, () => {
      running = work().then(() => {
        if (!stopped) next();
      });
    });
  };
  next();
  return {
    async stop() {
      stopped = true;
      cancel();
      await running;
    },
  };
}
