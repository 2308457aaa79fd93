/**
 * ClusterTrustBundles of certificates.k8s.io: certificates that a signer's clients may trust.
 * Layer: api. Which version an API server has is asked; what is no certificate is left out here.
 * Source: staging/src/k8s.io/api/certificates/v1beta1/types.go, pkg/kubelet/clustertrustbundle.
 */
import { isApiError } from './api-error.ts';
import type { ApiClient } from './client.ts';
import { RawObject } from './raw-object.ts';
import type { Resource } from './resource.ts';

export interface ClusterTrustBundle {
  readonly name: string;
  /** Empty: of no signer. */
  readonly signerName: string;
  readonly labels: Readonly<Record<string, string>>;
  /** DER in base64 without line breaks, each once. */
  readonly anchors: readonly string[];
}

/** @throws ObjectShapeError */
export function projectClusterTrustBundle(value: unknown): ClusterTrustBundle {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  const spec = raw.object('spec') ?? new RawObject({}, 'spec');
  return {
    name: metadata.requiredText('name'),
    signerName: spec.text('signerName') ?? '',
    labels: metadata.textMap('labels') ?? {},
    anchors: parseAnchors(spec.text('trustBundle') ?? ''),
  };
}

/** The certificates of a PEM text; whatever stands between them is passed over. */
export function parseAnchors(pem: string): string[] {
  const anchors = new Set<string>();
  for (const [, body = ''] of pem.matchAll(
    /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g,
  )) {
    const der = Buffer.from(body, 'base64');
    if (der.length > 0) anchors.add(der.toString('base64'));
  }
  return [...anchors];
}

/** PEM of anchors, each once, in an order that stays: @param anchors as in ClusterTrustBundle */
export function anchorsToPem(anchors: Iterable<string>): string {
  return [...new Set(anchors)]
    .sort()
    .map((der) => `-----BEGIN CERTIFICATE-----\n${der.replace(/(.{64})(?!$)/g, '$1\n')}\n-----END CERTIFICATE-----\n`)
    .join('');
}

const versions = ['v1', 'v1beta1', 'v1alpha1'];

/** undefined when the API server has none. @throws ApiError or the signal's reason */
export async function clusterTrustBundles(client: ApiClient, signal: AbortSignal): Promise<Resource | undefined> {
  for (const version of versions) {
    const prefix = `/apis/certificates.k8s.io/${version}`;
    const names = await client.get(prefix, resourceNames, { signal }).catch((error: unknown): string[] => {
      if (isApiError(error, 'API_NOT_FOUND')) return [];
      throw error;
    });
    if (names.includes('clustertrustbundles')) return { prefix, name: 'clustertrustbundles', namespaced: false };
  }
  return undefined;
}

const resourceNames = (value: unknown): string[] =>
  new RawObject(value).objects('resources').map((resource) => resource.text('name') ?? '');
