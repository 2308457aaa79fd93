/**
 * The question for a match of xtables, in nf_tables' compatibility layer: the kernel loads the match's module, and those that
 * it needs, before it answers. Who may change rules may ask; CAP_SYS_MODULE is not needed.
 * Layer: linux (pure). Numbers of include/uapi/linux/netfilter/{nfnetlink,nf_tables_compat}.h.
 */
import { AF_INET, NLM_F_ACK, NLM_F_REQUEST } from '../netlink/constants.ts';
import type { MessageWriter } from '../netlink/message-writer.ts';

const NFNL_SUBSYS_NFT_COMPAT = 11;
const NFNL_MSG_COMPAT_GET = 0;
const NFTA_COMPAT_NAME = 1;
const NFTA_COMPAT_REV = 2;
const NFTA_COMPAT_TYPE = 3;
const MATCH = 0;

/** Answered by ENOENT where there is no such match, EINVAL without the compatibility layer. */
export function encodeMatchGet(writer: MessageWriter, sequence: number, name: string): void {
  writer.begin((NFNL_SUBSYS_NFT_COMPAT << 8) | NFNL_MSG_COMPAT_GET, NLM_F_REQUEST | NLM_F_ACK, sequence);
  // struct nfgenmsg
  writer.u8(AF_INET);
  writer.u8(0);
  writer.u16(0);
  writer.attributeString(NFTA_COMPAT_NAME, name);
  writer.attributeU32Be(NFTA_COMPAT_REV, 0);
  writer.attributeU32Be(NFTA_COMPAT_TYPE, MATCH);
  writer.end();
}
