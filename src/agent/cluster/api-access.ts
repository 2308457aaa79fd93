/**
 * Clients of the API server from kubeconfig files: one for the node's own identity, one for that of the proxy and network
 * roles, which is the same client when it is the same file.
 * Layer: agent/cluster (edge: disk).
 */

import { type ApiClient, createApiClient } from '../../api/client.ts';
import { readFileBounded } from '../../base/atomic-file.ts';
import { hasErrorCode } from '../../base/errors.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { type ClusterAccess, parseKubeconfig } from '../../config/kubeconfig.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface ApiAccess {
  node: ApiClient;
  network: ApiClient;
  close(): void;
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

/** @throws KeelsonError CONFIG_FILE, ConfigError for what is wrong in a file, ApiError for credentials that cannot be read */
export async function openApiAccess(
  options: RunOptions<ClusterMode>,
  version: string,
  log: Logger,
): Promise<ApiAccess> {
  const open = async (kubeconfig: KubeconfigFile, component: string): Promise<ApiClient> =>
    createApiClient({
      access: await readClusterAccess(kubeconfig, options.mode),
      userAgent: `keelson/${version}`,
      rateLimit: options.kubelet.kubeAPI,
      log: log.child({ component }),
    });
  const files = kubeconfigFiles(options.mode);
  const node = await open(files.node, 'api');
  const network = files.network === undefined ? node : await open(files.network, 'network-api');
  return {
    node,
    network,
    close() {
      node.close();
      network.close();
    },
  };
}

/** @throws KeelsonError CONFIG_FILE, ConfigError */
export async function readClusterAccess(
  { file, flag }: KubeconfigFile,
  { additionalAPIServers, allowInsecureAPIServer }: ClusterMode,
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
