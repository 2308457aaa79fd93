/**
 * CertificateSigningRequests: a certificate is asked for, and its state followed until somebody has decided.
 * Layer: api. Keeps nothing and knows no key; what is asked for, and what an answer is worth, is kubelet/certificates'.
 * certificates.k8s.io/v1 where there is one (Kubernetes 1.19 and later), else v1beta1: the two differ in nothing that is read
 * here. Source: staging/src/k8s.io/api/certificates/{v1,v1beta1}/types.go, client-go/util/certificate/csr/csr.go.
 */
import type { Logger } from '../observe/logger.ts';
import type { ApiError } from './api-error.ts';
import { isApiError } from './api-error.ts';
import type { ApiClient } from './client.ts';
import { RawObject } from './raw-object.ts';
import { startReflector } from './reflector.ts';
import { collectionPath, type Resource } from './resource.ts';

export const certificatesVersions = ['v1', 'v1beta1'] as const;
export type CertificatesVersion = (typeof certificatesVersions)[number];

export type KeyUsage = 'digital signature' | 'key encipherment' | 'client auth' | 'server auth';

export interface SigningRequestSpec {
  /** PEM of a PKCS #10 request. */
  readonly request: string;
  readonly signerName: string;
  readonly usages: readonly KeyUsage[];
}

/** Enough to find it again. */
export interface SigningRequestName {
  readonly version: CertificatesVersion;
  readonly name: string;
  readonly uid: string;
}

export interface CreatedSigningRequest extends SigningRequestName {
  /** The API server's time, milliseconds since the epoch; undefined when it says none. */
  readonly createdMs: number | undefined;
}

/** What was decided; `by` is the reason and message of whoever decided. */
export type SigningRequestState =
  | { readonly kind: 'pending' }
  | { readonly kind: 'approved' }
  /** PEM. */
  | { readonly kind: 'issued'; readonly certificate: string }
  | { readonly kind: 'denied' | 'failed'; readonly by: string };

const resourceOf = (version: CertificatesVersion): Resource => ({
  prefix: `/apis/certificates.k8s.io/${version}`,
  name: 'certificatesigningrequests',
  namespaced: false,
});

/** A certificate chain is a few KiB. */
const maxCertificateBytes = 256 * 1024;
const longestReason = 500;

/** The server gives it a name that begins with `csr-`. Throws ApiError or the signal's reason. */
export async function createSigningRequest(
  client: ApiClient,
  { request, ...spec }: SigningRequestSpec,
  signal: AbortSignal,
): Promise<CreatedSigningRequest> {
  const create = (version: CertificatesVersion): Promise<CreatedSigningRequest> => {
    const resource = resourceOf(version);
    const body = {
      apiVersion: `certificates.k8s.io/${version}`,
      kind: 'CertificateSigningRequest',
      metadata: { generateName: 'csr-' },
      spec: { ...spec, request: Buffer.from(request).toString('base64') },
    };
    return client.create(collectionPath(resource), body, (value) => parseCreated(value, version), { signal });
  };
  try {
    return await create('v1');
  } catch (error) {
    if (!isApiError(error, 'API_NOT_FOUND')) throw error;
    return await create('v1beta1');
  }
}

function parseCreated(value: unknown, version: CertificatesVersion): CreatedSigningRequest {
  const metadata = new RawObject(value).object('metadata') ?? new RawObject({}, 'metadata');
  const created = Date.parse(metadata.text('creationTimestamp') ?? '');
  return {
    version,
    name: metadata.requiredText('name'),
    uid: metadata.requiredText('uid'),
    createdMs: Number.isNaN(created) ? undefined : created,
  };
}

export interface SigningRequestListener {
  /** The first state, and each that follows; `gone`: there is none of this uid (any more). */
  state(state: SigningRequestState | { readonly kind: 'gone' }): void;
  /** Why it cannot be followed just now; undefined when it can again. */
  status(error: ApiError | undefined): void;
}

/** Tells every state of the one request, until `signal` is aborted. What fails is tried again. */
export function followSigningRequest(
  client: ApiClient,
  { version, name, uid }: SigningRequestName,
  listener: SigningRequestListener,
  { signal, log }: { readonly signal: AbortSignal; readonly log: Logger },
): void {
  let isThere = false;
  const { done } = startReflector<SigningRequestState>({
    client,
    path: collectionPath(resourceOf(version)),
    fieldSelector: `metadata.name=${name}`,
    project: parseSigningRequestState,
    listener: {
      events(batch) {
        for (const event of batch) {
          // A namesake is somebody else's.
          if (event.uid !== uid) continue;
          isThere = event.type === 'set';
          listener.state(event.type === 'set' ? event.object : { kind: 'gone' });
        }
      },
      synced() {
        if (!isThere) listener.state({ kind: 'gone' });
      },
      status: (error) => listener.status(error),
    },
    signal,
    log,
  });
  // The listener is ours and throws nothing; the reflector has told what it ended with.
  done.catch(() => undefined);
}

/** Denial and failure win over approval, as they do for the signers. Throws ObjectShapeError. */
export function parseSigningRequestState(value: unknown): SigningRequestState {
  const status = new RawObject(value).object('status');
  const conditions = (status?.objects('conditions') ?? []).map((condition) => ({
    type: condition.text('type') ?? '',
    by: [condition.text('reason'), condition.text('message')]
      .filter((text) => text !== undefined && text !== '')
      .join(': ')
      .slice(0, longestReason),
  }));
  for (const [type, kind] of [
    ['Denied', 'denied'],
    ['Failed', 'failed'],
  ] as const) {
    const found = conditions.find((condition) => condition.type === type);
    if (found !== undefined) return { kind, by: found.by || 'no reason was given' };
  }
  if (!conditions.some(({ type }) => type === 'Approved')) return { kind: 'pending' };
  const encoded = status?.text('certificate') ?? '';
  if (encoded === '') return { kind: 'approved' };
  if (encoded.length > maxCertificateBytes) throw new Error(`status.certificate has ${encoded.length} bytes`);
  return { kind: 'issued', certificate: Buffer.from(encoded, 'base64').toString('latin1') };
}
