/**
 * What one attachment (container, interface) is called in the kernel: link name, alias, MAC addresses. All of it follows
 * from the CNI names, so that a daemon that knows nothing finds its links again, and both neighbour entries can be
 * written before any MAC was read.
 * Layer: network/links (pure).
 */
import { createHash } from 'node:crypto';

export interface LinkIdentity {
  /** `<containerID>/<ifname>`: the holder name in IPAM. */
  key: string;
  containerID: string;
  /** CNI_IFNAME: the name inside the pod. */
  ifname: string;
  /** Name of the host end, 15 bytes (IFNAMSIZ - 1). */
  hostName: string;
  /** IFLA_IFALIAS of the host end: the mark by which it is ours. */
  alias: string;
  hostMac: string;
  podMac: string;
}

/** Every alias of ours begins so; see also `parseAlias`. */
export const aliasPrefix = 'keelson:';

/** Longest container ID whose alias still fits into IFALIASZ (256 with the NUL, include/uapi/linux/if.h). */
export const longestContainerID = 255 - aliasPrefix.length - 1 - 15;

export function linkIdentity(containerID: string, ifname: string): LinkIdentity {
  const key = `${containerID}/${ifname}`;
  const digest = createHash('sha256').update(key).digest();
  return {
    key,
    containerID,
    ifname,
    hostName: `kl${digest.toString('hex').slice(0, 13)}`,
    alias: `${aliasPrefix}${key}`,
    hostMac: macFrom(digest.subarray(8, 14)),
    podMac: macFrom(digest.subarray(14, 20)),
  };
}

/** The attachment that an alias names, or undefined when the alias is not ours. */
export function parseAlias(alias: string | undefined): LinkIdentity | undefined {
  if (!alias?.startsWith(aliasPrefix)) return undefined;
  const slash = alias.indexOf('/');
  // Neither part can be empty or contain a slash (the CNI request check sees to that).
  if (slash <= aliasPrefix.length || slash === alias.length - 1) return undefined;
  return linkIdentity(alias.slice(aliasPrefix.length, slash), alias.slice(slash + 1));
}

export const runtimeHolderPrefix = 'sandbox:';

/** IPAM holder of an address that only the runtime vouches for (its link is gone). */
export function runtimeHolder(containerID: string): string {
  return `${runtimeHolderPrefix}${containerID}`;
}

/** True for a name that only we give; a veth so called without an alias is one that we died over. */
export function isHostLinkName(name: string): boolean {
  return /^kl[0-9a-f]{13}$/.test(name);
}

/** A unicast, locally administered address (IEEE 802: bit 0 of the first octet clear, bit 1 set) of six hash bytes. */
function macFrom(bytes: Buffer): string {
  const octets = [...bytes];
  octets[0] = ((octets[0] ?? 0) & 0xfc) | 0x02;
  return octets.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
