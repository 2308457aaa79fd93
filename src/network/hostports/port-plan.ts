/**
 * Ports of the node in nf_tables: one table for each address family, two data maps (port of one address, port of every
 * address) and a handful of rules that stay as they are whatever ports there are.
 * Layer: network/hostports (pure). Which pod may have which port is port-table.ts'.
 *
 * Only packets to addresses of this node are looked up: a pod with a foreign hostIP draws nobody's traffic to itself.
 * Services come first (their chains have priority -100): a node port or external IP stays what the Service says.
 *
 * From the node's loopback address: the pod's link gets route_localnet, so that such a packet may leave and its answer come
 * back. With it a pod could send packets to, and with the source of, 127.0.0.0/8 of the node: chain `guard` drops these.
 */
import { formatIp, parseIp } from '../../linux/ip-bytes.ts';
import { elementAt } from '../../linux/nftables/describe.ts';
import type { Expression } from '../../linux/nftables/expression.ts';
import { encodeFields, type Field } from '../../linux/nftables/fields.ts';
import {
  type Element,
  elementCount,
  type NftablesOperation,
  type TableDump,
  type TableRef,
} from '../../linux/nftables/types.ts';
import { type PortProtocol, portProtocols } from './port-mapping.ts';
import type { PortClaim } from './port-table.ts';

export type IpFamilyNumber = 4 | 6;

export const hostPortFamilies = [4, 6] as const;

export const hostPortTable = (family: IpFamilyNumber): TableRef => ({
  family: family === 4 ? 'ip' : 'ip6',
  name: 'keelson-hostports',
});

const schema = 'keelson-hostports schema 1';
/** Of every host end of a pod link (links/link-identity.ts). */
const podLinkPrefix = 'kl';
const protocolNumbers: Readonly<Record<PortProtocol, number>> = { tcp: 6, udp: 17, sctp: 132 };
/** After the Services' -100. */
const afterServices = -99;
const raw = -300;
const srcnat = 100;

interface Layout {
  at: { family: 'ip' | 'ip6'; table: string };
  address: Field;
  port: readonly Field[];
  addressed: readonly Field[];
  target: readonly Field[];
  bytes: number;
  /** Registers count in words of 4 bytes from 8. */
  loadPort(word: number): Expression[];
  loadSource(word: number): Expression;
  loadDestination(word: number): Expression;
}

const payload = (base: 'network' | 'transport', offset: number, length: number, dreg: number): Expression => ({
  expr: 'payload',
  base,
  offset,
  length,
  dreg,
});

const layouts: Readonly<Record<IpFamilyNumber, Layout>> = {
  4: {
    at: { family: 'ip', table: hostPortTable(4).name },
    address: 'ip daddr',
    port: ['ip protocol', 'th dport'],
    addressed: ['ip daddr', 'ip protocol', 'th dport'],
    target: ['ip daddr', 'tcp dport'],
    bytes: 4,
    loadPort: (word) => [payload('network', 9, 1, word), payload('transport', 2, 2, word + 1)],
    loadSource: (word) => payload('network', 12, 4, word),
    loadDestination: (word) => payload('network', 16, 4, word),
  },
  6: {
    at: { family: 'ip6', table: hostPortTable(6).name },
    address: 'ip6 daddr',
    port: ['meta l4proto', 'th dport'],
    addressed: ['ip6 daddr', 'meta l4proto', 'th dport'],
    target: ['ip6 daddr', 'tcp dport'],
    bytes: 16,
    // Extension headers may stand before the transport header.
    loadPort: (word) => [{ expr: 'meta', key: 'l4proto', dreg: word }, payload('transport', 2, 2, word + 1)],
    loadSource: (word) => payload('network', 8, 16, word),
    loadDestination: (word) => payload('network', 24, 16, word),
  },
};

const setNames = { addressed: 'address-ports', any: 'ports', hairpin: 'hairpin' } as const;

/** The whole table with these claims, of which those of the other family do not count. The table must not exist. */
export function planHostPorts(family: IpFamilyNumber, claims: readonly PortClaim[]): NftablesOperation[] {
  const { at, address, port, addressed, target } = layouts[family];
  const set = (name: string, key: readonly Field[], data?: readonly Field[]): NftablesOperation => ({
    op: 'setAdd',
    set: { ...at, name, key, ...(data && { data }) },
  });
  const chain = (
    name: string,
    type: 'nat' | 'filter',
    hook: 'prerouting' | 'output' | 'postrouting',
    priority: number,
  ) => ({ op: 'chainAdd', chain: { ...at, name, base: { type, hook, priority, policy: 'accept' } } }) as const;
  const source: Field = family === 4 ? 'ip saddr' : 'ip6 saddr';
  return [
    { op: 'tableAdd', table: { ...hostPortTable(family), comment: schema } },
    set(setNames.addressed, addressed, target),
    set(setNames.any, port, target),
    set(setNames.hairpin, [source, address]),
    chain('prerouting', 'nat', 'prerouting', afterServices),
    chain('output', 'nat', 'output', afterServices),
    chain('postrouting', 'nat', 'postrouting', srcnat),
    ...(family === 4 ? [chain('guard', 'filter', 'prerouting', raw)] : []),
    ...planRules(family),
    ...planElements('elementsAdd', family, claims),
  ];
}

/** The claims of one pod come or go. The kernel refuses to add a port that leads elsewhere. */
export function planClaims(
  op: 'elementsAdd' | 'elementsDelete',
  family: IpFamilyNumber,
  claims: readonly PortClaim[],
): NftablesOperation[] {
  return planElements(op, family, claims);
}

function planElements(
  op: 'elementsAdd' | 'elementsDelete',
  family: IpFamilyNumber,
  claims: readonly PortClaim[],
): NftablesOperation[] {
  const { at, addressed, port, target, address } = layouts[family];
  const own = claims.filter((claim) => claim.family === family);
  const elementOf = ({ hostIP, protocol, hostPort, podIP, containerPort }: PortClaim): Element => {
    const values = [protocolNumbers[protocol], hostPort];
    return {
      key: hostIP === undefined ? encodeFields(port, values) : encodeFields(addressed, [hostIP, ...values]),
      data: encodeFields(target, [podIP, containerPort]),
    };
  };
  const podIPs = [...new Set(own.map(({ podIP }) => podIP))];
  const lists: [string, Element[]][] = [
    [setNames.addressed, own.filter(({ hostIP }) => hostIP !== undefined).map(elementOf)],
    [setNames.any, own.filter(({ hostIP }) => hostIP === undefined).map(elementOf)],
    [setNames.hairpin, podIPs.map((ip) => ({ key: encodeFields([address, address], [ip, ip]) }))],
  ];
  return lists
    .filter(([, elements]) => elements.length > 0)
    .map(([set, elements]): NftablesOperation => ({ op, ...at, set, elements }));
}

function planRules(family: IpFamilyNumber): NftablesOperation[] {
  const { at, bytes, loadPort, loadSource, loadDestination } = layouts[family];
  const rule = (chain: string, expressions: Expression[], comment: string): NftablesOperation => ({
    op: 'ruleAdd',
    rule: { ...at, chain, expressions, comment },
  });
  const words = bytes / 4;
  const toPod = (set: string): Expression[] => [
    { expr: 'lookup', set, sreg: 1, dreg: 1 },
    { expr: 'nat', type: 'dnat', family: at.family, addressMin: 1, protoMin: 8 + words },
  ];
  const isOfNode: Expression[] = [
    { expr: 'fib', result: 'type', flags: ['daddr'], dreg: 1 },
    { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(2, 0, 0, 0) },
  ];
  const masquerade: Expression = { expr: 'masq' };
  return [
    ...['prerouting', 'output'].flatMap((chain) => [
      rule(
        chain,
        [...isOfNode, loadDestination(8), ...loadPort(8 + words), ...toPod(setNames.addressed)],
        'keelson: hostPorts with a hostIP',
      ),
      rule(chain, [...isOfNode, ...loadPort(8), ...toPod(setNames.any)], 'keelson: hostPorts'),
    ]),
    rule(
      'postrouting',
      [loadSource(8), loadDestination(8 + words), { expr: 'lookup', set: setNames.hairpin, sreg: 1 }, masquerade],
      'keelson: a pod that asks for its own hostPort',
    ),
    ...(family === 4
      ? [
          rule(
            'postrouting',
            [...isLoopback(loadSource(1)), ...isPodLink('oifname'), masquerade],
            'keelson: hostPorts asked for on the loopback address',
          ),
          ...[loadSource(1), loadDestination(1)].map((load) =>
            rule(
              'guard',
              [...isPodLink('iifname'), ...isLoopback(load), { expr: 'counter' }, { expr: 'verdict', verdict: 'drop' }],
              'keelson: route_localnet is no way to the loopback addresses of the node',
            ),
          ),
        ]
      : []),
  ];
}

const isPodLink = (key: 'iifname' | 'oifname'): Expression[] => [
  { expr: 'meta', key, dreg: 1 },
  { expr: 'cmp', sreg: 1, op: '==', data: Buffer.from(podLinkPrefix) },
];

const isLoopback = (load: Expression): Expression[] => [
  load,
  { expr: 'bitwise', sreg: 1, dreg: 1, mask: Uint8Array.of(255, 0, 0, 0), xor: new Uint8Array(4) },
  { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(127, 0, 0, 0) },
];

/** What a table of this schema says; nothing of another one's, and no element that is not of ours. */
export function claimsOf(family: IpFamilyNumber, dump: TableDump | undefined): PortClaim[] {
  if (dump?.table.comment !== schema) return [];
  const { bytes } = layouts[family];
  return dump.sets.flatMap(({ set, elements }) => {
    if (elements === undefined || (set.name !== setNames.any && set.name !== setNames.addressed)) return [];
    const before = set.name === setNames.addressed ? bytes : 0;
    return Array.from({ length: elementCount(elements) }, (_, index) => elementAt(elements, index)).flatMap(
      ({ key, data }): PortClaim[] => {
        if (!(data instanceof Uint8Array) || key.length !== before + 8 || data.length !== bytes + 4) return [];
        const protocol = portProtocols.find((name) => protocolNumbers[name] === key[before]);
        if (protocol === undefined) return [];
        return [
          {
            family,
            hostIP: before === 0 ? undefined : formatIp(key, 0, bytes),
            protocol,
            hostPort: portAt(key, before + 4),
            podIP: formatIp(data, 0, bytes),
            containerPort: portAt(data, bytes),
          },
        ];
      },
    );
  });
}

const portAt = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);

/** Whether asking for it on 127.0.0.0/8 of the node has to work. */
export const servesLoopback = ({ family, hostIP }: PortClaim): boolean =>
  family === 4 && (hostIP === undefined || parseIp(hostIP)[0] === 127);
