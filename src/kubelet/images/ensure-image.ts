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
import { untilAborted } from '../../base/until-aborted.ts';
import { formatDuration } from '../../config/duration.ts';
import { type ImageReference, parseImageReference } from '../../config/image-reference.ts';
import type * as cri from '../../cri/messages.generated.ts';
import type { ImageService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ObjectSources } from '../plan/environment.ts';
import type { ImageUser } from '../plan/security-context.ts';
import { normal, type RecordPodEvent } from '../pods/pod-events.ts';
import { credentialsFor, credentialsOfSecret, holdsCredentials, type RegistryCredential } from './credentials.ts';
import { ImageError, pullErrorOf } from './image-error.ts';

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
  /** Told of each image that a container is about to be made of, so that nobody takes it for garbage. */
  onUse?: (ref: string) => void;
  /**
   * Credentials of the node, for any pod: its config.json, credential provider plugins. Asked after the pod's own, in
   * this order; what one cannot tell, it logs.
   */
  nodeCredentials?: readonly NodeCredentials[];
  /** KubeletConfiguration serializeImagePulls / maxParallelImagePulls: pulls at a time. */
  maxParallelPulls: number;
  /** KubeletConfiguration registryPullQPS (0: no limit) and registryBurst. */
  pullRate: { perSecond: number; burst: number };
}

/** Never rejects. @param image without tag and digest, `registry.example/team/app` */
export type NodeCredentials = (image: string) => Promise<readonly RegistryCredential[]>;

/** Pull failures: 10 s doubling to 300 s (the kubelet's imageBackOff). */
const pullBackoff = { initialMs: 10_000, maxMs: 300_000 };
/** How soon ErrImagePull is reported again as ImagePullBackOff, while the backoff runs. */
const reportBackoffMs = 2_000;
/** How soon a pull that came too fast for registryPullQPS is tried again. */
const rateRetryMs = 1_000;
/** Configuration errors that no pull is tried for. */
const retryMs = 10_000;

const durationText = (ms: number): string => formatDuration(BigInt(ms) * 1_000_000n);

interface SharedPull {
  /** Milliseconds that it took. */
  done: Promise<number>;
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

  async function ensure(pod: Pod, container: Container, signal: AbortSignal): Promise<PresentImage> {
    const reference = parse(container);
    const policy = container.imagePullPolicy ?? 'IfNotPresent';
    const present = policy === 'Always' ? undefined : await find(reference.normalized, container);
    if (present) {
      options.onUse?.(present.ref);
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
    const took = await pullWithBackoff(pod, container, reference, signal);
    const pulled = await find(reference.normalized, container);
    if (pulled) {
      options.onUse?.(pulled.ref);
      const message =
        `Successfully pulled image "${container.image}" in ${durationText(took.pullMs)} ` +
        `(${durationText(took.totalMs)} including waiting). Image size: ${pulled.sizeBytes} bytes.`;
      recordEvent(pod, normal('Pulled', message, container.name));
      return pulled;
    }
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

  async function find(
    image: string,
    container: Container,
  ): Promise<(PresentImage & { sizeBytes: number }) | undefined> {
    try {
      const { image: found } = await images.imageStatus({ image: { image } });
      if (!found) return undefined;
      return {
        ref: found.id,
        user: { uid: found.uid?.value ?? (found.username ? undefined : 0), username: found.username },
        sizeBytes: Number(found.size),
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
  ): Promise<{ pullMs: number; totalMs: number }> {
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
    let pullMs: number;
    try {
      pullMs = await pull(reference, await credentialCandidates(pod, reference, signal), signal);
    } catch (error) {
      signal.throwIfAborted();
      const keys = keysOfPod.get(pod.metadata.uid) ?? new Set();
      keysOfPod.set(pod.metadata.uid, keys.add(key));
      backoff.failed(key, clock.now());
      const { reason, message } = pullErrorOf(container.image, error);
      throw new ImageError(reason, message, clock.now() + reportBackoffMs, { cause: error });
    }
    backoff.forget(key);
    const totalMs = clock.now() - startedMs;
    log.info({ ...fields, tookMs: totalMs, pullMs }, 'pulled image');
    return { pullMs, totalMs };
  }

  /** The pod's credentials that fit, then the node's, else one anonymous attempt. */
  async function credentialCandidates(
    pod: Pod,
    reference: ImageReference,
    signal: AbortSignal,
  ): Promise<(cri.AuthConfigInput | undefined)[]> {
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
    const { domain, path, name } = reference;
    const fitting = credentialsFor(domain, path, all);
    for (const ask of options.nodeCredentials ?? []) {
      fitting.push(...credentialsFor(domain, path, [...(await untilAborted(ask(name), signal))]));
    }
    return fitting.length > 0 ? fitting : [undefined];
  }

  /** Resolves to the milliseconds that the pull itself took. */
  async function pull(
    reference: ImageReference,
    candidates: (cri.AuthConfigInput | undefined)[],
    signal: AbortSignal,
  ): Promise<number> {
    const failures: unknown[] = [];
    for (const auth of candidates) {
      try {
        return await pullOnce(reference.normalized, auth, signal);
      } catch (error) {
        signal.throwIfAborted();
        failures.push(error);
      }
    }
    throw failures.length === 1 ? failures[0] : new AggregateError(failures, 'every credential failed');
  }

  /** Pods that want the same image with the same credential share one pull; it is aborted when the last of them leaves. */
  async function pullOnce(image: string, auth: cri.AuthConfigInput | undefined, signal: AbortSignal): Promise<number> {
    const key = JSON.stringify([image, auth]);
    const shared = underWay.get(key) ?? startPull(key, image, auth);
    shared.waiters++;
    try {
      return await untilAborted(shared.done, signal);
    } finally {
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
    const run = async (): Promise<number> => {
      const startedMs = clock.now();
      await images.pullImage(request, { signal });
      return clock.now() - startedMs;
    };
    const done = pulls.run(run, { signal }).finally(() => {
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
