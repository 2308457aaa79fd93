/**
 * Container image references: the grammar of distribution/reference, and the full name that a short one stands for
 * (`busybox` is `docker.io/library/busybox:latest`).
 * Layer: config (pure). Must not ask a registry or the runtime; whether the image exists is the pull's affair.
 */

import { KeelsonError } from '../observe/keelson-error.ts';

/** A text that is no image reference. Code CONFIG_IMAGE_REFERENCE. */
export class ImageReferenceError extends KeelsonError {
  constructor(text: string, reason: string) {
    super('CONFIG_IMAGE_REFERENCE', `${JSON.stringify(text)} is not an image reference: ${reason}`, {
      fix: 'write it like registry.example.com/team/app:1.2',
    });
  }
}

export interface ImageReference {
  /** Registry with its port, `docker.io` when the text names none. */
  readonly domain: string;
  /** Repository below the registry, with `library/` added for Docker's official images. */
  readonly path: string;
  /** `domain/path` */
  readonly name: string;
  /** As written, or `latest` when neither tag nor digest is. */
  readonly tag: string | undefined;
  /** `sha256:...` as written. */
  readonly digest: string | undefined;
  /** `name[:tag][@digest]`: the same text for every spelling of the same reference. */
  readonly normalized: string;
}

const defaultDomain = 'docker.io';
const maxNameLength = 255;

const pathPart = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const repository = new RegExp(`^${pathPart}(?:/${pathPart})*$`);
const domainPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainShape = new RegExp(`^(?:${domainPart}(?:\\.${domainPart})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const tagShape = /^\w[\w.-]{0,127}$/;
const digestShape = /^([A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*):([0-9a-fA-F]{32,})$/;
const digestLengths: ReadonlyMap<string, number> = new Map([
  ['sha256', 64],
  ['sha384', 96],
  ['sha512', 128],
]);

// The first part is a registry when it cannot be part of a Docker Hub name: it has a dot, a port or upper case letters.
function splitDomain(name: string): [domain: string, path: string] {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isDomain = first === 'localhost' || /[.:]/.test(first) || first.toLowerCase() !== first;
  const domain = slash >= 0 && isDomain ? first : defaultDomain;
  const path = slash >= 0 && isDomain ? name.slice(slash + 1) : name;
  const canonical = domain === 'index.docker.io' ? defaultDomain : domain;
  return [canonical, canonical === defaultDomain && !path.includes('/') ? `library/${path}` : path];
}

function checkDigest(text: string, digest: string): void {
  const match = digestShape.exec(digest);
  if (match === null) throw new ImageReferenceError(text, 'the digest is malformed');
  const [, algorithm = '', hex = ''] = match;
  const length = digestLengths.get(algorithm);
  if (length === undefined) throw new ImageReferenceError(text, `unknown digest algorithm ${algorithm}`);
  if (hex.length !== length || hex !== hex.toLowerCase()) {
    throw new ImageReferenceError(text, `a ${algorithm} digest has ${length} lower case hexadecimal digits`);
  }
}

/**
 * Parses and completes an image reference: `[registry[:port]/]path[:tag][@digest]`. Without tag and digest the tag is
 * `latest`. Throws ImageReferenceError with the part that is wrong.
 */
export function parseImageReference(text: string): ImageReference {
  if (text === '') throw new ImageReferenceError(text, 'it is empty');
  if (text.length > 1024) throw new ImageReferenceError(`${text.slice(0, 64)}...`, 'it is too long');
  if (text.trim() !== text) throw new ImageReferenceError(text, 'it begins or ends with white space');
  // Docker reads 64 hexadecimal digits as an image ID, which is no reference to pull.
  if (/^[a-f0-9]{64}$/.test(text)) throw new ImageReferenceError(text, 'it is an image ID');

  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const tagged = at < 0 ? text : text.slice(0, at);
  const colon = tagged.indexOf(':', tagged.lastIndexOf('/') + 1);
  const givenTag = colon < 0 ? undefined : tagged.slice(colon + 1);
  const given = colon < 0 ? tagged : tagged.slice(0, colon);
  if (digest !== undefined) checkDigest(text, digest);
  if (givenTag !== undefined && !tagShape.test(givenTag)) throw new ImageReferenceError(text, 'the tag is malformed');

  const [domain, path] = splitDomain(given);
  if (!domainShape.test(domain)) throw new ImageReferenceError(text, 'the registry name is malformed');
  if (!repository.test(path)) {
    const reason = repository.test(path.toLowerCase())
      ? 'the repository must be lower case'
      : 'the repository is malformed';
    throw new ImageReferenceError(text, reason);
  }
  const name = `${domain}/${path}`;
  if (name.length > maxNameLength) throw new ImageReferenceError(text, `the name exceeds ${maxNameLength} characters`);
  const tag = givenTag ?? (digest === undefined ? 'latest' : undefined);
  const normalized = `${name}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
  return { domain, path, name, tag, digest, normalized };
}

/** Whether imagePullPolicy defaults to Always (SetDefaults_Container in core/v1): for the tag `latest`, digest or not. */
export function defaultsToAlwaysPull(reference: ImageReference): boolean {
  return reference.tag === 'latest';
}
