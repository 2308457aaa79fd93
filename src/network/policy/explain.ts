/**
 * Which rule allows a connection, or which policies deny it, in words: `keelson policy explain`.
 * Layer: network/policy (pure). Judges by labels and addresses as the API server tells them, not by the table: both ends
 * may be pods of any node.
 */

import { AddressFormatError, parseIp } from '../../linux/ip-bytes.ts';
import { familyOf } from '../ipam/ip-prefix.ts';
import type { ClusterPods } from './cluster-pods.ts';
import type { CompiledPolicy, CompiledRule, Direction } from './compile.ts';
import { addressNumber, isInRanges } from './ip-block.ts';
import { selects } from './labels.ts';
import { PolicyError } from './policy-error.ts';
import { type PolicyPod, type PolicyProtocol, policyProtocols } from './policy-pod.ts';

export interface FlowQuestion {
  /** `namespace/pod` or an address. */
  from: string;
  to: string;
  /** 1 to 65535, or the name of a port of `to`. */
  port: string;
  /** Default TCP. */
  protocol?: string;
}

export interface DirectionExplanation {
  verdict: 'allowed' | 'denied';
  /** Policies that isolate the pod in this direction, `namespace/name`. */
  isolatedBy: string[];
  /** Of all policies that allow it: `namespace/name ingress[0]`. */
  allowedBy: string[];
  text: string;
}

export interface Explanation {
  verdict: 'allowed' | 'denied';
  from: string;
  to: string;
  port: string;
  /** Of `from`; absent when nothing can isolate it. */
  egress?: DirectionExplanation;
  /** Of `to`. */
  ingress?: DirectionExplanation;
  notes: string[];
}

export interface PolicyView {
  readonly cluster: Pick<ClusterPods, 'pod' | 'pods' | 'labelsOf'>;
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
}

interface End {
  words: string;
  pod: PolicyPod | undefined;
  ips: readonly string[];
}

interface Flow {
  from: End;
  to: End;
  protocol: PolicyProtocol;
  port: number;
}

/** @throws PolicyError NETWORK_POLICY_QUESTION */
export function explain(view: PolicyView, question: FlowQuestion): Explanation {
  const from = endOf(view, question.from, 'FROM');
  const to = endOf(view, question.to, 'TO');
  const family = pickFamily(from, to);
  const protocol = protocolOf(question.protocol ?? 'TCP');
  const port = portOf(question.port, protocol, to);
  const flow = { from: inFamily(from, family), to: inFamily(to, family), protocol, port };
  const common = { from: from.words, to: to.words, port: `${port}/${protocol}` };
  if (from.pod !== undefined && from.pod === to.pod)
    return { verdict: 'allowed', ...common, notes: ['a pod may always talk to itself'] };
  const egress = from.pod && explainDirection(view, flow, 'egress', from.pod);
  const ingress = to.pod && explainDirection(view, flow, 'ingress', to.pod);
  const isAllowed = [egress, ingress].every((one) => one?.verdict !== 'denied');
  const notes: string[] = [];
  for (const end of [from, to])
    if (end.pod === undefined) notes.push(`no policy isolates ${end.words}: it is no pod of the pod network`);
  if (isAllowed) notes.push('replies are allowed with it');
  else if (ingress?.verdict === 'denied')
    notes.push('what the own node of the pod sends, probes for one, is always allowed');
  return {
    verdict: isAllowed ? 'allowed' : 'denied',
    ...common,
    ...(egress && { egress }),
    ...(ingress && { ingress }),
    notes,
  };
}

/** In lines, for people. */
export function explanationText({ verdict, from, to, port, egress, ingress, notes }: Explanation): string {
  const lines = [`${verdict.toUpperCase()}: ${from} to ${to} port ${port}`];
  for (const side of [egress, ingress]) if (side !== undefined) lines.push(`  ${side.text}`);
  for (const note of notes) lines.push(`  note: ${note}`);
  return `${lines.join('\n')}\n`;
}

/** @param pod that the direction is seen from */
function explainDirection(view: PolicyView, flow: Flow, direction: Direction, pod: PolicyPod): DirectionExplanation {
  const isolating = Array.from(view.policies.values())
    .filter(
      ({ namespace, podSelector, rules }) =>
        namespace === pod.namespace && rules[direction] !== undefined && selects(podSelector, pod.labels),
    )
    .toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const allowedBy = isolating.flatMap(({ key, rules }) =>
    (rules[direction] ?? [])
      .filter((rule) => allows(view, rule, flow, direction))
      .map(({ index }) => `${key} ${direction}[${index}]`),
  );
  const isolatedBy = isolating.map(({ key }) => key);
  const name = `${pod.namespace}/${pod.name}`;
  if (isolating.length === 0)
    return { verdict: 'allowed', isolatedBy, allowedBy, text: `${direction} of ${name}: no policy isolates it` };
  const verdict = allowedBy.length > 0 ? 'allowed' : 'denied';
  const text =
    allowedBy.length > 0
      ? `${direction} of ${name}: allowed by NetworkPolicy ${allowedBy.join(', ')}`
      : `${direction} of ${name}: denied, since none of these allows it: NetworkPolicy ${isolatedBy.join(', ')}`;
  return { verdict, isolatedBy, allowedBy, text };
}

function allows(view: PolicyView, { peers, ports }: CompiledRule, flow: Flow, direction: Direction): boolean {
  const { protocol, port, to } = flow;
  const peer = direction === 'ingress' ? flow.from : to;
  const isPort =
    ports === undefined ||
    ports.ranges.some((range) => range.protocol === protocol && range.first <= port && port <= range.last) ||
    ports.names.some(
      (named) =>
        named.protocol === protocol &&
        (to.pod?.ports ?? []).some((one) => one.name === named.name && one.protocol === protocol && one.port === port),
    );
  if (!isPort) return false;
  if (peers === undefined) return true;
  const { pod } = peer;
  const isSelected =
    pod !== undefined &&
    peers.selectors.some(({ namespaces, pods }) => {
      if (!selects(pods, pod.labels)) return false;
      if ('name' in namespaces) return namespaces.name === pod.namespace;
      const labels = view.cluster.labelsOf(pod.namespace);
      return labels !== undefined && selects(namespaces.selector, labels);
    });
  return isSelected || peer.ips.some((ip) => isInRanges(peers.blocks[familyOf(ip)], addressNumber(parseIp(ip))));
}

function endOf({ cluster }: PolicyView, text: string, what: string): End {
  if (text.includes('/')) {
    const pod = cluster.pod(text);
    if (pod !== undefined) return { words: `pod ${text}`, pod, ips: pod.ips };
    throw wrong(
      what,
      text,
      'is no pod that network policies know',
      'name a running pod as namespace/name, or an address',
    );
  }
  try {
    parseIp(text);
  } catch (cause) {
    if (!(cause instanceof AddressFormatError)) throw cause;
    throw wrong(
      what,
      text,
      'is neither namespace/pod nor an address',
      'write it like default/web-0 or 10.244.1.7',
      cause,
    );
  }
  for (const pod of cluster.pods())
    if (pod.ips.includes(text)) return { words: `pod ${pod.namespace}/${pod.name} (${text})`, pod, ips: [text] };
  return { words: text, pod: undefined, ips: [text] };
}

/** One in which both have an address; undefined when an end has none yet. */
function pickFamily(from: End, to: End): 4 | 6 | undefined {
  const families = (end: End): Set<4 | 6> => new Set(end.ips.map(familyOf));
  const [of, others] = [families(from), families(to)];
  if (of.size === 0) return [...others][0];
  if (others.size === 0) return [...of][0];
  const common = [...of].find((family) => others.has(family));
  if (common !== undefined) return common;
  throw wrong('TO', to.words, `has no address of a family that ${from.words} has`, 'name addresses of one family');
}

const inFamily = (end: End, family: 4 | 6 | undefined): End => ({
  ...end,
  ips: end.ips.filter((ip) => familyOf(ip) === family).slice(0, 1),
});

function protocolOf(text: string): PolicyProtocol {
  const protocol = policyProtocols.find((known) => known === text.toUpperCase());
  if (protocol !== undefined) return protocol;
  throw wrong('protocol', text, 'is not TCP, UDP or SCTP', 'write the port like 53/UDP');
}

function portOf(text: string, protocol: PolicyProtocol, to: End): number {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : undefined;
  const port = number ?? to.pod?.ports.find((one) => one.name === text && one.protocol === protocol)?.port;
  if (port !== undefined && port >= 1 && port <= 65_535) return port;
  throw wrong('PORT', text, `is no port between 1 and 65535 and no ${protocol} port of ${to.words}`, 'give a number');
}

function wrong(what: string, text: string, message: string, fix: string, cause?: unknown): PolicyError {
  const object = `${what} ${JSON.stringify(text.slice(0, 80))}`;
  return new PolicyError('NETWORK_POLICY_QUESTION', message, { object, fix, cause });
}
