/**
 * Names of cgroups: one name for each, and what the two drivers make of it. `kubepods`, `burstable`, `pod<uid>` is
 * `/kubepods/burstable/pod<uid>` for cgroupfs; systemd repeats the parents in each slice and takes a dash for a level, so
 * there it is `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid with _>.slice`.
 * Layer: kubelet/cgroups (pure). Source: pkg/kubelet/cm/cgroup_manager_linux.go, pod_container_manager_linux.go;
 * systemd.slice(5).
 */
import type { QosClass } from '../../api/core.ts';
import { isPodUid } from '../volumes/volume-paths.ts';
import { CgroupError } from './cgroup-error.ts';

/** From the root of the hierarchy, which is the empty name. */
export type CgroupName = readonly string[];

export type CgroupDriver = 'cgroupfs' | 'systemd';

const podPrefix = 'pod';
const sliceSuffix = '.slice';
/** What the kernel takes for one directory (NAME_MAX), and systemd for a unit (UNIT_NAME_MAX). */
const longestName = 255;

/** The path from the root of the hierarchy: it begins with a slash. @throws CgroupError CGROUP_NAME */
export function cgroupPath(driver: CgroupDriver, name: CgroupName): string {
  const path = driver === 'cgroupfs' ? name : name.map((_, index) => sliceUnit(name.slice(0, index + 1)));
  const wrong = path.find((part) => !isPart(part));
  if (wrong !== undefined) {
    throw new CgroupError('CGROUP_NAME', 'is no name of a cgroup', { object: `cgroup ${JSON.stringify(wrong)}` });
  }
  return `/${path.join('/')}`;
}

/** The slice's unit; `-.slice` for the root. */
export function sliceUnit(name: CgroupName): string {
  return `${name.length === 0 ? '-' : name.map(escapePart).join('-')}${sliceSuffix}`;
}

/** From a path as KubeletConfiguration cgroupRoot has it: in cgroupfs terms with either driver. */
export const cgroupNameOf = (path: string): CgroupName => path.split('/').filter((part) => part !== '');

/**
 * From a path as kubeReservedCgroup and systemReservedCgroup have it: in the driver's own terms, such as
 * `/system.slice/containerd.slice`. @throws CgroupError CGROUP_RESERVED when systemd has no such slice
 */
export function reservedCgroupName(driver: CgroupDriver, path: string): CgroupName {
  if (driver === 'cgroupfs') return cgroupNameOf(path);
  const unit = cgroupNameOf(path).at(-1) ?? '';
  const name = unit.slice(0, -sliceSuffix.length).split('-').map(unescapePart);
  if (!unit.endsWith(sliceSuffix) || name.some((part) => part === '')) {
    throw new CgroupError('CGROUP_RESERVED', 'is no slice of systemd', {
      object: `cgroup ${path}`,
      fix: 'with the systemd driver name a slice, such as /system.slice',
    });
  }
  return name;
}

/** The cgroup of all pods. */
export const podsCgroup = (root: CgroupName): CgroupName => [...root, 'kubepods'];

/** The parent of the pods of a class: Guaranteed ones lie directly in the cgroup of all pods. */
export const qosCgroup = (root: CgroupName, qos: QosClass): CgroupName =>
  qos === 'Guaranteed' ? podsCgroup(root) : [...podsCgroup(root), qos.toLowerCase()];

/** @throws CgroupError CGROUP_NAME for a UID that is no file name, or that systemd could not give back */
export function podCgroup(root: CgroupName, qos: QosClass, uid: string): CgroupName {
  if (!isCgroupUid(uid)) {
    throw new CgroupError('CGROUP_NAME', 'the UID cannot be the name of a cgroup', {
      object: `pod ${JSON.stringify(uid)}`,
    });
  }
  return [...qosCgroup(root, qos), `${podPrefix}${uid}`];
}

/** The pod that a directory in a class's cgroup belongs to; undefined for one that is no pod's. */
export function podUidOf(driver: CgroupDriver, directory: string): string | undefined {
  const part = driver === 'cgroupfs' ? directory : lastPart(directory);
  if (part === undefined || !part.startsWith(podPrefix)) return undefined;
  const uid = part.slice(podPrefix.length);
  return isCgroupUid(uid) ? uid : undefined;
}

function lastPart(slice: string): string | undefined {
  if (!slice.endsWith(sliceSuffix)) return undefined;
  const last = slice.slice(0, -sliceSuffix.length).split('-').at(-1);
  return last === undefined ? undefined : unescapePart(last);
}

/** An underscore would come back from systemd as a dash, as another pod's UID perhaps. */
export const isCgroupUid = (uid: string): boolean => isPodUid(uid) && !uid.includes('_');

const isPart = (part: string): boolean =>
  part !== '' && part !== '.' && part !== '..' && !/[/\0\n]/.test(part) && Buffer.byteLength(part) <= longestName;

const escapePart = (part: string): string => part.replaceAll('-', '_');
const unescapePart = (part: string): string => part.replaceAll('_', '-');
