/**
 * What NetworkPolicies allow, read from the specification (node-contract section 12, the API's documentation) and nothing
 * else: the reference that packets are compared with.
 * Layer: test. Shares no code with src/; slow and plain on purpose. Objects are as in manifests.
 */
import { BlockList, isIPv6 } from 'node:net';

export interface ModelSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

export interface ModelPeer {
  podSelector?: ModelSelector;
  namespaceSelector?: ModelSelector;
  ipBlock?: { cidr: string; except?: string[] };
}

export interface ModelPort {
  protocol?: string;
  port?: number | string;
  endPort?: number;
}

export interface ModelPolicy {
  metadata: { namespace: string; name: string };
  spec: {
    podSelector: ModelSelector;
    policyTypes?: string[];
    ingress?: { from?: ModelPeer[]; ports?: ModelPort[] }[];
    egress?: { to?: ModelPeer[]; ports?: ModelPort[] }[];
  };
}

export interface ModelPod {
  namespace: string;
  name: string;
  labels: Record<string, string>;
  ips: string[];
  ports: { name: string; protocol: string; port: number }[];
}

export interface ModelCluster {
  /** Labels by name. */
  namespaces: Map<string, Record<string, string>>;
  pods: ModelPod[];
  policies: ModelPolicy[];
}

/** A connection as it is after the Service chose an endpoint. */
export interface ModelFlow {
  from: string;
  to: string;
  protocol: string;
  port: number;
}

/** @param judges the pods whose node is asked: each end is judged where it is */
export function isAllowed(cluster: ModelCluster, flow: ModelFlow, judges: (pod: ModelPod) => boolean): boolean {
  const sender = cluster.pods.find(({ ips }) => ips.includes(flow.from));
  const receiver = cluster.pods.find(({ ips }) => ips.includes(flow.to));
  // A pod cannot block itself.
  if (sender !== undefined && sender === receiver) return true;
  const leaves = sender === undefined || !judges(sender) || mayLeave(cluster, sender, receiver, flow);
  const enters = receiver === undefined || !judges(receiver) || mayEnter(cluster, sender, receiver, flow);
  return leaves && enters;
}

function mayLeave(cluster: ModelCluster, sender: ModelPod, receiver: ModelPod | undefined, flow: ModelFlow): boolean {
  const isolating = cluster.policies.filter((policy) => typesOf(policy).includes('Egress') && isFor(policy, sender));
  if (isolating.length === 0) return true;
  for (const policy of isolating)
    for (const { to, ports } of policy.spec.egress ?? [])
      if (isPeer(cluster, policy, to, receiver, flow.to) && isPort(ports, receiver, flow)) return true;
  return false;
}

function mayEnter(cluster: ModelCluster, sender: ModelPod | undefined, receiver: ModelPod, flow: ModelFlow): boolean {
  const isolating = cluster.policies.filter((policy) => typesOf(policy).includes('Ingress') && isFor(policy, receiver));
  if (isolating.length === 0) return true;
  for (const policy of isolating)
    for (const { from, ports } of policy.spec.ingress ?? [])
      if (isPeer(cluster, policy, from, sender, flow.from) && isPort(ports, receiver, flow)) return true;
  return false;
}

function typesOf({ spec }: ModelPolicy): string[] {
  if (spec.policyTypes !== undefined && spec.policyTypes.length > 0) return spec.policyTypes;
  return (spec.egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
}

const isFor = ({ metadata, spec }: ModelPolicy, pod: ModelPod): boolean =>
  metadata.namespace === pod.namespace && fits(spec.podSelector, pod.labels);

function fits(selector: ModelSelector, labels: Record<string, string>): boolean {
  const wants = Object.entries(selector.matchLabels ?? {});
  if (wants.some(([key, value]) => !Object.hasOwn(labels, key) || labels[key] !== value)) return false;
  return (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const has = Object.hasOwn(labels, key);
    if (operator === 'In') return has && values.includes(labels[key] as string);
    if (operator === 'NotIn') return !has || !values.includes(labels[key] as string);
    return operator === 'Exists' ? has : !has;
  });
}

function isPeer(
  cluster: ModelCluster,
  policy: ModelPolicy,
  peers: ModelPeer[] | undefined,
  pod: ModelPod | undefined,
  address: string,
): boolean {
  if (peers === undefined || peers.length === 0) return true;
  return peers.some(({ ipBlock, podSelector, namespaceSelector }) => {
    if (ipBlock !== undefined)
      return isWithin(address, ipBlock.cidr) && !(ipBlock.except ?? []).some((hole) => isWithin(address, hole));
    if (pod === undefined) return false;
    if (podSelector !== undefined && !fits(podSelector, pod.labels)) return false;
    if (namespaceSelector === undefined) return pod.namespace === policy.metadata.namespace;
    const labels = cluster.namespaces.get(pod.namespace);
    return labels !== undefined && fits(namespaceSelector, labels);
  });
}

function isWithin(address: string, cidr: string): boolean {
  const [network = '', bits] = cidr.split('/');
  if (isIPv6(network) !== isIPv6(address)) return false;
  const list = new BlockList();
  const family = isIPv6(network) ? 'ipv6' : 'ipv4';
  list.addSubnet(network, Number(bits), family);
  return list.check(address, family);
}

function isPort(ports: ModelPort[] | undefined, receiver: ModelPod | undefined, flow: ModelFlow): boolean {
  if (ports === undefined || ports.length === 0) return true;
  return ports.some(({ protocol = 'TCP', port, endPort }) => {
    if (protocol !== flow.protocol) return false;
    if (port === undefined) return true;
    if (typeof port === 'string')
      return (receiver?.ports ?? []).some(
        (one) => one.name === port && one.protocol === protocol && one.port === flow.port,
      );
    return port <= flow.port && flow.port <= (endPort ?? port);
  });
}
