/**
 * Asks one credential provider plugin for the images that it is there for, and keeps its answers as long as they hold.
 * Layer: kubelet/images. The program is run by what is handed in (run-credential-plugin.ts). Requests for the same image
 * that come together share one run. Source: pkg/credentialprovider/plugin/plugin.go.
 */
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { type CacheKeyType, credentialRequest, readCredentialAnswer } from './credential-answer.ts';
import type { CredentialProviderSpec } from './credential-provider-config.ts';
import { fitsImage, type RegistryCredential } from './credentials.ts';

export interface CredentialProviderOptions {
  readonly spec: CredentialProviderSpec;
  /** Standard input -> standard output of the plugin. */
  readonly run: (spec: CredentialProviderSpec, request: string) => Promise<string>;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Kept {
  readonly credentials: readonly RegistryCredential[];
  readonly untilMs: number;
}

/** Images are named by whoever makes pods: what is kept is bounded. */
const maxKept = 1_000;

export class CredentialProvider {
  readonly #options: CredentialProviderOptions;
  readonly #kept = new Map<string, Kept>();
  readonly #asking = new Map<string, Promise<readonly RegistryCredential[]>>();

  constructor(options: CredentialProviderOptions) {
    this.#options = options;
  }

  /**
   * None for images that the provider is not there for. Never rejects: a failure is logged, and the pull goes on with
   * what else there is. @param image without tag and digest
   */
  async credentials(image: string): Promise<readonly RegistryCredential[]> {
    const { spec, log } = this.#options;
    const [host, path] = splitImage(image);
    if (!spec.matchImages.some((pattern) => fitsImage(pattern, host, path))) return [];
    const kept = this.#find(image);
    if (kept !== undefined) return kept;
    const asking = this.#asking.get(image) ?? this.#ask(image);
    this.#asking.set(image, asking);
    try {
      return await asking;
    } catch (error) {
      log.warn({ provider: spec.name, image, error: errorLine(error) }, 'no credentials from a credential provider');
      return [];
    } finally {
      if (this.#asking.get(image) === asking) this.#asking.delete(image);
    }
  }

  async #ask(image: string): Promise<readonly RegistryCredential[]> {
    const { spec, run, clock } = this.#options;
    const text = await run(spec, credentialRequest(spec.apiVersion, image));
    const { cacheKeyType, cacheDurationMs, credentials } = readCredentialAnswer(spec.name, spec.apiVersion, text);
    const durationMs = cacheDurationMs ?? spec.defaultCacheDurationMs;
    if (durationMs > 0) this.#keep(keyOf(cacheKeyType, image), { credentials, untilMs: clock.now() + durationMs });
    return credentials;
  }

  #find(image: string): readonly RegistryCredential[] | undefined {
    for (const type of ['Image', 'Registry', 'Global'] as const) {
      const kept = this.#kept.get(keyOf(type, image));
      if (kept !== undefined && kept.untilMs >= this.#options.clock.now()) return kept.credentials;
    }
    return undefined;
  }

  #keep(key: string, kept: Kept): void {
    const nowMs = this.#options.clock.now();
    for (const [other, { untilMs }] of this.#kept) if (untilMs < nowMs) this.#kept.delete(other);
    this.#kept.delete(key);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size >= maxKept && oldest !== undefined) this.#kept.delete(oldest);
    this.#kept.set(key, kept);
  }
}

function keyOf(type: CacheKeyType, image: string): string {
  switch (type) {
    case 'Image':
      return `image ${image}`;
    case 'Registry':
      return `registry ${splitImage(image)[0]}`;
    case 'Global':
      return 'global';
  }
}

function splitImage(image: string): [host: string, path: string] {
  const slash = image.indexOf('/');
  return slash < 0 ? [image, ''] : [image.slice(0, slash), image.slice(slash + 1)];
}
