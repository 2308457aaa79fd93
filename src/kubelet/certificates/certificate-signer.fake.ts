/**
 * Approver and signer of a fake API server: CertificateSigningRequests get names, and are approved, denied and signed by the
 * rules of kube-controller-manager.
 * Layer: kubelet/certificates (test support). Must not be imported by production code. Source of the rules:
 * pkg/apis/certificates/helpers.go, pkg/controller/certificates/signer.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { FakeApiServer, FakeObject, FakeRequest } from '../../api/fake-api-server.ts';
import { failure } from '../../api/fake-api-server.ts';
import { generateP256, writeCertificate } from '../../base/x509.ts';
import { canonicalAddress } from './pem-pair.ts';

export interface ReadRequest {
  publicKey: KeyObject;
  commonName: string;
  organizations: string[];
  names: string[];
}

export interface FakeSignerOptions {
  server: FakeApiServer;
  now(): number;
  /** Lifetime, and how far it is dated back; milliseconds. */
  lifetimeMs?: number;
  backdateMs?: number;
  approve?: boolean;
  /** Below 27 key encipherment is wanted. */
  minor?: number;
  /** Groups that the server has of certificates.k8s.io. */
  versions?: readonly string[];
  /** In place of the server's answer to anything else. */
  answer?(request: FakeRequest): ReturnType<NonNullable<Parameters<FakeApiServer['script']>[0]>>;
}

export type FakeSigner = ReturnType<typeof startFakeSigner>;

const path = (version: string): string => `/apis/certificates.k8s.io/${version}/certificatesigningrequests`;

export function startFakeSigner(options: FakeSignerOptions) {
  const { server, lifetimeMs = 3_600_000, backdateMs = 0, minor = 36, versions = ['v1', 'v1beta1'] } = options;
  const state = { approve: options.approve ?? true, dropNames: false };
  const authority = generateP256();
  let count = 0;
  const created: { name: string; version: string; request: FakeRequest }[] = [];

  const sign = (object: FakeObject): string => {
    const spec = object.spec as { request: string; usages: string[]; signerName: string };
    const read = readCertificateRequest(Buffer.from(spec.request, 'base64').toString());
    const isServing = spec.signerName === 'kubernetes.io/kubelet-serving';
    const names = state.dropNames ? read.names.slice(1) : read.names;
    return writeCertificate(
      {
        subject: { commonName: read.commonName, organizations: read.organizations },
        issuer: { commonName: 'cluster' },
        publicKey: read.publicKey,
        notBeforeMs: options.now() - backdateMs,
        notAfterMs: options.now() - backdateMs + lifetimeMs,
        names,
        usages: [isServing ? 'serverAuth' : 'clientAuth'],
      },
      authority,
    );
  };

  const put = (version: string, name: string, change: object): void => {
    const stored = server.read(path(version), name);
    if (stored !== undefined) server.put(path(version), { ...stored, ...change });
  };

  const condition = (type: string, reason: string, message: string): object => ({
    type,
    status: 'True',
    reason,
    message,
  });

  const approve = (name: string): void => {
    const { version } = created.find((one) => one.name === name) ?? { version: 'v1' };
    put(version, name, { status: { conditions: [condition('Approved', 'AutoApproved', '')] } });
    const stored = server.read(path(version), name);
    if (stored === undefined) return;
    const certificate = Buffer.from(sign(stored)).toString('base64');
    put(version, name, { status: { ...(stored.status as object), certificate } });
  };

  server.script((request) => {
    if (request.path === '/version') {
      return { status: 200, body: { gitVersion: `v1.${minor}.0`, major: '1', minor: String(minor) } };
    }
    const [, version] = /^\/apis\/certificates\.k8s\.io\/([^/]+)\/certificatesigningrequests$/.exec(request.path) ?? [];
    if (version === undefined) return options.answer?.(request);
    if (!versions.includes(version)) return { status: 404, body: failure(404, 'NotFound', 'no such version') };
    if (request.method !== 'POST') return options.answer?.(request);
    const refused = options.answer?.(request);
    if (refused !== undefined) return refused;
    const body = request.body as FakeObject;
    const problem = problemOf(body, minor);
    if (problem !== undefined) return { status: 422, body: failure(422, 'Invalid', problem) };
    const name = `csr-${++count}`;
    const { generateName: _, ...metadata } = body.metadata;
    const creationTimestamp = new Date(options.now()).toISOString();
    const stored = server.put(path(version), { ...body, metadata: { ...metadata, name, creationTimestamp } });
    created.push({ name, version, request });
    if (state.approve) setImmediate(() => approve(name));
    return { status: 201, body: stored };
  });

  return {
    state,
    authority,
    created,
    names: (): string[] => created.map(({ name }) => name),
    read: (name: string): ReadRequest => {
      const one = created.find((other) => other.name === name);
      const spec = server.read(path(one?.version ?? 'v1'), name)?.spec as { request: string };
      return readCertificateRequest(Buffer.from(spec.request, 'base64').toString());
    },
    approve,
    deny: (name: string): void =>
      put('v1', name, { status: { conditions: [condition('Denied', 'Policy', 'not today')] } }),
    fail: (name: string): void =>
      put('v1', name, {
        status: {
          conditions: [condition('Approved', 'a', 'b'), condition('Failed', 'SignerValidationFailure', 'bad')],
        },
      }),
    /** Signed by somebody who does not keep to the request. */
    issue: (name: string, certificate: string): void =>
      put('v1', name, {
        status: {
          conditions: [condition('Approved', 'a', 'b')],
          certificate: Buffer.from(certificate).toString('base64'),
        },
      }),
    remove: (name: string): void => server.remove(path('v1'), name),
  };
}

/** What approver and signer would refuse. */
function problemOf({ metadata, spec }: FakeObject, minor: number): string | undefined {
  const { generateName } = metadata as { generateName?: string };
  if (generateName !== 'csr-') return `generateName ${generateName}`;
  const { request, usages, signerName } = spec as { request: string; usages: string[]; signerName: string };
  const read = readCertificateRequest(Buffer.from(request, 'base64').toString());
  if (read.organizations.join() !== 'system:nodes') return `organizations ${read.organizations}`;
  if (!read.commonName.startsWith('system:node:')) return `common name ${read.commonName}`;
  const isServing = signerName === 'kubernetes.io/kubelet-serving';
  if (!isServing && signerName !== 'kubernetes.io/kube-apiserver-client-kubelet') return `signer ${signerName}`;
  if (isServing !== read.names.length > 0) return `names ${read.names}`;
  const wanted = [
    'digital signature',
    isServing ? 'server auth' : 'client auth',
    ...(minor < 27 ? ['key encipherment'] : []),
  ];
  return [...usages].sort().join() === wanted.sort().join() ? undefined : `usages ${usages}`;
}

export interface DerElement {
  tag: number;
  /** With its tag and length. */
  whole: Buffer;
  content: Buffer;
}

/** Of BER in definite lengths: what stands in one constructed element. */
export function elements(der: Buffer): DerElement[] {
  const found: DerElement[] = [];
  for (let at = 0; at < der.length; ) {
    const tag = der[at]!;
    let length = der[at + 1]!;
    let head = 2;
    if (length >= 0x80) {
      const octets = length & 0x7f;
      length = der.readUIntBE(at + 2, octets);
      head += octets;
    }
    found.push({
      tag,
      whole: der.subarray(at, at + head + length),
      content: der.subarray(at + head, at + head + length),
    });
    at += head + length;
  }
  return found;
}

/** @throws Error when the signature is not that of the key in it */
export function readCertificateRequest(pem: string): ReadRequest {
  const base64 = pem.replace(/-----[A-Z ]+-----/g, '');
  const [outer] = elements(Buffer.from(base64, 'base64'));
  const [info, , signature] = elements(outer!.content);
  const [version, subject, spki, attributes] = elements(info!.content);
  if (version!.content.toString('hex') !== '00') throw new Error('is no version 1');
  const publicKey = createPublicKey({ key: spki!.whole, format: 'der', type: 'spki' });
  if (!verify('sha256', info!.whole, publicKey, signature!.content.subarray(1)))
    throw new Error('the signature is wrong');
  const texts = (oid: string): string[] =>
    elements(subject!.content).flatMap((set) =>
      elements(set.content).flatMap((sequence) => {
        const [type, value] = elements(sequence.content);
        return type!.content.toString('hex') === oid ? [value!.content.toString()] : [];
      }),
    );
  return {
    publicKey,
    commonName: texts('550403')[0] ?? '',
    organizations: texts('55040a'),
    names: namesOf(attributes!),
  };
}

function namesOf({ tag, content }: DerElement): string[] {
  if (tag !== 0xa0) throw new Error('there are no attributes');
  const [attribute] = elements(content);
  if (attribute === undefined) return [];
  const [type, set] = elements(attribute.content);
  if (type!.content.toString('hex') !== '2a864886f70d01090e') throw new Error('is no extensionRequest');
  const [extensions] = elements(set!.content);
  const [extension] = elements(extensions!.content);
  const [, value] = elements(extension!.content);
  const [names] = elements(value!.content);
  return elements(names!.content).map((name) => {
    if (name.tag === 0x82) return name.content.toString('ascii');
    if (name.content.length === 4) return [...name.content].join('.');
    return canonicalAddress(name.content.toString('hex').replace(/(....)(?=.)/g, '$1:'));
  });
}
