/**
 * A kubeconfig file read to what its current context says: where the API server is and how to prove who we are.
 * Layer: config (pure): takes text, reads no file; api/credentials.ts reads the files that it names and re-reads them.
 * What would run programs (exec), change identity (impersonation) or hide a mistake is refused by name.
 * Source: staging/src/k8s.io/client-go/tools/clientcmd/{api/v1/types.go,validation.go,client_config.go}.
 */
import { isAbsolute, resolve } from 'node:path';
import { ConfigError, type ConfigProblem } from './config-error.ts';
import { placed } from './field-reader.ts';
import { parseServerUrl } from './kubeconfig-server-url.ts';
import { type FieldPath, type SchemaProblem, shown } from './schema.ts';
import { isRecord } from './schema-compound.ts';
import { nearestName } from './suggest.ts';
import { parseYamlSource, type YamlSource } from './yaml-source.ts';

/** PEM text or a token: in the kubeconfig itself, or in a file (absolute path) that may be replaced while we run. */
export type SecretSource = { readonly data: string } | { readonly file: string };

/** Everything that is needed to reach one cluster's API server. */
export interface ClusterAccess {
  /** The kubeconfig's own path, for messages. */
  readonly file: string;
  readonly context: string;
  /** One or more equal API servers, `https://host:port` with an optional path, without a slash at the end. */
  readonly servers: readonly string[];
  /** PEM certificates; absent means those of the system. */
  readonly certificateAuthority?: SecretSource;
  /** Only ever true when the caller allowed it. */
  readonly insecureSkipTlsVerify: boolean;
  /** Expected in the server's certificate in place of the address's host. */
  readonly tlsServerName?: string;
  readonly clientCertificate?: { readonly certificate: SecretSource; readonly key: SecretSource };
  readonly token?: SecretSource;
}

export interface KubeconfigOptions {
  /** Further addresses of the same API server, tried when one does not answer. */
  readonly extraServers?: readonly string[];
  /** Accept `insecure-skip-tls-verify: true` and `http://` servers, which let anyone on the way act as the cluster. */
  readonly allowInsecure?: boolean;
}

const allowInsecureFix = 'set certificate-authority-data; for a throw-away test, allow insecure API servers explicitly';
const pemHead = '-----BEGIN ';

const clusterKeys = [
  'server',
  'certificate-authority',
  'certificate-authority-data',
  'insecure-skip-tls-verify',
  'tls-server-name',
  'proxy-url',
  'disable-compression',
  'extensions',
];
const userKeys = [
  'client-certificate',
  'client-certificate-data',
  'client-key',
  'client-key-data',
  'token',
  'tokenFile',
  'exec',
  'auth-provider',
  'username',
  'password',
  'as',
  'as-uid',
  'as-groups',
  'as-user-extra',
  'extensions',
];

/** Fields of a user that are never honoured, with what to do instead. */
const refusedOfUser: ReadonlyMap<string, string> = new Map([
  ['exec', 'give client-certificate and client-key, or tokenFile: Keelson runs no credential plugins'],
  ['auth-provider', 'give client-certificate and client-key, or tokenFile: Keelson runs no credential plugins'],
  ['username', 'give a client certificate or a token: API servers dropped passwords in 1.19'],
  ['password', 'give a client certificate or a token: API servers dropped passwords in 1.19'],
  ['as', 'use credentials of that user: a node does not impersonate'],
  ['as-uid', 'use credentials of that user: a node does not impersonate'],
  ['as-groups', 'use credentials of that user: a node does not impersonate'],
  ['as-user-extra', 'use credentials of that user: a node does not impersonate'],
]);

/**
 * Reads the current context of a kubeconfig. Relative file names count from the kubeconfig's folder.
 * @param file absolute path of the kubeconfig
 * Throws ConfigError with every problem found; messages never contain key, token or certificate data.
 */
export function parseKubeconfig(text: string, file: string, options: KubeconfigOptions = {}): ClusterAccess {
  const reader = new KubeconfigReader(parseYamlSource(text, file), options);
  const access = reader.access();
  if (access === undefined || reader.problems.length > 0) throw new ConfigError(reader.problems);
  return access;
}

type Member = Readonly<Record<string, unknown>>;

/** One entry of clusters, users or contexts: its inner mapping and where that stands. */
interface Entry {
  readonly value: Member;
  readonly at: FieldPath;
}

class KubeconfigReader {
  readonly problems: ConfigProblem[] = [];
  readonly #source: YamlSource;
  readonly #options: KubeconfigOptions;

  constructor(source: YamlSource, options: KubeconfigOptions) {
    this.#source = source;
    this.#options = options;
  }

  access(): ClusterAccess | undefined {
    const root = this.#source.value;
    if (!isRecord(root)) {
      const message = 'is no kubeconfig: there is no mapping in it';
      return this.#problem([], { code: 'CONFIG_KIND', message, fix: 'copy the kubeconfig again' });
    }
    const { kind, apiVersion } = root;
    if ((kind !== undefined && kind !== 'Config') || (apiVersion !== undefined && apiVersion !== 'v1')) {
      const message = `is no kubeconfig: apiVersion ${shown(apiVersion)}, kind ${shown(kind)}`;
      return this.#problem([], { code: 'CONFIG_KIND', message, fix: 'a kubeconfig has apiVersion v1, kind Config' });
    }
    const context = this.#text(root, 'current-context', []);
    if (context === undefined) {
      if (this.problems.length > 0) return undefined;
      return this.#bad(['current-context'], 'is missing', 'name one of the contexts of this file');
    }
    const chosen = this.#entry(root, 'contexts', 'context', context, ['current-context']);
    if (chosen === undefined) return undefined;
    const clusterName = this.#required(chosen, 'cluster');
    const userName = this.#required(chosen, 'user');
    const at = (key: string): FieldPath => [...chosen.at, key];
    const cluster = clusterName && this.#entry(root, 'clusters', 'cluster', clusterName, at('cluster'));
    const user = userName && this.#entry(root, 'users', 'user', userName, at('user'));
    const reached = cluster && this.#cluster(cluster);
    const identity = user && this.#user(user);
    return reached && identity ? { file: this.#source.file, context, ...reached, ...identity } : undefined;
  }

  #cluster({ value, at }: Entry) {
    this.#misspelt(value, at, clusterKeys);
    const allowed = this.#options.allowInsecure === true;
    const insecure = value['insecure-skip-tls-verify'] ?? false;
    if (typeof insecure !== 'boolean') {
      this.#bad([...at, 'insecure-skip-tls-verify'], `must be true or false, not ${shown(insecure)}`);
    } else if (insecure && !allowed) {
      const message = 'would let anyone on the way act as the API server';
      this.#refuse([...at, 'insecure-skip-tls-verify'], message, allowInsecureFix);
    }
    if (value['proxy-url'] !== undefined && value['proxy-url'] !== '') {
      this.#refuse([...at, 'proxy-url'], 'proxies are not supported', 'name an address that this node reaches itself');
    }
    const server = this.#required({ value, at }, 'server');
    const servers: string[] = [];
    const given = [
      ...(server === undefined ? [] : [{ text: server, at: [...at, 'server'] }]),
      ...(this.#options.extraServers ?? []).map((text) => ({ text, at: undefined })),
    ];
    for (const address of given) {
      const url = parseServerUrl(address.text, allowed);
      if ('url' in url) {
        if (!servers.includes(url.url)) servers.push(url.url);
      } else if (address.at !== undefined) this.#problem(address.at, url.problem);
      else this.problems.push({ ...url.problem, field: 'additional API server' });
    }
    const certificateAuthority = this.#secret({ value, at }, 'certificate-authority', 'certificate-authority-data');
    if (insecure === true && certificateAuthority !== undefined) {
      const message = 'contradicts the certificate authority that is also given';
      this.#bad([...at, 'insecure-skip-tls-verify'], message, 'remove insecure-skip-tls-verify');
    }
    const tlsServerName = this.#text(value, 'tls-server-name', at);
    return {
      servers,
      insecureSkipTlsVerify: insecure === true,
      ...(certificateAuthority && { certificateAuthority }),
      ...(tlsServerName && { tlsServerName }),
    };
  }

  #user({ value, at }: Entry) {
    this.#misspelt(value, at, userKeys);
    const before = this.problems.length;
    for (const [key, fix] of refusedOfUser) {
      if (value[key] !== undefined && value[key] !== null) this.#refuse([...at, key], 'is not supported', fix);
    }
    const certificate = this.#secret({ value, at }, 'client-certificate', 'client-certificate-data');
    const key = this.#secret({ value, at }, 'client-key', 'client-key-data');
    if (certificate && !key)
      this.#bad([...at, 'client-certificate'], 'has no key', 'add client-key or client-key-data');
    if (key && !certificate) {
      this.#bad([...at, 'client-key'], 'has no certificate', 'add client-certificate or client-certificate-data');
    }
    const token = this.#token({ value, at });
    if (!certificate && !key && !token && this.problems.length === before) {
      this.#bad(at, 'has no credentials', 'add client-certificate and client-key, token or tokenFile');
    }
    return { ...(certificate && key && { clientCertificate: { certificate, key } }), ...(token && { token }) };
  }

  /** A token file wins over a token, as in client-go. */
  #token({ value, at }: Entry): SecretSource | undefined {
    const file = this.#text(value, 'tokenFile', at);
    if (file !== undefined) return { file: this.#path(file) };
    const data = this.#text(value, 'token', at);
    if (data === undefined) return undefined;
    // What may not stand in an HTTP header would fail each request with a message about headers.
    if (/^[\x21-\x7e]+$/.test(data)) return { data };
    this.#bad([...at, 'token'], 'has spaces or other characters that no token has', 'copy the token again');
    return undefined;
  }

  /** PEM from `<key>-data` (base64) or from the file that `<key>` names. */
  #secret({ value, at }: Entry, fileKey: string, dataKey: string): SecretSource | undefined {
    const file = this.#text(value, fileKey, at);
    const encoded = this.#text(value, dataKey, at);
    if (file !== undefined && encoded !== undefined) {
      this.#bad([...at, fileKey], `is given together with ${dataKey}`, 'remove one of the two');
    }
    if (encoded === undefined) return file === undefined ? undefined : { file: this.#path(file) };
    const data = Buffer.from(encoded, 'base64').toString('latin1');
    if (/^[A-Za-z0-9+/=\s]+$/.test(encoded) && data.includes(pemHead)) return { data };
    this.#bad([...at, dataKey], 'is not PEM in base64', `copy it again, or put the PEM in a file and use ${fileKey}`);
    return undefined;
  }

  #entry(root: Member, listKey: string, innerKey: string, name: string, from: FieldPath): Entry | undefined {
    const list = root[listKey] ?? [];
    if (!Array.isArray(list)) return this.#type([listKey], `must be a list, not ${shown(list)}`);
    const names: string[] = [];
    let found: Entry | undefined;
    for (const [index, item] of list.entries()) {
      if (!isRecord(item) || typeof item.name !== 'string') {
        this.#type([listKey, index], 'must be a mapping with a name', 'put names of digits in quotes');
        continue;
      }
      names.push(item.name);
      if (item.name !== name) continue;
      const inner = item[innerKey] ?? {};
      if (found !== undefined) this.#bad([listKey, index, 'name'], `${shown(name)} stands twice in ${listKey}`);
      else if (isRecord(inner)) found = { value: inner, at: [listKey, index, innerKey] };
      else return this.#type([listKey, index, innerKey], `must be a mapping, not ${shown(inner)}`);
    }
    if (found !== undefined) return found;
    const near = nearestName(name, names);
    const fix = near === undefined ? `the file has ${names.join(', ') || 'none'}` : `did you mean ${near}?`;
    return this.#bad(from, `${shown(name)} is not in ${listKey}`, fix);
  }

  #required({ value, at }: Entry, key: string): string | undefined {
    const before = this.problems.length;
    const text = this.#text(value, key, at);
    if (text === undefined && this.problems.length === before) this.#bad([...at, key], 'is missing');
    return text;
  }

  /** The text at `key`; undefined when absent, null or empty, or after a problem was told. */
  #text(value: Member, key: string, at: FieldPath): string | undefined {
    const member = value[key];
    if (member === undefined || member === null || member === '') return undefined;
    if (typeof member === 'string') return member;
    // Not shown: it may be part of a secret.
    return this.#type([...at, key], 'must be a string', 'put the value in quotes');
  }

  /** Kubernetes ignores fields that it does not know; one letter off a known name is a mistake all the same. */
  #misspelt(value: Member, at: FieldPath, keys: readonly string[]): void {
    for (const key of Object.keys(value)) {
      const near = keys.includes(key) ? undefined : nearestName(key, keys);
      if (near === undefined) continue;
      this.#problem([...at, key], {
        code: 'CONFIG_UNKNOWN_FIELD',
        message: 'unknown field',
        fix: `did you mean ${near}?`,
      });
    }
  }

  #path(path: string): string {
    return isAbsolute(path) ? path : resolve(this.#source.file, '..', path);
  }

  #problem(at: FieldPath, problem: SchemaProblem): undefined {
    this.problems.push(placed(this.#source, at, problem));
    return undefined;
  }

  #bad(at: FieldPath, message: string, fix?: string): undefined {
    return this.#problem(at, { code: 'CONFIG_VALUE', message, ...(fix !== undefined && { fix }) });
  }

  #type(at: FieldPath, message: string, fix?: string): undefined {
    return this.#problem(at, { code: 'CONFIG_TYPE', message, ...(fix !== undefined && { fix }) });
  }

  #refuse(at: FieldPath, message: string, fix: string): undefined {
    return this.#problem(at, { code: 'CONFIG_UNSUPPORTED', message, fix });
  }
}
