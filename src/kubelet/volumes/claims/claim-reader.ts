/**
 * Reads the claim of a pod's volume and its PersistentVolume with the node's own rights.
 * Layer: kubelet/volumes/claims (over an injected API). A node may get claims, not watch them: one that is not bound is read
 * whenever the pod's volumes are looked at, a bound one once a minute. Whether they fit is bound-volume.ts's to say.
 */
import { isApiError } from '../../../api/api-error.ts';
import type { Pod, Volume } from '../../../api/core.ts';
import type { PersistentVolume } from '../../../api/persistent-volume.ts';
import type { PersistentVolumeClient } from '../../../api/persistent-volume-client.ts';
import { type Clock, sleep } from '../../../base/clock.ts';
import { errorLine } from '../../../observe/keelson-error.ts';
import type { Logger } from '../../../observe/logger.ts';
import { VolumeError } from '../volume-error.ts';
import { type BoundClaim, type ClaimReference, checkBound, claimUnknown } from './bound-volume.ts';
import type { ClaimedVolumes } from './claimed-volumes.ts';

export interface ClaimReaderOptions {
  readonly client: PersistentVolumeClient;
  readonly claimed: ClaimedVolumes;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ClaimAndVolume {
  readonly claim: BoundClaim['claim'];
  /** undefined: the claim names one that there is not. */
  readonly volume: PersistentVolume | undefined;
  /** Epoch milliseconds. */
  readonly readMs: number;
}

/** The kubelet reads a bound claim at each sync of the pod, which is about as often. */
const freshMs = 60_000;
/**
 * The Node authoriser learns of a pod by a watch of its own, and may hear of it after this node did. Refused for good, the
 * pod would wait ten seconds for its next try.
 */
const refusalPausesMs = [100, 200, 400, 800, 1_500];

export class ClaimReader {
  readonly #options: ClaimReaderOptions;

  constructor(options: ClaimReaderOptions) {
    this.#options = options;
  }

  /** @throws VolumeError VOLUME_CLAIM when the claim is not bound for this pod, or the API server does not say */
  async read(
    volume: Volume,
    pod: Pod,
    reference: ClaimReference,
    subject: string,
    signal: AbortSignal,
  ): Promise<ClaimAndVolume> {
    const { claimed, clock, log } = this.#options;
    const known = claimed.readClaim(pod.metadata.uid, volume.name);
    if (known !== undefined && clock.now() - known.readMs < freshMs) return known;
    try {
      return await this.#readAnew(pod, reference, subject, signal);
    } catch (error) {
      signal.throwIfAborted();
      // A pod that runs is not disturbed by an API server that does not answer.
      const unanswered = error instanceof VolumeError && error.cause !== undefined;
      if (known === undefined || !unanswered) throw error;
      log.debug({ volume: subject, error: errorLine(error) }, 'the claim cannot be read again');
      return known;
    }
  }

  async #readAnew(pod: Pod, reference: ClaimReference, subject: string, signal: AbortSignal): Promise<ClaimAndVolume> {
    const { client, clock } = this.#options;
    const asked = async <T>(what: string, get: () => Promise<T>): Promise<T> => {
      try {
        return await this.#patiently(get, signal);
      } catch (error) {
        signal.throwIfAborted();
        throw claimUnknown(reference, subject, what, error);
      }
    };
    const { namespace, name } = reference;
    const found = await asked('PVC', () => client.claim(namespace, name, signal));
    const { claim, volumeName } = checkBound(found, reference, pod, subject);
    const volume = await asked(`PV ${volumeName}`, () => client.volume(volumeName, signal));
    return { claim, volume, readMs: clock.now() };
  }

  async #patiently<T>(get: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (const pauseMs of refusalPausesMs) {
      try {
        return await get();
      } catch (error) {
        if (!isApiError(error, 'API_FORBIDDEN')) throw error;
      }
      await sleep(pauseMs, signal, this.#options.clock);
    }
    return get();
  }
}
