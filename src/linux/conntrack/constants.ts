/**
 * Numbers of ctnetlink that we send or read.
 * Layer: linux (pure). Facts only; names and values from include/uapi/linux/netfilter/{nfnetlink,nfnetlink_conntrack}.h.
 */
import { AF_INET, AF_INET6 } from '../netlink/constants.ts';
import type { IpFamily, TransportProtocol } from './types.ts';

export const NFNL_SUBSYS_CTNETLINK = 1;

/** enum cntl_msg_types */
export const IPCTNL_MSG_CT = { NEW: 0, GET: 1, DELETE: 2 } as const;

/** The type field of a message. */
export const conntrackMessage = (type: number): number => (NFNL_SUBSYS_CTNETLINK << 8) | type;

/** enum ctattr_type */
export const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, TIMEOUT: 7, ID: 12, ZONE: 18, FILTER: 25 } as const;
/** enum ctattr_tuple */
export const CTA_TUPLE = { IP: 1, PROTO: 2, ZONE: 3 } as const;
/** enum ctattr_ip: the source of each family; its destination is the number after it. */
export const CTA_IP_SRC: Readonly<Record<IpFamily, number>> = { IPv4: 1, IPv6: 3 };
/** enum ctattr_l4proto */
export const CTA_PROTO = { NUM: 1, SRC_PORT: 2, DST_PORT: 3 } as const;
/** enum ctattr_filter */
export const CTA_FILTER_ORIG_FLAGS = 1;
/** net/netfilter/nf_internals.h: which fields of the tuple a dump is filtered by. Not in the uapi headers, but fixed. */
export const filterFlag = { destination: 1 << 1, protocol: 1 << 3, destinationPort: 1 << 5 } as const;

export const NLA_F_NESTED = 0x8000;

export const familyNumber: Readonly<Record<IpFamily, number>> = { IPv4: AF_INET, IPv6: AF_INET6 };
/** IPPROTO_* */
export const protocolNumber: Readonly<Record<TransportProtocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
