/**
 * Numbers of the nf_tables protocol that we send or read.
 * Layer: linux (pure). Facts only; names and values from include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h. The message
 * and attribute groups are objects, named as the kernel's common prefix.
 */
import type { Family, Hook } from './types.ts';

/** nfnetlink.h: the subsystem is the upper byte of a message type. */
export const NFNL_SUBSYS_NFTABLES = 10;
export const NFNL_MSG_BATCH_BEGIN = 0x10;
export const NFNL_MSG_BATCH_END = 0x11;
export const NFNL_BATCH_GENID = 1;
export const NFNLGRP_NFTABLES = 7;

/** netlink.h: for NEWRULE and friends. */
export const NLM_F_APPEND = 0x800;
/** netlink.h: marks an attribute that has attributes inside. */
export const NLA_F_NESTED = 0x8000;

/** uapi/asm-generic/errno.h: the generation that a batch was made for is over. */
export const ERESTART = 85;

export const NFT_MSG = {
  NEWTABLE: 0,
  GETTABLE: 1,
  DELTABLE: 2,
  NEWCHAIN: 3,
  GETCHAIN: 4,
  DELCHAIN: 5,
  NEWRULE: 6,
  GETRULE: 7,
  DELRULE: 8,
  NEWSET: 9,
  GETSET: 10,
  DELSET: 11,
  NEWSETELEM: 12,
  GETSETELEM: 13,
  DELSETELEM: 14,
  NEWGEN: 15,
  GETGEN: 16,
} as const;

/** Full message type of an NFT_MSG. */
export const messageType = (message: number): number => (NFNL_SUBSYS_NFTABLES << 8) | message;

/** `NFT_MSG_NEWSET` from a full message type; for errors. */
export function nftMessageName(type: number): string {
  if (type === NFNL_MSG_BATCH_BEGIN) return 'NFNL_MSG_BATCH_BEGIN';
  for (const [name, value] of Object.entries(NFT_MSG)) if (messageType(value) === type) return `NFT_MSG_${name}`;
  return `message ${type}`;
}

export const NFTA_LIST_ELEM = 1;
export const NFTA_TABLE = { NAME: 1, FLAGS: 2, USE: 3, HANDLE: 4, USERDATA: 6 } as const;
export const NFTA_HOOK = { HOOKNUM: 1, PRIORITY: 2 } as const;
export const NFTA_CHAIN = { TABLE: 1, HANDLE: 2, NAME: 3, HOOK: 4, POLICY: 5, TYPE: 7, USERDATA: 12 } as const;
export const NFTA_RULE = { TABLE: 1, CHAIN: 2, HANDLE: 3, EXPRESSIONS: 4, POSITION: 6, USERDATA: 7 } as const;
export const NFTA_SET = {
  TABLE: 1,
  NAME: 2,
  FLAGS: 3,
  KEY_TYPE: 4,
  KEY_LEN: 5,
  DATA_TYPE: 6,
  DATA_LEN: 7,
  DESC: 9,
  ID: 10,
  TIMEOUT: 11,
  GC_INTERVAL: 12,
  USERDATA: 13,
} as const;
export const NFTA_SET_DESC = { SIZE: 1, CONCAT: 2 } as const;
export const NFTA_SET_FIELD_LEN = 1;
export const NFTA_SET_ELEM_LIST = { TABLE: 1, SET: 2, ELEMENTS: 3, SET_ID: 4 } as const;
export const NFTA_SET_ELEM = {
  KEY: 1,
  DATA: 2,
  FLAGS: 3,
  TIMEOUT: 4,
  EXPIRATION: 5,
  USERDATA: 6,
  KEY_END: 10,
} as const;
export const NFTA_DATA = { VALUE: 1, VERDICT: 2 } as const;
export const NFTA_VERDICT = { CODE: 1, CHAIN: 2 } as const;
export const NFTA_EXPR = { NAME: 1, DATA: 2 } as const;
export const NFTA_GEN = { ID: 1, PROC_PID: 2, PROC_NAME: 3 } as const;

export const NFT_SET = { CONSTANT: 2, INTERVAL: 4, MAP: 8, TIMEOUT: 0x10, EVAL: 0x20, CONCAT: 0x80 } as const;
export const NFT_SET_ELEM_INTERVAL_END = 1;
/** The data type of a verdict map. */
export const NFT_DATA_VERDICT = 0xffffff00;

/** As unsigned 32 bits: NFT_CONTINUE -1, NFT_JUMP -3, NFT_GOTO -4, NFT_RETURN -5; NF_DROP 0, NF_ACCEPT 1. */
export const verdictCode = {
  drop: 0,
  accept: 1,
  continue: 0xffffffff,
  jump: 0xfffffffd,
  goto: 0xfffffffc,
  return: 0xfffffffb,
} as const;

/** nfproto */
export const familyNumber: Readonly<Record<Family, number>> = { inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 };

export function familyOf(number: number): Family | undefined {
  return nameOf(familyNumber, number);
}

/** enum nf_inet_hooks */
export const hookNumber: Readonly<Record<Hook, number>> = {
  prerouting: 0,
  input: 1,
  forward: 2,
  output: 3,
  postrouting: 4,
  ingress: 5,
};

/** The key of a number in a table of names; undefined when none has it. */
export function nameOf<Name extends string>(names: Readonly<Record<Name, number>>, number: number): Name | undefined {
  for (const name in names) if (names[name] === number) return name;
  return undefined;
}

/** The kernel refuses an attribute above 64 KiB; lists end a little below that. */
export const listLimitBytes = 65_000;
