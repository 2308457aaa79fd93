/**
 * The parts of a container's status that say what it was given: volume mounts, resources, its user.
 * Rules: pkg/kubelet/kubelet_pods.go (convertToAPIContainerStatuses), pkg/kubelet/cm/helpers_linux.go.
 * Layer: kubelet/status (pure).
 */
import type { Container, ContainerStatus, ResourceList, VolumeMount, VolumeMountStatus } from '../../api/core.ts';
import { formatQuantity, type QuantityFormat } from '../../config/quantity.ts';
import { recursiveReadOnlyAnnotation } from '../plan/annotations.ts';
import { bytesOf, millicoresOf } from '../plan/resource-values.ts';
import type { ActualResources, ContainerRecord } from '../plan/runtime-state.ts';

/** In cgroups there is no less; what is no more than this is told as it was asked for. */
const minShares = 2;
const minLimitMilliCores = 10;

/** @param record the instance that has the mounts; undefined before there is one */
export function volumeMountStatuses(
  { volumeMounts }: Container,
  record: ContainerRecord | undefined,
): Pick<ContainerStatus, 'volumeMounts'> {
  if (volumeMounts === undefined || volumeMounts.length === 0) return {};
  const possible = record?.annotations[recursiveReadOnlyAnnotation] === 'true';
  return { volumeMounts: volumeMounts.map((mount) => volumeMountStatus(mount, possible)) };
}

function volumeMountStatus(
  { name, mountPath, readOnly, recursiveReadOnly }: VolumeMount,
  possible: boolean,
): VolumeMountStatus {
  if (!readOnly) return { name, mountPath };
  const enabled = recursiveReadOnly === 'Enabled' || (recursiveReadOnly === 'IfPossible' && possible);
  return { name, mountPath, readOnly, recursiveReadOnly: enabled ? 'Enabled' : 'Disabled' };
}

/**
 * What was asked for, and, for a running instance, what the runtime has set instead.
 * @param previous what was said of the same instance last
 */
export function resourceStatus(
  container: Container,
  record: ContainerRecord,
  previous?: ContainerStatus,
): Pick<ContainerStatus, 'allocatedResources' | 'resources'> {
  const { requests, limits } = container.resources ?? {};
  const actual = record.phase === 'running' ? record.resources : undefined;
  return {
    ...(requests === undefined ? {} : { allocatedResources: requests }),
    resources: {
      ...(limits === undefined ? {} : { limits: actual ? actualLimits(limits, actual) : limits }),
      ...(requests === undefined
        ? {}
        : { requests: actual ? actualRequests(requests, limits, actual, previous) : requests }),
    },
  };
}

function actualLimits(limits: ResourceList, actual: ActualResources): ResourceList {
  const { cpuQuotaUs, cpuPeriodUs, memoryLimitBytes } = actual;
  const milliCores = cpuPeriodUs > 0 ? Math.floor((cpuQuotaUs * 1000) / cpuPeriodUs) : 0;
  return {
    ...limits,
    ...(cpuQuotaUs > 0 && isTold(milliCores, limits.cpu, minLimitMilliCores) ? { cpu: milli(milliCores) } : {}),
    ...(memoryLimitBytes > 0 ? { memory: whole(memoryLimitBytes) } : {}),
  };
}

function actualRequests(
  requests: ResourceList,
  limits: ResourceList | undefined,
  { cpuShares, memoryLimitBytes }: ActualResources,
  previous: ContainerStatus | undefined,
): ResourceList {
  const milliCores = Math.ceil((cpuShares * 1000) / 1024);
  // No cgroup has a memory request: it changes with the limit.
  const isOld = limits?.memory !== undefined && memoryLimitBytes > 0 && bytesOf(limits.memory) !== memoryLimitBytes;
  const memory = isOld ? previous?.resources?.requests?.memory : undefined;
  return {
    ...requests,
    ...(memory === undefined ? {} : { memory }),
    ...(cpuShares > 0 && isTold(milliCores, requests.cpu, minShares) ? { cpu: milli(milliCores) } : {}),
  };
}

const isTold = (actual: number, asked: string | undefined, floor: number): boolean =>
  actual > floor || (asked !== undefined && millicoresOf(asked) > floor);

const print = (nanos: bigint, format: QuantityFormat): string => formatQuantity({ nanos, format });
const milli = (milliCores: number): string => print(BigInt(milliCores) * 1_000_000n, 'DecimalSI');
const whole = (bytes: number): string => print(BigInt(Math.trunc(bytes)) * 1_000_000_000n, 'BinarySI');

export function userStatus({ user }: ContainerRecord): Pick<ContainerStatus, 'user'> {
  if (user === undefined) return {};
  const { uid, gid, supplementalGroups } = user;
  return { user: { linux: { uid, gid, ...(supplementalGroups.length > 0 ? { supplementalGroups } : {}) } } };
}
