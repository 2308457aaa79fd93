/**
 * What the API server is and which of two versions of a group it has: EndpointSlices are v1beta1 below Kubernetes 1.21.
 * Layer: api. Asked once at start; any authenticated identity may (system:discovery).
 */
import { isApiError } from './api-error.ts';
import type { ApiClient } from './client.ts';
import { RawObject } from './raw-object.ts';

export interface ServerVersion {
  /** `v1.36.2` */
  readonly gitVersion: string;
  readonly major: number;
  readonly minor: number;
}

/** Throws ApiError or the signal's reason. */
export function serverVersion(client: ApiClient, signal: AbortSignal): Promise<ServerVersion> {
  return client.get('/version', parseServerVersion, { signal });
}

/** Vendors write `20+` for a minor version; own builds may leave both empty, so that only gitVersion says them. */
export function parseServerVersion(value: unknown): ServerVersion {
  const raw = new RawObject(value);
  const gitVersion = raw.requiredText('gitVersion');
  const [, gitMajor = '', gitMinor = ''] = /^v(\d+)\.(\d+)/.exec(gitVersion) ?? [];
  const major = Number.parseInt(raw.text('major') || gitMajor, 10);
  const minor = Number.parseInt(raw.text('minor') || gitMinor, 10);
  if (Number.isNaN(major) || Number.isNaN(minor)) throw new Error('there is no major and minor version in it');
  return { gitVersion, major, minor };
}

/** The versions of `group` that the server has, its preferred one first; none when it has no such group. */
export async function groupVersions(client: ApiClient, group: string, signal: AbortSignal): Promise<string[]> {
  try {
    return await client.get(`/apis/${encodeURIComponent(group)}`, parseGroup, { signal });
  } catch (error) {
    if (isApiError(error, 'API_NOT_FOUND')) return [];
    throw error;
  }
}

function parseGroup(value: unknown): string[] {
  const raw = new RawObject(value);
  const preferred = raw.object('preferredVersion')?.text('version');
  const all = raw.objects('versions').map((version) => version.requiredText('version'));
  return [...new Set(preferred === undefined ? all : [preferred, ...all])];
}

/** v1 where there is one; undefined when the server has no EndpointSlices that Keelson can read. */
export async function endpointSliceVersion(
  client: ApiClient,
  signal: AbortSignal,
): Promise<'v1' | 'v1beta1' | undefined> {
  const versions = await groupVersions(client, 'discovery.k8s.io', signal);
  if (versions.includes('v1')) return 'v1';
  return versions.includes('v1beta1') ? 'v1beta1' : undefined;
}
