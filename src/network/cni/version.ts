/**
 * The CNI versions that the plugin speaks and what each adds.
 * Layer: network/cni (pure).
 */

/** Oldest first; 0.1.0 and 0.2.0 have another result form and no runtime left that asks for them. */
export const supportedVersions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

export type CniVersion = (typeof supportedVersions)[number];

export const newestVersion: CniVersion = '1.1.0';

export function isSupportedVersion(text: string): text is CniVersion {
  return supportedVersions.some((version) => version === text);
}

/** True when `version` is at least `minimum`. */
export function isAtLeast(version: CniVersion, minimum: CniVersion): boolean {
  return supportedVersions.indexOf(version) >= supportedVersions.indexOf(minimum);
}
