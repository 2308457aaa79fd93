/**
 * Which cgroups a container of a runtime's bundle was put in, with cgroup v1 and v2, cgroupfs and systemd names.
 * Layer: test. Reads only.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The file in a run's folder that lists cgroup folders, one a line, absolute paths. */
export const cgroupList = 'cgroups.txt';

const cgroupMount = '/sys/fs/cgroup';

/** `cpu`, `memory`, ... for cgroup v1, and the root itself where version 2 is mounted there. */
export function hierarchies(): string[] {
  if (existsSync(join(cgroupMount, 'cgroup.controllers'))) return [cgroupMount];
  return readdirSync(cgroupMount, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(cgroupMount, entry.name));
}

/**
 * The container's folder and those above it that are its pod's or its run's (`/kt-...`); never a folder that pods of
 * other runs share (`/k8s.io`, `/kubepods`).
 */
function ownedPaths(cgroupsPath: string): string[] {
  // With the systemd driver the path is `slice:prefix:name`; the slice holds the pod's UID.
  const [slice, prefix, name] = cgroupsPath.split(':');
  const path = name === undefined ? cgroupsPath : `/${slice}/${prefix}-${name}.scope`;
  const parents: string[] = [];
  for (let folder = dirname(path); folder !== '/' && folder !== '.'; folder = dirname(folder)) {
    if (/pod[0-9a-f_-]{8,}[^/]*$/.test(folder) || folder.startsWith('/kt-')) parents.push(folder);
  }
  return [path, ...parents];
}

/** Paths within each hierarchy, from the bundle's config.json (OCI runtime-spec). Throws while that is not complete. */
export function cgroupPathsOf(bundle: string): string[] {
  const config = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8')) as { linux?: { cgroupsPath?: string } };
  return ownedPaths(config.linux?.cgroupsPath ?? `/k8s.io/${bundle.slice(bundle.lastIndexOf('/') + 1)}`);
}
