/**
 * Certificates of pods (projected volumes, source podCertificate): asked for once, held until they are due, renewed in time.
 * Layer: kubelet/volumes, over an injected API and reader of files. Keys live in memory and in the pods' volumes only; after
 * a restart what is in the files serves on while it is valid. What a signer refused is not asked for again.
 * Source: pkg/kubelet/podcertificate/podcertificatemanager.go (the states, delays and events).
 */
import type { ApiError } from '../../../api/api-error.ts';
import type { Pod } from '../../../api/core.ts';
import { PassingRefusals } from '../../../api/passing-refusal.ts';
import type { PodCertificateApi, PodCertificateRequest } from '../../../api/pod-certificate-request.ts';
import type { ReflectorListener } from '../../../api/reflector.ts';
import { nextDelay } from '../../../base/backoff.ts';
import { type Clock, sleep } from '../../../base/clock.ts';
import { createSemaphore } from '../../../base/semaphore.ts';
import { untilAborted } from '../../../base/until-aborted.ts';
import { errorLine, KeelsonError } from '../../../observe/keelson-error.ts';
import type { Logger } from '../../../observe/logger.ts';
import { type RecordPodEvent, warning } from '../../pods/pod-events.ts';
import { VolumeError } from '../volume-error.ts';
import { CertificateEntry, type CertificateSource, certificateSources } from './certificate-entry.ts';
import { type Credential, credentialOf } from './credential.ts';
import { makePodKey, type PodKey, podKeyTypes } from './pod-key.ts';

export interface PodCertificatesOptions {
  readonly api: PodCertificateApi;
  /** The Node object as it is now; undefined before it is registered. */
  node(): { readonly name: string; readonly uid: string } | undefined;
  /** What the pod's files hold from before a restart. Must not reject. */
  kept(pod: Pod, source: CertificateSource): Promise<Credential | undefined>;
  /** A certificate of the pod was issued or refused: look at its volumes again. */
  onDue(podUid: string): void;
  readonly recordEvent: RecordPodEvent;
  readonly clock: Clock;
  readonly log: Logger;
  /** 0 to 1; so that not all pods renew at once. */
  readonly random?: () => number;
  /** Tests have no time for RSA. */
  readonly makeKey?: typeof makePodKey;
}

/** How long a pod's volumes wait for a signer before the pod's worker is told. */
const patienceMs = 5_000;
const backoff = { initialMs: 1_000, maxMs: 60_000 };
/** After a refusal that may pass: the Node authoriser hears of a pod some moments after this node. */
const refusedRetryMs = 500;
/** An API server without such requests may be a newer one tomorrow. */
const unsupportedRetryMs = 60_000;
/** A pod may name any number of certificates; the API server is there for others, too. */
const asksAtOnce = 4;

export class PodCertificates {
  readonly #options: PodCertificatesOptions;
  readonly #pods = new Map<string, Map<string, CertificateEntry>>();
  /** Requests of the pods above by UID, as the API server has told them: an answer may come before that of the creation. */
  readonly #requests = new Map<string, PodCertificateRequest>();
  #following: Promise<boolean> | undefined;
  /** Why no answer can come just now. */
  #unreadable: ApiError | undefined;
  /** One key is made at a time: four cores for RSA would be four taken from the pods. */
  #lastKey: Promise<unknown> = Promise.resolve();
  /** Held from the first question to the request's creation, never while a signer is waited for. */
  readonly #asks = createSemaphore(asksAtOnce);
  #stopped = false;

  constructor(options: PodCertificatesOptions) {
    this.#options = options;
  }

  /** Waits a while for every certificate that the pod's volumes name. Never rejects: `credential` says what is wrong. */
  async prepare(pod: Pod): Promise<void> {
    const sources = certificateSources(pod);
    if (sources.length === 0 || this.#stopped) return;
    const entries = sources.map((source) => this.#entry(pod, source));
    const waiting = new AbortController();
    const late = sleep(patienceMs, waiting.signal, this.#options.clock);
    late.catch(() => undefined);
    let isLate = false;
    const end = late.then(() => {
      isLate = true;
    });
    for (const entry of entries) {
      entry.waiting++;
      this.#step(entry);
    }
    for (const entry of entries) {
      while (!isLate && !entry.isSettled(this.#options.clock.now())) await Promise.race([end, entry.changed()]);
    }
    for (const entry of entries) entry.waiting--;
    end.catch(() => undefined);
    waiting.abort();
  }

  /** @param subject for errors. @throws VolumeError VOLUME_CERTIFICATE when there is none, VOLUME_UNSUPPORTED */
  credential(pod: Pod, volume: string, index: number, subject: string): Credential {
    const entry = this.#pods.get(pod.metadata.uid)?.get(keyOf({ volume, index }));
    if (entry?.refused !== undefined) throw certificateError(entry.refused.message, subject);
    if (entry?.credential !== undefined) return entry.credential;
    if (entry?.trouble !== undefined) throw asVolumeError(entry.trouble, subject);
    const { metadata } = pod;
    if (entry?.asked && this.#unreadable) throw asVolumeError(this.#unreadable, subject);
    const waitsFor = entry?.asked ? `: PodCertificateRequest ${metadata.namespace}/${entry.asked.name} waits` : '';
    throw certificateError(`there is no certificate yet${waitsFor}`, subject, 'check that its signer works');
  }

  /** The pod is gone. */
  forget(podUid: string): void {
    for (const entry of this.#pods.get(podUid)?.values() ?? []) entry.end();
    if (!this.#pods.delete(podUid)) return;
    for (const [uid, request] of this.#requests) if (request.podUid === podUid) this.#requests.delete(uid);
  }

  stop(): void {
    this.#stopped = true;
    for (const uid of [...this.#pods.keys()]) this.forget(uid);
  }

  /** For metrics: how many are `fresh`, `not_yet_issued`, ... of each signer. */
  states(): { readonly signerName: string; readonly state: string }[] {
    const nowMs = this.#options.clock.now();
    return [...this.#pods.values()].flatMap((entries) =>
      [...entries.values()].map((entry) => ({
        signerName: entry.source.projection.signerName,
        state: entry.state(nowMs),
      })),
    );
  }

  #entry(pod: Pod, source: CertificateSource): CertificateEntry {
    const entries = this.#pods.get(pod.metadata.uid) ?? new Map<string, CertificateEntry>();
    this.#pods.set(pod.metadata.uid, entries);
    const entry = entries.get(keyOf(source)) ?? new CertificateEntry(pod, source);
    entries.set(keyOf(source), entry);
    entry.pod = pod;
    return entry;
  }

  #isCurrent(entry: CertificateEntry): boolean {
    return this.#pods.get(entry.pod.metadata.uid)?.get(keyOf(entry.source)) === entry;
  }

  /** Does what is next for it, unless that is going on already. */
  #step(entry: CertificateEntry): void {
    if (entry.isBusy) return;
    entry.isBusy = true;
    void this.#advance(entry).finally(() => {
      entry.isBusy = false;
      if (!this.#isCurrent(entry)) return;
      entry.tell();
      this.#sayWhatIsLate(entry);
      entry.schedule(this.#options.clock, () => this.#step(entry));
    });
  }

  async #advance(entry: CertificateEntry): Promise<void> {
    const { clock, kept } = this.#options;
    if (!entry.wasLookedFor) {
      const credential = await kept(entry.pod, entry.source);
      entry.wasLookedFor = true;
      if (credential !== undefined && credential.notAfterMs > clock.now()) entry.hold(credential);
    }
    entry.giveUpIfLost(clock.now(), (uid) => this.#requests.has(uid));
    if (!entry.mayAsk(clock.now()) || !this.#isCurrent(entry)) return;
    entry.begin();
    try {
      const { signal } = entry;
      await this.#asks.run(() => untilAborted(this.#ask(entry), signal), { signal });
    } catch (error) {
      this.#failed(entry, error);
    }
  }

  /** Ends without a request, and asks nobody else, when the entry is not wanted any more. */
  async #ask(entry: CertificateEntry): Promise<void> {
    const isWanted = (): boolean => this.#isCurrent(entry) && entry.refused === undefined;
    const { api, node, clock, log } = this.#options;
    const { pod, source } = entry;
    const { namespace, name, uid } = pod.metadata;
    const { signerName, keyType, maxExpirationSeconds, userAnnotations } = source.projection;
    if (!isWanted()) return;
    if (!(await this.#follow())) throw new NoRequestsError();
    if (!isWanted()) return;
    const self = node();
    if (self === undefined) throw certificateError('the Node is not registered yet', source.volume);
    const serviceAccount = pod.spec.serviceAccountName || 'default';
    const serviceAccountUid = await api.serviceAccountUid(namespace, serviceAccount);
    const key = await this.#makeKey(keyType, uid, isWanted);
    if (key === undefined || !isWanted()) return;
    const created = await api.create({
      namespace,
      pod: { name, uid },
      serviceAccount: { name: serviceAccount, uid: serviceAccountUid },
      node: self,
      signerName,
      maxExpirationSeconds,
      userAnnotations,
      proof: key.proof,
    });
    log.debug({ pod: `${namespace}/${name}`, request: created.name, signer: signerName }, 'a certificate is asked for');
    entry.ask({ ...created, key: key.pem, sinceMs: clock.now() });
    const answer = this.#requests.get(created.uid);
    if (answer !== undefined) this.#answered(entry, answer);
  }

  /** undefined when it is not wanted any more as its turn comes. @throws VolumeError for a type that there is not */
  #makeKey(keyType: string, podUid: string, isWanted: () => boolean): Promise<PodKey | undefined> {
    const { makeKey = makePodKey } = this.#options;
    const making = this.#lastKey.then(async () => {
      if (!isWanted()) return undefined;
      const key = await makeKey(keyType, podUid);
      if (key !== undefined) return key;
      const message = `no key of type ${JSON.stringify(keyType.slice(0, 40))} can be made`;
      const fix = `use one of ${podKeyTypes.join(', ')}`;
      throw new VolumeError('VOLUME_UNSUPPORTED', message, { object: 'podCertificate', fix });
    });
    this.#lastKey = making.catch(() => undefined);
    return making;
  }

  #failed(entry: CertificateEntry, error: unknown): void {
    if (!this.#isCurrent(entry)) return;
    const { clock, log } = this.#options;
    const { namespace, name } = entry.pod.metadata;
    entry.refusals ??= new PassingRefusals(clock);
    const passes = entry.refusals.mayPass(error);
    const delayMs = passes
      ? refusedRetryMs
      : error instanceof NoRequestsError
        ? unsupportedRetryMs
        : nextDelay(entry.delayMs, backoff);
    entry.fail(passes ? undefined : error, passes ? 0 : delayMs, clock.now() + delayMs);
    if (passes) return;
    log.warn({ pod: `${namespace}/${name}`, error: errorLine(error) }, 'a certificate for a pod cannot be asked for');
  }

  #follow(): Promise<boolean> {
    this.#following ??= this.#options.api.follow(this.#listener()).then(
      (isThere) => {
        if (!isThere) this.#following = undefined;
        return isThere;
      },
      (error: unknown) => {
        this.#following = undefined;
        throw error;
      },
    );
    return this.#following;
  }

  #listener(): ReflectorListener<PodCertificateRequest> {
    return {
      events: (batch) => {
        for (const event of batch) {
          if (event.type === 'deleted') this.#gone(event.uid);
          else this.#told(event.uid, event.object);
        }
      },
      status: (error) => {
        this.#unreadable = error;
      },
    };
  }

  #told(uid: string, request: PodCertificateRequest): void {
    const entries = this.#pods.get(request.podUid);
    if (entries === undefined) return;
    this.#requests.set(uid, request);
    for (const entry of entries.values()) if (entry.asked?.uid === uid) this.#answered(entry, request);
  }

  #gone(uid: string): void {
    const request = this.#requests.get(uid);
    this.#requests.delete(uid);
    for (const entry of this.#pods.get(request?.podUid ?? '')?.values() ?? []) {
      if (entry.asked?.uid !== uid) continue;
      const { clock } = this.#options;
      const delayMs = nextDelay(entry.delayMs, backoff);
      const error = certificateError(`PodCertificateRequest ${entry.asked.name} was deleted`, entry.source.volume);
      entry.fail(error, delayMs, clock.now() + delayMs);
      entry.tell();
      entry.schedule(clock, () => this.#step(entry));
    }
  }

  #answered(entry: CertificateEntry, { state }: PodCertificateRequest): void {
    const { asked, pod } = entry;
    if (asked === undefined || state.kind === 'pending') return;
    const subject = `PodCertificateRequest ${pod.metadata.namespace}/${asked.name}`;
    if (state.kind === 'issued') {
      try {
        const credential = credentialOf(asked.key, state.chain);
        const { clock, random = Math.random } = this.#options;
        entry.hold(credential, state.beginRefreshAtMs, random(), clock.now() + backoff.maxMs);
      } catch (error) {
        this.#refuse(entry, 'failed', `${subject} failed: ${error instanceof Error ? error.message : String(error)}`);
      }
    } else {
      const { kind, by } = state;
      this.#refuse(entry, kind, `${subject} ${kind === 'denied' ? 'was denied' : 'failed'}: ${by}`);
    }
    entry.tell();
    entry.schedule(this.#options.clock, () => this.#step(entry));
    // Whoever waits looks by itself.
    if (entry.waiting === 0) this.#options.onDue(pod.metadata.uid);
  }

  #refuse(entry: CertificateEntry, kind: 'denied' | 'failed', message: string): void {
    entry.refuse(kind, message);
    this.#options.recordEvent(entry.pod, warning(kind === 'denied' ? 'Denied' : 'Failed', message));
  }

  #sayWhatIsLate(entry: CertificateEntry): void {
    const { clock, recordEvent } = this.#options;
    for (const [reason, message] of entry.newlyLate(clock.now())) recordEvent(entry.pod, warning(reason, message));
  }
}

class NoRequestsError extends KeelsonError {
  constructor() {
    super('VOLUME_UNSUPPORTED', 'the API server has no PodCertificateRequests', {
      fix: 'use Kubernetes 1.35 or later with certificates.k8s.io/v1beta1 and the feature gate PodCertificateRequest',
    });
  }
}

const keyOf = ({ volume, index }: Pick<CertificateSource, 'volume' | 'index'>): string => `${volume}/${index}`;

const certificateError = (message: string, object: string, fix?: string): VolumeError =>
  new VolumeError('VOLUME_CERTIFICATE', message, { object, fix });

function asVolumeError(cause: unknown, object: string): VolumeError {
  const fix = cause instanceof KeelsonError ? cause.fix : undefined;
  const message = cause instanceof Error ? cause.message : String(cause);
  if (cause instanceof KeelsonError && cause.code === 'VOLUME_UNSUPPORTED') {
    return new VolumeError('VOLUME_UNSUPPORTED', message, { object, fix, cause });
  }
  return new VolumeError('VOLUME_CERTIFICATE', `no certificate: ${message}`, { object, fix, cause });
}
