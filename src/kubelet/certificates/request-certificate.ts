/**
 * One request for a certificate, from the key to the signed certificate or the reason why there is none.
 * Layer: kubelet/certificates. Tries once: when to try again, and what becomes of the certificate, is
 * certificate-rotation.ts'. Rules: rotateCerts of client-go/util/certificate/certificate_manager.go.
 */
import { ApiError } from '../../api/api-error.ts';
import {
  createSigningRequest,
  followSigningRequest,
  type KeyUsage,
  type SigningRequestName,
  type SigningRequestState,
} from '../../api/certificate-signing-request.ts';
import type { ApiClient } from '../../api/client.ts';
import { serverVersion } from '../../api/discovery-versions.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { CertificateError } from './certificate-error.ts';
import { type PemPair, parsePemPair } from './pem-pair.ts';
import { newRequest, type PendingRequest, type PendingRequestFile } from './pending-request.ts';
import { missingOf, type RequestTemplate } from './request-template.ts';

export interface RequestContext {
  readonly client: ApiClient;
  readonly file: PendingRequestFile;
  /** PEM of the key in use, whose request is done; undefined when there is none. */
  readonly usedKey: string | undefined;
  /** What is waited for, in one line. */
  readonly onWaiting: (what: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long somebody may take to decide, milliseconds. */
  readonly timeoutMs?: number;
}

/** client-go's certificateWaitTimeout. */
const decisionMs = 15 * 60_000;
/** Controllers that approve do it at once: who waits longer waits for a person. */
const approvalPatienceMs = 10_000;

type Decision = Extract<SigningRequestState, { certificate: string } | { by: string }> | { readonly kind: 'gone' };

/**
 * Asks for a certificate by the template, or goes on waiting for the one that was asked for before a restart. The pending
 * file stays until the caller has stored the pair.
 * @throws CertificateError CSR_*, ApiError, Node's errors of the folder, the signal's reason
 */
export async function requestCertificate(
  template: RequestTemplate,
  context: RequestContext,
  signal: AbortSignal,
): Promise<PemPair> {
  const { file, usedKey, log } = context;
  const former = await file.read(template);
  // Stored by a process that was killed before it could remove it.
  const kept = former !== undefined && former.key !== usedKey ? former : undefined;
  if (kept?.created !== undefined) {
    log.info({ request: kept.created.name }, 'a certificate was asked for before the restart');
    const pair = await outcome(kept, kept.created, context, signal);
    if (pair !== 'gone') return pair;
    log.info({ request: kept.created.name }, 'the former request is not there any more: a new one is made');
  }
  const pending = kept === undefined || kept.created !== undefined ? newRequest(template) : kept;
  if (pending !== kept) await file.write(pending);
  const { signerName } = template;
  const usages = await usagesFor(template, context.client, signal);
  const created = await createSigningRequest(context.client, { request: pending.request, signerName, usages }, signal);
  const { version, name, uid } = created;
  await file.write({ ...pending, created: { version, name, uid } });
  log.info({ request: name, signer: signerName }, 'a certificate is asked for');
  const pair = await outcome(pending, created, context, signal);
  if (pair !== 'gone') return pair;
  throw new CertificateError('CSR_GONE', 'was deleted before it was signed', {
    object: objectOf(name),
    fix: 'leave it: another is made',
  });
}

/**
 * Before 1.27 approvers and signers of Kubernetes wanted key encipherment from every key, which only RSA keys can do; since
 * then they take requests with and without it. A server that does not tell its version is taken for a current one.
 * Source: pkg/apis/certificates/helpers.go of 1.20 and 1.36.
 */
async function usagesFor(
  { usages }: RequestTemplate,
  client: ApiClient,
  signal: AbortSignal,
): Promise<readonly KeyUsage[]> {
  try {
    const { major, minor } = await serverVersion(client, signal);
    return major === 1 && minor < 27 ? [...usages, 'key encipherment'] : usages;
  } catch (error) {
    if (error instanceof ApiError) return usages;
    throw error;
  }
}

async function outcome(
  pending: PendingRequest,
  created: SigningRequestName,
  context: RequestContext,
  signal: AbortSignal,
): Promise<PemPair | 'gone'> {
  const { file } = context;
  const decision = await decisionOf(created, context, signal);
  const object = objectOf(created.name);
  switch (decision?.kind) {
    case 'issued':
      try {
        return usable(decision.certificate, pending, object, context.clock.now());
      } catch (error) {
        await file.remove();
        throw error;
      }
    case 'gone':
      await file.remove();
      return 'gone';
    case 'denied':
      await file.remove();
      throw new CertificateError('CSR_DENIED', `was denied: ${decision.by}`, {
        object,
        fix: 'approve the next one (kubectl get csr), or find out who denies them',
      });
    case 'failed':
      await file.remove();
      throw new CertificateError('CSR_FAILED', `could not be signed: ${decision.by}`, {
        object,
        fix: 'see the log of kube-controller-manager, which signs them',
      });
    default:
      await file.remove();
      throw new CertificateError(
        'CSR_TIMEOUT',
        `nobody has decided about it within ${(context.timeoutMs ?? decisionMs) / 60_000} minutes`,
        {
          object,
          fix: 'approve the next one: kubectl get csr, kubectl certificate approve NAME',
        },
      );
  }
}

/** Undefined when nobody decided in time. Throws the signal's reason. */
async function decisionOf(
  created: SigningRequestName,
  { client, clock, log, onWaiting, timeoutMs = decisionMs }: RequestContext,
  signal: AbortSignal,
): Promise<Decision | undefined> {
  signal.throwIfAborted();
  const object = objectOf(created.name);
  const scope = new AbortController();
  const decided = Promise.withResolvers<Decision | undefined>();
  const cancel = clock.after(timeoutMs, () => decided.resolve(undefined));
  const cancelPatience = clock.after(approvalPatienceMs, () => {
    const fix = `kubectl certificate approve ${created.name}; see kubectl get csr`;
    log.warn({ request: created.name, waitingMs: approvalPatienceMs, fix }, `the certificate request still ${waiting}`);
  });
  const onAbort = (): void => decided.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  let waiting = 'waits to be told about it by the API server';
  const say = (error?: ApiError): void =>
    onWaiting(`${object}: ${waiting}${error === undefined ? '' : `; it cannot be followed: ${errorLine(error)}`}`);
  say();
  try {
    followSigningRequest(
      client,
      created,
      {
        state(state) {
          if (state.kind !== 'pending' && state.kind !== 'approved') decided.resolve(state);
          else {
            waiting =
              state.kind === 'pending'
                ? `waits for approval (kubectl certificate approve ${created.name})`
                : 'is approved and waits to be signed (by kube-controller-manager)';
            log.info({ request: created.name, state: state.kind }, 'waiting for the certificate');
            say();
          }
        },
        status: say,
      },
      { signal: scope.signal, log },
    );
    return await decided.promise;
  } finally {
    cancel();
    cancelPatience();
    signal.removeEventListener('abort', onAbort);
    scope.abort(new Error('nobody waits for the request any more'));
  }
}

/** What a signer may get wrong is named before it does harm: a certificate that lacks something would be asked for again at once. */
function usable(certificate: string, { key, template }: PendingRequest, object: string, nowMs: number): PemPair {
  let pair: PemPair;
  try {
    pair = parsePemPair(certificate, key);
  } catch (cause) {
    throw unusable(object, errorLine(cause), 'check the signer', cause);
  }
  const { notAfterMs } = pair.leaf;
  if (notAfterMs <= nowMs) {
    const message = `expired at ${new Date(notAfterMs).toISOString()}, and it is ${new Date(nowMs).toISOString()} here`;
    throw unusable(object, message, 'set the clock of this machine, or have certificates signed for longer');
  }
  const missing = missingOf(pair.leaf, template);
  if (missing.length > 0) throw unusable(object, `it lacks ${missing.join(', ')}`, 'check the signer');
  return pair;
}

function unusable(object: string, reason: string, fix: string, cause?: unknown): CertificateError {
  return new CertificateError('CSR_CERTIFICATE', `the certificate cannot be used: ${reason}`, { object, fix, cause });
}

const objectOf = (name: string): string => `CertificateSigningRequest ${name}`;
