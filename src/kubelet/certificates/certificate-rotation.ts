/**
 * Keeps one certificate valid: asks for the first, for the next after 70 to 90 % of its lifetime, and at once when it shall
 * say something else. What is asked of whom is injected; files and requests are its neighbours'.
 * Layer: kubelet/certificates. Rules: client-go/util/certificate/certificate_manager.go, and for the end after five minutes
 * without a valid one pkg/kubelet/certificate/transport.go.
 */
import { ApiError, isApiError } from '../../api/api-error.ts';
import type { ApiClient } from '../../api/client.ts';
import { nextDelay } from '../../base/backoff.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import type { Logger } from '../../observe/logger.ts';
import { CertificateError } from './certificate-error.ts';
import type { CertificateStore } from './certificate-store.ts';
import type { PemPair } from './pem-pair.ts';
import type { PendingRequestFile } from './pending-request.ts';
import { requestCertificate } from './request-certificate.ts';
import {
  isSameTemplate,
  missingOf,
  type RequestTemplate,
  receivedRenewalTime,
  renewalTime,
} from './request-template.ts';
import { notYetValid, type RotationListener, type RotationTrouble, troubleOf } from './rotation-trouble.ts';

export interface CertificateRotationOptions {
  readonly store: CertificateStore;
  readonly file: PendingRequestFile;
  /** The pair in use when it starts. */
  readonly current: PemPair | undefined;
  /** That pair is for the beginning only: another is asked for at once. */
  readonly replaceAtOnce: boolean;
  /** False: the first certificate only. */
  readonly renew: boolean;
  /** Undefined: there is nothing to ask for yet. */
  template(): RequestTemplate | undefined;
  /** @param hasValid whether there is a valid certificate to ask with; what `use` throws goes on */
  withClient<T>(hasValid: boolean, use: (client: ApiClient) => Promise<T>): Promise<T>;
  /** Each pair from now on. */
  onChange?(pair: PemPair): void;
  readonly clock: Clock;
  readonly log: Logger;
  /** 0 to 1. */
  readonly random?: () => number;
}

/** For `keelson status`. */
export interface RotationStatus {
  /** Of the pair in use, milliseconds since the epoch; undefined without one. */
  readonly notAfterMs: number | undefined;
  readonly isValid: boolean;
  /** Undefined when none is asked for any more. */
  readonly renewAtMs: number | undefined;
  /** What is waited for, or why the last try failed; undefined while all is well. */
  readonly trouble: string | undefined;
}

/** 2, 4, 8, 16 seconds, then every 32. */
const backoff = { initialMs: 2_000, maxMs: 32_000 };
/** A machine that slept, or whose clock was set, notices within this time that a certificate is due. */
const longestSleepMs = 10 * 60_000;
/** exitAfter of buildKubeletClientConfig (cmd/kubelet/app/server.go). */
export const lostAfterMs = 5 * 60_000;

export class CertificateRotation {
  /** Rejects after five minutes without a valid certificate while the API server answers. */
  readonly lost: Promise<never>;
  readonly #options: CertificateRotationOptions;
  readonly #random: () => number;
  readonly #scope = new AbortController();
  readonly #lose: (error: CertificateError) => void;
  readonly #firstValid = Promise.withResolvers<void>();
  readonly #startedMs: number;
  #current: PemPair | undefined;
  #renewAtMs: number | undefined;
  #replaceAtOnce: boolean;
  #waiting: string | undefined;
  #error: RotationTrouble | undefined;
  #failures = 0;
  readonly #listeners = new Set<RotationListener>();
  /** A certificate was had, or the API server refused to take a request: it works. One that is only pending says nothing. */
  #healthy = false;
  #cancelLostTimer: CancelTimer = () => undefined;
  /** Ends what runs or is slept for the asked template. */
  #attempt = new AbortController();
  #asked: RequestTemplate | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: CertificateRotationOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#startedMs = options.clock.now();
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => undefined);
    this.lost = promise;
    this.#lose = reject;
    this.#replaceAtOnce = options.replaceAtOnce;
    if (options.current !== undefined) this.#adopt(options.current, renewalTime(options.current.leaf, this.#random()));
  }

  /** The pair in use, unless it has expired. */
  get valid(): PemPair | undefined {
    const current = this.#current;
    return current !== undefined && current.leaf.notAfterMs > this.#options.clock.now() ? current : undefined;
  }

  get status(): RotationStatus {
    const future = notYetValid(this.#current?.leaf, this.#options.clock.now());
    const trouble = this.#waiting ?? this.#error?.line ?? future?.line;
    return {
      notAfterMs: this.#current?.leaf.notAfterMs,
      isValid: this.valid !== undefined,
      renewAtMs: this.#options.renew ? this.#renewAtMs : undefined,
      trouble,
    };
  }

  /** Tries that failed since the start. */
  get failures(): number {
    return this.#failures;
  }

  /** Returns a function that ends the listening. */
  listen(listener: RotationListener): () => void {
    this.#listeners.add(listener);
    listener.troubles?.(this.#troubles());
    return () => this.#listeners.delete(listener);
  }

  #troubles(): RotationTrouble[] {
    const waiting = this.#waiting === undefined ? undefined : ({ kind: 'waiting', line: this.#waiting } as const);
    const future = notYetValid(this.#current?.leaf, this.#options.clock.now());
    return [this.#error, waiting, future].filter((trouble) => trouble !== undefined);
  }

  #tellTroubles(): void {
    for (const listener of this.#listeners) listener.troubles?.(this.#troubles());
  }

  /** Resolves once there is, or was, a valid certificate. */
  get firstValid(): Promise<void> {
    return this.#firstValid.promise;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** The template may say something else than before: what was asked for by the old one is not waited for any more. */
  templateChanged(): void {
    const { template } = this.#options;
    const wanted = template();
    if (isSameTemplate(wanted, this.#asked)) return;
    if (wanted !== undefined && this.#current !== undefined && missingOf(this.#current.leaf, wanted).length === 0)
      return;
    this.#attempt.abort(new Error('another certificate is wanted'));
  }

  async stop(): Promise<void> {
    this.#scope.abort(new Error('the certificate rotation stops'));
    this.#cancelLostTimer();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, template } = this.#options;
    const stopped = this.#scope.signal;
    let delayMs = 0;
    this.#watchForLoss();
    while (!stopped.aborted) {
      this.#attempt = new AbortController();
      const signal = AbortSignal.any([stopped, this.#attempt.signal]);
      const wanted = template();
      this.#asked = wanted;
      try {
        const waitMs = wanted === undefined ? longestSleepMs : this.#untilDue(wanted);
        if (wanted === undefined || waitMs > 0) {
          // A certificate of the future becomes valid without a word.
          this.#tellTroubles();
          await sleep(Math.min(waitMs, longestSleepMs), signal, clock);
          continue;
        }
        await this.#ask(wanted, signal);
        delayMs = 0;
      } catch (error) {
        if (signal.aborted) continue;
        this.#failed(error);
        delayMs = nextDelay(delayMs, backoff);
        await sleep(delayMs * (1 + 0.1 * this.#random()), signal, clock).catch(() => undefined);
      }
    }
  }

  /** Milliseconds; 0 or less: now. */
  #untilDue(wanted: RequestTemplate): number {
    const current = this.valid;
    const { clock, renew } = this.#options;
    if (current === undefined || this.#renewAtMs === undefined) return 0;
    if (!renew) return longestSleepMs;
    if (this.#replaceAtOnce || missingOf(current.leaf, wanted).length > 0) return 0;
    return this.#renewAtMs - clock.now();
  }

  async #ask(wanted: RequestTemplate, signal: AbortSignal): Promise<void> {
    const { store, file, clock, log, withClient } = this.#options;
    const usedKey = this.#current?.key;
    try {
      const pair = await withClient(this.valid !== undefined, (client) =>
        requestCertificate(
          wanted,
          {
            client,
            file,
            usedKey,
            onWaiting: (what) => {
              this.#waiting = what;
              this.#tellTroubles();
            },
            clock,
            log,
          },
          signal,
        ),
      );
      await store.update(pair, clock.now());
      await file.remove();
      this.#replaceAtOnce = false;
      this.#error = undefined;
      this.#answered(true);
      const { notBeforeMs, notAfterMs, commonName } = pair.leaf;
      const renewAtMs = receivedRenewalTime(pair.leaf, clock.now(), this.#random());
      const former = this.#current;
      this.#adopt(pair, renewAtMs);
      this.#options.onChange?.(pair);
      if (former !== undefined)
        for (const listener of this.#listeners) listener.rotated?.(clock.now() - former.leaf.notBeforeMs);
      log.info(
        { subject: commonName, notAfter: dateOf(notAfterMs), renewAt: dateOf(renewAtMs) },
        'a certificate was received and is used from now on',
      );
      if (notBeforeMs > clock.now()) {
        const fields = { notBefore: dateOf(notBeforeMs), now: dateOf(clock.now()) };
        log.warn(fields, 'the certificate is not valid yet by the clock of this machine: set the clock');
      }
    } finally {
      this.#waiting = undefined;
      this.#tellTroubles();
    }
  }

  #adopt(pair: PemPair, renewAtMs: number): void {
    this.#current = pair;
    this.#renewAtMs = renewAtMs;
    if (this.valid !== undefined) this.#firstValid.resolve();
    this.#watchForLoss();
  }

  #failed(error: unknown): void {
    const trouble = troubleOf(error);
    const { log } = this.#options;
    const fields = { error: trouble.line };
    if (trouble.line === this.#error?.line) log.debug(fields, 'there is still no certificate');
    else log.warn(fields, 'no certificate could be had, trying again');
    this.#error = trouble;
    this.#failures++;
    this.#tellTroubles();
    const health = healthOf(error);
    if (health !== undefined) this.#answered(health);
    this.#checkLoss();
  }

  #answered(healthy: boolean): void {
    this.#healthy = healthy;
    this.#checkLoss();
  }

  get #lostAtMs(): number {
    return Math.max(this.#startedMs, this.#current?.leaf.notAfterMs ?? 0) + lostAfterMs;
  }

  #watchForLoss(): void {
    const { clock } = this.#options;
    this.#cancelLostTimer();
    if (this.#scope.signal.aborted) return;
    const leftMs = this.#lostAtMs - clock.now();
    if (leftMs <= 0) return;
    this.#cancelLostTimer = clock.after(Math.min(leftMs, longestSleepMs), () => {
      this.#checkLoss();
      this.#watchForLoss();
    });
  }

  #checkLoss(): void {
    const { clock, renew } = this.#options;
    if (!renew || !this.#healthy || clock.now() < this.#lostAtMs) return;
    const why = this.#waiting ?? this.#error?.line ?? 'none was asked for';
    this.#lose(
      new CertificateError(
        'CLIENT_CERTIFICATE_LOST',
        `no valid certificate for ${lostAfterMs / 60_000} minutes: ${why}`,
        {
          object: 'certificate of this node',
          fix: 'mend that; the service manager starts the daemon again, which then reads its kubeconfigs anew',
        },
      ),
    );
  }
}

/**
 * What a failure says of the API server; undefined when it says nothing. As updateServerError of certificate_manager.go:
 * proxies may refuse in its place, and a server that answers 404 or 403 works. Credentials that cannot be used at all are
 * read anew by a restart only, so that they count as an answer.
 */
function healthOf(error: unknown): boolean | undefined {
  if (error instanceof CertificateError) return error.code === 'BOOTSTRAP_REFUSED' ? true : undefined;
  if (!(error instanceof ApiError)) return undefined;
  return isApiError(error, 'API_UNAUTHORIZED', 'API_FORBIDDEN', 'API_NOT_FOUND', 'API_CREDENTIALS');
}

const dateOf = (ms: number): string => new Date(ms).toISOString();
