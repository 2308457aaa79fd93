/**
 * Credentials that every pod of the node may pull with: the plugins of --image-credential-provider-config, and the
 * node's own Docker configuration files.
 * Layer: kubelet/images (edge: files). Sources: pkg/credentialprovider/plugin/plugin.go (registration),
 * pkg/credentialprovider/{config,provider}.go (files and their order).
 */
import { access, constants, readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { readFileBounded } from '../../base/atomic-file.ts';
import type { Clock } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { ConfigError } from '../../config/config-error.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { CredentialProvider } from './credential-provider.ts';
import { type CredentialProviderSpec, joinProviders, readCredentialProviders } from './credential-provider-config.ts';
import { credentialsOfDocument, type RegistryCredential } from './credentials.ts';
import type { NodeCredentials } from './ensure-image.ts';
import { runCredentialPlugin } from './run-credential-plugin.ts';

export interface CredentialProvidersOptions {
  /** Flag --image-credential-provider-config: a file, or a folder of .json, .yaml and .yml files. */
  readonly configPath: string;
  /** Flag --image-credential-provider-bin-dir. */
  readonly binDir: string;
  readonly clock: Clock;
  readonly log: Logger;
}

const maxConfigBytes = 1024 * 1024;

/** One source for each provider. @throws ConfigError for a file that is wrong or unreadable and a program that is missing */
export async function loadCredentialProviders(options: CredentialProvidersOptions): Promise<NodeCredentials[]> {
  const { configPath, binDir, clock, log } = options;
  const files = await Promise.all(
    (await configFiles(configPath)).map(async (file) => ({
      file,
      providers: readCredentialProviders(
        (await readable(file, () => readFileBounded(file, maxConfigBytes))).data.toString(),
        file,
      ),
    })),
  );
  const specs = joinProviders(files);
  for (const { name } of specs) {
    const program = join(binDir, name);
    await readable(program, () => access(program, constants.X_OK));
  }
  const run = (spec: CredentialProviderSpec, request: string): Promise<string> =>
    runCredentialPlugin(binDir, spec, request);
  return specs.map((spec) => {
    const provider = new CredentialProvider({ spec, run, clock, log });
    return (image) => provider.credentials(image);
  });
}

async function configFiles(path: string): Promise<string[]> {
  const isFolder = (await readable(path, () => stat(path))).isDirectory();
  if (!isFolder) return [path];
  const entries = await readable(path, () => readdir(path, { withFileTypes: true }));
  const names = entries
    .filter((entry) => !entry.isDirectory() && ['.json', '.yaml', '.yml'].includes(extname(entry.name)))
    .map(({ name }) => name)
    .sort();
  if (names.length > 0) return names.map((name) => join(path, name));
  const message = 'the folder has no .json, .yaml or .yml file';
  throw new ConfigError([{ code: 'CONFIG_FLAG', file: path, field: '--image-credential-provider-config', message }]);
}

async function readable<T>(file: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    const message = `cannot be used: ${errorLine(cause)}`;
    throw new ConfigError([{ code: 'CONFIG_FLAG', file, message, fix: 'name what root can read and run' }], cause);
  }
}

/** pkg/credentialprovider/provider.go: files are read again after 5 minutes. */
const keptMs = 5 * 60_000;

/**
 * The first of the node's files that there is: `<rootDir>/config.json`, then root's and the machine's `.docker`, then
 * the older `.dockercfg` in the same places. What is wrong with one is logged once for each reading.
 */
export function dockerConfigFiles(rootDir: string, home: string, clock: Clock, log: Logger): NodeCredentials {
  const candidates = [
    ...[join(rootDir, 'config.json'), join(home, '.docker', 'config.json'), '/.docker/config.json'].map((file) => ({
      file,
      legacy: false,
    })),
    ...[join(rootDir, '.dockercfg'), join(home, '.dockercfg'), '/.dockercfg'].map((file) => ({ file, legacy: true })),
  ];
  let kept: { credentials: Promise<readonly RegistryCredential[]>; untilMs: number } | undefined;
  const read = async (): Promise<readonly RegistryCredential[]> => {
    for (const { file, legacy } of candidates) {
      try {
        const { data } = await readFileBounded(file, maxConfigBytes);
        return credentialsOfDocument(data.toString(), legacy, `file ${file}`);
      } catch (error) {
        if (!hasErrorCode(error, 'ENOENT', 'ENOTDIR')) {
          log.warn({ file, error: errorLine(error) }, "the node's registry credentials cannot be read");
        }
      }
    }
    return [];
  };
  return () => {
    if (kept === undefined || kept.untilMs <= clock.now())
      kept = { credentials: read(), untilMs: clock.now() + keptMs };
    return kept.credentials;
  };
}
