/**
 * KubeletConfiguration fields about resources: cgroups, CPU, memory and topology managers, swap, reservations and
 * eviction, with what Keelson does with each.
 * Layer: config (pure data). Types and defaults: Kubernetes 1.36, pkg/kubelet/apis/config/v1beta1/defaults.go; ranges:
 * pkg/kubelet/apis/config/validation. Rules between fields are in kubelet-configuration-rules.ts.
 */

import { accepted, honoured, refused, warned } from './field-spec.ts';
import { checkAbsolutePath } from './paths.ts';
import { bool, duration, fraction, integer, oneOf, text } from './schema.ts';
import { list, mapOf, object } from './schema-compound.ts';
import { cpuList, quantity, threshold } from './schema-kubernetes.ts';

const second = 1_000;
const minute = 60 * second;
const noEviction = 'pods are not evicted under pressure yet';
const reservedCgroup = 'limited when enforceNodeAllocatable says so; it must exist; with the systemd driver a slice';
const reservation = "lowers the Node's allocatable, and what all pods together may use (enforceNodeAllocatable)";
const pressure = 'for the conditions of the Node, admission and evictions';
const noExclusive = 'containers would share CPUs and memory that the policy promises to keep apart';
const noNuma = 'pods would be placed without regard to NUMA nodes';

const cgroupPath = text(checkAbsolutePath, 'write the path from the root of the hierarchy, such as /kubelet');

/** The signals of pkg/kubelet/eviction/api that a threshold may name. */
export const evictionSignals = [
  'memory.available',
  'allocatableMemory.available',
  'nodefs.available',
  'nodefs.inodesFree',
  'imagefs.available',
  'imagefs.inodesFree',
  'containerfs.available',
  'containerfs.inodesFree',
  'pid.available',
] as const;
const signals: ReadonlySet<string> = new Set(evictionSignals);
const checkSignal = (signal: string) => (signals.has(signal) ? [] : [`must be one of ${evictionSignals.join(', ')}`]);

const reservable = new Set(['cpu', 'memory', 'ephemeral-storage', 'pid']);
const checkReservable = (name: string) =>
  reservable.has(name) ? [] : [`cannot be reserved; use ${[...reservable].join(', ')}`];
const checkReservedMemory = (name: string) =>
  name === 'memory' || name.startsWith('hugepages-') ? [] : ['must be memory or hugepages-<size>'];

export const cgroupFields = {
  cgroupRoot: honoured(cgroupPath, undefined, 'in cgroupfs terms with either driver; it must exist; / when not set'),
  cgroupsPerQOS: honoured(
    bool(),
    true,
    'needs cgroup v2: on v1 true is an error, except without a configuration file, where it is off; false: the runtime' +
      ' places containers and limits each by itself',
  ),
  cgroupDriver: honoured(
    oneOf('cgroupfs', 'systemd'),
    'cgroupfs',
    "the runtime's own goes first where it tells (RuntimeConfig: containerd 2)",
  ),
  failCgroupV1: accepted(
    bool(),
    true,
    'cgroup v1 is refused with cgroupsPerQOS, and served without, whatever this says',
  ),
  failSwapOn: honoured(bool(), true, 'true: a machine with swap switched on is refused'),
  'memorySwap.swapBehavior': honoured(
    oneOf('NoSwap', 'LimitedSwap'),
    undefined,
    'NoSwap when not set; LimitedSwap: a share for Burstable containers, on cgroup v2',
  ),
  cpuCFSQuota: honoured(bool(), true, 'false: CPU limits are not enforced'),
  cpuCFSQuotaPeriod: honoured(duration({ min: 1, max: second }), 100, 'the period of CPU limits', {
    explicitZero: true,
  }),
  singleProcessOOMKill: honoured(bool(), undefined, 'false when not set: memory.oom.group is 1 on cgroup v2'),
  protectKernelDefaults: honoured(
    bool(),
    false,
    'false: the sysctls of a node are set, and one that cannot be set is logged; true: they are only compared',
  ),
  kernelMemcgNotification: warned(bool(), false, noEviction),
  memoryThrottlingFactor: warned(fraction({ above: 0, max: 1 }), 0.9, 'memory.high is not set (MemoryQoS)', {
    explicitZero: true,
  }),
  memoryReservationPolicy: warned(
    oneOf('None', 'TieredReservation'),
    'None',
    'memory.min and memory.low are not set (MemoryQoS)',
  ),
};

export const managerFields = {
  cpuManagerPolicy: refused(oneOf('none', 'static'), 'none', noExclusive),
  cpuManagerPolicyOptions: warned(mapOf(text()), undefined, 'there is no CPU manager yet'),
  cpuManagerReconcilePeriod: warned(duration(), 10 * second, 'there is no CPU manager yet'),
  memoryManagerPolicy: refused(oneOf('None', 'Static'), 'None', noExclusive),
  reservedMemory: warned(
    list(
      object({ numaNode: integer({ min: 0 }), limits: mapOf(quantity({ numbers: true }), checkReservedMemory) }, [
        'numaNode',
        'limits',
      ]),
    ),
    undefined,
    'there is no memory manager yet',
  ),
  topologyManagerPolicy: refused(oneOf('none', 'best-effort', 'restricted', 'single-numa-node'), 'none', noNuma),
  topologyManagerScope: warned(oneOf('container', 'pod'), 'container', 'there is no topology manager yet'),
  topologyManagerPolicyOptions: warned(mapOf(text()), undefined, 'there is no topology manager yet'),
};

export const reservationFields = {
  enforceNodeAllocatable: honoured(
    list(text()),
    ['pods'] as readonly string[],
    'without pods the cgroup of all pods is limited to the whole machine; the default is no error with cgroupsPerQOS: false',
    { explicitZero: true },
  ),
  systemReserved: honoured(mapOf(quantity(), checkReservable), undefined, reservation),
  kubeReserved: honoured(mapOf(quantity(), checkReservable), undefined, reservation),
  systemReservedCgroup: honoured(cgroupPath, undefined, reservedCgroup),
  kubeReservedCgroup: honoured(cgroupPath, undefined, reservedCgroup),
  reservedSystemCPUs: warned(
    cpuList(),
    undefined,
    'no CPU is kept from pods; say how many with systemReserved: {cpu: ...}',
  ),
  qosReserved: warned(mapOf(text()), undefined, 'nothing is reserved for classes of pods'),
};

/** DefaultEvictionHard of pkg/kubelet/apis/config/v1beta1/defaults_linux.go */
export const defaultEvictionHard: ReadonlyMap<string, string> = new Map([
  ['memory.available', '100Mi'],
  ['nodefs.available', '10%'],
  ['nodefs.inodesFree', '5%'],
  ['imagefs.available', '15%'],
  ['imagefs.inodesFree', '5%'],
]);

export const evictionFields = {
  // Only a missing map has the default: {} means no threshold.
  evictionHard: honoured(
    mapOf(threshold(), checkSignal),
    defaultEvictionHard,
    `${pressure}; memory.available and nodefs.available lower its allocatable`,
    { explicitZero: true },
  ),
  evictionSoft: honoured(mapOf(threshold(), checkSignal), undefined, pressure),
  evictionSoftGracePeriod: honoured(mapOf(duration(), checkSignal), undefined, 'required for each soft threshold'),
  evictionMinimumReclaim: honoured(mapOf(threshold(), checkSignal), undefined, pressure),
  evictionPressureTransitionPeriod: honoured(
    duration(),
    5 * minute,
    'how long a pressure condition stays after its last sign',
  ),
  evictionMaxPodGracePeriod: honoured(integer(), 0, 'seconds, for soft thresholds; 0 and less count as 1'),
  mergeDefaultEvictionSettings: honoured(
    bool(),
    false,
    'true: signals that evictionHard does not name keep their default; otherwise a map replaces all of them',
  ),
};
