/**
 * Doctor's check of cgroups: which version, and whether it has what pods' cgroups need.
 * Layer: agent, over an injected reader. Changes nothing.
 */
import { hasErrorCode } from '../base/errors.ts';
import { errorLine } from '../observe/keelson-error.ts';
import { type CheckResult, fail, ok, warn } from './check-result.ts';

const required = ['cpu', 'memory', 'pids'];
const wanted = ['cpuset', 'hugetlb', 'io'];

/** @param perQOS KubeletConfiguration cgroupsPerQOS. @param configured there is a configuration file */
export async function checkCgroups(
  readText: (path: string) => Promise<string>,
  { perQOS = true, configured = false }: { perQOS?: boolean; configured?: boolean } = {},
): Promise<CheckResult> {
  const name = 'cgroups';
  if (!perQOS) return ok(name, 'cgroupsPerQOS is false: the runtime limits each container by itself');
  let text: string;
  try {
    text = await readText('/sys/fs/cgroup/cgroup.controllers');
  } catch (error) {
    if (!hasErrorCode(error, 'ENOENT')) return fail(name, errorLine(error), 'use sudo');
    if (configured) {
      const fix = 'boot with systemd.unified_cgroup_hierarchy=1, or set cgroupsPerQOS: false in the configuration file';
      return fail(name, 'v1, on which Keelson makes no cgroups for pods', fix);
    }
    return warn(
      name,
      'v1: pods get no cgroups of their own, the runtime limits each container; with a configuration file Keelson does not start',
      'boot with systemd.unified_cgroup_hierarchy=1, or set cgroupsPerQOS: false in the file',
    );
  }
  const controllers = text.trim().split(' ');
  const lacks = (names: readonly string[]): string[] => names.filter((controller) => !controllers.includes(controller));
  const missing = lacks(required);
  if (missing.length > 0) {
    const fix = 'boot without cgroup_disable= and cgroup v1 mounts that hold them, or set cgroupsPerQOS: false';
    return fail(name, `v2 without ${missing.join(', ')}`, fix);
  }
  const less = lacks(wanted);
  return ok(name, `v2 with ${controllers.join(' ')}${less.length > 0 ? `; without ${less.join(', ')}` : ''}`);
}
