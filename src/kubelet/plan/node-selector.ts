/**
 * Whether a node fits what a pod demands of it: nodeSelector and required node affinity, and whether it bears its taints.
 * Layer: kubelet/plan (pure). Source: component-helpers/scheduling/corev1 (nodeaffinity, helpers.go),
 * api/core/v1/toleration.go. An operator that does not exist matches nothing.
 */
import type { NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod } from '../../api/core.ts';
import type { Taint } from '../../api/node.ts';

type Labels = Readonly<Record<string, string>>;

export function matchesNode(pod: Pod, nodeName: string, labels: Labels): boolean {
  const required = pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const selected = Object.entries(pod.spec.nodeSelector ?? {}).every(([key, value]) => labelOf(labels, key) === value);
  if (!selected || required === undefined) return selected;
  return matchesNodeSelector(required, nodeName, labels);
}

export function matchesNodeSelector(selector: NodeSelector, nodeName: string, labels: Labels): boolean {
  return selector.nodeSelectorTerms.some((term) => matchesTerm(term, nodeName, labels));
}

function matchesTerm(term: NodeSelectorTerm, nodeName: string, labels: Labels): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  if (matchExpressions.length === 0 && matchFields.length === 0) return false;
  return (
    matchExpressions.every((requirement) => matches(requirement, labelOf(labels, requirement.key))) &&
    matchFields.every((requirement) => requirement.key === 'metadata.name' && matches(requirement, nodeName))
  );
}

function matches({ operator, values }: NodeSelectorRequirement, value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
    case 'Lt': {
      const [have, bound] = [wholeNumber(value), wholeNumber(values[0])];
      if (have === undefined || bound === undefined) return false;
      return operator === 'Gt' ? have > bound : have < bound;
    }
    default:
      return false;
  }
}

/** Keys come from objects: `constructor` is a label like any other. */
const labelOf = (labels: Labels, key: string): string | undefined =>
  Object.hasOwn(labels, key) ? labels[key] : undefined;

const wholeNumber = (text: string | undefined): bigint | undefined =>
  text !== undefined && /^[+-]?\d{1,19}$/.test(text) ? BigInt(text) : undefined;

/** The first taint with `effect` that no toleration of the pod covers. */
export function untoleratedTaint(pod: Pod, taints: readonly Taint[], effect: Taint['effect']): Taint | undefined {
  const tolerations = pod.spec.tolerations ?? [];
  return taints
    .filter((taint) => taint.effect === effect)
    .find((taint) => !tolerations.some((toleration) => tolerates(toleration, taint)));
}

function tolerates(toleration: NonNullable<Pod['spec']['tolerations']>[number], taint: Taint): boolean {
  const { key = '', operator = 'Equal', value = '', effect = '' } = toleration;
  if (effect !== '' && effect !== taint.effect) return false;
  if (key !== '' && key !== taint.key) return false;
  if (operator === 'Exists') return true;
  return (operator === 'Equal' || operator === '') && value === (taint.value ?? '') && key !== '';
}
