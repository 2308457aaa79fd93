/**
 * The nf_tables table of NetworkPolicies: its names, what is always there, and the rules that policies become.
 * Layer: network/policy (pure). Must not know pods.
 *
 * Table `inet keelson-policy`, hook forward, so behind the dnat of Services (prerouting) and before any masquerade: rules
 * see the pod that a Service chose and the client as it is. What the node itself sends or receives does not pass forward.
 * Nor does neighbour discovery, unless pods of another CNI share a bridge and bridge-nf-call-ip6tables is 1: it is let pass.
 * Two base chains, egress before ingress: an accept ends one of them only, so both ends have to allow a connection.
 */
import { createHash } from 'node:crypto';
import type { Expression, Register } from '../../linux/nftables/expression.ts';
import { encodeFields, type Field } from '../../linux/nftables/fields.ts';
import type { Chain, NftablesOperation, NftSet, Rule, TableRef } from '../../linux/nftables/types.ts';
import type { CompiledRule, Direction, PortName, PortRange } from './compile.ts';
import { directions } from './compile.ts';
import type { FixedSet } from './draft-table.ts';
import { DraftSet } from './draft-table.ts';
import { type AddressRange, addressBytes, bitsOf, type PolicyFamily, policyFamilies } from './ip-block.ts';
import type { PolicyProtocol } from './policy-pod.ts';

export const policyTable = { family: 'inet', name: 'keelson-policy' } as const satisfies TableRef;
export const inPolicyTable = { family: policyTable.family, table: policyTable.name } as const;
/** Changes whenever anything below is laid out differently: a table with another one is replaced. */
export const policySchema = 'keelson-policy schema 2';
/** Behind the service proxy's refusals (-10), before the filters of others (0). */
const priorities: Record<Direction, number> = { egress: -6, ingress: -5 };

const protocolNumbers: Record<PolicyProtocol, number> = { TCP: 6, UDP: 17, SCTP: 132 };
const firstWord = 8;

interface FamilyFacts {
  nfproto: number;
  words: number;
  type: Field;
  source: Field;
  destination: Field;
  offsets: { source: number; destination: number };
}
const facts: Record<PolicyFamily, FamilyFacts> = {
  4: {
    nfproto: 2,
    words: 1,
    type: 'ipv4_addr',
    source: 'ip saddr',
    destination: 'ip daddr',
    offsets: { source: 12, destination: 16 },
  },
  6: {
    nfproto: 10,
    words: 4,
    type: 'ipv6_addr',
    source: 'ip6 saddr',
    destination: 'ip6 daddr',
    offsets: { source: 8, destination: 24 },
  },
};

/** Pods of this node, each with itself, which no policy can forbid. The comment is the pod's uid. */
const selfName = (family: PolicyFamily): string => `self-${family}`;
/** Pods that are isolated, and the chain that judges what they send or get. */
const isolatedName = (direction: Direction, family: PolicyFamily): string => `${direction}-${family}`;

/** So long that nobody finds a second selector with the name of somebody's first. */
const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 20);

/** Names of policies may be longer than a comment. */
const comment = (text: string): string => text.replace(/[^\x20-\x7e]|["\\]/g, '?').slice(0, 60);

/* ---- what is always there ---- */

export interface SkeletonSets {
  self: Record<PolicyFamily, DraftSet>;
  isolated: Record<Direction, Record<PolicyFamily, DraftSet>>;
}

export function skeletonSets(): SkeletonSets {
  const each = (make: (family: PolicyFamily) => DraftSet): Record<PolicyFamily, DraftSet> => ({
    4: make(4),
    6: make(6),
  });
  const isolated = (direction: Direction): Record<PolicyFamily, DraftSet> =>
    each((family) => {
      const { type } = facts[family];
      const name = isolatedName(direction, family);
      return new DraftSet({ ...inPolicyTable, name, key: [type], data: 'verdict' }, (ip) => encodeFields([type], [ip]));
    });
  return {
    self: each((family) => {
      const key = [facts[family].source, facts[family].destination];
      const set: NftSet = { ...inPolicyTable, name: selfName(family), key, data: 'verdict' };
      return new DraftSet(set, (ip) => encodeFields(key, [ip, ip]));
    }),
    isolated: { ingress: isolated('ingress'), egress: isolated('egress') },
  };
}

/** The table, base chains and their rules; the sets come with the draft. */
export function planSkeleton(sets: SkeletonSets): NftablesOperation[] {
  const each = [
    ...policyFamilies.map((family) => sets.self[family]),
    ...directions.flatMap((direction) => policyFamilies.map((family) => sets.isolated[direction][family])),
  ];
  return [
    { op: 'tableAdd', table: { ...policyTable, comment: policySchema } },
    ...each.map(({ set }): NftablesOperation => ({ op: 'setAdd', set })),
    ...directions.map(
      (direction): NftablesOperation => ({
        op: 'chainAdd',
        chain: {
          ...inPolicyTable,
          name: direction,
          base: { type: 'filter', hook: 'forward', priority: priorities[direction], policy: 'accept' },
        },
      }),
    ),
    ...directions.flatMap((direction) =>
      baseRules(direction).map((rule): NftablesOperation => ({ op: 'ruleAdd', rule })),
    ),
  ];
}

function baseRules(direction: Direction): Rule[] {
  const rule = (expressions: readonly Expression[]): Rule => ({ ...inPolicyTable, chain: direction, expressions });
  const zero = new Uint8Array(4);
  return [
    // Established and related: replies, and what goes on.
    rule([
      { expr: 'ct', key: 'state', dreg: 1 },
      { expr: 'bitwise', sreg: 1, dreg: 1, mask: Uint8Array.of(6, 0, 0, 0), xor: zero },
      { expr: 'cmp', sreg: 1, op: '!=', data: zero },
      accept,
    ]),
    rule([...isNeighbourDiscovery, accept]),
    ...policyFamilies.map((family) =>
      rule([
        ...isFamily(family),
        address(family, 'source', firstWord),
        address(family, 'destination', firstWord + facts[family].words),
        { expr: 'lookup', set: selfName(family), sreg: 1, dreg: 0 },
      ]),
    ),
    ...policyFamilies.map((family) =>
      rule([
        ...isFamily(family),
        address(family, direction === 'egress' ? 'source' : 'destination', 1),
        { expr: 'lookup', set: isolatedName(direction, family), sreg: 1, dreg: 0 },
      ]),
    ),
  ];
}

/* ---- sets of peers and ports ---- */

export type FamilySets<Set> = Readonly<Record<PolicyFamily, Set>>;

/** Addresses of the pods that a selector means; elements are named by the address. */
export function peerSets(key: string, words: string): FamilySets<DraftSet> {
  const make = (family: PolicyFamily): DraftSet => {
    const { type } = facts[family];
    const set = { ...inPolicyTable, name: `peers-${hash(key)}-${family}`, key: [type], comment: comment(words) };
    return new DraftSet(set, (ip) => encodeFields([type], [ip]));
  };
  return { 4: make(4), 6: make(6) };
}

/** Where a named port is: elements are named `address port`. */
export function namedPortSets(scope: 'local' | 'all', { protocol, name }: PortName): FamilySets<DraftSet> {
  const make = (family: PolicyFamily): DraftSet => {
    const key: Field[] = [facts[family].destination, 'meta l4proto', 'th dport'];
    const setName = `named-${hash(`${scope} ${protocol} ${name}`)}-${family}`;
    const set = { ...inPolicyTable, name: setName, key, comment: comment(`${name}/${protocol}, ${scope} pods`) };
    return new DraftSet(set, (element) => {
      const [ip = '', port = ''] = element.split(' ');
      return encodeFields(key, [ip, protocolNumbers[protocol], Number(port)]);
    });
  };
  return { 4: make(4), 6: make(6) };
}

/** The name says what is in it, so it never changes and may be shared. */
export function portSet(ranges: readonly PortRange[]): FixedSet {
  const text = ranges.map(({ protocol, first, last }) => `${protocol} ${first}-${last}`).join();
  const key: Field[] = ['meta l4proto', 'th dport'];
  const interval = ranges.some(({ first, last }) => first !== last);
  const words = ranges.map(({ protocol, first, last }) => `${first === last ? first : `${first}-${last}`}/${protocol}`);
  const bytes = (protocol: PolicyProtocol, port: number): Uint8Array =>
    encodeFields(key, [protocolNumbers[protocol], port]);
  return {
    set: {
      ...inPolicyTable,
      name: `ports-${hash(text)}`,
      key,
      ...(interval && { interval }),
      comment: comment(words.join(' ')),
    },
    elements: ranges.map(({ protocol, first, last }) => ({
      key: bytes(protocol, first),
      ...(interval && { keyEnd: bytes(protocol, last) }),
    })),
  };
}

/** As portSet. A set of one field says the end of a range as a mark on the address behind it. */
export function blockSet(family: PolicyFamily, ranges: readonly AddressRange[]): FixedSet {
  const text = ranges.map(({ first, last }) => `${first}-${last}`).join();
  const end = 1n << BigInt(bitsOf(family));
  const [lowest] = ranges;
  return {
    set: { ...inPolicyTable, name: `blocks-${hash(text)}-${family}`, key: [facts[family].type], interval: true },
    elements: [
      // As nft writes it: what lies before the first range is none.
      ...(lowest !== undefined && lowest.first > 0n ? [{ key: addressBytes(family, 0n), intervalEnd: true }] : []),
      ...ranges.flatMap(({ first, last }) => [
        { key: addressBytes(family, first) },
        ...(last + 1n < end ? [{ key: addressBytes(family, last + 1n), intervalEnd: true }] : []),
      ]),
    ],
  };
}

/* ---- chains ---- */

/** What the sets of one rule are called. */
export interface RuleSets {
  /** Of each family: names of sets of addresses; undefined: any peer. */
  readonly peers: FamilySets<readonly string[]> | undefined;
  /** Undefined: any port. `ranges` is undefined when all ports have names. */
  readonly ports: { readonly ranges: string | undefined; readonly names: readonly FamilySets<string>[] } | undefined;
}

/** One policy in one direction: accepts what a rule of it allows, and returns. */
export const policyChainName = (direction: Direction, policy: string): string => `${direction}-policy-${hash(policy)}`;

export function policyChain(direction: Direction, policy: string): Chain {
  return { ...inPolicyTable, name: policyChainName(direction, policy), comment: comment(policy) };
}

export function policyRules(
  direction: Direction,
  policy: string,
  rules: readonly { rule: CompiledRule; sets: RuleSets }[],
): Rule[] {
  const chain = policyChainName(direction, policy);
  return rules.flatMap(({ rule, sets }) =>
    matchesOf(direction, sets).map((matches) => ({
      ...inPolicyTable,
      chain,
      expressions: [...matches, accept],
      comment: `${direction}[${rule.index}]`,
    })),
  );
}

/** Those of pods with the same policies: asks each of them, then counts and drops. @param policies sorted */
export function isolationChain(
  direction: Direction,
  policies: readonly string[],
): { chain: Chain; rules: () => Rule[] } {
  const name = `${direction}-pods-${hash(policies.join())}`;
  const rule = (expressions: readonly Expression[]): Rule => ({ ...inPolicyTable, chain: name, expressions });
  return {
    chain: { ...inPolicyTable, name, comment: comment(policies.length === 0 ? 'pods gone' : policies.join(' ')) },
    rules: () => [
      ...policies.map((policy) => rule([{ expr: 'verdict', verdict: { jump: policyChainName(direction, policy) } }])),
      rule([{ expr: 'counter' }, { expr: 'verdict', verdict: 'drop' }]),
    ],
  };
}

function matchesOf(direction: Direction, { peers, ports }: RuleSets): Expression[][] {
  const matches: Expression[][] = [];
  // What asks for no address is one rule for both families.
  if (peers === undefined && ports === undefined) matches.push([]);
  if (peers === undefined && ports?.ranges !== undefined) matches.push(portMatch(ports.ranges));
  for (const family of policyFamilies) {
    const side = direction === 'ingress' ? 'source' : 'destination';
    const peerMatches = (peers?.[family] ?? []).map((set) => [address(family, side, 1), lookup(set)]);
    const named = (ports?.names ?? []).map((sets) => namedMatch(family, sets[family]));
    const portMatches = [...(ports?.ranges === undefined ? [] : [portMatch(ports.ranges)]), ...named];
    if (peers === undefined) matches.push(...named.map((match) => [...isFamily(family), ...match]));
    else
      for (const peer of peerMatches)
        for (const port of ports === undefined ? [[]] : portMatches)
          matches.push([...isFamily(family), ...peer, ...port]);
  }
  return matches;
}

const accept: Expression = { expr: 'verdict', verdict: 'accept' };
const lookup = (set: string): Expression => ({ expr: 'lookup', set, sreg: 1 });
const dport = (dreg: Register): Expression => ({ expr: 'payload', base: 'transport', offset: 2, length: 2, dreg });
const l4proto = (dreg: Register): Expression => ({ expr: 'meta', key: 'l4proto', dreg });
const portMatch = (set: string): Expression[] => [l4proto(firstWord), dport(firstWord + 1), lookup(set)];

function namedMatch(family: PolicyFamily, set: string): Expression[] {
  const behind = firstWord + facts[family].words;
  return [address(family, 'destination', firstWord), l4proto(behind), dport(behind + 1), lookup(set)];
}

const isFamily = (family: PolicyFamily): Expression[] => [
  { expr: 'meta', key: 'nfproto', dreg: 1 },
  { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(facts[family].nfproto) },
];

/** RFC 4861: its hop limit is 255, which no packet has that was routed. So nothing but a neighbour can say it. */
const isNeighbourDiscovery: Expression[] = [
  ...isFamily(6),
  { expr: 'payload', base: 'network', offset: 7, length: 1, dreg: 1 },
  { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(255) },
  l4proto(1),
  { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(58) },
  { expr: 'payload', base: 'transport', offset: 0, length: 1, dreg: 1 },
  { expr: 'cmp', sreg: 1, op: '>=', data: Uint8Array.of(133) },
  { expr: 'cmp', sreg: 1, op: '<=', data: Uint8Array.of(137) },
];

const address = (family: PolicyFamily, side: 'source' | 'destination', dreg: Register): Expression => ({
  expr: 'payload',
  base: 'network',
  offset: facts[family].offsets[side],
  length: bitsOf(family) / 8,
  dreg,
});
