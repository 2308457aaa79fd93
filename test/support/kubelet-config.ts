/**
 * A test's KubeletConfiguration for the machine that it runs on: pods' cgroups need cgroup v2, and with a file Keelson does
 * not start on v1 before the file says that there are none.
 * Layer: test.
 */
import { existsSync } from 'node:fs';

const hasCgroupV2 = existsSync('/sys/fs/cgroup/cgroup.controllers');

/** @param text YAML or JSON; what it says about cgroups itself stays */
export function forThisMachine(text: string): string {
  if (hasCgroupV2 || text.includes('cgroupsPerQOS')) return text;
  if (text.trimStart().startsWith('{')) return JSON.stringify({ ...JSON.parse(text), cgroupsPerQOS: false });
  return `${text.trimEnd()}\ncgroupsPerQOS: false\n`;
}
