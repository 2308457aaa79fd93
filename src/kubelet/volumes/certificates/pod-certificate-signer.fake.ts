/**
 * A signer of PodCertificateRequests on the scripted API server: no kube-apiserver (the one that tests can start has no such
 * API), but it keeps to the rules of one where the node depends on them: discovery, what a node may list, which form of proof
 * each version takes, and that the proof is right.
 * Layer: kubelet/volumes (test support). Must not be imported by production code. Source of the rules:
 * pkg/apis/certificates/validation/validation.go, plugin/pkg/auth/authorizer/node/node_authorizer.go.
 */
import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type FakeApiServer, type FakeObject, type FakeRequest, failure } from '../../../api/fake-api-server.ts';
import { generateP256, writeCertificate } from '../../../base/x509.ts';
import { elements } from '../../certificates/certificate-signer.fake.ts';

export interface FakePodSignerOptions {
  server: FakeApiServer;
  now(): number;
  /** 36 takes the stub request, 35 key and signature, an older one has no such API. */
  minor?: number;
  /** Issue at once, by itself. */
  isQuick?: boolean;
}

export interface IssueOptions {
  lifetimeMs?: number;
  /** After now; default two thirds of the life. */
  refreshMs?: number;
  /** In place of the right chain. */
  chain?: string;
  publicKey?: KeyObject;
}

const prefix = '/apis/certificates.k8s.io/v1beta1';
export const requestsPath = `${prefix}/podcertificaterequests`;
const hourMs = 3600_000;

export function startFakePodSigner({ server, now, minor = 36, isQuick = true }: FakePodSignerOptions) {
  const authority = generateP256();
  const state = { isQuick, minor, isAway: false, isForbidden: false, forbidsList: false };
  const created: { name: string; spec: Record<string, unknown>; key: KeyObject; object: FakeObject }[] = [];
  server.put('/api/v1/serviceaccounts', { metadata: { namespace: 'shop', name: 'web', uid: 'sa-uid' } });

  const put = (name: string, status: object): void => {
    const stored = server.read(requestsPath, `shop/${name}`);
    if (stored !== undefined) server.put(requestsPath, { ...stored, status });
  };
  const decide = (name: string, type: string, reason: string, message: string): void =>
    put(name, { conditions: [{ type, status: 'True', reason, message }] });

  const issue = (name: string, { lifetimeMs = 24 * hourMs, refreshMs, chain, publicKey }: IssueOptions = {}): void => {
    const asked = created.find((each) => each.name === name);
    if (asked === undefined) throw new Error(`nobody asked for ${name}`);
    const leaf = writeCertificate(
      {
        subject: { commonName: `leaf ${name}` },
        issuer: { commonName: 'signer' },
        publicKey: publicKey ?? asked.key,
        notBeforeMs: now(),
        notAfterMs: now() + lifetimeMs,
      },
      authority,
    );
    put(name, {
      conditions: [{ type: 'Issued', status: 'True', reason: 'Issued', message: '' }],
      certificateChain: chain ?? leaf,
      notBefore: new Date(now()).toISOString(),
      beginRefreshAt: new Date(now() + (refreshMs ?? (lifetimeMs * 2) / 3)).toISOString(),
      notAfter: new Date(now() + lifetimeMs).toISOString(),
    });
  };

  server.script((request) => {
    const { method, path, query } = request;
    if (state.isAway) return 'reset';
    const [, version] = /^\/apis\/certificates\.k8s\.io\/([^/]+)$/.exec(path) ?? [];
    if (version !== undefined) {
      const names = ['certificatesigningrequests', ...(state.minor >= 35 ? ['podcertificaterequests'] : [])];
      const resources = names.map((name) => ({ name }));
      return version === 'v1beta1' ? { status: 200, body: { resources } } : { status: 404 };
    }
    if (!path.includes('/podcertificaterequests')) return undefined;
    if (state.minor < 35) return { status: 404, body: failure(404, 'NotFound', 'no such path') };
    if (state.isForbidden) return { status: 403, body: failure(403, 'Forbidden', 'not now') };
    if (method === 'GET') {
      if (query.get('fieldSelector') === 'spec.nodeName=node-1' && !state.forbidsList) return undefined;
      return { status: 403, body: failure(403, 'Forbidden', 'can only list/watch with nodeName field selector') };
    }
    return create(request);
  });

  const create = ({ body }: FakeRequest) => {
    const { metadata, ...rest } = body as FakeObject;
    const spec = rest.spec as Record<string, unknown>;
    // Servers drop fields that they do not know.
    if (state.minor < 36) spec.stubPKCS10Request = undefined;
    const name = `req-${created.length + 1}`;
    try {
      const key = provenKey(spec);
      const { generateName: _, ...given } = metadata;
      const stored = server.put(requestsPath, { ...rest, spec, metadata: { ...given, name, namespace: 'shop' } });
      created.push({ name, spec, key, object: stored });
      if (state.isQuick) setImmediate(() => issue(name));
      return { status: 201, body: stored };
    } catch (error) {
      return { status: 422, body: failure(422, 'Invalid', (error as Error).message) };
    }
  };

  return {
    state,
    created,
    issue,
    deny: (name: string): void => decide(name, 'Denied', 'UnsupportedKeyType', 'take ED25519'),
    fail: (name: string): void => decide(name, 'Failed', 'Broken', 'the signer is out of ink'),
    remove: (name: string): void => server.remove(requestsPath, `shop/${name}`),
  };
}

/** @throws Error as the validation of a server refuses it */
export function provenKey(spec: Record<string, unknown>): KeyObject {
  const [stub, spki, proof] = ['stubPKCS10Request', 'pkixPublicKey', 'proofOfPossession'].map((name) => {
    const value = spec[name];
    return typeof value === 'string' ? Buffer.from(value, 'base64') : undefined;
  });
  if (stub !== undefined && spki === undefined && proof === undefined) return keyOfStub(stub);
  if (stub !== undefined || spki === undefined || proof === undefined) {
    throw new Error('exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set');
  }
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  const kind = key.asymmetricKeyType;
  const padding = kind === 'rsa' ? { padding: constants.RSA_PKCS1_PSS_PADDING } : {};
  const uid = Buffer.from(String(spec.podUID));
  if (verify(kind === 'ed25519' ? null : 'sha256', uid, { key, ...padding }, proof)) return key;
  throw new Error('could not verify proof-of-possession signature');
}

/** Hash by the algorithm that the request names: hex of its OID. */
const hashes: Readonly<Record<string, string | null>> = {
  '2a864886f70d01010b': 'sha256',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
  '2b6570': null,
};

function keyOfStub(stub: Buffer): KeyObject {
  const [outer] = elements(stub);
  const [info, algorithm, signature] = elements(outer!.content);
  const [version, subject, spki, attributes] = elements(info!.content);
  if (version!.content.toString('hex') !== '00') throw new Error('must be a valid PKCS#10 CSR');
  if (subject!.content.length > 0 || attributes!.content.length > 0) throw new Error('the CSR is not empty');
  const key = createPublicKey({ key: spki!.whole, format: 'der', type: 'spki' });
  const hash = hashes[elements(algorithm!.content)[0]!.content.toString('hex')];
  if (hash === undefined || !verify(hash, info!.whole, key, signature!.content.subarray(1))) {
    throw new Error('invalid signature');
  }
  return key;
}
