/**
 * Knows every cgroup that the containers of one containerd were put in, also of containers that are long gone.
 * Layer: test. Watches the folder of task bundles (inotify) and reads `linux.cgroupsPath` from each new config.json, so
 * that a census finds cgroups of this run alone while others run beside it. Changes nothing.
 */
import { appendFileSync, existsSync, type FSWatcher, mkdirSync, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { cgroupList, cgroupPathsOf, hierarchies } from './cgroup-paths.ts';

export interface CgroupWatch {
  /** Cgroup folders of this run that exist now, in any hierarchy; pod folders included. */
  existing(): string[];
  close(): void;
}

/**
 * @param bundles the folder of the `k8s.io` namespace's bundles; made here, since containerd makes it late.
 * @param runDir also gets the list as a file, for a sweep after a killed run.
 */
export function watchCgroups(bundles: string, runDir: string): CgroupWatch {
  mkdirSync(bundles, { recursive: true, mode: 0o711 });
  const paths = new Set<string>();
  const settled = new Set<string>();
  const roots = hierarchies();

  const learn = (id: string, attemptsLeft: number): void => {
    if (settled.has(id)) return;
    try {
      const found = cgroupPathsOf(join(bundles, id));
      settled.add(id);
      for (const path of found) {
        if (paths.has(path)) continue;
        paths.add(path);
        appendFileSync(join(runDir, cgroupList), roots.map((root) => `${join(root, path)}\n`).join(''));
      }
    } catch {
      // Not written to the end yet, or the task is gone already.
      if (attemptsLeft > 0) setTimeout(() => learn(id, attemptsLeft - 1), 5).unref();
    }
  };
  for (const id of readdirSync(bundles)) learn(id, 100);
  const watcher: FSWatcher = watch(bundles, { persistent: false }, (_event, name) => {
    if (name !== null && !name.startsWith('.')) learn(name, 100);
  });
  return {
    existing: () =>
      [...paths].flatMap((path) => roots.map((root) => join(root, path)).filter((full) => existsSync(full))).sort(),
    close: () => watcher.close(),
  };
}
