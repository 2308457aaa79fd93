/**
 * Whether the container runtime mounts images as volumes, and parts of them: it does not say so over CRI. An older one takes
 * the mount for an empty path on the host, and the part of an image for the whole.
 * Layer: kubelet/volumes (pure).
 */

/** Why the runtime does not; undefined where it does. */
export interface ImageVolumesRefused {
  readonly images: string | undefined;
  readonly parts: string | undefined;
}

type Version = readonly [major: number, minor: number];

/** containerd/containerd#10579 and #11578; CRI-O's release notes. */
const since: Readonly<Record<string, { readonly images: Version; readonly parts: Version }>> = {
  containerd: { images: [2, 1], parts: [2, 2] },
  'cri-o': { images: [1, 31], parts: [1, 33] },
};

/**
 * Runtimes and versions that are not known are believed to do both.
 * @param name, version as CRI's Version has them: `containerd`, `1.7.24~ds1-6+b1` or `v2.1.0-rc.1`
 */
export function imageVolumesRefused(name: string, version: string): ImageVolumesRefused {
  const versions = Object.hasOwn(since, name) ? since[name] : undefined;
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(version) ?? [];
  const refusal = ([wantedMajor, wantedMinor]: Version): string | undefined => {
    const is = Number(major) > wantedMajor || (Number(major) === wantedMajor && Number(minor) >= wantedMinor);
    return is ? undefined : `${name} ${version} does not, ${name} ${wantedMajor}.${wantedMinor} and newer do`;
  };
  if (versions === undefined || major === undefined) return { images: undefined, parts: undefined };
  return { images: refusal(versions.images), parts: refusal(versions.parts) };
}
