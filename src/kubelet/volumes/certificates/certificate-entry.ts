/**
 * Where one podCertificate source of one pod stands: nothing, asked for, held, due, refused; and when to look at it again.
 * Layer: kubelet/volumes (pure but for its timer). Asks nobody: pod-certificates.ts does.
 * Source: pkg/kubelet/podcertificate/podcertificatemanager.go (credState*).
 */
import type { Pod, PodCertificateProjection } from '../../../api/core.ts';
import type { PassingRefusals } from '../../../api/passing-refusal.ts';
import type { CancelTimer, Clock } from '../../../base/clock.ts';
import type { Credential } from './credential.ts';

/** A source and where it stands in the pod. */
export interface CertificateSource {
  readonly volume: string;
  /** In `projected.sources`. */
  readonly index: number;
  readonly projection: PodCertificateProjection;
}

export interface AskedCertificate {
  readonly name: string;
  readonly uid: string;
  /** PEM. */
  readonly key: string;
  readonly sinceMs: number;
}

/** assumeDeletedThreshold, refreshOverdueDuration and the longest jitter of the kubelet. */
const lostAfterMs = 10 * 60_000;
const overdueAfterMs = 10 * 60_000;
const maxJitterMs = 5 * 60_000;
/** Of its life, where nobody said when to renew it. */
const usedPart = 2 / 3;

export class CertificateEntry {
  pod: Pod;
  readonly source: CertificateSource;
  credential: Credential | undefined;
  asked: AskedCertificate | undefined;
  /** What the signer said, for good. */
  refused: { readonly kind: 'denied' | 'failed'; readonly message: string } | undefined;
  /** Why it could not be asked for; it is tried again. */
  trouble: unknown;
  delayMs = 0;
  refusals: PassingRefusals | undefined;
  isBusy = false;
  wasLookedFor = false;
  /** Looks at the pod's volumes that wait for it. */
  waiting = 0;
  #retryAtMs = 0;
  #refreshAtMs = 0;
  readonly #told = new Set<string>();
  readonly #ended = new AbortController();
  #change = Promise.withResolvers<void>();
  #cancelTimer: CancelTimer | undefined;

  constructor(pod: Pod, source: CertificateSource) {
    this.pod = pod;
    this.source = source;
  }

  /** Whether waiting longer would bring a pod no more than it has. */
  isSettled(nowMs: number): boolean {
    if (this.refused !== undefined || this.trouble !== undefined) return true;
    return this.credential !== undefined && (this.credential.notAfterMs > nowMs || this.asked !== undefined);
  }

  mayAsk(nowMs: number): boolean {
    if (this.refused !== undefined || this.asked !== undefined || nowMs < this.#retryAtMs) return false;
    return this.credential === undefined || nowMs >= this.#refreshAtMs;
  }

  ask(asked: AskedCertificate): void {
    this.asked = asked;
    this.trouble = undefined;
    this.refusals = undefined;
    this.#retryAtMs = 0;
  }

  /** @param jitter 0 to 1. @param notAgainBeforeMs however soon it is due: clocks may differ by more than its life */
  hold(credential: Credential, beginRefreshAtMs?: number, jitter = 0, notAgainBeforeMs = 0): void {
    const { notBeforeMs, notAfterMs } = credential;
    const begin = beginRefreshAtMs ?? notBeforeMs + usedPart * (notAfterMs - notBeforeMs);
    this.credential = credential;
    this.asked = undefined;
    this.trouble = undefined;
    this.delayMs = 0;
    this.#retryAtMs = notAgainBeforeMs;
    this.#told.clear();
    this.#refreshAtMs = Math.min(begin + jitter * maxJitterMs, notAfterMs);
  }

  refuse(kind: 'denied' | 'failed', message: string): void {
    this.refused = { kind, message };
    this.asked = undefined;
  }

  /** It is tried again now: whoever looks at the pod waits for how it ends. */
  begin(): void {
    this.trouble = undefined;
  }

  fail(trouble: unknown, delayMs: number, retryAtMs: number): void {
    this.trouble = trouble;
    this.asked = undefined;
    this.delayMs = delayMs;
    this.#retryAtMs = retryAtMs;
  }

  /** A request that nobody has told of for so long is thought to have been deleted. */
  giveUpIfLost(nowMs: number, isKnown: (uid: string) => boolean): void {
    const { asked } = this;
    if (asked !== undefined && nowMs >= asked.sinceMs + lostAfterMs && !isKnown(asked.uid)) this.asked = undefined;
  }

  /** Each once for a certificate, with the kubelet's reasons. */
  newlyLate(nowMs: number): [reason: string, message: string][] {
    if (this.credential === undefined || this.refused !== undefined) return [];
    const late: [string, string][] = [];
    if (nowMs >= this.#refreshAtMs + overdueAfterMs) {
      late.push(['CertificateOverdueForRefresh', 'PodCertificate refresh overdue']);
    }
    if (nowMs >= this.credential.notAfterMs) late.push(['CertificateExpired', 'PodCertificate expired']);
    return late.filter(([reason]) => !this.#told.has(reason) && this.#told.add(reason));
  }

  /** As the kubelet's metric says it. */
  state(nowMs: number): string {
    if (this.refused !== undefined) return this.refused.kind;
    if (this.credential === undefined) return 'not_yet_issued';
    if (nowMs >= this.credential.notAfterMs) return 'expired';
    return nowMs >= this.#refreshAtMs + overdueAfterMs ? 'overdue_for_refresh' : 'fresh';
  }

  /** Resolves with the next `tell`. */
  changed(): Promise<void> {
    return this.#change.promise;
  }

  tell(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  /** One timer, for the first of what is to come. */
  schedule(clock: Clock, look: () => void): void {
    this.cancel();
    if (this.refused !== undefined) return;
    const nowMs = clock.now();
    const { credential, asked } = this;
    const next = [
      ...(asked === undefined
        ? [credential === undefined ? this.#retryAtMs : Math.max(this.#retryAtMs, this.#refreshAtMs)]
        : [asked.sinceMs + lostAfterMs]),
      ...(credential === undefined ? [] : [this.#refreshAtMs + overdueAfterMs, credential.notAfterMs]),
    ].filter((atMs) => atMs > nowMs);
    if (next.length > 0) this.#cancelTimer = clock.after(Math.min(...next) - nowMs, look);
  }

  cancel(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  /** Nobody wants it any more: what goes on for it is not waited for. */
  end(): void {
    this.cancel();
    this.#ended.abort();
  }

  /** Of `end`. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }
}

export function certificateSources({ spec }: Pod): CertificateSource[] {
  return (spec.volumes ?? []).flatMap(({ name: volume, projected }) =>
    (projected?.sources ?? []).flatMap(({ podCertificate: projection }, index) =>
      projection === undefined ? [] : [{ volume, index, projection }],
    ),
  );
}
