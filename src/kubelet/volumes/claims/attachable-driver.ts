/**
 * A CSI driver whose attachable volumes are named in the Node's status while they are used: before they are mounted, and
 * until they are unmounted. Layer: kubelet/volumes/claims (composition). The mounting is the driver's own.
 * Source: operation_generator.go (GenerateVerifyControllerAttachedVolumeFunc).
 */
import type { Clock } from '../../../base/clock.ts';
import { csiUniqueName, type VolumesInUse } from '../../node/volumes-in-use.ts';
import type { VolumeDriver } from '../volume-driver.ts';
import { VolumeError } from '../volume-error.ts';
import type { CsiSource } from './csi-source.ts';

export interface AttachableDriverOptions {
  readonly driver: VolumeDriver<CsiSource>;
  readonly inUse: VolumesInUse;
  /** Whether the CSIDriver object asks for attachment (attachRequired). Rejects with the signal's reason, or a KeelsonError. */
  readonly isAttachable: (driverName: string, signal: AbortSignal) => Promise<boolean>;
  readonly clock: Clock;
  /** Milliseconds of waiting before the pod is told; it is tried again after that. Default 15,000. */
  readonly patienceMs?: number;
}

/** What a predecessor left mounted for a pod. */
export interface RestoredVolume {
  readonly podUid: string;
  readonly specName: string;
  readonly driverName: string;
  readonly volumeHandle: string;
}

export class AttachableDriver implements VolumeDriver<CsiSource> {
  readonly directory: string;
  readonly #options: AttachableDriverOptions;
  /** The unique name of each attachable volume by `<pod>/<specName>`: a teardown knows no more. */
  readonly #names = new Map<string, string>();
  /** Those that were mounted by this process: what is attached and mounted is not asked for again. */
  readonly #mounted = new Set<string>();

  constructor(options: AttachableDriverOptions) {
    this.#options = options;
    this.directory = options.driver.directory;
  }

  /** Once, before any pod is looked at. Only volumes of attachable drivers. */
  restore(volumes: readonly RestoredVolume[]): void {
    const found = volumes.map(({ podUid, specName, driverName, volumeHandle }) => {
      const uniqueName = csiUniqueName(driverName, volumeHandle);
      this.#names.set(`${podUid}/${specName}`, uniqueName);
      return { uniqueName, podUid };
    });
    this.#options.inUse.restore(found);
  }

  /** @throws VolumeError VOLUME_TIMEOUT when the controller does not say that the volume is attached */
  async setUp(
    volume: Parameters<VolumeDriver<CsiSource>['setUp']>[0],
    signal: AbortSignal,
  ): ReturnType<VolumeDriver<CsiSource>['setUp']> {
    const { source, pod, specName, subject } = volume;
    const { driver, inUse, isAttachable } = this.#options;
    const podUid = pod.metadata.uid;
    const key = `${podUid}/${specName}`;
    if (this.#mounted.has(key)) return driver.setUp(volume, signal);
    if (source.type === 'persistent' && (await isAttachable(source.csi.driver, signal))) {
      const uniqueName = csiUniqueName(source.csi.driver, source.csi.volumeHandle);
      this.#names.set(key, uniqueName);
      await this.#patiently(signal, subject, uniqueName, async (until) => {
        await inUse.hold({ uniqueName, podUid }, until);
        await inUse.attached(uniqueName, until);
      });
    }
    const mounted = await driver.setUp(volume, signal);
    this.#mounted.add(key);
    return mounted;
  }

  async tearDown(podUid: string, specName: string, signal: AbortSignal): Promise<void> {
    this.#mounted.delete(`${podUid}/${specName}`);
    await this.#options.driver.tearDown(podUid, specName, signal);
    this.#forget(podUid, specName);
  }

  /** The pod is gone: also what it waited for and never got is not in use. */
  forget(podUid: string): void {
    for (const key of this.#names.keys()) {
      if (key.startsWith(`${podUid}/`)) this.#forget(podUid, key.slice(podUid.length + 1));
    }
  }

  #forget(podUid: string, specName: string): void {
    const key = `${podUid}/${specName}`;
    const uniqueName = this.#names.get(key);
    if (uniqueName === undefined) return;
    this.#names.delete(key);
    this.#options.inUse.release({ uniqueName, podUid });
  }

  async #patiently(
    signal: AbortSignal,
    subject: string,
    uniqueName: string,
    work: (until: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const late = new AbortController();
    const cancel = this.#options.clock.after(this.#options.patienceMs ?? defaultPatienceMs, () => {
      const message = `Volume not attached according to node status for volume "${uniqueName}"`;
      const fix = 'check that the controller manager and the external attacher run';
      late.abort(new VolumeError('VOLUME_TIMEOUT', message, { object: subject, fix }));
    });
    try {
      await work(AbortSignal.any([signal, late.signal]));
    } finally {
      cancel();
    }
  }
}

const defaultPatienceMs = 15_000;
