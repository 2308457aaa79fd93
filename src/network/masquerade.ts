/**
 * The source NAT of traffic that leaves the pod network: tables `ip keelson-network` and `ip6 keelson-network`, as plans for
 * nf_tables. Layer: network. Planning is pure; removing goes over the injected edge. Keeping them there is
 * linux/nftables/keep-table.ts's.
 */

import { formatIp } from '../linux/ip-bytes.ts';
import { isNotFound } from '../linux/kernel-error.ts';
import { elementAt } from '../linux/nftables/describe.ts';
import type { NftablesOpener } from '../linux/nftables/edge.ts';
import type { CompareOperator, Expression } from '../linux/nftables/expression.ts';
import { elementCount, type NftablesOperation, type TableDump, type TableRef } from '../linux/nftables/types.ts';
import { addressBits, bytesOf, type IpFamily, type IpPrefix, maskOf, parsePodCIDR } from './ipam/ip-prefix.ts';

export type MasqueradeTable = TableRef & { family: 'ip' | 'ip6'; name: 'keelson-network' };

export const masqueradeTableOf = (family: IpFamily): MasqueradeTable => ({
  family: family === 4 ? 'ip' : 'ip6',
  name: 'keelson-network',
});

/** As in `removed` of a cleanup and in logs. */
export const masqueradeTableText = (family: IpFamily): string =>
  `nft table ${masqueradeTableOf(family).family} ${masqueradeTableOf(family).name}`;

const srcnat = 100;
type FirstBits = Pick<IpPrefix, 'base' | 'length'>;

/**
 * What differs between the families: where the header has its addresses, and to where pods go with their own address. A
 * group member identifies the sender by its address, and link-local addresses are another world.
 */
const families = {
  4: { key: 'ipv4_addr', source: 12, destination: 16, never: [{ base: 0xe0000000n, length: 4 }] },
  6: {
    key: 'ipv6_addr',
    source: 8,
    destination: 24,
    never: [
      { base: (0xfen << 120n) | (0x80n << 112n), length: 10 },
      { base: 0xffn << 120n, length: 8 },
    ],
  },
} as const;

/** Whose traffic leaves with the node's address, and to where it does not: networks of one family. */
export interface MasqueradeNetworks {
  /** Of this node's pods: the pod CIDR, and former ones whose addresses some pods still have. */
  own: readonly string[];
  /** Of other nodes' pods. */
  peers: Iterable<string>;
}

/**
 * The whole table, which must not exist. Pods meet each other with their own addresses.
 *
 * Pod networks are in a set for each prefix length, looked up by the first bits of the address: a network is one element,
 * added and deleted by itself whatever others there are. (An interval set refuses networks that overlap, and has to be
 * filled anew after a foreign change.)
 * @param masquerades false: the sets alone, since pods are to be seen with their own addresses everywhere
 * @throws NetworkError NETWORK_POD_CIDR_INVALID
 */
export function planMasquerade(
  family: IpFamily,
  { own, peers }: MasqueradeNetworks,
  masquerades = true,
): NftablesOperation[] {
  const inTable = placeOf(family);
  const networks = new Map<number, Set<bigint>>();
  for (const { base, length } of [...own, ...peers].map(parsePodCIDR)) {
    const bases = networks.get(length) ?? new Set();
    networks.set(length, bases.add(base));
  }
  const lengths = [...networks.keys()].toSorted((a, b) => a - b);
  return [
    { op: 'tableAdd', table: { ...masqueradeTableOf(family), comment: schema } },
    ...lengths.map(
      (length): NftablesOperation => ({
        op: 'setAdd',
        set: { ...inTable, name: setName(length), key: [families[family].key] },
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
    ...(masquerades ? own : []).map((pods) => leaving(family, parsePodCIDR(pods), lengths)),
    ...lengths.map((length) => elements('elementsAdd', family, length, [...(networks.get(length) ?? [])])),
  ];
}

/**
 * From one state of the networks of peers to another, given a table with sets for these prefix lengths; undefined when it
 * has none for one of them, and has to be compared with its plan.
 * @throws NetworkError NETWORK_POD_CIDR_INVALID
 */
export function planNetworkChange(
  family: IpFamily,
  change: { add: readonly string[] } | { remove: readonly string[] },
  lengths: ReadonlySet<number>,
): NftablesOperation[] | undefined {
  const [op, cidrs] =
    'add' in change ? (['elementsAdd', change.add] as const) : (['elementsDelete', change.remove] as const);
  const bases = new Map<number, bigint[]>();
  for (const { base, length } of cidrs.map(parsePodCIDR)) {
    if (!lengths.has(length)) return undefined;
    bases.set(length, [...(bases.get(length) ?? []), base]);
  }
  return [...bases].map(([length, list]) => elements(op, family, length, list));
}

/** The pod networks that a table of this schema has; none of another one's, and nothing that is none. */
export function networksOf(family: IpFamily, dump: TableDump | undefined): string[] {
  if (dump?.table.comment !== schema) return [];
  return dump.sets.flatMap(({ set, elements: found }) => {
    const length = Number(/^pods-(\d{1,3})$/.exec(set.name)?.[1]);
    if (found === undefined || !Number.isInteger(length)) return [];
    return Array.from({ length: elementCount(found) }, (_, index) => elementAt(found, index).key)
      .filter((key) => key.length * 8 === addressBits(family))
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
const placeOf = (family: IpFamily) => ({
  family: masqueradeTableOf(family).family,
  table: masqueradeTableOf(family).name,
});

const elements = (
  op: 'elementsAdd' | 'elementsDelete',
  family: IpFamily,
  length: number,
  bases: readonly bigint[],
): NftablesOperation => ({
  op,
  ...placeOf(family),
  set: setName(length),
  elements: bases.map((value) => ({ key: bytesOf({ family, value }) })),
});

function leaving(family: IpFamily, pods: FirstBits, lengths: readonly number[]): NftablesOperation {
  const { source, destination, never } = families[family];
  return {
    op: 'ruleAdd',
    rule: {
      ...placeOf(family),
      chain: 'postrouting',
      expressions: [
        ...address(family, source, '==', pods),
        ...lengths.flatMap((length): Expression[] => [
          ...firstBits(family, destination, length),
          { expr: 'lookup', set: setName(length), sreg: 1, inverted: true },
        ]),
        ...never.flatMap((prefix) => address(family, destination, '!=', prefix)),
        { expr: 'masq', flags: ['fully-random'] },
      ],
      comment: 'keelson: pods leave with the address of the node',
    },
  };
}

/** @returns whether there was one @throws KernelError */
export async function removeMasquerade(opener: NftablesOpener, family: IpFamily, netnsPath?: string): Promise<boolean> {
  const nftables = await opener.open(netnsPath);
  try {
    await nftables.apply([{ op: 'tableDelete', table: masqueradeTableOf(family) }]);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  } finally {
    nftables.close();
  }
}

/** Matches when the first bits of an address are, or are not, the prefix. @param offset of the IP header, bytes */
function address(family: IpFamily, offset: number, op: CompareOperator, { base, length }: FirstBits): Expression[] {
  return [...firstBits(family, offset, length), { expr: 'cmp', sreg: 1, op, data: bytesOf({ family, value: base }) }];
}

function firstBits(family: IpFamily, offset: number, length: number): Expression[] {
  const bytes = addressBits(family) / 8;
  return [
    { expr: 'payload', base: 'network', offset, length: bytes, dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask: maskOf(family, length), xor: new Uint8Array(bytes) },
  ];
}
