/**
 * Image garbage collection of this machine, from configuration and the runtime's own word.
 * Layer: agent (composition).
 */
import { systemClock } from '../base/clock.ts';
import type { RunOptions } from '../config/flags.ts';
import { ImageCollector } from '../kubelet/images/image-collector.ts';
import { sandboxImages } from '../kubelet/images/sandbox-image.ts';
import { hostReader } from '../kubelet/node/host-reader.ts';
import type { NodeEvent } from '../kubelet/node/node-conditions.ts';
import type { Logger } from '../observe/logger.ts';
import type { Runtime } from './node-start.ts';

/** Not running yet. */
export function createImageCollector(
  { kubelet }: RunOptions,
  { image, runtime }: Runtime,
  recordNodeEvent: (event: NodeEvent) => void,
  log: Logger,
): ImageCollector {
  return new ImageCollector({
    images: image,
    runtime,
    filesystem: (path) => hostReader.filesystem(path),
    policy: kubelet.imageGc,
    kept: () => sandboxImages(runtime),
    recordNodeEvent,
    clock: systemClock,
    log: log.child({ component: 'image-gc' }),
  });
}
