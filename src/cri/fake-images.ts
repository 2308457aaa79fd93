/**
 * The image half of the fake runtime: what is on the node, what the registry offers, and containerd's name rules.
 * Layer: cri (test support). Pure state behind ImageService; enforces what the kubelet role can get wrong.
 */
import { createHash } from 'node:crypto';
import { CriError, GrpcStatus } from './cri-error.ts';
import type { FakeServer } from './fake-server.ts';
import type * as cri from './messages.generated.ts';

/** An image as a test describes it; everything has a default made from the name. */
export interface FakeImageSpec {
  /** `sha256:...` of the config; by default a hash of the name. */
  id?: string;
  /** Bytes; 1 MB by default. */
  size?: number;
  /** Numeric user of the image's config. */
  uid?: number;
  /** Named user of the image's config. */
  username?: string;
  pinned?: boolean;
}

/** The user name and password, or another form, that a registry wants. */
export type FakeAuthCheck = (auth: cri.AuthConfig | undefined) => boolean;

/** `busybox` to `docker.io/library/busybox:latest`, as containerd resolves names (distribution reference rules). */
export function normalizeReference(name: string): string {
  if (name.startsWith('sha256:')) return name;
  const [first = '', ...rest] = name.split('/');
  const hasHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  const full = hasHost ? name : `docker.io/${rest.length === 0 ? 'library/' : ''}${name}`;
  const last = full.slice(full.lastIndexOf('/'));
  return /[:@]/.test(last) ? full : `${full}:latest`;
}

export class FakeImages {
  #present = new Map<string, cri.ImageInput>();
  #offered = new Map<string, { image: cri.ImageInput; accepts: FakeAuthCheck }>();
  #server: FakeServer;

  constructor(server: FakeServer) {
    this.#server = server;
    server.on<cri.ListImagesRequest, cri.ListImagesResponseInput>('listImages', ({ filter }) => {
      const name = filter?.image?.image;
      const found = name ? this.find(name) : undefined;
      return { images: name ? (found ? [found] : []) : [...this.#present.values()] };
    });
    server.on<cri.ImageStatusRequest, cri.ImageStatusResponseInput>('imageStatus', ({ image }) => ({
      image: this.find(image?.image ?? ''),
    }));
    server.on<cri.PullImageRequest, cri.PullImageResponseInput>('pullImage', (request) => this.#pull(request));
    server.on<cri.RemoveImageRequest, cri.RemoveImageResponseInput>('removeImage', ({ image }) => {
      const found = this.find(image?.image ?? '');
      if (found?.id !== undefined) this.#present.delete(found.id);
      return {};
    });
    server.on<cri.ImageFsInfoRequest, cri.ImageFsInfoResponseInput>('imageFsInfo', () => this.#fsInfo());
  }

  /** Makes an image present, as after a pull. */
  set(name: string, spec: FakeImageSpec = {}): void {
    this.#add(describe(name, spec));
  }

  /** Makes a pull of `name` succeed when `accepts` says so; without it every pull is NOT_FOUND. */
  offer(name: string, spec: FakeImageSpec = {}, accepts: FakeAuthCheck = () => true): void {
    this.#offered.set(normalizeReference(name), { image: describe(name, spec), accepts });
  }

  /** By id, tag or digest reference. */
  find(name: string): cri.ImageInput | undefined {
    if (name === '') return undefined;
    const wanted = normalizeReference(name);
    const hex = /^[0-9a-f]{12,64}$/.test(name) ? `sha256:${name}` : wanted;
    return [...this.#present.values()].find(
      (image) =>
        image.id === wanted ||
        image.id?.startsWith(hex) ||
        image.repoTags?.includes(wanted) ||
        image.repoDigests?.includes(wanted),
    );
  }

  #pull({ image, auth }: cri.PullImageRequest): cri.PullImageResponseInput {
    const name = normalizeReference(image?.image ?? '');
    const offered = this.#offered.get(name);
    const refuse = (status: number, why: string): CriError =>
      CriError.fromStatus('PullImage', status, `failed to pull and unpack image "${name}": ${why}`);
    if (offered === undefined) throw refuse(GrpcStatus.notFound, 'not found');
    // containerd reports 401 and 403 of a registry as UNKNOWN.
    if (!offered.accepts(auth)) throw refuse(GrpcStatus.unknown, 'authorization failed');
    this.#add(offered.image);
    return { imageRef: offered.image.id };
  }

  /** A tag moves to the newest image that claims it; the same content under two names is one image. */
  #add(image: cri.ImageInput): void {
    for (const [id, other] of this.#present) {
      const repoTags = (other.repoTags ?? []).filter((tag) => !image.repoTags?.includes(tag));
      this.#present.set(id, { ...other, repoTags });
    }
    const same = this.#present.get(image.id ?? '');
    const union = (a: string[] = [], b: string[] = []): string[] => [...new Set([...a, ...b])];
    this.#present.set(image.id ?? '', {
      ...image,
      repoTags: union(same?.repoTags, image.repoTags),
      repoDigests: union(same?.repoDigests, image.repoDigests),
    });
  }

  #fsInfo(): cri.ImageFsInfoResponseInput {
    const images = [...this.#present.values()];
    const usage: cri.FilesystemUsageInput = {
      timestamp: this.#server.clock.now() * 1e6,
      fsId: { mountpoint: '/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs' },
      usedBytes: { value: images.reduce((sum, image) => sum + (image.size ?? 0), 0) },
      inodesUsed: { value: images.length * 100 },
    };
    return { imageFilesystems: [usage], containerFilesystems: [usage] };
  }
}

function describe(name: string, spec: FakeImageSpec): cri.ImageInput {
  const reference = normalizeReference(name);
  const digest = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
  const byDigest = reference.includes('@');
  const repository = reference.replace(/@.*$/, '').replace(/:[^:/]*$/, '');
  return {
    id: spec.id ?? digest(`config ${reference}`),
    repoTags: byDigest ? [] : [reference],
    repoDigests: [byDigest ? reference : `${repository}@${digest(`manifest ${reference}`)}`],
    size: spec.size ?? 1_000_000,
    uid: spec.uid === undefined ? undefined : { value: spec.uid },
    username: spec.username ?? '',
    pinned: spec.pinned ?? false,
  };
}
