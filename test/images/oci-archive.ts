/**
 * Builds a one-layer container image as an OCI archive (image-spec 1.0: oci-layout, index.json, blobs by sha256).
 * Layer: test. Pure: bytes in, bytes out; the same image gives the same digests. The layer stays uncompressed, since
 * import time matters more here than size.
 */
import { createHash } from 'node:crypto';
import { type TarEntry, tar } from './tar.ts';

export interface ImageDefinition {
  /** Full references, e.g. `docker.io/library/busybox:latest`; all name the same image. */
  names: string[];
  files: TarEntry[];
  /** The `config` object of the image configuration: Entrypoint, Cmd, Env, User, WorkingDir, StopSignal. */
  config: {
    Entrypoint?: string[];
    Cmd?: string[];
    Env?: string[];
    User?: string;
    WorkingDir?: string;
    StopSignal?: string;
  };
}

export interface OciArchive {
  bytes: Buffer;
  /** `sha256:...` of the manifest, what a registry calls the image's digest. */
  manifestDigest: string;
  /** `sha256:...` of the configuration, what CRI calls the image's ID. */
  configDigest: string;
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** @param architecture a GOARCH word: amd64 or arm64. */
export function ociArchive(image: ImageDefinition, architecture: string): OciArchive {
  const blobs = new Map<string, Buffer>();
  const add = (mediaType: string, bytes: Buffer): { mediaType: string; digest: string; size: number } => {
    const digest = sha256(bytes);
    blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

  const layer = add('application/vnd.oci.image.layer.v1.tar', tar(image.files));
  const config = add(
    'application/vnd.oci.image.config.v1+json',
    json({
      created: '1970-01-01T00:00:00Z',
      architecture,
      os: 'linux',
      config: image.config,
      rootfs: { type: 'layers', diff_ids: [layer.digest] },
      history: [{ created: '1970-01-01T00:00:00Z', created_by: 'keelson test/images' }],
    }),
  );
  const manifestType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = add(manifestType, json({ schemaVersion: 2, mediaType: manifestType, config, layers: [layer] }));

  // containerd reads the full name, skopeo selects by ref.name.
  const manifests = image.names.map((name) => ({
    ...manifest,
    platform: { architecture, os: 'linux' },
    annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name },
  }));
  const bytes = tar([
    { path: 'oci-layout', content: json({ imageLayoutVersion: '1.0.0' }) },
    { path: 'index.json', content: json({ schemaVersion: 2, manifests }) },
    { path: 'blobs/' },
    { path: 'blobs/sha256/' },
    ...[...blobs].map(([digest, content]) => ({ path: `blobs/sha256/${digest.slice('sha256:'.length)}`, content })),
  ]);
  return { bytes, manifestDigest: manifest.digest, configDigest: config.digest };
}
