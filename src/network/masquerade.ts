/**
 * The source NAT of traffic that leaves the pod network: table `ip keelson-network`, as a plan for nf_tables.
 * Layer: network. Planning is pure; removing goes over the injected edge. Keeping it there is linux/nftables/keep-table.ts's.
 */

import { formatIp } from '../linux/ip-bytes.ts';
import { isNotFound } from '../linux/kernel-error.ts';
import { elementAt } from '../linux/nftables/describe.ts';
import type { NftablesOpener } from '../linux/nftables/edge.ts';
import type { CompareOperator, Expression } from '../linux/nftables/expression.ts';
import { elementCount, type NftablesOperation, type TableDump, type TableRef } from '../linux/nftables/types.ts';
import { type Ipv4Prefix, parsePodCIDR } from './ipam/ipv4.ts';

export const masqueradeTable = { family: 'ip', name: 'keelson-network' } as const satisfies TableRef;
/** As in `removed` of a cleanup and in logs. */
export const masqueradeTableText = `nft table ${masqueradeTable.family} ${masqueradeTable.name}`;

const inTable = { family: masqueradeTable.family, table: masqueradeTable.name } as const;
const srcnat = 100;
type FirstBits = Pick<Ipv4Prefix, 'base' | 'length'>;
const multicast: FirstBits = { base: 0xe0000000, length: 4 };

/** Whose traffic leaves with the node's address, and to where it does not. */
export interface MasqueradeNetworks {
  /** Of this node's pods: the pod CIDR, and former ones whose addresses some pods still have. */
  own: readonly string[];
  /** Of other nodes' pods. */
  peers: Iterable<string>;
}

/**
 * The whole table, which must not exist. Pods meet each other with their own addresses; multicast is left alone, too: a
 * group member identifies the sender by its address.
 *
 * Pod networks are in a set for each prefix length, looked up by the first bits of the address: a network is one element,
 * added and deleted by itself whatever others there are. (An interval set refuses networks that overlap, and has to be
 * filled anew after a foreign change.)
 * @throws NetworkError NETWORK_POD_CIDR_INVALID
 */
export function planMasquerade({ own, peers }: MasqueradeNetworks): NftablesOperation[] {
  const networks = new Map<number, Set<number>>();
  for (const { base, length } of [...own, ...peers].map(parsePodCIDR)) {
    const bases = networks.get(length) ?? new Set();
    networks.set(length, bases.add(base));
  }
  const lengths = [...networks.keys()].toSorted((a, b) => a - b);
  return [
    { op: 'tableAdd', table: { ...masqueradeTable, comment: schema } },
    ...lengths.map(
      (length): NftablesOperation => ({
        op: 'setAdd',
        set: { ...inTable, name: setName(length), key: ['ipv4_addr'] },
      }),
    ),
    {
      op: 'chainAdd',
      chain: {
        ...inTable,
        name: 'postrouting',
        base: { type: 'nat', hook: 'postrouting', priority: srcnat, policy: 'accept' },
      },
    },
    ...own.map((pods) => leaving(parsePodCIDR(pods), lengths)),
    ...lengths.map((length) => elements('elementsAdd', length, [...(networks.get(length) ?? [])])),
  ];
}

/**
 * From one state of the networks of peers to another, given a table with sets for these prefix lengths; undefined when it
 * has none for one of them, and has to be compared with its plan.
 * @throws NetworkError NETWORK_POD_CIDR_INVALID
 */
export function planNetworkChange(
  change: { add: readonly string[] } | { remove: readonly string[] },
  lengths: ReadonlySet<number>,
): NftablesOperation[] | undefined {
  const [op, cidrs] =
    'add' in change ? (['elementsAdd', change.add] as const) : (['elementsDelete', change.remove] as const);
  const bases = new Map<number, number[]>();
  for (const { base, length } of cidrs.map(parsePodCIDR)) {
    if (!lengths.has(length)) return undefined;
    bases.set(length, [...(bases.get(length) ?? []), base]);
  }
  return [...bases].map(([length, list]) => elements(op, length, list));
}

/** The pod networks that a table of this schema has; none of another one's, and nothing that is none. */
export function networksOf(dump: TableDump | undefined): string[] {
  if (dump?.table.comment !== schema) return [];
  return dump.sets.flatMap(({ set, elements: found }) => {
    const length = Number(/^pods-(\d{1,2})$/.exec(set.name)?.[1]);
    if (found === undefined || !Number.isInteger(length)) return [];
    return Array.from({ length: elementCount(found) }, (_, index) => elementAt(found, index).key)
      .filter((key) => key.length === 4)
      .map((key) => `${formatIp(key)}/${length}`)
      .filter(isPodCIDR);
  });
}

function isPodCIDR(cidr: string): boolean {
  try {
    parsePodCIDR(cidr);
    return true;
  } catch {
    return false;
  }
}

const schema = 'keelson-network schema 2';
const setName = (length: number): string => `pods-${length}`;

const elements = (
  op: 'elementsAdd' | 'elementsDelete',
  length: number,
  bases: readonly number[],
): NftablesOperation => ({
  op,
  ...inTable,
  set: setName(length),
  elements: bases.map((base) => ({ key: word(base) })),
});

const leaving = (pods: FirstBits, lengths: readonly number[]): NftablesOperation => ({
  op: 'ruleAdd',
  rule: {
    ...inTable,
    chain: 'postrouting',
    expressions: [
      ...address(sourceOffset, '==', pods),
      ...lengths.flatMap((length): Expression[] => [
        ...firstBits(destinationOffset, length),
        { expr: 'lookup', set: setName(length), sreg: 1, inverted: true },
      ]),
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
  return [...firstBits(offset, length), { expr: 'cmp', sreg: 1, op, data: word(base) }];
}

function firstBits(offset: number, length: number): Expression[] {
  return [
    { expr: 'payload', base: 'network', offset, length: 4, dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask: word(-1 << (32 - length)), xor: word(0) },
  ];
}

/** In network order. */
function word(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}
