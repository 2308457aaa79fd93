/**
 * From flags, configuration and facts of the machine to what the Node object is made of.
 * Layer: agent/cluster (pure).
 */
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { evictionThresholds } from '../../kubelet/node/eviction-thresholds.ts';
import type { NodeOptions } from '../../kubelet/node/start-node.ts';
import type { MachineFacts } from '../node-facts.ts';

/** The release whose behaviour Keelson aims at; what `kubectl get nodes` shows as VERSION. */
export const kubernetesVersion = 'v1.36.0';

/** Keeps kube-proxy's and flannel's DaemonSets away, where they are told (deploy/not-on-keelson-nodes.yaml). */
const keelsonNodeLabel = 'keelson.dev/node';

export function nodeOptions(options: RunOptions<ClusterMode>, machine: MachineFacts): NodeOptions {
  const { kubelet: config, mode } = options;
  const replacesAgents = mode.roles.has('proxy') || mode.roles.has('network');
  return {
    settings: {
      name: machine.nodeName,
      hostname: machine.nodeName,
      nodeLabels: new Map([...(replacesAgents ? [[keelsonNodeLabel, ''] as const] : []), ...mode.nodeLabels]),
      registerWithTaints: config.registerWithTaints,
      providerID: config.providerID,
      enableControllerAttachDetach: config.enableControllerAttachDetach,
      externalCloudProvider: mode.externalCloudProvider,
      givenNodeIPs: options.nodeIPs,
    },
    nodeIPs: machine.hostIPs,
    resources: {
      maxPods: config.maxPods,
      podsPerCore: config.podsPerCore,
      systemReserved: config.systemReserved,
      kubeReserved: config.kubeReserved,
      evictionHard: evictionThresholds({ evictionHard: config.evictionHard }),
    },
    thresholds: evictionThresholds(config),
    pressureTransitionMs: config.evictionPressureTransitionPeriodMs,
    updateFrequencyMs: config.nodeStatusUpdateFrequencyMs,
    reportFrequencyMs: config.nodeStatusReportFrequencyMs,
    leaseDurationSeconds: config.nodeLeaseDurationSeconds,
    registerNode: config.registerNode,
    rootDir: options.rootDir,
    maxImages: config.nodeStatusMaxImages,
    kubeletVersion: kubernetesVersion,
    kubeletPort: config.server.listen?.port ?? 0,
  };
}
