/**
 * The service account tokens that drivers ask for with tokenRequests: kept while they are fresh.
 * Layer: kubelet/csi, over an injected TokenRequest call. Tokens live in memory only and are never logged.
 * Source: podServiceAccountTokenAttrs of pkg/volume/csi/csi_mounter.go, requiresRefresh of pkg/kubelet/token.
 */
import type { Pod } from '../../api/core.ts';
import type { CsiTokenRequest } from '../../api/csi-objects.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { IssuedToken, ServiceAccountTokensOptions } from '../volumes/service-account-tokens.ts';
import { CsiError } from './csi-error.ts';

interface Held extends IssuedToken {
  readonly issuedAtMs: number;
}

const defaultExpirationSeconds = 3600;
const maxAgeMs = 24 * 3600_000;

export class PodTokens {
  readonly #request: ServiceAccountTokensOptions['request'];
  readonly #clock: Clock;
  readonly #held = new Map<string, Map<string, Held>>();

  constructor(request: ServiceAccountTokensOptions['request'], clock: Clock) {
    this.#request = request;
    this.#clock = clock;
  }

  /** The JSON text that drivers are sent: by audience. @throws CsiError CSI_API */
  async text(pod: Pod, requests: readonly CsiTokenRequest[], subject: string): Promise<string> {
    const tokens: [string, object][] = [];
    for (const request of requests) {
      const { token, expiresAtMs } = await this.#token(pod, request, subject);
      // As Go writes a time: no fractions of a second.
      const expirationTimestamp = new Date(expiresAtMs).toISOString().replace(/\.\d{3}Z$/, 'Z');
      tokens.push([request.audience, { token, expirationTimestamp }]);
    }
    return JSON.stringify(Object.fromEntries(tokens));
  }

  forget(podUid: string): void {
    this.#held.delete(podUid);
  }

  async #token(pod: Pod, request: CsiTokenRequest, subject: string): Promise<Held> {
    const { namespace, name, uid } = pod.metadata;
    const expirationSeconds = request.expirationSeconds ?? defaultExpirationSeconds;
    const key = JSON.stringify([request.audience, expirationSeconds]);
    const tokens = this.#held.get(uid) ?? new Map<string, Held>();
    this.#held.set(uid, tokens);
    const known = tokens.get(key);
    if (known !== undefined && this.#clock.now() < dueAt(known)) return known;
    try {
      const issued = await this.#request({
        namespace,
        serviceAccount: pod.spec.serviceAccountName || 'default',
        audiences: request.audience === '' ? [] : [request.audience],
        expirationSeconds,
        pod: { name, uid },
      });
      const held = { ...issued, issuedAtMs: this.#clock.now() };
      tokens.set(key, held);
      return held;
    } catch (cause) {
      // Due, but good for a while: the driver need not know that the API server is away.
      if (known !== undefined && known.expiresAtMs > this.#clock.now()) return known;
      throw new CsiError('CSI_API', `no service account token for its driver: ${errorLine(cause)}`, {
        object: subject,
        fix: 'check that the service account exists and that the API server answers',
        cause,
      });
    }
  }
}

/** At 80 % of its life, or a day after it was issued. */
const dueAt = ({ issuedAtMs, expiresAtMs }: Held): number =>
  Math.min(issuedAtMs + 0.8 * (expiresAtMs - issuedAtMs), issuedAtMs + maxAgeMs);
