/**
 * Clients of the API server from kubeconfig files: one for the node's own identity, one for that of the proxy and network
 * roles, which is the same client when it is the same file.
 * Layer: agent/cluster (edge: disk).
 */

import { type ApiClient, createApiClient } from '../../api/client.ts';
import { readFileBounded } from '../../base/atomic-file.ts';
import { hasErrorCode } from '../../base/errors.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { parseKubeconfig } from '../../config/kubeconfig.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface ApiAccess {
  node: ApiClient;
  network: ApiClient;
  close(): void;
}

/** One with embedded certificates for many clusters is far below this. */
const maxKubeconfigBytes = 1 << 20;

/** @throws KeelsonError CONFIG_FILE, ConfigError for what is wrong in a file, ApiError for credentials that cannot be read */
export async function openApiAccess(
  options: RunOptions<ClusterMode>,
  version: string,
  log: Logger,
): Promise<ApiAccess> {
  const { kubeconfig, networkKubeconfig, additionalAPIServers, allowInsecureAPIServer, roles } = options.mode;
  const open = async (file: string, flag: string, component: string): Promise<ApiClient> => {
    const access = parseKubeconfig(await readKubeconfig(file, flag), file, {
      extraServers: additionalAPIServers,
      allowInsecure: allowInsecureAPIServer,
    });
    return createApiClient({
      access,
      userAgent: `keelson/${version}`,
      rateLimit: options.kubelet.kubeAPI,
      log: log.child({ component }),
    });
  };
  const isOwn = networkKubeconfig !== kubeconfig && (roles.has('proxy') || roles.has('network'));
  const node = await open(kubeconfig, '--kubeconfig', 'api');
  const network = isOwn ? await open(networkKubeconfig, '--network-kubeconfig', 'network-api') : node;
  return {
    node,
    network,
    close() {
      node.close();
      network.close();
    },
  };
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
