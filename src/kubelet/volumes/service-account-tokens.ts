/**
 * Service account tokens of pods: asked for once, kept until they are due, and renewed in time by a timer.
 * Layer: kubelet/volumes, over an injected TokenRequest call. Tokens live in memory only; a restart asks for new ones.
 * Source: pkg/kubelet/token/token_manager.go (requiresRefresh), pkg/volume/projected.
 */
import type { Pod, ServiceAccountTokenProjection } from '../../api/core.ts';
import { PassingRefusals } from '../../api/passing-refusal.ts';
import { type CancelTimer, type Clock, sleep } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { VolumeError } from './volume-error.ts';

export interface TokenRequest {
  namespace: string;
  serviceAccount: string;
  /** Empty: the API server's own. */
  audiences: string[];
  expirationSeconds: number;
  pod: { name: string; uid: string };
}

export interface IssuedToken {
  token: string;
  /** Milliseconds since the epoch. */
  expiresAtMs: number;
}

export interface ServiceAccountTokensOptions {
  /** TokenRequest of authentication.k8s.io/v1, bound to the pod. */
  request(request: TokenRequest): Promise<IssuedToken>;
  /** A token of the pod was renewed or is due: look at its volumes again. */
  onDue(uid: string): void;
  clock: Clock;
  log: Logger;
  /** 0 to 1; so that not all nodes renew at once. */
  random?: () => number;
}

interface HeldToken extends IssuedToken {
  issuedAtMs: number;
}

const defaultExpirationSeconds = 3600;
const maxAgeMs = 24 * 3600_000;
const maxJitterMs = 10_000;
/** After a refusal that may pass: the Node authoriser hears of a pod some moments after this node. */
const refusedRetryMs = 500;
/** After a failed renewal, while the old token still serves. */
const retryMs = 60_000;

export class ServiceAccountTokens {
  readonly #options: ServiceAccountTokensOptions;
  readonly #scope = new AbortController();
  readonly #pods = new Map<string, { tokens: Map<string, HeldToken>; cancelTimer: CancelTimer | undefined }>();

  constructor(options: ServiceAccountTokensOptions) {
    this.#options = options;
  }

  /** Gets every token that the pod's volumes name and that is missing or due. @throws VolumeError VOLUME_TOKEN */
  async prepare(pod: Pod): Promise<void> {
    const projections = projectionsOf(pod);
    if (projections.length === 0) return;
    const { uid } = pod.metadata;
    const held = this.#pods.get(uid) ?? { tokens: new Map(), cancelTimer: undefined };
    this.#pods.set(uid, held);
    let complete = false;
    try {
      for (const projection of projections) {
        const key = keyOf(projection);
        const known = held.tokens.get(key);
        if (known === undefined || this.#isDue(known)) held.tokens.set(key, await this.#renew(pod, projection, known));
      }
      complete = true;
    } finally {
      // A pod that goes on with the files of before waits for nothing else.
      this.#schedule(uid, complete);
    }
  }

  /** @throws VolumeError VOLUME_TOKEN when `prepare` did not succeed before */
  token(pod: Pod, projection: ServiceAccountTokenProjection): string {
    const held = this.#pods.get(pod.metadata.uid)?.tokens.get(keyOf(projection));
    if (held !== undefined) return held.token;
    throw new VolumeError('VOLUME_TOKEN', 'has no token yet', { object: subjectOf(pod) });
  }

  /** The pod is gone. */
  forget(uid: string): void {
    this.#pods.get(uid)?.cancelTimer?.();
    this.#pods.delete(uid);
  }

  stop(): void {
    this.#scope.abort(new Error('the tokens stop'));
    for (const uid of this.#pods.keys()) this.forget(uid);
  }

  async #renew(
    pod: Pod,
    { audience, expirationSeconds }: ServiceAccountTokenProjection,
    known: HeldToken | undefined,
  ): Promise<HeldToken> {
    const { clock, log } = this.#options;
    const { namespace, name, uid } = pod.metadata;
    try {
      const issued = await this.#request({
        namespace,
        serviceAccount: pod.spec.serviceAccountName || 'default',
        audiences: audience ? [audience] : [],
        expirationSeconds: expirationSeconds ?? defaultExpirationSeconds,
        pod: { name, uid },
      });
      return { ...issued, issuedAtMs: clock.now() };
    } catch (cause) {
      // Expired or not: a container that starts again while the API server is away finds what it had before.
      if (known !== undefined) {
        const expired = known.expiresAtMs <= clock.now();
        log.warn(
          { pod: `${namespace}/${name}`, expired, error: errorLine(cause) },
          expired
            ? 'token not renewed; the one that the pod has is expired'
            : 'token not renewed; the old one still serves',
        );
        return known;
      }
      throw new VolumeError('VOLUME_TOKEN', `no service account token: ${errorLine(cause)}`, {
        object: subjectOf(pod),
        fix: 'check that the service account exists and that the API server answers',
        cause,
      });
    }
  }

  /** Asks again while a refusal may pass, so that nobody is alarmed and the pod does not wait for its next look. */
  async #request(asked: TokenRequest): Promise<IssuedToken> {
    const { clock, log, request } = this.#options;
    const passing = new PassingRefusals(clock);
    for (;;) {
      try {
        return await request(asked);
      } catch (error) {
        if (!passing.mayPass(error)) throw error;
        const { namespace, pod } = asked;
        log.debug({ pod: `${namespace}/${pod.name}`, error: errorLine(error) }, 'token refused for now, asking again');
        await sleep(refusedRetryMs, this.#scope.signal, clock);
      }
    }
  }

  #isDue(token: HeldToken): boolean {
    return this.#options.clock.now() >= dueAt(token) - this.#jitterMs();
  }

  #jitterMs(): number {
    return (this.#options.random ?? Math.random)() * maxJitterMs;
  }

  #schedule(uid: string, complete: boolean): void {
    const held = this.#pods.get(uid);
    if (held === undefined || this.#scope.signal.aborted) return;
    held.cancelTimer?.();
    const { clock, onDue } = this.#options;
    const due = Math.min(...[...held.tokens.values()].map(dueAt));
    // One that could not be renewed is due already.
    const delayMs = complete && due > clock.now() ? due - clock.now() : retryMs;
    held.cancelTimer = clock.after(delayMs, () => onDue(uid));
  }
}

/** At 80 % of its life, or a day after it was issued. */
function dueAt({ issuedAtMs, expiresAtMs }: HeldToken): number {
  return Math.min(issuedAtMs + 0.8 * (expiresAtMs - issuedAtMs), issuedAtMs + maxAgeMs);
}

const keyOf = ({ audience, expirationSeconds }: ServiceAccountTokenProjection): string =>
  JSON.stringify([audience ?? '', expirationSeconds ?? defaultExpirationSeconds]);

const subjectOf = ({ metadata }: Pod): string => `pod ${metadata.namespace}/${metadata.name}`;

function projectionsOf(pod: Pod): ServiceAccountTokenProjection[] {
  const sources = (pod.spec.volumes ?? []).flatMap(({ projected }) => projected?.sources ?? []);
  return sources.flatMap(({ serviceAccountToken }) => serviceAccountToken ?? []);
}
