/**
 * The ClusterTrustBundles of the API server for the pods that project them: read from the first such pod on, and each pod is
 * looked at again when one of its bundles changes. A node whose pods have none does not watch them.
 * Layer: kubelet/api. Source: pkg/kubelet/clustertrustbundle/clustertrustbundle_manager.go.
 */
import type { ApiClient } from '../../api/client.ts';
import {
  anchorsToPem,
  type ClusterTrustBundle,
  clusterTrustBundles,
  projectClusterTrustBundle,
} from '../../api/cluster-trust-bundle.ts';
import type { ClusterTrustBundleProjection, Pod } from '../../api/core.ts';
import { type ReflectorListener, startReflector } from '../../api/reflector.ts';
import { collectionPath } from '../../api/resource.ts';
import { type CancelTimer, type Clock, sleep } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { matchesLabelSelector } from '../plan/label-selector.ts';
import { VolumeError } from '../volumes/volume-error.ts';

export interface TrustBundlesOptions {
  /**
   * Finds out whether the API server has bundles, and follows all of them until the daemon stops.
   * Resolves to false when there are none to follow. Rejects with ApiError.
   */
  follow(listener: ReflectorListener<ClusterTrustBundle>): Promise<boolean>;
  /** The files of the pod may have to change. */
  onDue(podUid: string): void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How long a pod's volumes wait for the first list. */
const patienceMs = 5_000;
/** An API server that has no bundles, or does not answer, is asked again. */
const retryMs = 60_000;

export class TrustBundles {
  readonly #options: TrustBundlesOptions;
  readonly #bundles = new Map<string, ClusterTrustBundle>();
  /** By UID of the pods that name any. */
  readonly #pods = new Map<string, readonly ClusterTrustBundleProjection[]>();
  readonly #synced = Promise.withResolvers<void>();
  #looking: Promise<void> | undefined;
  /** Why there is nothing to be had; undefined while they are read or followed. */
  #trouble: { readonly message: string; readonly isFinal: boolean } | undefined;
  #isSynced = false;
  /** Somebody asked before the first list was there. */
  #refused = false;
  #cancelRetry: CancelTimer | undefined;

  constructor(options: TrustBundlesOptions) {
    this.#options = options;
  }

  /** Waits a while for what the pod names to be known. Never rejects: `anchors` says what is wrong. */
  async prepare(pod: Pod): Promise<void> {
    const projections = projectionsOf(pod);
    if (projections.length === 0) return;
    this.#pods.set(pod.metadata.uid, projections);
    this.#look();
    if (this.#isSynced) return;
    const waiting = new AbortController();
    const late = sleep(patienceMs, waiting.signal, this.#options.clock);
    const none = this.#looking?.then(() => (this.#trouble === undefined ? this.#synced.promise : undefined));
    try {
      await Promise.race([this.#synced.promise, none, late]);
    } finally {
      waiting.abort();
      late.catch(() => undefined);
    }
  }

  /** PEM; undefined when no bundle is selected. @throws VolumeError when it is not known */
  anchors(projection: ClusterTrustBundleProjection, subject: string): string | undefined {
    if (!this.#isSynced) {
      this.#refused = true;
      throw this.#unknown(subject);
    }
    const { name, signerName, labelSelector } = projection;
    if (name) {
      const bundle = this.#bundles.get(name);
      return bundle && anchorsToPem(bundle.anchors);
    }
    if (labelSelector === undefined) return undefined;
    const selected = [...this.#bundles.values()].filter(
      (bundle) => bundle.signerName === signerName && matchesLabelSelector(labelSelector, bundle.labels),
    );
    return selected.length === 0 ? undefined : anchorsToPem(selected.flatMap(({ anchors }) => anchors));
  }

  /** The pod is gone. */
  forget(podUid: string): void {
    this.#pods.delete(podUid);
    if (this.#pods.size > 0) return;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
  }

  #look(): void {
    if (this.#looking !== undefined) return;
    this.#looking = this.#options
      .follow({
        events: (batch) => this.#changed(batch),
        synced: () => {
          this.#isSynced = true;
          this.#synced.resolve();
          if (this.#refused) for (const uid of this.#pods.keys()) this.#options.onDue(uid);
          this.#refused = false;
        },
      })
      .then(
        (isThere) => {
          this.#trouble = isThere ? undefined : { message: 'the API server has no ClusterTrustBundles', isFinal: true };
        },
        (error: unknown) => {
          this.#trouble = { message: `ClusterTrustBundles cannot be read: ${errorLine(error)}`, isFinal: false };
          this.#options.log.warn({ error: errorLine(error) }, 'ClusterTrustBundles cannot be read');
        },
      )
      .then(() => {
        if (this.#trouble !== undefined) this.#lookAgainLater();
      });
  }

  #lookAgainLater(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = this.#options.clock.after(retryMs, () => {
      this.#looking = undefined;
      for (const uid of this.#pods.keys()) this.#options.onDue(uid);
    });
  }

  #changed(batch: Parameters<ReflectorListener<ClusterTrustBundle>['events']>[0]): void {
    const names = new Set<string>();
    const signers = new Set<string>();
    for (const event of batch) {
      const before = this.#bundles.get(event.key);
      const after = event.type === 'set' ? event.object : undefined;
      if (after === undefined) this.#bundles.delete(event.key);
      else this.#bundles.set(event.key, after);
      names.add(event.key);
      for (const bundle of [before, after]) if (bundle?.signerName) signers.add(bundle.signerName);
    }
    // The first list is waited for, not told.
    if (!this.#isSynced) return;
    for (const [uid, projections] of this.#pods) {
      const concerns = ({ name, signerName }: ClusterTrustBundleProjection): boolean =>
        name ? names.has(name) : signerName !== undefined && signers.has(signerName);
      if (projections.some(concerns)) this.#options.onDue(uid);
    }
  }

  #unknown(subject: string): VolumeError {
    const { message = 'ClusterTrustBundles have not been read from the API server yet', isFinal = false } =
      this.#trouble ?? {};
    return isFinal
      ? new VolumeError('VOLUME_UNSUPPORTED', message, { object: subject, fix: 'project a configMap instead' })
      : new VolumeError('VOLUME_OBJECT_MISSING', message, {
          object: subject,
          fix: 'check that the API server answers',
        });
  }
}

function projectionsOf({ spec }: Pod): ClusterTrustBundleProjection[] {
  return (spec.volumes ?? [])
    .flatMap(({ projected }) => projected?.sources ?? [])
    .flatMap(({ clusterTrustBundle }) => clusterTrustBundle ?? []);
}

export const followTrustBundles =
  (options: { client: ApiClient; clock: Clock; log: Logger; signal: AbortSignal }): TrustBundlesOptions['follow'] =>
  async (listener) => {
    const resource = await clusterTrustBundles(options.client, options.signal);
    if (resource === undefined) return false;
    startReflector<ClusterTrustBundle>({
      ...options,
      path: collectionPath(resource),
      project: projectClusterTrustBundle,
      listener,
    });
    return true;
  };
