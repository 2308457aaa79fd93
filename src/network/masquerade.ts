/**
 * The source NAT of traffic that leaves the pod network: table `ip keelson-network`, as a plan for nf_tables.
 * Layer: network. Planning is pure; removing goes over the injected edge. Keeping it there is linux/nftables/keep-table.ts's.
 */
import { isNotFound } from '../linux/kernel-error.ts';
import type { NftablesOpener } from '../linux/nftables/edge.ts';
import type { CompareOperator, Expression } from '../linux/nftables/expression.ts';
import type { NftablesOperation, TableRef } from '../linux/nftables/types.ts';
import { type Ipv4Prefix, parsePodCIDR } from './ipam/ipv4.ts';

export const masqueradeTable = { family: 'ip', name: 'keelson-network' } as const satisfies TableRef;
/** As in `removed` of a cleanup and in logs. */
export const masqueradeTableText = `nft table ${masqueradeTable.family} ${masqueradeTable.name}`;

const inTable = { family: masqueradeTable.family, table: masqueradeTable.name } as const;
const srcnat = 100;
type FirstBits = Pick<Ipv4Prefix, 'base' | 'length'>;
const multicast: FirstBits = { base: 0xe0000000, length: 4 };

/**
 * The whole table, which must not exist. Multicast is left alone: a group member identifies the sender by its address.
 * @param former pod CIDRs of before, whose addresses some pods still have
 * @throws NetworkError NETWORK_POD_CIDR_INVALID
 */
export function planMasquerade(podCIDR: string, former: readonly string[] = []): NftablesOperation[] {
  const own = [podCIDR, ...former].map(parsePodCIDR);
  return [
    { op: 'tableAdd', table: { ...masqueradeTable, comment: 'keelson-network schema 1' } },
    {
      op: 'chainAdd',
      chain: {
        ...inTable,
        name: 'postrouting',
        base: { type: 'nat', hook: 'postrouting', priority: srcnat, policy: 'accept' },
      },
    },
    ...own.map((pods) => leaving(pods, own)),
  ];
}

const leaving = (pods: FirstBits, own: readonly FirstBits[]): NftablesOperation => ({
  op: 'ruleAdd',
  rule: {
    ...inTable,
    chain: 'postrouting',
    expressions: [
      ...address(sourceOffset, '==', pods),
      ...own.flatMap((prefix) => address(destinationOffset, '!=', prefix)),
      ...address(destinationOffset, '!=', multicast),
      { expr: 'masq', flags: ['fully-random'] },
    ],
    comment: 'keelson: pods leave with the address of the node',
  },
});

/** @returns whether there was one @throws KernelError */
export async function removeMasquerade(opener: NftablesOpener, netnsPath?: string): Promise<boolean> {
  const nftables = await opener.open(netnsPath);
  try {
    await nftables.apply([{ op: 'tableDelete', table: masqueradeTable }]);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  } finally {
    nftables.close();
  }
}

/** Of the IPv4 header, bytes. */
const sourceOffset = 12;
const destinationOffset = 16;

/** Matches when the first bits of an address are, or are not, the prefix. */
function address(offset: number, op: CompareOperator, { base, length }: FirstBits): Expression[] {
  return [
    { expr: 'payload', base: 'network', offset, length: 4, dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask: word(-1 << (32 - length)), xor: word(0) },
    { expr: 'cmp', sreg: 1, op, data: word(base) },
  ];
}

/** In network order. */
function word(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}
