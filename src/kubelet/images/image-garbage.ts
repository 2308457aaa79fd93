/**
 * Which images the node can do without: what was seen of each, the order in which unused ones go, and how much must go.
 * Layer: kubelet/images (pure; time is handed in). Removes nothing: image-collector.ts does.
 * Rules: pkg/kubelet/images/image_gc_manager.go; node-contract section 9.
 */

/** Of CRI ListImages. */
export interface ListedImage {
  readonly id: string;
  /** Bytes. */
  readonly size: number;
  /** The runtime needs it itself. */
  readonly pinned: boolean;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
}

export interface ImageRecord {
  readonly id: string;
  /** Epoch milliseconds at which this process saw it first. */
  readonly firstSeenMs: number;
  /** Epoch milliseconds at which it was last seen in use; 0 for never. */
  readonly lastUsedMs: number;
  readonly sizeBytes: number;
  readonly pinned: boolean;
}

export type ImageRecords = ReadonlyMap<string, ImageRecord>;

export interface ImageGcPolicy {
  /** KubeletConfiguration imageGCHighThresholdPercent, 0 to 100: from this usage on, images go. */
  readonly highThresholdPercent: number;
  /** KubeletConfiguration imageGCLowThresholdPercent: down to this usage. */
  readonly lowThresholdPercent: number;
  /** KubeletConfiguration imageMinimumGCAge, milliseconds: younger ones may be about to be used. */
  readonly minAgeMs: number;
  /** KubeletConfiguration imageMaximumGCAge, milliseconds unused, whatever the usage; 0 for no limit. */
  readonly maxAgeMs: number;
}

/** Whether the policy never removes anything by itself. */
export const isGcOff = ({ highThresholdPercent, maxAgeMs }: ImageGcPolicy): boolean =>
  highThresholdPercent === 100 && maxAgeMs === 0;

/**
 * Ids of the images that are referred to. Ids and digests say exactly what is meant; a tag only counts where nothing
 * else does, since it may have moved to another image since the container was made.
 */
export function usedImages(images: readonly ListedImage[], references: Iterable<string>): Set<string> {
  const byName = new Map<string, string>();
  for (const { id, repoTags } of images) for (const tag of repoTags) byName.set(tag, id);
  for (const { id, repoDigests } of images) for (const digest of repoDigests) byName.set(digest, id);
  for (const { id } of images) byName.set(id, id);
  const used = new Set<string>();
  for (const reference of references) {
    const id = byName.get(reference);
    if (id !== undefined) used.add(id);
  }
  return used;
}

/** What is known after one look; images that are gone are forgotten. */
export function recordImages(
  before: ImageRecords,
  images: readonly ListedImage[],
  used: ReadonlySet<string>,
  nowMs: number,
): ImageRecords {
  return new Map(
    images.map(({ id, size, pinned }) => {
      const known = before.get(id);
      const firstSeenMs = known?.firstSeenMs ?? nowMs;
      const lastUsedMs = used.has(id) ? nowMs : (known?.lastUsedMs ?? 0);
      return [id, { id, firstSeenMs, lastUsedMs, sizeBytes: size, pinned }];
    }),
  );
}

/** Neither used nor pinned: least recently used first, of those the longest known. */
export function removableImages(records: ImageRecords, used: ReadonlySet<string>): ImageRecord[] {
  return [...records.values()]
    .filter(({ id, pinned }) => !pinned && !used.has(id))
    .sort((a, b) => a.lastUsedMs - b.lastUsedMs || a.firstSeenMs - b.firstSeenMs);
}

/**
 * Of `removable`: those that nobody used for too long. None before this process has watched for that long itself.
 * @param beganMs when it began to watch
 */
export function tooOld(
  removable: readonly ImageRecord[],
  { maxAgeMs }: ImageGcPolicy,
  nowMs: number,
  beganMs: number,
): ImageRecord[] {
  if (maxAgeMs === 0 || nowMs - beganMs <= maxAgeMs) return [];
  return removable.filter(({ lastUsedMs }) => nowMs - lastUsedMs > maxAgeMs);
}

/** Of `removable`: those that may go for want of room. */
export function oldEnough(
  removable: readonly ImageRecord[],
  { minAgeMs }: ImageGcPolicy,
  nowMs: number,
): ImageRecord[] {
  return removable.filter(({ lastUsedMs, firstSeenMs }) => lastUsedMs < nowMs && nowMs - firstSeenMs >= minAgeMs);
}

export interface DiskRoom {
  readonly capacityBytes: number;
  readonly availableBytes: number;
}

export interface Shortage {
  readonly usagePercent: number;
  readonly bytesToFree: number;
}

/** undefined below the high threshold. `capacityBytes` must be above 0. */
export function shortageOf(room: DiskRoom, policy: ImageGcPolicy): Shortage | undefined {
  const { capacityBytes } = room;
  const availableBytes = Math.min(room.availableBytes, capacityBytes);
  const usagePercent = 100 - Math.floor((availableBytes * 100) / capacityBytes);
  if (usagePercent < policy.highThresholdPercent) return undefined;
  const wanted = Math.floor((capacityBytes * (100 - policy.lowThresholdPercent)) / 100);
  return { usagePercent, bytesToFree: wanted - availableBytes };
}

/** `512 B`, `1.5 GiB`: as the kubelet words the size of a filesystem. */
export function sizeText(bytes: number): string {
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  if (bytes < 1024) return `${bytes} B`;
  const step = Math.min(Math.floor(Math.log2(bytes) / 10), units.length);
  return `${(bytes / 1024 ** step).toFixed(1)} ${units[step - 1]}`;
}
