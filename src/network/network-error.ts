/**
 * What can go wrong in the pod network outside a CNI call: its options, the host it finds, its socket, nft.
 * Layer: network. Errors that a runtime reads are CniError (cni/cni-error.ts); must not be matched by text.
 */
import { type ErrorDetails, KeelsonError } from '../observe/keelson-error.ts';

export type NetworkErrorCode =
  /** A pod CIDR is no IP prefix in canonical form, of a size that holds no pods, or one more of its family. */
  | 'NETWORK_POD_CIDR_INVALID'
  /** Pods are to have IPv6 addresses on a host whose IPv6 is switched off; the message names the switch. */
  | 'NETWORK_IPV6_DISABLED'
  /** The MTU is smaller than what every IPv6 link has to take. */
  | 'NETWORK_MTU_TOO_SMALL'
  /** The pod CIDR overlaps an address or a route of the host that Keelson did not make. */
  | 'NETWORK_POD_CIDR_OVERLAP'
  /** Every address of the pod CIDR is held. */
  | 'NETWORK_POD_CIDR_EXHAUSTED'
  /** A unix socket path longer than the kernel's sun_path. */
  | 'NETWORK_SOCKET_PATH_TOO_LONG'
  /** The attachment is there already: ADD twice, or the pod has an interface of that name. */
  | 'NETWORK_ATTACHMENT_EXISTS'
  /** No attachment of that container and interface name. */
  | 'NETWORK_ATTACHMENT_UNKNOWN'
  /** The attachment is there, but not as it was built; the message lists what differs. */
  | 'NETWORK_ATTACHMENT_DAMAGED'
  /** A hostPort that another pod has; the message names that pod. */
  | 'NETWORK_HOST_PORT_TAKEN'
  /** hostPorts of one pod that contradict each other, or of an address family that it does not have. */
  | 'NETWORK_HOST_PORT_INVALID'
  /** CNI_NETNS names nothing. */
  | 'NETWORK_NETNS_UNKNOWN'
  /** CNI_NETNS names something that is no network namespace. */
  | 'NETWORK_NETNS_INVALID'
  /** CNI_NETNS is the namespace of the agent itself. */
  | 'NETWORK_NETNS_IS_HOST'
  /** The kernel refused a step of building or removing a pod link; the cause is its KernelError. */
  | 'NETWORK_LINK_FAILED'
  /** Another live process answers on the CNI socket, or something that is no socket lies there. */
  | 'NETWORK_SOCKET_IN_USE'
  /** The `nft` program is not installed. */
  | 'NETWORK_NFT_MISSING'
  /** The kernel refused the masquerade table, or the `nft` program a listing. */
  | 'NETWORK_NFT_FAILED'
  /** The kernel refused the gateway address, the pod CIDR route or a sysctl at start. */
  | 'NETWORK_HOST_SETUP_FAILED'
  /** iptables-legacy, where it is used, cannot be run or refuses the rules for pods. */
  | 'NETWORK_IPTABLES_FAILED'
  /** The link of the VXLAN cannot be made: somebody else has its name, VNI or UDP port, or the kernel has no VXLAN. */
  | 'NETWORK_OVERLAY_LINK'
  /** The CNI conf or bin directory cannot be written, or the plugin binary is missing. */
  | 'NETWORK_CNI_INSTALL_FAILED';

export class NetworkError extends KeelsonError {
  declare readonly code: NetworkErrorCode;

  // Narrows the code to the ones documented above.
  constructor(code: NetworkErrorCode, message: string, details?: ErrorDetails) {
    super(code, message, details);
  }
}
