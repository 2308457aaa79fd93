/**
 * PodCertificateRequests of certificates.k8s.io: a node asks a signer for a certificate that one of its pods is to have.
 * Layer: api. Keeps nothing and sees no private key; when to ask, and what an answer is worth, is
 * kubelet/volumes/certificates'. A node may create, get, list and watch those of its own pods, and lists them only by its name.
 * Source: staging/src/k8s.io/api/certificates/v1beta1/types.go, plugin/pkg/auth/authorizer/node/node_authorizer.go.
 */
import { isApiError } from './api-error.ts';
import type { ApiClient } from './client.ts';
import { RawObject } from './raw-object.ts';
import type { ReflectorListener, ReflectorOptions } from './reflector.ts';
import { startReflector } from './reflector.ts';
import { collectionPath, objectPath, type Resource, serviceAccounts } from './resource.ts';

/** That the node holds the private key, in the two forms that servers know. */
export interface KeyProof {
  /** DER of an empty PKCS #10 request (Kubernetes 1.36 and later). */
  readonly stubPkcs10: Uint8Array;
  /** SubjectPublicKeyInfo, DER, and the pod's UID signed with the key (Kubernetes 1.35). */
  readonly publicKey: Uint8Array;
  readonly signedUid: Uint8Array;
}

export interface NewPodCertificateRequest {
  readonly namespace: string;
  readonly pod: { readonly name: string; readonly uid: string };
  readonly serviceAccount: { readonly name: string; readonly uid: string };
  readonly node: { readonly name: string; readonly uid: string };
  readonly signerName: string;
  /** 3,600 to 7,862,400; undefined: the API server's own. */
  readonly maxExpirationSeconds: number | undefined;
  /** For the signer, as the pod's author wrote them. */
  readonly userAnnotations: Readonly<Record<string, string>> | undefined;
  readonly proof: KeyProof;
}

export type PodCertificateState =
  | { readonly kind: 'pending' }
  /** PEM as it came; milliseconds since the epoch, undefined when the server says none. */
  | { readonly kind: 'issued'; readonly chain: string; readonly beginRefreshAtMs: number | undefined }
  | { readonly kind: 'denied' | 'failed'; readonly by: string };

export interface PodCertificateRequest {
  readonly podUid: string;
  readonly state: PodCertificateState;
}

export interface CreatedPodCertificateRequest {
  readonly name: string;
  readonly uid: string;
}

/** What the kubelet role needs; every method throws ApiError or the signal's reason. */
export interface PodCertificateApi {
  /** The server gives it a name that begins with `req-`. */
  create(request: NewPodCertificateRequest): Promise<CreatedPodCertificateRequest>;
  serviceAccountUid(namespace: string, name: string): Promise<string>;
  /** Follows those of this node until the daemon stops. Resolves to false when the API server has none. */
  follow(listener: ReflectorListener<PodCertificateRequest>): Promise<boolean>;
}

/** A chain is a few KiB; what is longer fills the memory of many pods. */
const maxChainLength = 256 * 1024;
const longestReason = 500;

export function createPodCertificateApi(
  options: Pick<ReflectorOptions<never>, 'client' | 'clock' | 'log' | 'signal'> & { readonly nodeName: string },
): PodCertificateApi {
  const { client, nodeName, signal } = options;
  let resource: Resource | undefined;
  let knowsStub = true;
  return {
    async create(request) {
      const send = (withStub: boolean): Promise<CreatedPodCertificateRequest> => {
        const { prefix } = resource ?? podCertificateRequests('v1beta1');
        const path = collectionPath({ prefix, name: plural, namespaced: true }, request.namespace);
        const apiVersion = prefix.slice('/apis/'.length);
        return client.create(path, bodyOf(request, apiVersion, withStub), parseCreated, { signal });
      };
      if (!knowsStub) return send(false);
      try {
        return await send(true);
      } catch (error) {
        if (!isApiError(error, 'API_INVALID')) throw error;
        // A server of 1.35 drops the field that it does not know, and then misses the others.
        const created = await send(false).catch((second: unknown) => {
          throw isApiError(second, 'API_INVALID') ? error : second;
        });
        knowsStub = false;
        return created;
      }
    },
    serviceAccountUid: (namespace, name) =>
      client.get(objectPath(serviceAccounts, { namespace, name }), parseUid, { signal }),
    async follow(listener) {
      resource = await newest(client, signal);
      if (resource === undefined) return false;
      startReflector<PodCertificateRequest>({
        ...options,
        path: collectionPath(resource),
        fieldSelector: `spec.nodeName=${nodeName}`,
        project: projectPodCertificateRequest,
        listener,
      });
      return true;
    },
  };
}

const plural = 'podcertificaterequests';
const versions = ['v1', 'v1beta1'];
const podCertificateRequests = (version: string): Resource => ({
  prefix: `/apis/certificates.k8s.io/${version}`,
  name: plural,
  namespaced: true,
});

async function newest(client: ApiClient, signal: AbortSignal): Promise<Resource | undefined> {
  for (const version of versions) {
    const resource = podCertificateRequests(version);
    const names = await client.get(resource.prefix, resourceNames, { signal }).catch((error: unknown): string[] => {
      if (isApiError(error, 'API_NOT_FOUND')) return [];
      throw error;
    });
    if (names.includes(plural)) return resource;
  }
  return undefined;
}

const resourceNames = (value: unknown): string[] =>
  new RawObject(value).objects('resources').map((resource) => resource.text('name') ?? '');

function bodyOf(request: NewPodCertificateRequest, apiVersion: string, withStub: boolean): object {
  const { namespace, pod, serviceAccount, node, signerName, maxExpirationSeconds, userAnnotations, proof } = request;
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  return {
    apiVersion,
    kind: 'PodCertificateRequest',
    metadata: {
      namespace,
      generateName: 'req-',
      // It goes with the pod, whoever else forgets it.
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: pod.name, uid: pod.uid }],
    },
    spec: {
      signerName,
      podName: pod.name,
      podUID: pod.uid,
      serviceAccountName: serviceAccount.name,
      serviceAccountUID: serviceAccount.uid,
      nodeName: node.name,
      nodeUID: node.uid,
      ...(maxExpirationSeconds !== undefined && { maxExpirationSeconds }),
      ...(userAnnotations !== undefined && { unverifiedUserAnnotations: userAnnotations }),
      ...(withStub
        ? { stubPKCS10Request: base64(proof.stubPkcs10) }
        : { pkixPublicKey: base64(proof.publicKey), proofOfPossession: base64(proof.signedUid) }),
    },
  };
}

function parseCreated(value: unknown): CreatedPodCertificateRequest {
  const metadata = new RawObject(value).object('metadata') ?? new RawObject({}, 'metadata');
  return { name: metadata.requiredText('name'), uid: metadata.requiredText('uid') };
}

const parseUid = (value: unknown): string =>
  (new RawObject(value).object('metadata') ?? new RawObject({}, 'metadata')).requiredText('uid');

/** Never throws for what a signer wrote: the pod that waits is to hear of it. @throws ObjectShapeError */
export function projectPodCertificateRequest(value: unknown): PodCertificateRequest {
  const raw = new RawObject(value);
  const podUid = (raw.object('spec') ?? new RawObject({}, 'spec')).requiredText('podUID');
  try {
    return { podUid, state: stateOf(raw.object('status')) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { podUid, state: { kind: 'failed', by: `its status cannot be read: ${why}`.slice(0, longestReason) } };
  }
}

function stateOf(status: RawObject | undefined): PodCertificateState {
  for (const condition of status?.objects('conditions') ?? []) {
    const kind = kinds.get(condition.text('type') ?? '');
    if (kind === undefined || condition.text('status') === 'False') continue;
    if (kind !== 'issued') {
      const by = [condition.text('reason'), condition.text('message')].filter((text) => text).join(': ');
      return { kind, by: by.slice(0, longestReason) || 'no reason was given' };
    }
    const chain = status?.text('certificateChain') ?? '';
    if (chain.length > maxChainLength) return { kind: 'failed', by: `its certificate has ${chain.length} bytes` };
    const begin = Date.parse(status?.text('beginRefreshAt') ?? '');
    return { kind, chain, beginRefreshAtMs: Number.isNaN(begin) ? undefined : begin };
  }
  return { kind: 'pending' };
}

const kinds = new Map([
  ['Denied', 'denied'],
  ['Failed', 'failed'],
  ['Issued', 'issued'],
] as const) as ReadonlyMap<string, 'denied' | 'failed' | 'issued'>;
