/**
 * Grows the file system of a local disk to what the disk has become, and tells the claim. Done behind the pod's back: it has
 * its volume, and a large disk takes minutes.
 * Layer: kubelet/volumes/local (edge: processes, API). A volume that cannot be grown stays as it is, and its pod is told.
 * Source: pkg/volume/local/local.go (NodeExpand), staging/src/k8s.io/mount-utils/resizefs_linux.go.
 */
import type { Pod } from '../../../api/core.ts';
import { KeyedBackoff } from '../../../base/backoff.ts';
import type { Clock } from '../../../base/clock.ts';
import { errorLine } from '../../../observe/keelson-error.ts';
import type { Logger } from '../../../observe/logger.ts';
import { normal, type RecordPodEvent, warning } from '../../pods/pod-events.ts';
import { type ClaimSize, grownStatus, wantedBytes } from '../claims/claim-size.ts';
import type { RunHostCommand } from '../host-command.ts';
import { mountFailed } from '../mount-failed.ts';
import { VolumeError } from '../volume-error.ts';

/** The claim that asks for a size. */
export interface LocalGrowth {
  readonly claim: { readonly namespace: string; readonly name: string };
  readonly capacity: ClaimSize;
}

export interface GrowthDependencies {
  readonly run: RunHostCommand;
  readonly clock: Clock;
  readonly log: Logger;
  readonly recordEvent?: RecordPodEvent | undefined;
  /** Strategic merge patch. Rejects with ApiError. */
  patchClaimStatus(namespace: string, name: string, status: object): Promise<void>;
}

export interface GrowingVolume {
  readonly subject: string;
  readonly specName: string;
  readonly pod: Pod;
  readonly growth: LocalGrowth;
  /**
   * undefined for a directory and a bare device: there is nothing to grow. `gone`: it is not mounted any more. A disk stays
   * mounted until `grow` has ended.
   */
  disk(): Promise<MountedDisk | 'gone' | undefined>;
}

export interface MountedDisk {
  readonly device: string;
  readonly target: string;
  readonly fsType: string;
}

/** Never ended before: what was cut off in the middle might not be mended. */
const growTimeoutMs = 3_600_000;
/** As for drivers (exponentialbackoff of the operation executor). */
const backoff = { initialMs: 500, maxMs: 122_000 };

/**
 * How long a claim that says its old size is not believed after it was told: who looks has it for a minute (claim-reader.ts),
 * and some looks take theirs. One that still says so later was changed by somebody, and is done again.
 */
const toldForMs = 120_000;

export class LocalGrower {
  readonly #dependencies: GrowthDependencies;
  readonly #backoff = new KeyedBackoff(backoff);
  /** Bytes, by PersistentVolume: what is left is to tell the claim. */
  readonly #grown = new Map<string, number>();
  /** Those that need nothing for a while, whatever their claim seems to say. */
  readonly #told = new Map<string, { readonly bytes: number; readonly atMs: number }>();

  constructor(dependencies: GrowthDependencies) {
    this.#dependencies = dependencies;
  }

  /** Whether there is something to do now. */
  isDue({ specName, growth }: Pick<GrowingVolume, 'specName' | 'growth'>): boolean {
    const bytes = wantedBytes(growth.capacity);
    const nowMs = this.#dependencies.clock.now();
    if (bytes === undefined || this.#backoff.remaining(specName, nowMs) > 0) return false;
    for (const [name, { atMs }] of this.#told) if (nowMs - atMs >= toldForMs) this.#told.delete(name);
    // Another pod may have read claim and volume before they grew twice.
    return (this.#told.get(specName)?.bytes ?? 0) < bytes;
  }

  /** Never rejects. Not for one volume twice at a time. */
  async grow(volume: GrowingVolume): Promise<void> {
    const { recordEvent, clock, log } = this.#dependencies;
    const { specName, pod, growth } = volume;
    const bytes = wantedBytes(growth.capacity);
    if (bytes === undefined) return;
    try {
      const disk = await volume.disk();
      if (disk === 'gone') return;
      if (this.#grown.get(specName) !== bytes) {
        if (disk !== undefined) await this.#resize(volume, disk);
        this.#grown.set(specName, bytes);
        const message = `MountVolume.NodeExpandVolume succeeded for volume "${specName}" ${pod.spec.nodeName ?? ''}`;
        recordEvent?.(pod, normal('FileSystemResizeSuccessful', message.trim()));
        log.info({ volume: volume.subject, bytes }, 'the volume was grown');
      }
      const { namespace, name } = growth.claim;
      await this.#dependencies.patchClaimStatus(namespace, name, grownStatus(growth.capacity));
      this.#backoff.forget(specName);
      this.#grown.delete(specName);
      this.#told.set(specName, { bytes, atMs: clock.now() });
    } catch (error) {
      this.#backoff.failed(specName, clock.now());
      const message = `NodeExpandVolume failed for volume "${specName}": ${errorLine(error)}`;
      recordEvent?.(pod, warning('VolumeResizeFailed', message));
      log.warn({ volume: volume.subject, error: errorLine(error) }, 'the volume was not grown');
    }
  }

  async #resize(volume: GrowingVolume, { device, target, fsType }: MountedDisk): Promise<void> {
    const command = commandOf(fsType, device, target);
    if (command === undefined) {
      const message = `a file system of type ${fsType} cannot be grown`;
      throw new VolumeError('VOLUME_UNSUPPORTED', message, { object: volume.subject, fix: 'grow it by hand' });
    }
    const [program, ...args] = command;
    const answer = await this.#dependencies.run(program, args, { timeoutMs: growTimeoutMs });
    if (answer.outcome === 'ended' && answer.status === 0) return;
    throw mountFailed(volume, command.join(' '), answer, { operation: 'NodeExpandVolume' });
  }
}

/** All of them leave alone what is as large as its disk already. */
function commandOf(fsType: string, device: string, target: string): [string, ...string[]] | undefined {
  switch (fsType) {
    case 'ext3':
    case 'ext4':
      return ['resize2fs', device];
    case 'xfs':
      return ['xfs_growfs', '-d', target];
    case 'btrfs':
      return ['btrfs', 'filesystem', 'resize', 'max', target];
    default:
      return undefined;
  }
}
