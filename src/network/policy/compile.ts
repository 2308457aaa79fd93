/**
 * One NetworkPolicy to what can be looked up: directions, selectors of peers, ranges of addresses and ports.
 * Layer: network/policy (pure). What the API server would not have taken allows nothing and is said; the rest of the policy
 * holds. Source: staging/src/k8s.io/api/networking/v1/types.go, pkg/apis/networking/validation/validation.go.
 */
import { createHash } from 'node:crypto';
import type {
  LabelSelector,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicyRule,
} from '../../api/network-policy.ts';
import { type AddressRange, joinRanges, type PolicyFamily, readBlock } from './ip-block.ts';
import { selectorFault, selectorText, selectorWords } from './labels.ts';
import { type PolicyProtocol, policyProtocols } from './policy-pod.ts';

export type Direction = 'ingress' | 'egress';
export const directions: readonly Direction[] = ['ingress', 'egress'];

/** Pods that a peer means: of one namespace, or of those with certain labels. */
export interface PeerSelector {
  /** Equal for equal ones. */
  readonly key: string;
  readonly namespaces: { readonly name: string } | { readonly selector: LabelSelector };
  readonly pods: LabelSelector;
  /** For people. */
  readonly words: string;
}

export interface PortRange {
  readonly protocol: PolicyProtocol;
  /** 0 to 65535, both inclusive. */
  readonly first: number;
  readonly last: number;
}

export interface PortName {
  readonly protocol: PolicyProtocol;
  readonly name: string;
}

export interface CompiledPeers {
  readonly selectors: readonly PeerSelector[];
  /** Ascending, not touching each other. */
  readonly blocks: Readonly<Record<PolicyFamily, readonly AddressRange[]>>;
}

export interface CompiledPorts {
  /** Ascending within each protocol, not touching each other. */
  readonly ranges: readonly PortRange[];
  readonly names: readonly PortName[];
}

export interface CompiledRule {
  /** Place in the policy's list. */
  readonly index: number;
  /** Undefined: any. */
  readonly peers: CompiledPeers | undefined;
  readonly ports: CompiledPorts | undefined;
}

export interface CompiledPolicy {
  /** `namespace/name` */
  readonly key: string;
  readonly namespace: string;
  /** Another one whenever the policy says something else. */
  readonly version: string;
  readonly podSelector: LabelSelector;
  /** Of the directions in which it isolates. */
  readonly rules: Readonly<Partial<Record<Direction, readonly CompiledRule[]>>>;
  /** Fields that allow nothing, one line each. */
  readonly faults: readonly string[];
}

const everything: LabelSelector = { matchLabels: {}, matchExpressions: [] };

export function compilePolicy(policy: NetworkPolicy): CompiledPolicy {
  const { namespace, name } = policy;
  const faults = policy.unreadable === undefined ? [] : [`${policy.unreadable}: isolates its whole namespace`];
  const selectorTrouble = selectorFault(policy.podSelector);
  if (selectorTrouble !== undefined)
    faults.push(`spec.podSelector.${selectorTrouble}: the policy isolates its whole namespace`);
  const rules: Partial<Record<Direction, readonly CompiledRule[]>> = {};
  for (const direction of isolated(policy, faults))
    rules[direction] = policy[direction].flatMap((rule, index) =>
      compileRule(rule, { namespace, index, peersName: direction === 'ingress' ? 'from' : 'to' }, (field, fault) =>
        faults.push(`spec.${direction}[${index}].${field}${fault}`),
      ),
    );
  const podSelector = selectorTrouble === undefined ? policy.podSelector : everything;
  const version = createHash('sha256').update(JSON.stringify(policy)).digest('base64');
  return { key: `${namespace}/${name}`, namespace, version, podSelector, rules, faults };
}

/** Defaults of pkg/apis/networking/v1/defaults.go. */
function isolated({ policyTypes, egress }: NetworkPolicy, faults: string[]): Direction[] {
  if (policyTypes.length === 0) return egress.length > 0 ? ['ingress', 'egress'] : ['ingress'];
  const known = { Ingress: 'ingress', Egress: 'egress' } as const;
  const found = new Set<Direction>();
  for (const [index, type] of policyTypes.entries()) {
    if (type === 'Ingress' || type === 'Egress') found.add(known[type]);
    else faults.push(`spec.policyTypes[${index}]: ${shown(type)} is not Ingress or Egress`);
  }
  return directions.filter((direction) => found.has(direction));
}

type Say = (field: string, fault: string) => void;

/** Nothing when no peer or no port of it is right. */
function compileRule(
  { ports, peers }: NetworkPolicyRule,
  { namespace, index, peersName }: { namespace: string; index: number; peersName: 'from' | 'to' },
  say: Say,
): CompiledRule[] {
  const compiledPeers = peers.length === 0 ? undefined : compilePeers(peers, namespace, peersName, say);
  const compiledPorts = ports.length === 0 ? undefined : compilePorts(ports, say);
  if (compiledPeers !== undefined && isNobody(compiledPeers)) return [];
  if (compiledPorts !== undefined && compiledPorts.ranges.length + compiledPorts.names.length === 0) return [];
  return [{ index, peers: compiledPeers, ports: compiledPorts }];
}

const isNobody = ({ selectors, blocks }: CompiledPeers): boolean =>
  selectors.length + blocks[4].length + blocks[6].length === 0;

function compilePeers(
  peers: readonly NetworkPolicyPeer[],
  namespace: string,
  peersName: 'from' | 'to',
  say: Say,
): CompiledPeers {
  const selectors = new Map<string, PeerSelector>();
  const blocks: Record<PolicyFamily, AddressRange[]> = { 4: [], 6: [] };
  for (const [index, { ipBlock, podSelector, namespaceSelector }] of peers.entries()) {
    const at = `${peersName}[${index}]`;
    if (ipBlock !== undefined) {
      if (podSelector !== undefined || namespaceSelector !== undefined) {
        say(at, ': has an ipBlock and a selector, which cannot go together');
        continue;
      }
      const block = readBlock(ipBlock);
      if ('fault' in block) say(`${at}.ipBlock.`, block.fault);
      else blocks[block.family].push(...block.ranges);
      continue;
    }
    if (podSelector === undefined && namespaceSelector === undefined) {
      say(at, ': has neither a selector nor an ipBlock');
      continue;
    }
    const fault = faultAt('podSelector', podSelector) ?? faultAt('namespaceSelector', namespaceSelector);
    if (fault !== undefined) {
      say(`${at}.`, fault);
      continue;
    }
    const selector = peerSelector(namespace, podSelector, namespaceSelector);
    selectors.set(selector.key, selector);
  }
  return { selectors: [...selectors.values()], blocks: { 4: joinRanges(blocks[4]), 6: joinRanges(blocks[6]) } };
}

function faultAt(name: string, selector: LabelSelector | undefined): string | undefined {
  const fault = selector && selectorFault(selector);
  return fault && `${name}.${fault}`;
}

function peerSelector(
  namespace: string,
  podSelector: LabelSelector | undefined,
  namespaceSelector: LabelSelector | undefined,
): PeerSelector {
  const pods = podSelector ?? everything;
  if (namespaceSelector === undefined) {
    const key = `${JSON.stringify(namespace)} ${selectorText(pods)}`;
    return { key, namespaces: { name: namespace }, pods, words: `pods ${selectorWords(pods)} of ${namespace}` };
  }
  return {
    key: `${selectorText(namespaceSelector)} ${selectorText(pods)}`,
    namespaces: { selector: namespaceSelector },
    pods,
    words: `pods ${selectorWords(pods)} of namespaces ${selectorWords(namespaceSelector)}`,
  };
}

function compilePorts(ports: readonly NetworkPolicyPort[], say: Say): CompiledPorts {
  const ranges: PortRange[] = [];
  const names = new Map<string, PortName>();
  for (const [index, { protocol: protocolText = 'TCP', port, endPort }] of ports.entries()) {
    const at = `ports[${index}]`;
    const protocol = policyProtocols.find((known) => known === protocolText);
    if (protocol === undefined) say(`${at}.protocol: `, `${shown(protocolText)} is not TCP, UDP or SCTP`);
    else if (port === undefined) {
      if (endPort === undefined) ranges.push({ protocol, first: 0, last: 65_535 });
      else say(`${at}.endPort: `, 'there is no port for it to be the end of');
    } else if (typeof port === 'string') {
      if (endPort !== undefined) say(`${at}.endPort: `, `port ${shown(port)} is a name, which has no range`);
      else if (port === '') say(`${at}.port: `, 'is empty');
      else names.set(`${protocol} ${port}`, { protocol, name: port });
    } else if (!isPort(port)) say(`${at}.port: `, `${port} is not between 1 and 65535`);
    else if (endPort !== undefined && !isPort(endPort)) say(`${at}.endPort: `, `${endPort} is not between 1 and 65535`);
    else if (endPort !== undefined && endPort < port) say(`${at}.endPort: `, `${endPort} is below port ${port}`);
    else ranges.push({ protocol, first: port, last: endPort ?? port });
  }
  return { ranges: joinPorts(ranges), names: [...names.values()] };
}

function joinPorts(ranges: readonly PortRange[]): PortRange[] {
  return policyProtocols.flatMap((protocol) => {
    const joined: PortRange[] = [];
    for (const range of ranges.filter((one) => one.protocol === protocol).toSorted((a, b) => a.first - b.first)) {
      const previous = joined.at(-1);
      if (previous === undefined || range.first > previous.last + 1) joined.push(range);
      else if (range.last > previous.last) joined[joined.length - 1] = { ...previous, last: range.last };
    }
    return joined;
  });
}

const isPort = (port: number): boolean => port >= 1 && port <= 65_535;
const shown = (text: string): string => JSON.stringify(text.slice(0, 40));
