/**
 * CredentialProviderConfig (kubelet.config.k8s.io): which programs to ask for registry credentials of which images.
 * Layer: kubelet/images (pure: takes text). Rules: pkg/credentialprovider/plugin/config.go. Tokens of service accounts
 * (tokenAttributes) are not handed to plugins by this version: such a provider is refused, since without one it would
 * give the node's credentials, or none, in place of the pod's.
 */
import { ConfigError, type ConfigProblem } from '../../config/config-error.ts';
import { placed } from '../../config/field-reader.ts';
import { duration, oneOf, type Report, type Schema, text } from '../../config/schema.ts';
import { isRecord, list, object } from '../../config/schema-compound.ts';
import { maxProblems, parseYamlSource, type YamlSource } from '../../config/yaml-source.ts';

export const credentialProviderVersions = [
  'credentialprovider.kubelet.k8s.io/v1',
  'credentialprovider.kubelet.k8s.io/v1beta1',
  'credentialprovider.kubelet.k8s.io/v1alpha1',
] as const;

export interface CredentialProviderSpec {
  /** The program's name in the folder of plugins. */
  readonly name: string;
  /** Host with globs, optional port and path: `*.dkr.ecr.*.amazonaws.com`. */
  readonly matchImages: readonly string[];
  /** For answers that set none; 0: they are not kept. */
  readonly defaultCacheDurationMs: number;
  readonly apiVersion: (typeof credentialProviderVersions)[number];
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
}

const configVersions = ['kubelet.config.k8s.io/v1', 'kubelet.config.k8s.io/v1beta1', 'kubelet.config.k8s.io/v1alpha1'];
const kind = 'CredentialProviderConfig';

/** The name becomes a path below the folder of plugins, and nothing above it. */
const checkName = (name: string): string[] => {
  if (name === '' || name === '.' || name === '..') return ['must be the name of a program'];
  return /[/ \0]/.test(name) ? ['must have no slash and no space'] : [];
};

const checkMatchImage = (pattern: string): string[] =>
  /^(?:[^/\s?#@:[\]]+|\[[\da-f:]+\])(?::\d+)?(?:\/[^\s?#@]*)?$/i.test(pattern)
    ? []
    : ['must be a host, with optional port and path'];

const checkVariable = (name: string): string[] =>
  name === '' || /[=\0]/.test(name) ? ['must be the name of an environment variable'] : [];

const noNul = (value: string): string[] => (value.includes('\0') ? ['must have no NUL character'] : []);

const refusedTokens: Schema<never> = {
  read(_value, at, report) {
    const message = 'tokens of service accounts are not handed to credential providers by this version';
    report(at, { code: 'CONFIG_UNSUPPORTED', message, fix: 'remove tokenAttributes, or use imagePullSecrets' });
    return undefined;
  },
  print: () => '',
};

const providers = list(
  object(
    {
      name: text(checkName),
      matchImages: list(text(checkMatchImage)),
      defaultCacheDuration: duration(),
      apiVersion: oneOf(...credentialProviderVersions),
      args: list(text(noNul)),
      env: list(object({ name: text(checkVariable), value: text(noNul) }, ['name'])),
      tokenAttributes: refusedTokens,
    },
    ['name', 'matchImages', 'defaultCacheDuration', 'apiVersion'],
  ),
);

/** Of one file. @throws ConfigError with every problem of it */
export function readCredentialProviders(fileText: string, file: string): CredentialProviderSpec[] {
  const source = parseYamlSource(fileText, file);
  const problems: ConfigProblem[] = [];
  const report: Report = (at, problem) => {
    if (problems.length < maxProblems) problems.push(placed(source, at, problem));
  };
  checkDocument(source, report);
  if (problems.length > 0) throw new ConfigError(problems);
  const listed = isRecord(source.value) ? source.value.providers : undefined;
  const read = providers.read(listed, ['providers'], report) ?? [];
  if (read.length === 0) report(['providers'], { code: 'CONFIG_VALUE', message: 'must name at least one provider' });
  for (const [index, { matchImages }] of read.entries()) {
    if (matchImages?.length === 0) {
      report(['providers', index, 'matchImages'], { code: 'CONFIG_VALUE', message: 'must have at least one pattern' });
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return read.flatMap(({ name, matchImages, defaultCacheDuration, apiVersion, args = [], env = [] }) => {
    // The schema has refused a provider without them.
    if (name === undefined || matchImages === undefined || apiVersion === undefined) return [];
    const variables = env.flatMap(({ name: variable, value = '' }) =>
      variable === undefined ? [] : [{ name: variable, value }],
    );
    return [{ name, matchImages, defaultCacheDurationMs: defaultCacheDuration ?? 0, apiVersion, args, env: variables }];
  });
}

function checkDocument(source: YamlSource, report: Report): void {
  const { value } = source;
  if (!isRecord(value)) {
    report([], { code: 'CONFIG_KIND', message: 'the document must be a mapping', fix: `write a ${kind}` });
    return;
  }
  if (value.kind !== kind) report(['kind'], { code: 'CONFIG_KIND', message: `must be ${kind}` });
  if (!configVersions.some((version) => version === value.apiVersion)) {
    report(['apiVersion'], { code: 'CONFIG_KIND', message: `must be one of ${configVersions.join(', ')}` });
  }
  for (const key of Object.keys(value)) {
    if (!['apiVersion', 'kind', 'providers'].includes(key)) {
      report([key], { code: 'CONFIG_UNKNOWN_FIELD', message: 'unknown field', fix: 'use providers' });
    }
  }
}

/** The providers of several files as one list. @throws ConfigError for a name that stands twice */
export function joinProviders(
  files: readonly { readonly file: string; readonly providers: readonly CredentialProviderSpec[] }[],
): CredentialProviderSpec[] {
  const seen = new Set<string>();
  return files.flatMap(({ file, providers: own }) => {
    for (const { name } of own) {
      if (seen.has(name)) {
        const message = `the provider ${JSON.stringify(name)} stands twice`;
        throw new ConfigError([
          { code: 'CONFIG_VALUE', file, field: 'providers', message, fix: 'rename or remove one' },
        ]);
      }
      seen.add(name);
    }
    return own;
  });
}
