/**
 * Errors in the CNI's own terms: numeric code, short message, details; and how the network's errors become them.
 * Layer: network/cni (pure). Codes 1 to 99 are the specification's (SPEC.md section 5), 100 and above are Keelson's and
 * listed in docs/network.md.
 */
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import { NetworkError, type NetworkErrorCode } from '../network-error.ts';
import { PolicyError } from '../policy/policy-error.ts';

export const cniErrorCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  /** Nothing is there to clean up: the runtime need not call DEL. */
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  undecodable: 6,
  invalidConfig: 7,
  /** The namespace is the host's (pkg/types of containernetworking/cni; not in SPEC.md). */
  invalidNetns: 8,
  tryAgainLater: 11,
  notAvailable: 50,
  /** The kernel refused an operation. */
  kernelRefused: 100,
  /** The attachment exists already. */
  alreadyAttached: 101,
  /** CHECK found a difference. */
  damaged: 102,
  /** Another pod has the hostPort. */
  hostPortTaken: 103,
  /** A defect of Keelson's. */
  internal: 199,
} as const;

export class CniError extends KeelsonError {
  /** One of `cniErrorCode`. */
  readonly cniCode: number;
  readonly details: string;

  constructor(cniCode: number, message: string, details = '', cause?: unknown) {
    super(`CNI_${cniCode}`, message, { cause });
    this.cniCode = cniCode;
    this.details = details;
  }
}

const codeOf: Record<NetworkErrorCode, number> = {
  NETWORK_ATTACHMENT_EXISTS: cniErrorCode.alreadyAttached,
  NETWORK_ATTACHMENT_UNKNOWN: cniErrorCode.unknownContainer,
  NETWORK_ATTACHMENT_DAMAGED: cniErrorCode.damaged,
  NETWORK_HOST_PORT_TAKEN: cniErrorCode.hostPortTaken,
  NETWORK_HOST_PORT_INVALID: cniErrorCode.invalidConfig,
  NETWORK_NETNS_UNKNOWN: cniErrorCode.unknownContainer,
  NETWORK_NETNS_INVALID: cniErrorCode.invalidEnvironment,
  NETWORK_NETNS_IS_HOST: cniErrorCode.invalidNetns,
  NETWORK_LINK_FAILED: cniErrorCode.kernelRefused,
  NETWORK_POD_CIDR_EXHAUSTED: cniErrorCode.tryAgainLater,
  NETWORK_POD_CIDR_INVALID: cniErrorCode.internal,
  NETWORK_MTU_TOO_SMALL: cniErrorCode.invalidConfig,
  NETWORK_IPV6_DISABLED: cniErrorCode.internal,
  NETWORK_POD_CIDR_OVERLAP: cniErrorCode.internal,
  NETWORK_SOCKET_PATH_TOO_LONG: cniErrorCode.internal,
  NETWORK_SOCKET_IN_USE: cniErrorCode.internal,
  NETWORK_NFT_MISSING: cniErrorCode.internal,
  NETWORK_NFT_FAILED: cniErrorCode.internal,
  NETWORK_HOST_SETUP_FAILED: cniErrorCode.internal,
  NETWORK_IPTABLES_FAILED: cniErrorCode.internal,
  NETWORK_OVERLAY_LINK: cniErrorCode.internal,
  NETWORK_CNI_INSTALL_FAILED: cniErrorCode.internal,
};

/** Any thrown value as what the runtime is told. */
export function toCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  if (error instanceof NetworkError) {
    // The variable is part of the message where the specification asks for it (code 4).
    const variable = error.code === 'NETWORK_NETNS_INVALID' ? 'CNI_NETNS: ' : '';
    const subject = error.object === undefined ? '' : `${error.object}: `;
    return new CniError(codeOf[error.code], `${variable}${subject}${error.message}`, error.fix ?? '', error);
  }
  if (error instanceof PolicyError) {
    const subject = error.object === undefined ? '' : `${error.object}: `;
    return new CniError(cniErrorCode.tryAgainLater, `${subject}${error.message}`, error.fix ?? '', error);
  }
  return new CniError(cniErrorCode.internal, errorLine(error), '', error);
}
