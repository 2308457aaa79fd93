/**
 * Removes images that the node can do without: each 5 minutes when their disk is too full or they are unused for too
 * long, and all unused ones when eviction asks. Layer: kubelet/images (edge to CRI). What goes is decided in
 * image-garbage.ts. Nothing that a container is made of, or is about to be, may go.
 */
import { type Clock, sleep } from '../../base/clock.ts';
import { createSemaphore } from '../../base/semaphore.ts';
import type { ImageService, RuntimeService } from '../../cri/service.ts';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { NodeEvent } from '../node/node-conditions.ts';
import { imageVolumesAnnotation } from '../plan/annotations.ts';
import {
  type DiskRoom,
  type ImageGcPolicy,
  type ImageRecord,
  type ImageRecords,
  isGcOff,
  type ListedImage,
  oldEnough,
  recordImages,
  removableImages,
  shortageOf,
  sizeText,
  tooOld,
  usedImages,
} from './image-garbage.ts';

/** Code IMAGE_GC: not enough could be freed, or the disk cannot be measured. */
export class ImageGcError extends KeelsonError {
  constructor(message: string, cause?: unknown) {
    super('IMAGE_GC', message, { fix: 'look at what fills the disk; images in use stay', cause });
  }
}

export interface ImageCollectorOptions {
  readonly images: Pick<ImageService, 'listImages' | 'removeImage' | 'imageFsInfo'>;
  readonly runtime: Pick<RuntimeService, 'listContainers'>;
  /** Size and room of the filesystem that the path lies on. */
  readonly filesystem: (path: string) => Promise<DiskRoom>;
  readonly policy: ImageGcPolicy;
  /** References of images that stay though no container uses them: a sandbox's, where the runtime pins none. */
  readonly kept?: () => Promise<readonly string[]>;
  readonly recordNodeEvent: (event: NodeEvent) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** pkg/kubelet/kubelet.go: ImageGCPeriod. */
const periodMs = 5 * 60_000;
const callTimeoutMs = 30_000;
/** How long an image counts as used after a container's start found it present: longer than any start takes. */
const promisedMs = 10 * 60_000;

export type RemovalReason = 'age' | 'space';

export class ImageCollector {
  readonly #options: ImageCollectorOptions;
  readonly #beganMs: number;
  readonly #turn = createSemaphore(1);
  /** By reference: until when it is spoken for. */
  readonly #promised = new Map<string, number>();
  readonly #removed: Record<RemovalReason, number> = { age: 0, space: 0 };
  #records: ImageRecords = new Map();

  constructor(options: ImageCollectorOptions) {
    this.#options = options;
    this.#beganMs = options.clock.now();
  }

  /** For `kubelet_image_garbage_collected_total`, by reason. */
  get removed(): Readonly<Record<RemovalReason, number>> {
    return this.#removed;
  }

  /** A container is about to be made of it. */
  promise(reference: string): void {
    this.#promised.set(reference, this.#options.clock.now() + promisedMs);
  }

  /** Collects now and then until aborted; never rejects. The first failure may be the runtime's start and is only logged. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, policy, recordNodeEvent } = this.#options;
    let failed = false;
    while (!signal.aborted) {
      try {
        // Without a policy the images are still watched: eviction may ask for the least recently used ones.
        await (isGcOff(policy) ? this.#turn.run(() => this.#look()) : this.collect());
        failed = false;
      } catch (error) {
        if (signal.aborted) return;
        const message = errorLine(error);
        log.warn({ error: message }, 'images are not garbage-collected');
        if (failed) recordNodeEvent({ type: 'Warning', reason: 'ImageGCFailed', message });
        failed = true;
      }
      await sleep(periodMs, signal, clock).catch(() => undefined);
    }
  }

  /** By the policy. @throws ImageGcError, CriError */
  collect(): Promise<void> {
    return this.#turn.run(() => this.#collect());
  }

  /** All that are unused, of any age above the minimum. Resolves to the bytes they had. @throws ImageGcError, CriError */
  deleteUnused(): Promise<number> {
    return this.#turn.run(async () => {
      const { removable, nowMs } = await this.#look();
      return this.#free(oldEnough(removable, this.#options.policy, nowMs), Number.POSITIVE_INFINITY);
    });
  }

  async #collect(): Promise<void> {
    const { policy, recordNodeEvent } = this.#options;
    const { removable, nowMs } = await this.#look();
    const old = tooOld(removable, policy, nowMs, this.#beganMs);
    const failures: unknown[] = [];
    for (const image of old) await this.#remove(image, 'age').catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw new ImageGcError(`old images stay: ${failures.map(errorLine).join('; ')}`);
    const room = await this.#room();
    if (room.capacityBytes <= 0) {
      const message = 'invalid capacity 0 on image filesystem';
      recordNodeEvent({ type: 'Warning', reason: 'InvalidDiskCapacity', message });
      throw new ImageGcError(message);
    }
    const shortage = shortageOf(room, policy);
    if (shortage === undefined) return;
    const { usagePercent, bytesToFree } = shortage;
    const gone = new Set(old.map(({ id }) => id));
    const left = removable.filter(({ id }) => !gone.has(id));
    const freed = await this.#free(oldEnough(left, policy, nowMs), bytesToFree);
    if (freed >= bytesToFree) return;
    const message =
      `Insufficient free disk space on the node's image filesystem ` +
      `(${usagePercent}% of ${sizeText(room.capacityBytes)} used). Failed to free sufficient space by deleting unused ` +
      `images (freed ${freed} bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or ` +
      'other data.';
    recordNodeEvent({ type: 'Warning', reason: 'FreeDiskSpaceFailed', message });
    throw new ImageGcError(message);
  }

  /** What there is and what of it nobody uses. */
  async #look(): Promise<{ removable: ImageRecord[]; nowMs: number }> {
    const { images, runtime, clock, kept } = this.#options;
    const call = { timeoutMs: callTimeoutMs };
    const listed: ListedImage[] = (await images.listImages({}, call)).images.map((image) => ({
      ...image,
      size: Number(image.size),
    }));
    // After the images: a container that is made meanwhile is seen.
    const [{ containers }, others] = await Promise.all([runtime.listContainers({}, call), kept?.() ?? []]);
    const nowMs = clock.now();
    for (const [reference, untilMs] of this.#promised) if (untilMs <= nowMs) this.#promised.delete(reference);
    const references = containers.flatMap(({ imageId, imageRef, image, annotations }) => [
      imageId,
      imageRef,
      image?.image ?? '',
      ...imageVolumes(annotations[imageVolumesAnnotation]),
    ]);
    const used = usedImages(listed, [...references, ...others, ...this.#promised.keys()]);
    this.#records = recordImages(this.#records, listed, used, nowMs);
    return { removable: removableImages(this.#records, used), nowMs };
  }

  async #room(): Promise<DiskRoom> {
    const { images, filesystem } = this.#options;
    const { imageFilesystems } = await images.imageFsInfo({}, { timeoutMs: callTimeoutMs });
    const path = imageFilesystems[0]?.fsId?.mountpoint;
    if (!path) throw new ImageGcError('the runtime does not say where its images are');
    try {
      return await filesystem(path);
    } catch (error) {
      throw new ImageGcError(`the filesystem of ${path} cannot be measured: ${errorLine(error)}`, error);
    }
  }

  /** Until enough is freed; goes on after a failure. Resolves to the bytes that the removed ones had. */
  async #free(candidates: readonly ImageRecord[], bytesToFree: number): Promise<number> {
    const failures: unknown[] = [];
    let freed = 0;
    for (const image of candidates) {
      if (freed >= bytesToFree) break;
      // Spoken for since the look.
      if (this.#promised.has(image.id)) continue;
      try {
        await this.#remove(image, 'space');
        freed += image.sizeBytes;
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length === 0) return freed;
    throw new ImageGcError(`freed ${freed} bytes, but some images stay: ${failures.map(errorLine).join('; ')}`);
  }

  async #remove({ id, sizeBytes }: ImageRecord, reason: RemovalReason): Promise<void> {
    const { images, log } = this.#options;
    await images.removeImage({ image: { image: id } }, { timeoutMs: callTimeoutMs });
    log.info({ image: id, sizeBytes, reason }, 'unused image removed');
    this.#removed[reason]++;
    const left = new Map(this.#records);
    left.delete(id);
    this.#records = left;
  }
}

/** Of a container that Keelson made; others have no such annotation, or something of their own in it. */
function imageVolumes(annotation: string | undefined): string[] {
  if (annotation === undefined) return [];
  try {
    const ids: unknown = JSON.parse(annotation);
    return Array.isArray(ids) ? ids.filter((id): id is string => typeof id === 'string') : [];
  } catch {
    return [];
  }
}
