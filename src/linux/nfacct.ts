/**
 * Named packet counters that rules of xtables may count by (nfacct): made, read and deleted by name.
 * Layer: linux (pure). Numbers of include/uapi/linux/netfilter/nfnetlink_acct.h. Which counters there are is not known here.
 */
import { AF_UNSPEC, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST } from './netlink/constants.ts';
import type { MessageCursor } from './netlink/message-reader.ts';
import type { MessageWriter } from './netlink/message-writer.ts';

const NFNL_SUBSYS_ACCT = 7;
const NFNL_MSG_ACCT_NEW = 0;
const NFNL_MSG_ACCT_GET = 1;
const NFNL_MSG_ACCT_DEL = 3;
const NFACCT_NAME = 1;
const NFACCT_PKTS = 2;
/** Names have 31 bytes at most (NFACCT_NAME_MAX is 32 with the NUL). */
export const maxCounterName = 31;

const requests = {
  /** EBUSY when there is one of the name. */
  add: { type: NFNL_MSG_ACCT_NEW, flags: NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE },
  /** ENOENT when there is none. */
  get: { type: NFNL_MSG_ACCT_GET, flags: NLM_F_REQUEST | NLM_F_ACK },
  /** EBUSY while a rule counts by it. */
  delete: { type: NFNL_MSG_ACCT_DEL, flags: NLM_F_REQUEST | NLM_F_ACK },
} as const;

/** One request; EINVAL when the kernel has no nfacct. */
export function encodeCounter(
  writer: MessageWriter,
  request: keyof typeof requests,
  sequence: number,
  name: string,
): void {
  const { type, flags } = requests[request];
  writer.begin((NFNL_SUBSYS_ACCT << 8) | type, flags, sequence);
  // struct nfgenmsg
  writer.u8(AF_UNSPEC);
  writer.u8(0);
  writer.u16(0);
  writer.attributeString(NFACCT_NAME, name);
  writer.end();
}

/** The packets of the answer to `get`; undefined for another message. @throws NetlinkFormatError */
export function decodeCounterPackets(message: MessageCursor): number | undefined {
  if (message.type !== ((NFNL_SUBSYS_ACCT << 8) | NFNL_MSG_ACCT_NEW)) return undefined;
  const attributes = message.attributes(4);
  while (attributes.next()) if (attributes.type === NFACCT_PKTS) return attributes.u64be();
  return undefined;
}

export interface Nfacct {
  /** Makes those that are missing. @returns false when the kernel has no nfacct @throws KernelError */
  ensure(names: readonly string[], netnsPath?: string): Promise<boolean>;
  /** What was counted so far; undefined when there is no such counter. @throws KernelError */
  packets(name: string, netnsPath?: string): Promise<number | undefined>;
  /** Those that no rule counts by any more. @returns the names of those that were there and are not now @throws KernelError */
  destroy(names: readonly string[], netnsPath?: string): Promise<string[]>;
}
