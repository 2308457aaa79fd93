/**
 * From decoded JSON to NetworkPolicy and Namespace.
 * Layer: api (pure). A policy whose spec is of another shape is not left out, which would open what it is to close: it
 * becomes one that allows nothing.
 */
import { errorLine } from '../observe/keelson-error.ts';
import type {
  LabelSelector,
  Namespace,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicyRule,
} from './network-policy.ts';
import { ObjectShapeError, RawObject } from './raw-object.ts';

/** @throws ObjectShapeError when it has no name */
export function projectNetworkPolicy(value: unknown): NetworkPolicy {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  const names = { namespace: metadata.text('namespace') || 'default', name: metadata.requiredText('name') };
  try {
    const spec = raw.object('spec') ?? new RawObject({}, 'spec');
    return {
      ...names,
      podSelector: projectSelector(spec.object('podSelector')) ?? everything,
      policyTypes: spec.texts('policyTypes'),
      ingress: spec.objects('ingress').map((rule) => projectRule(rule, 'from')),
      egress: spec.objects('egress').map((rule) => projectRule(rule, 'to')),
    };
  } catch (error) {
    if (!(error instanceof ObjectShapeError)) throw error;
    const policyTypes = ['Ingress', 'Egress'];
    return { ...names, podSelector: everything, policyTypes, ingress: [], egress: [], unreadable: errorLine(error) };
  }
}

/** @throws ObjectShapeError */
export function projectNamespace(value: unknown): Namespace {
  const metadata = new RawObject(value).object('metadata') ?? new RawObject({}, 'metadata');
  return { name: metadata.requiredText('name'), labels: metadata.textMap('labels') ?? {} };
}

const everything: LabelSelector = { matchLabels: {}, matchExpressions: [] };

function projectRule(rule: RawObject, peers: 'from' | 'to'): NetworkPolicyRule {
  return { ports: rule.objects('ports').map(projectPort), peers: rule.objects(peers).map(projectPeer) };
}

const projectPort = (port: RawObject): NetworkPolicyPort => ({
  protocol: port.text('protocol'),
  port: port.integerOrText('port'),
  endPort: port.integer('endPort'),
});

function projectPeer(peer: RawObject): NetworkPolicyPeer {
  const block = peer.object('ipBlock');
  return {
    podSelector: projectSelector(peer.object('podSelector')),
    namespaceSelector: projectSelector(peer.object('namespaceSelector')),
    ipBlock: block && { cidr: block.text('cidr') ?? '', except: block.texts('except') },
  };
}

function projectSelector(raw: RawObject | undefined): LabelSelector | undefined {
  return (
    raw && {
      matchLabels: raw.textMap('matchLabels') ?? {},
      matchExpressions: raw.objects('matchExpressions').map((expression) => ({
        key: expression.text('key') ?? '',
        operator: expression.text('operator') ?? '',
        values: expression.texts('values'),
      })),
    }
  );
}
