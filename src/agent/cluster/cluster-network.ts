/**
 * The pod network role of a node in a cluster: its addresses are the Node's spec.podCIDR, waited for and followed.
 * Layer: agent/cluster (composition). Decides nothing about addresses.
 *
 * The API server lets nobody change spec.podCIDR, but a Node that was deleted and made anew gets another one, and the former
 * may be another node's by then. So the role begins anew with the new one at once: new pods get addresses that the cluster
 * sends here; those that have former ones keep them, and are told until they are gone.
 */
import { systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import type { PeerSource } from '../../network/overlay/peer.ts';
import { vxlanOverheadBytes } from '../../network/overlay/vtep.ts';
import type { PodNetwork } from '../../network/pod-network.ts';
import type { Logger } from '../../observe/logger.ts';
import { type NetworkRoleOptions, startNetworkRole } from '../network-role.ts';
import type { MachineFacts } from '../node-facts.ts';
import { type OwnNode, podCIDROf } from './own-node.ts';
import { RoleStart, type SayWaiting } from './role-start.ts';
import { type RuntimeRole, runtimeOf } from './runtime-start.ts';

export interface ClusterNetworkContext {
  options: RunOptions<ClusterMode>;
  machine: Pick<MachineFacts, 'nodeName' | 'hostIPs' | 'mtu'>;
  /** Every node of the cluster. */
  peers: PeerSource;
  runtime: RoleStart<RuntimeRole>;
  ownNode: OwnNode;
  /** See NetworkRoleOptions. */
  extensions?: NetworkRoleOptions['extensions'];
  /** The role stands, or a try has failed. */
  onChange?: () => void;
  log: Logger;
}

/** What the controller manager gives a Node soon after it registered; said when it takes longer. */
const podCIDRPatienceMs = 10_000;

/** In the background: neither an API server nor a runtime need be there. */
export function startClusterNetwork({
  options,
  machine,
  peers,
  runtime,
  ownNode,
  extensions,
  onChange,
  log,
}: ClusterNetworkContext): RoleStart<PodNetwork> {
  const way = { overlay: overlayOf(options.mode, machine), mtu: podMtu(options, machine.mtu, log), peers, extensions };
  const given = options.mode.podCIDR;
  /** Of the try or the life under way. */
  let used: string | undefined;
  const network = new RoleStart<PodNetwork>({
    name: 'network',
    onChange,
    clock: systemClock,
    log,
    async start(starting, say) {
      used = undefined;
      const { runtime: service } = await runtimeOf(runtime, starting, say);
      used = given ?? (await assignedPodCIDR(ownNode, log, starting, say));
      return startNetworkRole(options, { podCIDR: used, ...way }, service, log, starting);
    },
  });
  if (given !== undefined) return network;
  ownNode.onChange(() => {
    const now = podCIDROf(ownNode.node);
    if (now !== undefined && used !== undefined && now !== used)
      network.restart(`spec.podCIDR of the Node is ${now} now, it was ${used}`);
  });
  return network;
}

function overlayOf(
  { network }: ClusterMode,
  { nodeName, hostIPs: [nodeIP] }: ClusterNetworkContext['machine'],
): NonNullable<NetworkRoleOptions['overlay']> {
  const { backend, ...settings } = network;
  // With `none` this role is not there.
  return { ...settings, backend: backend === 'none' ? 'alloc' : backend, nodeName, nodeIP };
}

/** What is encapsulated needs room for it on the wire. */
function podMtu({ mtu, mode }: RunOptions<ClusterMode>, wireMtu: number, log: Logger): number {
  const room = mode.network.backend === 'vxlan' ? wireMtu - vxlanOverheadBytes : wireMtu;
  if (mtu !== undefined && mtu > room) {
    const fix = `give --mtu ${room} or less, or nothing`;
    log.warn({ mtu, room, fix }, 'packets of pods to other nodes may be too large for the wire');
  }
  return mtu ?? room;
}

async function assignedPodCIDR(ownNode: OwnNode, log: Logger, signal: AbortSignal, say: SayWaiting): Promise<string> {
  say(() => `waits for the API server and for spec.podCIDR of the Node${because(ownNode.error)}`);
  const cancel = systemClock.after(podCIDRPatienceMs, () =>
    log.warn(
      { fix: 'start kube-controller-manager with --allocate-node-cidrs and --cluster-cidr, or give --pod-cidr' },
      'the Node has no spec.podCIDR yet: pods wait for their network',
    ),
  );
  try {
    return await ownNode.podCIDR(signal);
  } finally {
    cancel();
    say(undefined);
  }
}

const because = (error: string | undefined): string => (error === undefined ? '' : `: ${error}`);
