/**
 * Whether labels are what a LabelSelector asks for.
 * Layer: kubelet/plan (pure). Source: LabelSelectorAsSelector in staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/helpers.go.
 */
import type { LabelSelector } from '../../api/core.ts';

/** An empty selector takes everything; a requirement that makes no sense takes nothing. */
export function matchesLabelSelector(
  { matchLabels = {}, matchExpressions = [] }: LabelSelector,
  labels: Readonly<Record<string, string>>,
): boolean {
  const labelOf = (key: string): string | undefined => (Object.hasOwn(labels, key) ? labels[key] : undefined);
  return (
    Object.entries(matchLabels).every(([key, value]) => labelOf(key) === value) &&
    matchExpressions.every(({ key, operator, values }) => {
      const value = labelOf(key);
      switch (operator) {
        case 'In':
          return value !== undefined && values.includes(value);
        case 'NotIn':
          return value === undefined || !values.includes(value);
        case 'Exists':
          return value !== undefined;
        case 'DoesNotExist':
          return value === undefined;
        default:
          return false;
      }
    })
  );
}
