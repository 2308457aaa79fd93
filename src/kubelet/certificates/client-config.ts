/**
 * With what a node asks for its client certificate, and as whom it talks to the API server afterwards, from its kubeconfig
 * and its bootstrap kubeconfig.
 * Layer: kubelet/certificates (edge: disk). Talks to no server. Rules: pkg/kubelet/certificate/bootstrap/bootstrap.go
 * (LoadClientConfig, isClientConfigStillValid) and buildKubeletClientConfig of cmd/kubelet/app/server.go.
 */
import { X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { readFileBounded, writeFileAtomic } from '../../base/atomic-file.ts';
import type { ClusterAccess, SecretSource } from '../../config/kubeconfig.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { nodeKubeconfig } from './bootstrap-kubeconfig.ts';
import { CertificateError } from './certificate-error.ts';
import { type PemPair, parsePemPair } from './pem-pair.ts';

export interface ClientConfigOptions {
  /** Absolute paths. */
  readonly kubeconfig: string;
  readonly bootstrapKubeconfig: string | undefined;
  /** Of the certificate in use. */
  readonly currentPath: string;
  /** Reads a kubeconfig that the flag names. @throws KeelsonError */
  read(file: string, flag: '--kubeconfig' | '--bootstrap-kubeconfig'): Promise<ClusterAccess>;
  readonly nowMs: number;
  readonly log: Logger;
}

export interface ClientConfig {
  /** Asks for a certificate while there is no valid one. */
  readonly requesting: ClusterAccess;
  /** That is by a bootstrap kubeconfig. */
  readonly isBootstrap: boolean;
  /** Of the node: its certificate is the file at `currentPath`, whatever the kubeconfig names. */
  readonly node: ClusterAccess;
  /** What the kubeconfig names or holds, where that is valid; embedded ones are for the beginning only. */
  readonly initial: { readonly pair: PemPair; readonly isEmbedded: boolean } | undefined;
}

const maxFileBytes = 1024 * 1024;

/**
 * Writes the kubeconfig when a certificate has to be asked for with the bootstrap kubeconfig.
 * @throws CertificateError BOOTSTRAP_MISSING, what `read` throws, Node's errors of the kubeconfig's folder
 */
export async function loadClientConfig(options: ClientConfigOptions): Promise<ClientConfig> {
  const { kubeconfig, bootstrapKubeconfig, currentPath, log } = options;
  if (bootstrapKubeconfig === undefined) {
    const access = await options.read(kubeconfig, '--kubeconfig');
    const found = await validPair(access, options.nowMs);
    return configOf(access, access, false, 'pair' in found ? found : undefined, currentPath);
  }
  const found = await validAccess(options);
  if ('access' in found) {
    log.info({ kubeconfig }, 'the kubeconfig is valid: the bootstrap kubeconfig is not needed');
    return configOf(found.access, found.access, false, found, currentPath);
  }
  const requesting = await readBootstrap(options, bootstrapKubeconfig, found.reason);
  log.info({ bootstrapKubeconfig, reason: found.reason }, 'a certificate is asked for with the bootstrap kubeconfig');
  await mkdir(dirname(kubeconfig), { recursive: true, mode: 0o755 });
  await writeFileAtomic(kubeconfig, nodeKubeconfig(requesting, currentPath), { mode: 0o600 });
  const node = await options.read(kubeconfig, '--kubeconfig');
  return configOf(requesting, node, true, undefined, currentPath);
}

function configOf(
  requesting: ClusterAccess,
  { token: _, ...access }: ClusterAccess,
  isBootstrap: boolean,
  initial: ClientConfig['initial'],
  currentPath: string,
): ClientConfig {
  const file = { file: currentPath };
  return {
    requesting,
    isBootstrap,
    node: { ...access, clientCertificate: { certificate: file, key: file } },
    initial: initial && { pair: initial.pair, isEmbedded: initial.isEmbedded },
  };
}

type ValidPair = { readonly pair: PemPair; readonly isEmbedded: boolean };

async function validAccess(
  options: ClientConfigOptions,
): Promise<(ValidPair & { access: ClusterAccess }) | { readonly reason: string }> {
  try {
    const access = await options.read(options.kubeconfig, '--kubeconfig');
    const found = await validPair(access, options.nowMs);
    return 'reason' in found ? found : { ...found, access };
  } catch (error) {
    // Broken or not there: written anew.
    return { reason: errorLine(error) };
  }
}

async function validPair(
  { clientCertificate, file }: ClusterAccess,
  nowMs: number,
): Promise<ValidPair | { reason: string }> {
  if (clientCertificate === undefined) return { reason: `${file} names no client certificate` };
  const { certificate, key } = clientCertificate;
  const object = 'file' in certificate ? certificate.file : file;
  try {
    const pair = parsePemPair(await textOf(certificate), await textOf(key));
    const expired = notAfterTimes(pair.certificate).find((notAfterMs) => notAfterMs <= nowMs);
    if (expired !== undefined)
      return { reason: `the certificate of ${object} expired at ${new Date(expired).toISOString()}` };
    return { pair, isEmbedded: 'data' in certificate };
  } catch (error) {
    return { reason: `the certificate of ${object} cannot be used: ${errorLine(error)}` };
  }
}

/** Of the certificate and of each intermediate. */
const notAfterTimes = (chain: string): number[] =>
  chain.split(/(?=-----BEGIN CERTIFICATE-----)/).map((block) => new X509Certificate(block).validToDate.getTime());

async function textOf(source: SecretSource): Promise<string> {
  return 'data' in source ? source.data : (await readFileBounded(source.file, maxFileBytes)).data.toString('latin1');
}

async function readBootstrap(options: ClientConfigOptions, file: string, reason: string): Promise<ClusterAccess> {
  try {
    await readFileBounded(file, maxFileBytes);
  } catch (cause) {
    throw new CertificateError(
      'BOOTSTRAP_MISSING',
      `there is no valid certificate (${reason}), and the bootstrap kubeconfig cannot be read: ${errorLine(cause)}`,
      {
        object: file,
        fix: 'join the cluster again: kubeadm token create --print-join-command there, then kubeadm reset and that command here',
        cause,
      },
    );
  }
  return options.read(file, '--bootstrap-kubeconfig');
}
