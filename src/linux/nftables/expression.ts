/**
 * The expressions a rule consists of: the instructions of the kernel's register machine.
 * Layer: linux (pure types). Registers are numbered as the kernel does: 0 is the verdict, 1-4 have 16 bytes, 8-23 are the
 * same 64 bytes as sixteen words (so 1 is 8-11). The fields of a concatenation go to consecutive words, the first usually
 * to 1 (= 8), the next to 9 if the first had 4 bytes, and so on.
 */

export type Register = number;
/** Register 0. */
export const verdictRegister: Register = 0;

export type Verdict = 'accept' | 'drop' | 'continue' | 'return' | { jump: string } | { goto: string };

export type PayloadBase = 'link' | 'network' | 'transport';
export type CompareOperator = '==' | '!=' | '<' | '<=' | '>' | '>=';

/** enum nft_meta_keys */
export const metaKeys = {
  len: 0,
  protocol: 1,
  priority: 2,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  skuid: 10,
  skgid: 11,
  nftrace: 12,
  nfproto: 15,
  l4proto: 16,
  pkttype: 19,
  cpu: 20,
  cgroup: 23,
} as const;
export type MetaKey = keyof typeof metaKeys;

/** enum nft_ct_keys */
export const ctKeys = {
  state: 0,
  direction: 1,
  status: 2,
  mark: 3,
  expiration: 5,
  l3proto: 7,
  protocol: 10,
  'proto-src': 11,
  'proto-dst': 12,
  zone: 17,
  'ip saddr': 19,
  'ip daddr': 20,
  'ip6 saddr': 21,
  'ip6 daddr': 22,
  id: 23,
} as const;
export type CtKey = keyof typeof ctKeys;

/** NFTA_FIB_F_* */
export const fibFlags = { saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16 } as const;
export type FibFlag = keyof typeof fibFlags;
/** enum nft_fib_result */
export const fibResults = { oif: 1, oifname: 2, type: 3 } as const;

/** NF_NAT_RANGE_*, of those the ones that people choose; the kernel sets the others itself. */
export const natFlags = { random: 4, persistent: 8, 'fully-random': 16 } as const;
export type NatFlag = keyof typeof natFlags;

/** Bits of `ct state` (1 << enum ip_conntrack_info + 1, as nft names them). */
export const ctState = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } as const;
/** Bits of `ct status` (enum ip_conntrack_status). */
export const ctStatus = { 'seen-reply': 2, assured: 4, confirmed: 8, snat: 16, dnat: 32, dying: 512 } as const;

export type Expression =
  /** Loads bytes of the packet. */
  | { expr: 'payload'; base: PayloadBase; offset: number; length: number; dreg: Register }
  /** Writes bytes of the packet; `checksumOffset` is where the IP header checksum to correct is. */
  | {
      expr: 'payloadSet';
      base: PayloadBase;
      offset: number;
      length: number;
      sreg: Register;
      checksumOffset?: number;
      /** The transport checksum covers these bytes too. */
      pseudoHeader?: boolean;
    }
  | { expr: 'meta'; key: MetaKey; dreg: Register }
  | { expr: 'metaSet'; key: MetaKey; sreg: Register }
  | { expr: 'cmp'; sreg: Register; op: CompareOperator; data: Uint8Array }
  /** dreg = (sreg & mask) ^ xor; both of one length. */
  | { expr: 'bitwise'; sreg: Register; dreg: Register; mask: Uint8Array; xor: Uint8Array }
  | {
      expr: 'shift';
      direction: 'left' | 'right';
      bits: number;
      length: number;
      sreg: Register;
      dreg: Register;
    }
  | { expr: 'immediate'; dreg: Register; data: Uint8Array }
  | { expr: 'verdict'; verdict: Verdict }
  /** Matches when the key is in the set; with `dreg` loads what the map says, with dreg 0 follows a verdict map. */
  | { expr: 'lookup'; set: string; sreg: Register; dreg?: Register; inverted?: boolean }
  | { expr: 'numgen'; mode: 'random' | 'inc'; modulus: number; offset?: number; dreg: Register }
  | {
      expr: 'jhash';
      sreg: Register;
      length: number;
      modulus: number;
      seed?: number;
      offset?: number;
      dreg: Register;
    }
  | { expr: 'ct'; key: CtKey; direction?: 'original' | 'reply'; dreg: Register }
  | { expr: 'ctSet'; key: CtKey; sreg: Register }
  /** A maximum that is left out equals the minimum. */
  | {
      expr: 'nat';
      type: 'dnat' | 'snat';
      family: 'ip' | 'ip6';
      addressMin?: Register;
      addressMax?: Register;
      protoMin?: Register;
      protoMax?: Register;
      flags?: readonly NatFlag[];
    }
  | { expr: 'masq'; protoMin?: Register; protoMax?: Register; flags?: readonly NatFlag[] }
  | { expr: 'redir'; protoMin?: Register; protoMax?: Register; flags?: readonly NatFlag[] }
  | {
      expr: 'fib';
      result: keyof typeof fibResults;
      flags: readonly FibFlag[];
      /** Only whether there is a route. */
      present?: boolean;
      dreg: Register;
    }
  /** `code` is ICMP's own for 'icmp', enum nft_reject_inet_code for 'icmpx' (1 is port-unreachable). */
  | { expr: 'reject'; with: 'icmp' | 'icmpx'; code: number }
  | { expr: 'reject'; with: 'tcp reset' }
  | {
      expr: 'dynset';
      op: 'add' | 'update' | 'delete';
      set: string;
      key: Register;
      data?: Register;
      timeoutMs?: number;
    }
  | { expr: 'counter'; packets?: number; bytes?: number }
  | {
      expr: 'limit';
      kind: 'packets' | 'bytes';
      rate: number;
      /** Seconds that `rate` is for: 1, 60, 3600, 86400, 604800. */
      perSeconds: number;
      burst: number;
      over?: boolean;
    }
  | { expr: 'notrack' }
  /** Swaps the bytes of each `size` bytes of `length`. */
  | { expr: 'byteorder'; op: 'ntoh' | 'hton'; sreg: Register; dreg: Register; length: number; size: 2 | 4 | 8 }
  /** One that this code does not make, as the kernel dumped it. */
  | { expr: 'other'; name: string; data: Uint8Array };
