/**
 * What a certificate shall say, whether one says it, and when the next one is due.
 * Layer: kubelet/certificates (pure). Rules: pkg/kubelet/certificate/kubelet.go (templates),
 * client-go/util/certificate/certificate_manager.go (certSatisfiesTemplate, nextRotationDeadline, jitteryDuration).
 */
import { isIP } from 'node:net';
import type { KeyUsage } from '../../api/certificate-signing-request.ts';
import type { NodeAddress } from '../../api/node.ts';
import type { RequestFields } from '../../base/x509.ts';
import { canonicalAddress, type LeafFacts } from './pem-pair.ts';

export interface RequestTemplate extends RequestFields {
  readonly subject: { readonly commonName: string; readonly organizations: readonly string[] };
  readonly names: readonly string[];
  readonly signerName: string;
  readonly usages: readonly KeyUsage[];
}

const addressTypes = new Set(['Hostname', 'InternalIP', 'ExternalIP']);
const nameTypes = new Set(['Hostname', 'InternalDNS', 'ExternalDNS']);
/** A cloud controller writes them: what no certificate can name is left out. */
const asciiName = /^[A-Za-z0-9._*-]+$/;

const subjectOf = (nodeName: string): RequestTemplate['subject'] => ({
  commonName: `system:node:${nodeName}`,
  organizations: ['system:nodes'],
});

/** Of the node as a client of the API server. Names are not allowed in it; key encipherment is for RSA keys only. */
export function clientTemplate(nodeName: string): RequestTemplate {
  return {
    subject: subjectOf(nodeName),
    names: [],
    signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
    usages: ['digital signature', 'client auth'],
  };
}

/** Of the kubelet's API; undefined while the node has no IP address. */
export function servingTemplate(nodeName: string, addresses: readonly NodeAddress[]): RequestTemplate | undefined {
  const ips = new Set<string>();
  const hostnames = new Set<string>();
  for (const { type, address } of addresses) {
    const isAddress = isIP(address) !== 0;
    if (isAddress && addressTypes.has(type)) ips.add(canonicalAddress(address));
    else if (nameTypes.has(type) && asciiName.test(address)) hostnames.add(address);
  }
  if (ips.size === 0) return undefined;
  return {
    subject: subjectOf(nodeName),
    names: [...[...hostnames].sort(), ...[...ips].sort()],
    signerName: 'kubernetes.io/kubelet-serving',
    usages: ['digital signature', 'server auth'],
  };
}

/** What the template wants and the certificate lacks, for a person; empty when it will do. More than is wanted does no harm. */
export function missingOf(leaf: LeafFacts, { subject, names }: RequestTemplate): string[] {
  const known = new Set(leaf.names);
  const organizations = new Set(leaf.organizations);
  return [
    ...(leaf.commonName === subject.commonName ? [] : [`the name ${subject.commonName}`]),
    ...subject.organizations.filter((name) => !organizations.has(name)).map((name) => `the group ${name}`),
    ...names.filter((name) => !known.has(name)).map((name) => `the address ${name}`),
  ];
}

/**
 * When the next certificate is asked for, milliseconds since the epoch: after 70 to 90 % of the lifetime, so that nodes
 * that joined together do not renew together.
 * @param random 0 to 1
 */
export function renewalTime({ notBeforeMs, notAfterMs }: LeafFacts, random: number): number {
  return notBeforeMs + (notAfterMs - notBeforeMs) * (0.7 + 0.2 * random);
}

/**
 * Of a certificate that was just signed. Signers date it back by minutes, so that one of a few minutes may be due at once:
 * then the rest of its life counts, for else it would be asked for again and again.
 */
export function receivedRenewalTime(leaf: LeafFacts, nowMs: number, random: number): number {
  const dueMs = renewalTime(leaf, random);
  return dueMs > nowMs ? dueMs : renewalTime({ ...leaf, notBeforeMs: nowMs }, random);
}

export const isSameTemplate = (a: RequestTemplate | undefined, b: RequestTemplate | undefined): boolean =>
  JSON.stringify(a) === JSON.stringify(b);
