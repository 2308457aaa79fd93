/**
 * Which registry credentials fit an image: imagePullSecrets of type dockerconfigjson and dockercfg, by host and path.
 * Rules: pkg/credentialprovider/keyring.go (schemes ignored, globs per host label, longest path first) and the
 * Kubernetes documentation of image names in config.json. Layer: kubelet/images (pure). Never logs a value.
 */
import type { Secret } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';

export interface RegistryCredential {
  /** Host with optional port and path, as written without its scheme: `registry.example:5000/team`. */
  location: string;
  auth: cri.AuthConfigInput;
}

export class CredentialError extends KeelsonError {
  /** @param object `secret team/pull`, `file /var/lib/kubelet/config.json` */
  constructor(object: string, message: string) {
    super('IMAGE_PULL_SECRET', message, { object, fix: 'create it with kubectl create secret docker-registry' });
  }
}

const objectOf = ({ metadata }: Secret): string => `secret ${metadata.namespace}/${metadata.name}`;

const dataKeys: ReadonlyMap<string, string> = new Map([
  ['kubernetes.io/dockerconfigjson', '.dockerconfigjson'],
  ['kubernetes.io/dockercfg', '.dockercfg'],
]);

/** Whether the secret is of one of the two types and has its key; others in imagePullSecrets are passed over. */
export function holdsCredentials(secret: Secret): boolean {
  const key = dataKeys.get(secret.type ?? '');
  return key !== undefined && secret.data !== undefined && Object.hasOwn(secret.data, key) && secret.data[key] !== '';
}

/** @throws CredentialError when the secret is of another type or does not parse */
export function credentialsOfSecret(secret: Secret): RegistryCredential[] {
  const object = objectOf(secret);
  const key = dataKeys.get(secret.type ?? '');
  if (key === undefined)
    throw new CredentialError(object, `type ${secret.type ?? 'Opaque'} holds no registry credentials`);
  const encoded = secret.data?.[key];
  if (encoded === undefined) throw new CredentialError(object, `key ${key} is missing`);
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  return credentialsOfDocument(text, key === '.dockercfg', object, `key ${key}`);
}

/**
 * Of a Docker configuration file's text. @param legacy without `auths` around the entries
 * @throws CredentialError when it does not parse
 */
export function credentialsOfDocument(
  text: string,
  legacy: boolean,
  object: string,
  part = 'the text',
): RegistryCredential[] {
  const config = parseRecord(text, object, part);
  if (legacy) return entries(object, config);
  return entries(object, isRecord(config.auths) ? config.auths : {});
}

/** Credentials that fit `image` (`host[:port]/path`), most specific first. */
export function credentialsFor(host: string, path: string, credentials: RegistryCredential[]): cri.AuthConfigInput[] {
  return credentials
    .filter(({ location }) => fitsImage(location, host, path))
    .sort((a, b) => b.location.length - a.location.length)
    .map(({ auth }) => auth);
}

/** Whether a location, with globs in its host's labels, is that of the image or above it. */
export function fitsImage(location: string, host: string, path: string): boolean {
  const slash = location.indexOf('/');
  const locationHost = slash < 0 ? location : location.slice(0, slash);
  const locationPath = slash < 0 ? '' : location.slice(slash + 1).replace(/\/+$/, '');
  if (locationPath !== '' && path !== locationPath && !path.startsWith(`${locationPath}/`)) return false;
  // Docker Hub's historical names.
  if (['index.docker.io', 'docker.io', 'registry-1.docker.io'].includes(locationHost)) return host === 'docker.io';
  return hostMatches(locationHost, host);
}

function hostMatches(pattern: string, host: string): boolean {
  const [patternName = '', patternPort] = pattern.split(':');
  const [name = '', port] = host.split(':');
  if (patternPort !== port) return false;
  const wanted = patternName.split('.');
  const labels = name.split('.');
  return wanted.length === labels.length && wanted.every((label, i) => labelMatches(label, labels[i] ?? ''));
}

/** `*` stands for any run of characters within one label. */
function labelMatches(pattern: string, label: string): boolean {
  const parts = pattern.split('*');
  if (parts.length === 1) return pattern === label;
  let from = 0;
  for (const [i, part] of parts.entries()) {
    const found = i === parts.length - 1 ? Math.max(from, label.length - part.length) : label.indexOf(part, from);
    if (found < from || !label.startsWith(part, found) || (i === 0 && found !== 0)) return false;
    from = found + part.length;
  }
  return from === label.length;
}

function entries(object: string, auths: Record<string, unknown>): RegistryCredential[] {
  // Entries are told by their number: what was put where the server's name belongs may be a secret itself.
  return Object.entries(auths).map(([server, value], index) => {
    if (!isRecord(value)) throw new CredentialError(object, `entry ${index + 1} is not an object`);
    return {
      location: server.replace(/^https?:\/\//, '').replace(/\/v[12]\/?$/, ''),
      auth: authConfig(object, index, value),
    };
  });
}

/** `auth` wins over username and password, as in the kubelet. */
function authConfig(object: string, index: number, value: Record<string, unknown>): cri.AuthConfigInput {
  const text = (key: string): string => (typeof value[key] === 'string' ? value[key] : '');
  if (text('auth') !== '') {
    const decoded = Buffer.from(text('auth'), 'base64').toString('utf8');
    const colon = decoded.indexOf(':');
    if (colon < 0) throw new CredentialError(object, `auth of entry ${index + 1} is not base64 of user:password`);
    return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1).replace(/\0+$/, '') };
  }
  if (text('username') !== '') return { username: text('username'), password: text('password') };
  return { identityToken: text('identitytoken'), registryToken: text('registrytoken') };
}

function parseRecord(text: string, object: string, part: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message would quote the secret's text.
    throw new CredentialError(object, `${part} is not JSON`);
  }
  if (!isRecord(value)) throw new CredentialError(object, `${part} is not a JSON object`);
  return value;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
