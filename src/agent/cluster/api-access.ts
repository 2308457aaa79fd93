/**
 * Clients of the API server from kubeconfig files: one for the node's own identity, one for that of the proxy and network
 * roles, which is the same client when it is the same file. The node's certificate may have to be asked for first, and is
 * renewed (kubelet/certificates).
 * Layer: agent/cluster (edge: disk).
 */

import { type ApiClient, createApiClient, type ServerTime } from '../../api/client.ts';
import { readFileBounded } from '../../base/atomic-file.ts';
import { systemClock } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { type ClusterAccess, parseKubeconfig } from '../../config/kubeconfig.ts';
import type { CertificateRotation } from '../../kubelet/certificates/certificate-rotation.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface ApiAccess {
  node: ApiClient;
  network: ApiClient;
  /** Of the node's certificate; undefined when somebody else sees to it. */
  certificate: CertificateRotation | undefined;
  /** Stops asking for certificates, and ends every connection. */
  close(): Promise<void>;
}

export interface KubeconfigFile {
  file: string;
  /** Which named it. */
  flag: string;
}

/** One with embedded certificates for many clusters is far below this. */
const maxKubeconfigBytes = 1 << 20;

/** Of the node, and of the proxy and network roles: undefined when these are not here, or use the node's. */
export function kubeconfigFiles({ kubeconfig, networkKubeconfig, roles }: ClusterMode): {
  node: KubeconfigFile;
  network: KubeconfigFile | undefined;
} {
  const isOwn = networkKubeconfig !== kubeconfig && (roles.has('proxy') || roles.has('network'));
  return {
    node: { file: kubeconfig, flag: '--kubeconfig' },
    network: isOwn ? { file: networkKubeconfig, flag: '--network-kubeconfig' } : undefined,
  };
}

/**
 * Resolves before there is a certificate: requests of the node then wait for it.
 * @throws KeelsonError CONFIG_FILE, ConfigError for what is wrong in a file, ApiError for credentials that cannot be read,
 * CertificateError
 */
export async function openApiAccess(
  options: RunOptions<ClusterMode>,
  { version, nodeName, onServerTime }: { version: string; nodeName: string; onServerTime?: (time: ServerTime) => void },
  log: Logger,
): Promise<ApiAccess> {
  const open: OpenClient = (access, component, ready) =>
    createApiClient({
      access,
      userAgent: `keelson/${version}`,
      rateLimit: options.kubelet.kubeAPI,
      onServerTime,
      log: log.child({ component }),
      ...(ready !== undefined && { ready }),
    });
  const files = kubeconfigFiles(options.mode);
  const own = await openNodeClient(options, nodeName, open, log);
  try {
    const network =
      files.network === undefined
        ? own.client
        : open(await readClusterAccess(files.network, options.mode), 'network-api');
    return {
      node: own.client,
      network,
      certificate: own.certificate,
      async close() {
        network.close();
        await own.close();
      },
    };
  } catch (error) {
    await own.close();
    throw error;
  }
}

type OpenClient = (
  access: ClusterAccess,
  component: string,
  ready?: (signal: AbortSignal) => Promise<void>,
) => ApiClient;

interface NodeClient {
  client: ApiClient;
  certificate: CertificateRotation | undefined;
  close(): Promise<void>;
}

async function openNodeClient(
  options: RunOptions<ClusterMode>,
  nodeName: string,
  open: OpenClient,
  log: Logger,
): Promise<NodeClient> {
  const { mode, certDir } = options;
  const { rotateCertificates } = options.kubelet;
  const read = (file: string, flag: string): Promise<ClusterAccess> => readClusterAccess({ file, flag }, mode);
  // Without the kubelet role the certificate is another's, who renews it in the file that the kubeconfig names.
  const isOurs = mode.roles.has('kubelet') && (rotateCertificates || mode.bootstrapKubeconfig !== undefined);
  if (!isOurs) {
    const client = open(await read(mode.kubeconfig, '--kubeconfig'), 'api');
    return { client, certificate: undefined, close: async () => client.close() };
  }
  const { startClientCertificate } = await import('../../kubelet/certificates/client-certificate.ts');
  const { client, rotation, stop } = await startClientCertificate({
    kubeconfig: mode.kubeconfig,
    bootstrapKubeconfig: mode.bootstrapKubeconfig,
    read,
    nodeName,
    certDir,
    renew: rotateCertificates,
    openClient: (access) => open(access, 'certificate-api'),
    openNodeClient: (access, ready) => open(access, 'api', ready),
    clock: systemClock,
    log: log.child({ component: 'certificate' }),
  });
  return { client, certificate: rotation, close: stop };
}

/** @throws KeelsonError CONFIG_FILE, ConfigError */
export async function readClusterAccess(
  { file, flag }: KubeconfigFile,
  {
    additionalAPIServers,
    allowInsecureAPIServer,
  }: Pick<ClusterMode, 'additionalAPIServers' | 'allowInsecureAPIServer'>,
): Promise<ClusterAccess> {
  return parseKubeconfig(await readKubeconfig(file, flag), file, {
    extraServers: additionalAPIServers,
    allowInsecure: allowInsecureAPIServer,
  });
}

async function readKubeconfig(file: string, flag: string): Promise<string> {
  try {
    return (await readFileBounded(file, maxKubeconfigBytes)).data.toString('utf8');
  } catch (cause) {
    if (cause instanceof KeelsonError || !hasErrorCode(cause, 'ENOENT', 'EACCES', 'EISDIR', 'ENOTDIR')) throw cause;
    throw new KeelsonError('CONFIG_FILE', 'cannot be read', {
      object: file,
      fix: `name a readable file with ${flag}`,
      cause,
    });
  }
}
