/**
 * Numbers of generic netlink's controller and of the IPVS family that we send or read.
 * Layer: linux (pure). Facts only; names and values from include/uapi/linux/{genetlink,ip_vs}.h.
 */

/** netlink.h: protocol NETLINK_GENERIC. */
export const NETLINK_GENERIC = 16;
/** genetlink.h: the controller's family, which tells the numbers of the others. */
export const GENL_ID_CTRL = 16;
export const CTRL_CMD_GETFAMILY = 3;
export const CTRL_ATTR_FAMILY_ID = 1;
export const CTRL_ATTR_FAMILY_NAME = 2;
/** struct genlmsghdr */
export const genlHeaderBytes = 4;

export const ipvsFamilyName = 'IPVS';
export const IPVS_GENL_VERSION = 1;

/** enum of commands */
export const IPVS_CMD = {
  NEW_SERVICE: 1,
  SET_SERVICE: 2,
  DEL_SERVICE: 3,
  GET_SERVICE: 4,
  NEW_DEST: 5,
  SET_DEST: 6,
  DEL_DEST: 7,
  GET_DEST: 8,
  SET_CONFIG: 12,
} as const;
export const IPVS_CMD_ATTR = { SERVICE: 1, DEST: 2, TIMEOUT_TCP: 4, TIMEOUT_TCP_FIN: 5, TIMEOUT_UDP: 6 } as const;
export const IPVS_SVC_ATTR = {
  AF: 1,
  PROTOCOL: 2,
  ADDR: 3,
  PORT: 4,
  FWMARK: 5,
  SCHED_NAME: 6,
  FLAGS: 7,
  TIMEOUT: 8,
  NETMASK: 9,
} as const;
export const IPVS_DEST_ATTR = {
  ADDR: 1,
  PORT: 2,
  FWD_METHOD: 3,
  WEIGHT: 4,
  U_THRESH: 5,
  L_THRESH: 6,
  ACTIVE_CONNS: 7,
  INACT_CONNS: 8,
  ADDR_FAMILY: 11,
} as const;

export const IP_VS_SVC_F_PERSISTENT = 0x1;
/** SCHED1 to SCHED3 */
export const schedulerFlagBits = 0x38;
/** SCHED2: `mh` counts the source port in. kube-proxy's FlagSourceHash. */
export const IP_VS_SVC_F_SCHED2 = 0x10;
export const IP_VS_CONN_F_FWD_MASK = 0x7;
export const IP_VS_CONN_F_MASQ = 0;
