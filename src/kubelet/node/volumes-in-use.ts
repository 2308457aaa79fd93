/**
 * The attachable volumes that this node uses, for `status.volumesInUse` of its Node, and what its `status.volumesAttached`
 * says. A volume is named there before it is mounted and until it is unmounted: the attach-detach controller takes away no
 * volume that stands there. Layer: kubelet/node (state in memory; the disk tells a successor). Mounts nothing.
 * Source: pkg/kubelet/volumemanager (GetVolumesInUse), operation_generator.go (VerifyControllerAttachedVolume).
 */
import type { KnownNode } from './node-api.ts';

export interface VolumesInUseOptions {
  readonly known: Pick<KnownNode, 'node' | 'onKnown'>;
  /** The status of the Node is to be written now. */
  readonly wake: () => void;
}

/** One volume that a pod uses. */
export interface VolumeInUse {
  /** `kubernetes.io/csi/<driver>^<handle>`, see csiUniqueName. */
  readonly uniqueName: string;
  readonly podUid: string;
}

/** Source: pkg/volume/csi/csi_plugin.go (GetVolumeName), pkg/volume/util (GetUniqueVolumeName). */
export const csiUniqueName = (driver: string, volumeHandle: string): string =>
  `kubernetes.io/csi/${driver}^${volumeHandle}`;

export class VolumesInUse {
  readonly #options: VolumesInUseOptions;
  readonly #pods = new Map<string, Set<string>>();
  #restored = false;

  constructor(options: VolumesInUseOptions) {
    this.#options = options;
  }

  /** For the status; undefined, so that the last one stays, until a dead predecessor's are known. */
  get names(): readonly string[] | undefined {
    return this.#restored ? [...this.#pods.keys()] : undefined;
  }

  /** What a predecessor left mounted. Once, before any volume is taken away. */
  restore(volumes: Iterable<VolumeInUse>): void {
    for (const { uniqueName, podUid } of volumes) this.#add(uniqueName, podUid);
    this.#restored = true;
    this.#options.wake();
  }

  /** Resolves when the API server knows that the volume is in use. Rejects with the signal's reason. */
  async hold({ uniqueName, podUid }: VolumeInUse, signal: AbortSignal): Promise<void> {
    if (this.#add(uniqueName, podUid)) this.#options.wake();
    await this.#until(() => this.#options.known.node?.status?.volumesInUse?.includes(uniqueName) || undefined, signal);
  }

  /** The pod has the volume no more, and nothing of it is mounted for it. */
  release({ uniqueName, podUid }: VolumeInUse): void {
    const pods = this.#pods.get(uniqueName);
    if (pods === undefined || !pods.delete(podUid) || pods.size > 0) return;
    this.#pods.delete(uniqueName);
    this.#options.wake();
  }

  /** Resolves, with the device's path where there is one, when the controller says that the volume is attached. */
  attached(uniqueName: string, signal: AbortSignal): Promise<string> {
    const devicePath = (): string | undefined =>
      this.#options.known.node?.status?.volumesAttached?.find(({ name }) => name === uniqueName)?.devicePath;
    return this.#until(devicePath, signal);
  }

  /** @returns whether nobody had it before */
  #add(uniqueName: string, podUid: string): boolean {
    const pods = this.#pods.get(uniqueName);
    this.#pods.set(uniqueName, (pods ?? new Set()).add(podUid));
    return pods === undefined;
  }

  #until<T>(look: () => T | undefined, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        const found = signal.aborted ? undefined : look();
        if (found === undefined && !signal.aborted) return;
        deaf();
        signal.removeEventListener('abort', settle);
        if (found === undefined) reject(signal.reason);
        else resolve(found);
      };
      const deaf = this.#options.known.onKnown(settle);
      signal.addEventListener('abort', settle, { once: true });
      settle();
    });
  }
}
