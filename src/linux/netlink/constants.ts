/**
 * Numbers of the netlink and rtnetlink protocols that we send or read.
 * Layer: linux (pure). Facts only; names and values from include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,neighbour,veth}.h.
 */

/** netlink.h: protocols. */
export const netlinkProtocol = { route: 0, netfilter: 12 } as const;

/** netlink.h: control message types. */
export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

/** netlink.h: flags of requests. REPLACE and EXCL share their bits with DUMP's; the message type tells which is meant. */
export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
/** netlink.h: flags of answers. */
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;

export const NLMSGERR_ATTR_MSG = 1;
/** The two upper bits of an attribute's type are flags (nested, network byte order). */
export const NLA_TYPE_MASK = 0x3fff;

export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const RTM_NEWQDISC = 36;
export const RTM_NEWTFILTER = 44;

/** rtnetlink.h: enum rtnetlink_groups, by the name that subscribers use. */
export const notificationGroupNumber = { link: 1, neigh: 3, address4: 5, route4: 7, address6: 9, route6: 11 } as const;

/** if_link.h */
export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_LINK = 5;
export const IFLA_MASTER = 10;
export const IFLA_LINKINFO = 18;
export const IFLA_IFALIAS = 20;
export const IFLA_NET_NS_FD = 28;
export const IFLA_EXT_MASK = 29;
export const IFLA_LINK_NETNSID = 37;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
export const VETH_INFO_PEER = 1;
export const IFLA_VXLAN_ID = 1;
export const IFLA_VXLAN_LINK = 3;
export const IFLA_VXLAN_LOCAL = 4;
export const IFLA_VXLAN_LEARNING = 7;
export const IFLA_VXLAN_PORT = 15;
export const IFLA_VXLAN_LOCAL6 = 17;
export const IFLA_VXLAN_UDP_CSUM = 18;
/** rtnetlink.h: leave out the counters of IPv6 and of virtual functions. */
export const RTEXT_FILTER_SKIP_STATS = 8;
/** if.h */
export const IFF_UP = 1;

/** if_addr.h */
export const IFA_ADDRESS = 1;
export const IFA_LOCAL = 2;
export const IFA_F_NODAD = 2;

/** rtnetlink.h: route attributes, types, scopes, flags, tables. */
export const RTA_DST = 1;
export const RTA_OIF = 4;
export const RTA_GATEWAY = 5;
export const RTA_PREFSRC = 7;
export const RTA_TABLE = 15;
export const RTA_VIA = 18;
export const RTNH_F_ONLINK = 4;
export const RTM_F_CLONED = 0x200;
export const RT_SCOPE_NOWHERE = 255;
export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;

/** neighbour.h */
export const NDA_DST = 1;
export const NDA_LLADDR = 2;
export const NUD_NONE = 0;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;
export const NTF_SELF = 2;

const messageNames: Readonly<Record<number, string>> = {
  [RTM_NEWLINK]: 'RTM_NEWLINK',
  [RTM_DELLINK]: 'RTM_DELLINK',
  [RTM_GETLINK]: 'RTM_GETLINK',
  [RTM_NEWADDR]: 'RTM_NEWADDR',
  [RTM_DELADDR]: 'RTM_DELADDR',
  [RTM_GETADDR]: 'RTM_GETADDR',
  [RTM_NEWROUTE]: 'RTM_NEWROUTE',
  [RTM_DELROUTE]: 'RTM_DELROUTE',
  [RTM_GETROUTE]: 'RTM_GETROUTE',
  [RTM_NEWNEIGH]: 'RTM_NEWNEIGH',
  [RTM_DELNEIGH]: 'RTM_DELNEIGH',
  [RTM_GETNEIGH]: 'RTM_GETNEIGH',
  [RTM_NEWQDISC]: 'RTM_NEWQDISC',
  [RTM_NEWTFILTER]: 'RTM_NEWTFILTER',
};

/** `RTM_NEWLINK`, or `message 99` for a type that we do not use. */
export function messageName(type: number): string {
  return messageNames[type] ?? `message ${type}`;
}
