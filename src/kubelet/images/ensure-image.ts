/**
 * Sees that a container's image is there by its pull policy, with the pod's credentials and a backoff per pod and image.
 * Rules: pkg/kubelet/images/image_manager.go; node-contract section 4 "Images", section 2 defaults.
 * Layer: kubelet/images (edge to CRI's ImageService).
 */
import type { Container, Pod } from '../../api/core.ts';
import { KeyedBackoff } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import { createSemaphore } from '../../base/semaphore.ts';
import { createTokenBucket } from '../../base/token-bucket.ts';
import { type ImageReference, parseImageReference } from '../../config/image-reference.ts';
import type * as cri from '../../cri/messages.generated.ts';
import type { ImageService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ObjectSources } from '../plan/environment.ts';
import type { ImageUser } from '../plan/security-context.ts';
import { normal, type RecordPodEvent } from '../pods/pod-events.ts';
import { credentialsFor, credentialsOfSecret, holdsCredentials, type RegistryCredential } from './credentials.ts';
import { ImageError } from './image-error.ts';

export interface PresentImage {
  /** What CreateContainer is given: the runtime's own id of the image. */
  ref: string;
  user: ImageUser;
}

export interface EnsureImageOptions {
  images: ImageService;
  sources: ObjectSources;
  clock: Clock;
  log: Logger;
  /** Told of Pulling and Pulled; failures are the caller's to tell. */
  recordEvent?: RecordPodEvent;
  /** KubeletConfiguration serializeImagePulls / maxParallelImagePulls: pulls at a time. */
  maxParallelPulls: number;
  /** KubeletConfiguration registryPullQPS (0: no limit) and registryBurst. */
  pullRate: { perSecond: number; burst: number };
}

/** Pull failures: 10 s doubling to 300 s (the kubelet's imageBackOff). */
const pullBackoff = { initialMs: 10_000, maxMs: 300_000 };
/** How soon ErrImagePull is reported again as ImagePullBackOff, while the backoff runs. */
const reportBackoffMs = 2_000;
/** How soon a pull that came too fast for registryPullQPS is tried again. */
const rateRetryMs = 1_000;
/** Configuration errors that no pull is tried for. */
const retryMs = 10_000;

interface SharedPull {
  done: Promise<void>;
  waiters: number;
  controller: AbortController;
}

export function createImageEnsurer(options: EnsureImageOptions) {
  const { images, clock, log, recordEvent = () => {} } = options;
  const backoff = new KeyedBackoff(pullBackoff);
  const keysOfPod = new Map<string, Set<string>>();
  const pulls = createSemaphore(options.maxParallelPulls);
  const rate = createTokenBucket(options.pullRate.perSecond, options.pullRate.burst);
  const underWay = new Map<string, SharedPull>();

  async function ensure(pod: Pod, containerIndex: number, signal: AbortSignal): Promise<PresentImage> {
    const container = pod.spec.containers[containerIndex];
    if (!container) throw new RangeError(`pod has no container ${containerIndex}`);
    const reference = parse(container);
    const policy = container.imagePullPolicy ?? 'IfNotPresent';
    const present = policy === 'Always' ? undefined : await find(reference.normalized, container);
    if (present) {
      const message = `Container image "${container.image}" already present on machine`;
      recordEvent(pod, normal('Pulled', message, container.name));
      return present;
    }
    if (policy === 'Never') {
      const message = `Container image "${container.image}" is not present with pull policy of Never`;
      throw new ImageError('ErrImageNeverPull', message, clock.now() + retryMs, {
        object: `container ${container.name}`,
      });
    }
    await pullWithBackoff(pod, container, reference, signal);
    const pulled = await find(reference.normalized, container);
    if (pulled) return pulled;
    throw new ImageError('ErrImagePull', `"${container.image}" is not there after its pull`, clock.now() + retryMs, {});
  }

  function parse(container: Container): ImageReference {
    try {
      return parseImageReference(container.image);
    } catch (error) {
      const message = `Failed to apply default image tag "${container.image}": ${errorLine(error)}`;
      throw new ImageError('InvalidImageName', message, clock.now() + retryMs, { cause: error });
    }
  }

  async function find(image: string, container: Container): Promise<PresentImage | undefined> {
    try {
      const { image: found } = await images.imageStatus({ image: { image } });
      if (!found) return undefined;
      return {
        ref: found.id,
        user: { uid: found.uid?.value ?? (found.username ? undefined : 0), username: found.username },
      };
    } catch (error) {
      const message = `Failed to inspect image "${container.image}": ${errorLine(error)}`;
      throw new ImageError('ImageInspectError', message, clock.now() + retryMs, { cause: error });
    }
  }

  async function pullWithBackoff(
    pod: Pod,
    container: Container,
    reference: ImageReference,
    signal: AbortSignal,
  ): Promise<void> {
    const key = `${pod.metadata.uid}_${reference.normalized}`;
    const remaining = backoff.remaining(key, clock.now());
    if (remaining > 0) {
      throw new ImageError('ImagePullBackOff', `Back-off pulling image "${container.image}"`, clock.now() + remaining, {
        backingOff: true,
      });
    }
    if (!rate.take(clock.now())) {
      throw new ImageError('ErrImagePull', 'pull QPS exceeded', clock.now() + rateRetryMs, { backingOff: true });
    }
    const fields = { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, image: container.image };
    const startedMs = clock.now();
    log.info(fields, 'pulling image');
    recordEvent(pod, normal('Pulling', `Pulling image "${container.image}"`, container.name));
    try {
      await pull(reference, credentialCandidates(pod, reference), signal);
    } catch (error) {
      signal.throwIfAborted();
      const keys = keysOfPod.get(pod.metadata.uid) ?? new Set();
      keysOfPod.set(pod.metadata.uid, keys.add(key));
      backoff.failed(key, clock.now());
      const message = `failed to pull image "${container.image}": ${errorLine(error)}`;
      throw new ImageError('ErrImagePull', message, clock.now() + reportBackoffMs, { cause: error });
    }
    backoff.forget(key);
    const tookMs = clock.now() - startedMs;
    log.info({ ...fields, tookMs }, 'pulled image');
    const message = `Successfully pulled image "${container.image}" in ${tookMs / 1000}s`;
    recordEvent(pod, normal('Pulled', message, container.name));
  }

  /** The pod's credentials that fit, else one anonymous attempt. */
  function credentialCandidates(pod: Pod, reference: ImageReference): (cri.AuthConfigInput | undefined)[] {
    const all: RegistryCredential[] = [];
    for (const { name } of pod.spec.imagePullSecrets ?? []) {
      const secret = options.sources.secret(pod.metadata.namespace, name);
      if (!secret) {
        // The kubelet goes on without it too (FailedToRetrieveImagePullSecret): the image may be public.
        log.warn({ pod: `${pod.metadata.namespace}/${pod.metadata.name}`, secret: name }, 'imagePullSecret not found');
        continue;
      }
      if (!holdsCredentials(secret)) {
        // Passed over as the kubelet does, which says nothing at all.
        const fields = { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, secret: name, type: secret.type };
        log.warn(fields, 'imagePullSecret holds no registry credentials');
        continue;
      }
      all.push(...credentialsOfSecret(secret));
    }
    const fitting = credentialsFor(reference.domain, reference.path, all);
    return fitting.length > 0 ? fitting : [undefined];
  }

  async function pull(
    reference: ImageReference,
    candidates: (cri.AuthConfigInput | undefined)[],
    signal: AbortSignal,
  ): Promise<void> {
    const failures: unknown[] = [];
    for (const auth of candidates) {
      try {
        await pullOnce(reference.normalized, auth, signal);
        return;
      } catch (error) {
        signal.throwIfAborted();
        failures.push(error);
      }
    }
    throw failures.length === 1 ? failures[0] : new AggregateError(failures, 'every credential failed');
  }

  /** Pods that want the same image with the same credential share one pull; it is aborted when the last of them leaves. */
  async function pullOnce(image: string, auth: cri.AuthConfigInput | undefined, signal: AbortSignal): Promise<void> {
    const key = JSON.stringify([image, auth]);
    const shared = underWay.get(key) ?? startPull(key, image, auth);
    shared.waiters++;
    const left = Promise.withResolvers<never>();
    const leave = (): void => left.reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      signal.throwIfAborted();
      await Promise.race([shared.done, left.promise]);
    } finally {
      signal.removeEventListener('abort', leave);
      shared.waiters--;
      if (shared.waiters === 0) {
        // Nobody may join a pull that is being aborted: it would be told of a failure that is none.
        if (underWay.get(key) === shared) underWay.delete(key);
        shared.controller.abort();
      }
    }
  }

  function startPull(key: string, image: string, auth: cri.AuthConfigInput | undefined): SharedPull {
    const controller = new AbortController();
    const { signal } = controller;
    const request = { image: { image }, ...(auth ? { auth } : {}) };
    const done = pulls
      .run(() => images.pullImage(request, { signal }), { signal })
      .then(() => undefined)
      .finally(() => {
        if (underWay.get(key) === shared) underWay.delete(key);
      });
    // Every waiter may have left before it fails.
    done.catch(() => undefined);
    const shared: SharedPull = { done, waiters: 0, controller };
    underWay.set(key, shared);
    return shared;
  }

  return {
    ensure,
    forget(uid: string): void {
      for (const key of keysOfPod.get(uid) ?? []) backoff.forget(key);
      keysOfPod.delete(uid);
    },
  };
}
