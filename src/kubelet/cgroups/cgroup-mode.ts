/**
 * Whether pods get cgroups of ours here, and by which driver.
 * Layer: kubelet/cgroups (pure but for the one call to the runtime). Source: cmd/kubelet/app/server.go
 * (getCgroupDriverFromCRI), pkg/kubelet/kubelet.go (cgroupVersionCheck).
 */
import { type Clock, sleep } from '../../base/clock.ts';
import { CriError } from '../../cri/cri-error.ts';
import type { RuntimeService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { CgroupError } from './cgroup-error.ts';
import type { CgroupDriver } from './cgroup-name.ts';

export interface CgroupModeInput {
  /** cgroup v2 alone is mounted. */
  readonly unified: boolean;
  /** Whether there is a configuration file. Without one, a machine with cgroup v1 is served as well as it can be. */
  readonly configured: boolean;
  /** KubeletConfiguration cgroupsPerQOS. */
  readonly perQOS: boolean;
}

/** @returns whether pods get cgroups. @throws CgroupError CGROUP_V1 */
export function podsHaveCgroups({ unified, configured, perQOS }: CgroupModeInput): boolean {
  if (unified || !perQOS || !configured) return unified && perQOS;
  throw new CgroupError('CGROUP_V1', 'this machine has cgroup v1, on which Keelson makes no cgroups for pods', {
    object: 'node',
    fix:
      'boot with systemd.unified_cgroup_hierarchy=1, or set cgroupsPerQOS: false in the configuration file: the runtime' +
      ' then limits each container by itself',
  });
}

const tries = 3;
const betweenTriesMs = 500;

/**
 * The runtime's own driver where it tells (RuntimeConfig: containerd 2, CRI-O), else the configured one.
 * @throws CriError when the runtime fails three times, the signal's reason
 */
export async function cgroupDriver(
  runtime: Pick<RuntimeService, 'runtimeConfig'>,
  configured: CgroupDriver,
  { clock, log }: { clock: Clock; log: Logger },
  signal: AbortSignal,
): Promise<CgroupDriver> {
  for (let attempt = 1; ; attempt++) {
    try {
      const { linux } = await runtime.runtimeConfig({}, { signal });
      if (linux === undefined) return configured;
      const told = linux.cgroupDriver === 'CGROUPFS' ? 'cgroupfs' : 'systemd';
      if (told !== configured) log.info({ configured, runtime: told }, "the cgroup driver is the runtime's");
      return told;
    } catch (error) {
      if (error instanceof CriError && error.code === 'CRI_UNIMPLEMENTED') return configured;
      if (attempt === tries || signal.aborted) throw error;
      log.warn({ error: errorLine(error) }, 'the runtime did not tell its cgroup driver; asking again');
      await sleep(betweenTriesMs, signal, clock);
    }
  }
}
