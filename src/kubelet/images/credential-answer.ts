/**
 * What a credential provider plugin is asked and answers: CredentialProviderRequest and -Response as JSON.
 * Layer: kubelet/images (pure). Never tells the answer's text in an error: it holds passwords.
 * Source: staging/src/k8s.io/kubelet/pkg/apis/credentialprovider/v1/types.go, pkg/credentialprovider/plugin/plugin.go.
 */
import { durationToMs, parseDuration } from '../../config/duration.ts';
import { isRecord } from '../../config/schema-compound.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import type { RegistryCredential } from './credentials.ts';

/** Code CREDENTIAL_PROVIDER: the plugin did not run, took too long, or its answer is not understood. */
export class CredentialProviderError extends KeelsonError {
  constructor(provider: string, message: string, cause?: unknown) {
    super('CREDENTIAL_PROVIDER', message, {
      object: `credential provider ${provider}`,
      fix: 'run the plugin by hand with a CredentialProviderRequest on its standard input',
      cause,
    });
  }
}

export type CacheKeyType = 'Image' | 'Registry' | 'Global';

export interface CredentialAnswer {
  readonly cacheKeyType: CacheKeyType;
  /** undefined: the provider's default; 0: not kept. */
  readonly cacheDurationMs: number | undefined;
  readonly credentials: readonly RegistryCredential[];
}

/** @param image without tag and digest */
export const credentialRequest = (apiVersion: string, image: string): string =>
  `${JSON.stringify({ kind: 'CredentialProviderRequest', apiVersion, image })}\n`;

const cacheKeyTypes: readonly CacheKeyType[] = ['Image', 'Registry', 'Global'];

/** @throws CredentialProviderError */
export function readCredentialAnswer(provider: string, apiVersion: string, text: string): CredentialAnswer {
  const wrong = (message: string): CredentialProviderError => new CredentialProviderError(provider, message);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message would quote the answer.
    throw wrong('the answer is not JSON');
  }
  if (!isRecord(value)) throw wrong('the answer is not a JSON object');
  if (value.apiVersion !== apiVersion) throw wrong(`the answer's apiVersion is not ${apiVersion}`);
  if (value.kind !== 'CredentialProviderResponse') throw wrong("the answer's kind is not CredentialProviderResponse");
  const cacheKeyType = cacheKeyTypes.find((type) => type === value.cacheKeyType);
  if (cacheKeyType === undefined) throw wrong(`cacheKeyType is none of ${cacheKeyTypes.join(', ')}`);
  const { auth = {} } = value;
  if (auth !== null && !isRecord(auth)) throw wrong('auth is not a JSON object');
  return {
    cacheKeyType,
    cacheDurationMs: cacheDuration(value.cacheDuration, wrong),
    credentials: Object.entries(auth ?? {}).map(([location, entry]) => {
      if (!isRecord(entry)) throw wrong('an entry of auth is not a JSON object');
      const { username = '', password = '' } = entry;
      if (typeof username !== 'string' || typeof password !== 'string') {
        throw wrong('a user name or password of auth is not a text');
      }
      return { location, auth: { username, password } };
    }),
  };
}

function cacheDuration(value: unknown, wrong: (message: string) => CredentialProviderError): number | undefined {
  if (value === undefined || value === null) return undefined;
  const message = 'cacheDuration is not a duration such as 10m';
  if (typeof value !== 'string') throw wrong(message);
  try {
    return durationToMs(parseDuration(value));
  } catch {
    throw wrong(message);
  }
}
