/**
 * The Node as pods are admitted to it: what the node's own loops know of it, read anew when a pod would be refused.
 * Layer: kubelet/api (adapter).
 */
import type { KnownNode, NodeApi } from '../node/node-api.ts';
import type { NodeAdmission } from './node-view.ts';

export interface NodeAdmissionOptions {
  known: KnownNode;
  api: Pick<NodeApi, 'getNode'>;
  nodeName: string;
  pressures?: NodeAdmission['pressures'];
  /** KubeletConfiguration allowedUnsafeSysctls. */
  allowedUnsafeSysctls: readonly string[];
}

export function createNodeAdmission(options: NodeAdmissionOptions): NodeAdmission {
  const { known, api, nodeName, allowedUnsafeSysctls, pressures } = options;
  return {
    node: () => {
      const { node } = known;
      return (
        node && {
          labels: node.metadata.labels ?? {},
          taints: node.spec.taints ?? [],
          allocatable: node.status?.allocatable ?? {},
          supplementalGroupsPolicy: node.status?.features?.supplementalGroupsPolicy,
        }
      );
    },
    refresh: async (signal) => known.answered(await api.getNode(nodeName, { fromCache: false }, signal)),
    allowedUnsafeSysctls,
    ...(pressures ? { pressures } : {}),
  };
}
