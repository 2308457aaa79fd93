/**
 * CSI volumes as mountVolumes and teardownVolumes know them: what is mounted is left alone, what fails is tried again with
 * growing delays, one operation at a time for each volume.
 * Layer: kubelet/csi. What one operation does is in mount-volume.ts, unmount-volume.ts and expand-volume.ts.
 */
import { KeyedBackoff } from '../../base/backoff.ts';
import { type CancelTimer, sleep } from '../../base/clock.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { warning } from '../pods/pod-events.ts';
import { type CsiSource, csiDirectory } from '../volumes/claims/csi-source.ts';
import type { DriverVolume, MountedVolume, VolumeDriver } from '../volumes/volume-driver.ts';
import type { CsiContext } from './csi-context.ts';
import { CsiError } from './csi-error.ts';
import { expandVolume, wantedBytes } from './expand-volume.ts';
import { findMounted, isThere, mountVolume, placesOfVolume, publishVolume, userOf } from './mount-volume.ts';
import { type CsiVolume, handleOf, prepareCalls } from './prepare-calls.ts';
import { removeUnrecorded, unmountVolume } from './unmount-volume.ts';
import { recordOf, type VolumeUser } from './volume-record.ts';
import { volumeKey } from './volume-users.ts';

export interface CsiVolumeDriverOptions {
  /** Looks at the pod's volumes again. */
  readonly wake: (podUid: string) => void;
  /** Milliseconds between two looks at a volume that may change by itself, plus up to a half; default 60,000. */
  readonly lookAgainMs?: number;
  /** 0 to 1 */
  readonly random?: () => number;
}

/** A volume that a pod has now, since this process mounted it or found it mounted. */
export interface HeldVolume {
  readonly volume: CsiVolume;
  readonly driver: string;
  readonly volumeHandle: string;
  readonly target: string;
  readonly staging: string;
  readonly mounted: MountedVolume;
  /** Bytes to which the driver has grown it. */
  expandedTo?: number;
}

/** pkg/util/goroutinemap/exponentialbackoff: 500 ms to 2 m 2 s. */
const backoffLimits = { initialMs: 500, maxMs: 122_000 };
const defaultLookAgainMs = 60_000;
/** How long a pod that has its volume waits for a driver to publish it again or to grow it: a container may want to start. */
const upkeepPatienceMs = 2_000;

const keyOf = ({ podUid, specName }: VolumeUser): string => `${podUid}/${specName}`;

export class CsiVolumeDriver implements VolumeDriver<CsiSource> {
  readonly directory = csiDirectory;
  readonly #context: CsiContext;
  readonly #options: CsiVolumeDriverOptions;
  readonly #lock = new KeyedLock();
  readonly #backoff = new KeyedBackoff(backoffLimits);
  readonly #failures = new Map<string, unknown>();
  readonly #held = new Map<string, HeldVolume>();
  /** Pods that wait for a driver to register. */
  readonly #waiting = new Map<string, Set<string>>();
  readonly #timers = new Map<string, CancelTimer>();
  /** What a driver is asked for volumes that their pods have. */
  readonly #upkeeps = new Map<string, { done: Promise<void>; scope: AbortController }>();

  constructor(context: CsiContext, options: CsiVolumeDriverOptions) {
    this.#context = context;
    this.#options = options;
    context.drivers.onRegistered((name) => this.#registered(name));
  }

  /** @throws KeelsonError (CsiError, VolumeError), Node's errors, or the signal's reason */
  async setUp(volume: DriverVolume<CsiSource>, signal: AbortSignal): Promise<MountedVolume> {
    const held = await this.#stillHeld(volume);
    if (held !== undefined) {
      await this.#upkeep(volume, held, signal);
      this.#lookAgain(held);
      return held.mounted;
    }
    const key = volumeKey(volume.source.csi.driver, handleOf(volume));
    return this.#locked(key, signal, async () => {
      const mounted = await this.#tried(userOf(volume), signal, () => this.#mount(volume, signal));
      await this.#expand(volume, mounted, signal);
      this.#lookAgain(mounted);
      return mounted.mounted;
    });
  }

  /** @throws KeelsonError (CsiError, VolumeError), Node's errors, or the signal's reason */
  async tearDown(podUid: string, specName: string, signal: AbortSignal): Promise<void> {
    const user = { podUid, specName };
    // Read without the lock, whose key is in it; a mount under way has written it before it asked the driver.
    const first = await recordOf(user, this.#context.paths);
    const key = first === undefined ? keyOf(user) : volumeKey(first.driverName, first.volumeHandle);
    this.#upkeeps.get(keyOf(user))?.scope.abort(new Error('the volume is taken away'));
    await this.#locked(key, signal, () =>
      this.#tried(user, signal, async () => {
        const record = await recordOf(user, this.#context.paths);
        // Whatever becomes of it, it is not the volume that was mounted any more.
        this.#held.delete(keyOf(user));
        if (record === undefined) await removeUnrecorded(user, this.#context);
        else await unmountVolume(user, record, this.#context, signal);
      }),
    );
    this.#release(user);
  }

  /** The pod is gone, with or without having had a volume. */
  forget(podUid: string): void {
    this.#context.tokens.forget(podUid);
    this.#timers.get(podUid)?.();
    this.#timers.delete(podUid);
    for (const [driver, pods] of this.#waiting) {
      pods.delete(podUid);
      if (pods.size === 0) this.#waiting.delete(driver);
    }
    for (const key of this.#failures.keys()) {
      if (!key.startsWith(`${podUid}/`)) continue;
      this.#failures.delete(key);
      this.#backoff.forget(key);
    }
  }

  held(podUid: string, specName: string): HeldVolume | undefined {
    return this.#held.get(keyOf({ podUid, specName }));
  }

  stop(): void {
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
    for (const { scope } of this.#upkeeps.values()) scope.abort(new Error('the CSI part stops'));
  }

  /** The mount table is asked: a container that started without the mount would write to the node's own disk. */
  async #stillHeld(volume: CsiVolume): Promise<HeldVolume | undefined> {
    const key = keyOf(userOf(volume));
    const held = this.#held.get(key);
    if (held === undefined || (await isThere(volume, held.target, this.#context))) return held;
    this.#context.log.warn({ volume: volume.subject, target: held.target }, 'the mount is gone; it is made anew');
    this.#held.delete(key);
    this.#context.staged.delete(volumeKey(held.driver, held.volumeHandle));
    return undefined;
  }

  /** Goes on by itself after a while: the pod has its volume, whether the driver answers or not. */
  async #upkeep(volume: CsiVolume, held: HeldVolume, signal: AbortSignal): Promise<void> {
    const republishes = this.#context.objects.peek(held.driver)?.requiresRepublish === true;
    if (!republishes && wantedBytes(volume) === undefined) return;
    const key = keyOf(userOf(volume));
    const { done } = this.#upkeeps.get(key) ?? this.#startUpkeep(key, volume, held, republishes);
    const waiting = new AbortController();
    const late = sleep(upkeepPatienceMs, AbortSignal.any([signal, waiting.signal]), this.#context.clock);
    try {
      await Promise.race([done, late]);
    } finally {
      waiting.abort();
      late.catch(() => undefined);
    }
  }

  #startUpkeep(key: string, volume: CsiVolume, held: HeldVolume, republishes: boolean) {
    const scope = new AbortController();
    const { signal } = scope;
    const done = this.#lock
      .run(volumeKey(held.driver, held.volumeHandle), async () => {
        if (signal.aborted || this.#held.get(key) !== held) return;
        if (republishes) await this.#republish(volume, signal);
        await this.#expand(volume, held, signal);
      })
      .catch((error: unknown) => {
        if (!signal.aborted)
          this.#context.log.warn({ volume: volume.subject, error: errorLine(error) }, 'upkeep failed');
      })
      .finally(() => this.#upkeeps.delete(key));
    const upkeep = { done, scope };
    this.#upkeeps.set(key, upkeep);
    return upkeep;
  }

  async #mount(volume: CsiVolume, signal: AbortSignal): Promise<HeldVolume> {
    const context = this.#context;
    const { driver } = volume.source.csi;
    const mounted =
      (await findMounted(volume, context)) ??
      (await mountVolume(volume, await prepareCalls(volume, context, signal), context, signal));
    const { target, staging } = placesOfVolume(volume, context);
    const held = { volume, driver, volumeHandle: handleOf(volume), target, staging, mounted };
    this.#held.set(keyOf(userOf(volume)), held);
    // Found on disk rather than made: the index of users knows it from there.
    await context.users.add(volumeKey(driver, held.volumeHandle), userOf(volume));
    return held;
  }

  /** A container goes on with what it has: a failure is told, not thrown. */
  async #republish(volume: CsiVolume, signal: AbortSignal): Promise<void> {
    try {
      const calls = await prepareCalls(volume, this.#context, signal);
      await publishVolume(placesOfVolume(volume, this.#context), calls, signal);
    } catch (error) {
      signal.throwIfAborted();
      const message = `republishing volume "${volume.name}" failed: ${errorLine(error)}`;
      this.#context.recordEvent(volume.pod, warning('FailedMount', message));
      this.#context.log.warn({ volume: volume.subject, error: errorLine(error) }, 'the volume was not republished');
    }
  }

  async #expand(volume: CsiVolume, held: HeldVolume, signal: AbortSignal): Promise<void> {
    const bytes = wantedBytes(volume);
    const key = `expand ${keyOf(userOf(volume))}`;
    const { clock } = this.#context;
    if (bytes === undefined || this.#backoff.remaining(key, clock.now()) > 0) return;
    if (await expandVolume(volume, bytes, held.expandedTo === bytes, this.#context, signal)) held.expandedTo = bytes;
    else this.#backoff.failed(key, clock.now());
  }

  /** Not before the delay that the last failure earned, which is thrown again instead. */
  async #tried<T>(user: VolumeUser, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const key = keyOf(user);
    const { clock } = this.#context;
    if (this.#failures.has(key) && this.#backoff.remaining(key, clock.now()) > 0) throw this.#failures.get(key);
    try {
      const result = await work();
      this.#backoff.forget(key);
      this.#failures.delete(key);
      return result;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof CsiError && error.code === 'CSI_DRIVER_MISSING') this.#waitFor(error, user);
      else {
        this.#failures.set(key, error);
        this.#backoff.failed(key, clock.now());
      }
      throw error;
    }
  }

  /** Costs nothing to find out again, so no delay; the registration wakes the pod. */
  #waitFor({ driver = '' }: CsiError, { podUid }: VolumeUser): void {
    const pods = this.#waiting.get(driver) ?? new Set();
    this.#waiting.set(driver, pods.add(podUid));
  }

  #registered(driver: string): void {
    const pods = new Set(this.#waiting.get(driver));
    this.#waiting.delete(driver);
    // What failed because the driver was being restarted need not wait any longer.
    for (const [key, error] of this.#failures) {
      if (!(error instanceof CsiError) || error.driver !== driver) continue;
      this.#failures.delete(key);
      this.#backoff.forget(key);
      pods.add(key.slice(0, key.indexOf('/')));
    }
    for (const podUid of pods) this.#options.wake(podUid);
  }

  /** For volumes that may have grown, and for drivers that want to be asked again and again. */
  #lookAgain({ volume, driver }: HeldVolume): void {
    const { source, pod } = volume;
    if (source.type === 'inline' && !this.#context.objects.peek(driver)?.requiresRepublish) return;
    const { uid } = pod.metadata;
    const { lookAgainMs = defaultLookAgainMs, random = Math.random, wake } = this.#options;
    this.#timers.get(uid)?.();
    const cancel = this.#context.clock.after(lookAgainMs * (1 + random() / 2), () => {
      this.#timers.delete(uid);
      wake(uid);
    });
    this.#timers.set(uid, cancel);
  }

  #release(user: VolumeUser): void {
    const { podUid } = user;
    this.#held.delete(keyOf(user));
    this.#backoff.forget(`expand ${keyOf(user)}`);
    if (![...this.#held.keys()].some((key) => key.startsWith(`${podUid}/`))) this.forget(podUid);
  }

  /** Whoever waits for another's call may give up waiting; what is under way ends by itself, then the next may begin. */
  #locked<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    this.#lock
      .run(key, async () => {
        signal.throwIfAborted();
        return work();
      })
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', abort));
    return promise;
  }
}
