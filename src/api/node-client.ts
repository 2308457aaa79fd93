/**
 * Nodes and node Leases in the API server.
 * Layer: api. Retries nothing beyond what the client does; heartbeats do not wait for the client's rate limit.
 */
import type { ApiClient } from './client.ts';
import type { Lease, NewLease, NewNode, Node } from './node.ts';
import { projectLease, projectNode } from './project-node.ts';
import { collectionPath, leases, nodes, objectPath } from './resource.ts';

export interface NodeClient {
  getNode(name: string, options: { fromCache: boolean }, signal: AbortSignal): Promise<Node>;
  createNode(node: NewNode, signal: AbortSignal): Promise<Node>;
  patchNodeStatus(name: string, patch: object, signal: AbortSignal): Promise<Node>;
  getLease(name: string, signal: AbortSignal): Promise<Lease>;
  createLease(lease: NewLease, signal: AbortSignal): Promise<Lease>;
  updateLease(lease: Lease, signal: AbortSignal): Promise<Lease>;
}

const leaseNamespace = 'kube-node-lease';

/** Every method throws ApiError or the signal's reason. */
export function createNodeClient(client: ApiClient): NodeClient {
  const leasePath = (name: string): string => objectPath(leases, { namespace: leaseNamespace, name });
  return {
    getNode(name, { fromCache }, signal) {
      const path = objectPath(nodes, { name });
      // Any version that the API server has in its cache will do.
      return client.get(fromCache ? `${path}?resourceVersion=0` : path, projectNode, { signal, unlimited: true });
    },
    createNode: (node, signal) => client.create(collectionPath(nodes), node, projectNode, { signal, unlimited: true }),
    patchNodeStatus: (name, patch, signal) =>
      client.patch(objectPath(nodes, { name }, 'status'), 'strategic', patch, projectNode, { signal, unlimited: true }),
    getLease: (name, signal) => client.get(leasePath(name), projectLease, { signal, unlimited: true }),
    createLease: (lease, signal) =>
      client.create(collectionPath(leases, leaseNamespace), lease, projectLease, { signal, unlimited: true }),
    updateLease: (lease, signal) =>
      client.update(leasePath(lease.metadata.name), lease, projectLease, { signal, unlimited: true }),
  };
}
