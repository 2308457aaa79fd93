// temporary
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pod } from '../api/core.ts';
export function createPodVolumes(o: { rootDir: string; mounts: unknown; clock: unknown; allocatableMemoryBytes: number; sources: unknown }) {
  return {
    async mount(pod: Pod) {
      const m = new Map<string, string>();
      for (const v of pod.spec.volumes ?? []) {
        const p = v.hostPath?.path ?? join(o.rootDir, 'pods', pod.metadata.uid, 'volumes', v.name);
        if (!v.hostPath) await mkdir(p, { recursive: true });
        m.set(v.name, p);
      }
      return m;
    },
    async teardown(uid: string) { await rm(join(o.rootDir, 'pods', uid), { recursive: true, force: true }); },
    async orphans() { return readdir(join(o.rootDir, 'pods')).catch(() => []); },
  };
}
