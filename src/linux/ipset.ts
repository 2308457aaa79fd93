/**
 * The one request to ipset that we make: to destroy sets by name.
 * Layer: linux (pure). Numbers of include/uapi/linux/netfilter/ipset/ip_set.h. Keelson makes no sets of its own.
 */
import { AF_INET, NLM_F_ACK, NLM_F_EXCL, NLM_F_REQUEST } from './netlink/constants.ts';
import type { MessageWriter } from './netlink/message-writer.ts';

const NFNL_SUBSYS_IPSET = 6;
const IPSET_CMD_DESTROY = 3;
const IPSET_ATTR_PROTOCOL = 1;
const IPSET_ATTR_SETNAME = 2;
/** Understood by every kernel since 3.x; 7 only adds requests. */
const IPSET_PROTOCOL = 6;
/** Names have 31 bytes at most. */
export const maxSetName = 31;

/** ENOENT when there is no such set, an errno above 4096 when a rule uses it. */
export function encodeSetDestroy(writer: MessageWriter, sequence: number, name: string): void {
  // Without EXCL a set that is not there would be no error.
  writer.begin((NFNL_SUBSYS_IPSET << 8) | IPSET_CMD_DESTROY, NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL, sequence);
  // struct nfgenmsg
  writer.u8(AF_INET);
  writer.u8(0);
  writer.u16(0);
  writer.attributeBytes(IPSET_ATTR_PROTOCOL, Uint8Array.of(IPSET_PROTOCOL));
  writer.attributeString(IPSET_ATTR_SETNAME, name);
  writer.end();
}

export interface IpsetOpener {
  /**
   * Destroys each of the sets that is there and that nothing uses.
   * @param netnsPath a namespace file; absent: this process's namespace
   * @returns the names of those that were there, and for those that could not be destroyed the KernelError
   */
  destroy(names: readonly string[], netnsPath?: string): Promise<{ destroyed: string[]; failed: Map<string, Error> }>;
}
