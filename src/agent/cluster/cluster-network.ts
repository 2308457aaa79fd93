/**
 * The pod network role of a node in a cluster: its addresses are the Node's spec.podCIDRs, waited for and followed.
 * Layer: agent/cluster (composition). Decides nothing about addresses.
 *
 * The API server lets nobody change spec.podCIDRs, but a Node that was deleted and made anew gets others, and the former may
 * be another node's by then. So the role begins anew with the new ones at once: new pods get addresses that the cluster
 * sends here; those that have former ones keep them, and are told until they are gone.
 */
import { systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { familyOf } from '../../network/ipam/ip-prefix.ts';
import { addressFor } from '../../network/overlay/family.ts';
import type { PeerSource } from '../../network/overlay/peer.ts';
import { vxlanOverheadBytes } from '../../network/overlay/vtep.ts';
import type { PodNetwork } from '../../network/pod-network.ts';
import { podMtuFor } from '../../network/uplink-mtu.ts';
import type { Logger } from '../../observe/logger.ts';
import { followUplink, type NetworkRoleOptions, startNetworkRole } from '../network-role.ts';
import type { MachineFacts } from '../node-facts.ts';
import { type OwnNode, podCIDRsOf } from './own-node.ts';
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
  const way = { overlay: overlayOf(options.mode, machine), peers, extensions };
  const given = options.mode.podCIDRs;
  /** Of the try or the life under way. */
  let used: readonly string[] | undefined;
  const network = new RoleStart<PodNetwork>({
    name: 'network',
    onChange,
    clock: systemClock,
    log,
    async start(starting, say) {
      used = undefined;
      const { runtime: service } = await runtimeOf(runtime, starting, say);
      const podCIDRs = given ?? (await assignedPodCIDRs(ownNode, log, starting, say));
      used = podCIDRs;
      const overhead = overheadBytes(options.mode, machine, podCIDRs);
      const mtu = {
        mtu: podMtu(options, machine.mtu, overhead, podCIDRs, log),
        ...(options.mtu === undefined && { followUplink: followUplink(machine, overhead) }),
      };
      return startNetworkRole(options, { podCIDRs, ...mtu, ...way }, service, log, starting);
    },
  });
  if (given !== undefined) return network;
  ownNode.onChange(() => {
    const now = podCIDRsOf(ownNode.node).join();
    const before = used?.join();
    if (now !== '' && before !== undefined && now !== before)
      network.restart(`spec.podCIDRs of the Node is ${now} now, it was ${before}`);
  });
  return network;
}

function overlayOf(
  { network }: ClusterMode,
  { nodeName, hostIPs: nodeIPs }: ClusterNetworkContext['machine'],
): NonNullable<NetworkRoleOptions['overlay']> {
  const { backend, ...settings } = network;
  // With `none` this role is not there.
  return { ...settings, backend: backend === 'none' ? 'alloc' : backend, nodeName, nodeIPs };
}

/** What encapsulation takes of each packet on the wire: of the families that go over it the most, since a pod has one MTU. */
export function overheadBytes(
  { network }: Pick<ClusterMode, 'network'>,
  { hostIPs }: Pick<ClusterNetworkContext['machine'], 'hostIPs'>,
  podCIDRs: readonly string[],
): number {
  if (network.backend !== 'vxlan') return 0;
  // IPv6 pods go between the Node's IPv6 addresses where it has some, also such as only the Node tells (a cloud's).
  const between = podCIDRs.flatMap((cidr) => [familyOf(cidr), familyOf(addressFor(hostIPs, familyOf(cidr)) ?? cidr)]);
  return Math.max(...between.map((family) => vxlanOverheadBytes[family]));
}

/** What is encapsulated needs room for it on the wire. */
function podMtu(
  { mtu }: RunOptions<ClusterMode>,
  wireMtu: number,
  overhead: number,
  podCIDRs: readonly string[],
  log: Logger,
): number {
  const room = wireMtu - overhead;
  if (mtu !== undefined && mtu > room) {
    const fix = `give --mtu ${room} or less, or nothing`;
    log.warn({ mtu, room, fix }, 'packets of pods to other nodes may be too large for the wire');
  }
  return mtu ?? podMtuFor(wireMtu, overhead, podCIDRs.map(familyOf));
}

async function assignedPodCIDRs(
  ownNode: OwnNode,
  log: Logger,
  signal: AbortSignal,
  say: SayWaiting,
): Promise<readonly string[]> {
  say(() => `waits for the API server and for spec.podCIDR of the Node${because(ownNode.error)}`);
  const cancel = systemClock.after(podCIDRPatienceMs, () =>
    log.warn(
      { fix: 'start kube-controller-manager with --allocate-node-cidrs and --cluster-cidr, or give --pod-cidr' },
      'the Node has no spec.podCIDR yet: pods wait for their network',
    ),
  );
  try {
    return await ownNode.podCIDRs(signal);
  } finally {
    cancel();
    say(undefined);
  }
}

const because = (error: string | undefined): string => (error === undefined ? '' : `: ${error}`);
