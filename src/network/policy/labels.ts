/**
 * Label selectors: what they match, a text that is equal for equal ones, and an index that finds those that may match.
 * Layer: network/policy (pure). Source of the rules: apimachinery/pkg/apis/meta/v1/helpers.go (LabelSelectorAsSelector)
 * and pkg/labels/selector.go.
 */
import type { LabelSelector, LabelSelectorRequirement, Labels } from '../../api/network-policy.ts';

/** `Object.hasOwn` throughout: a label may be called `constructor`. */
const labelOf = (labels: Labels, key: string): string | undefined =>
  Object.hasOwn(labels, key) ? labels[key] : undefined;

export function selects({ matchLabels, matchExpressions }: LabelSelector, labels: Labels): boolean {
  for (const key in matchLabels) if (labelOf(labels, key) !== labelOf(matchLabels, key)) return false;
  return matchExpressions.every((requirement) => holds(requirement, labels));
}

/** One with an operator or values that do not fit never holds (see selectorFault). */
function holds({ key, operator, values }: LabelSelectorRequirement, labels: Labels): boolean {
  const value = labelOf(labels, key);
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      // A label that is not there is not in the list either.
      return values.length > 0 && (value === undefined || !values.includes(value));
    case 'Exists':
      return values.length === 0 && value !== undefined;
    case 'DoesNotExist':
      return values.length === 0 && value === undefined;
    default:
      return false;
  }
}

/** Why the selector is none, or undefined. */
export function selectorFault({ matchExpressions }: LabelSelector): string | undefined {
  for (const [index, { operator, values }] of matchExpressions.entries()) {
    const at = `matchExpressions[${index}]`;
    if (!['In', 'NotIn', 'Exists', 'DoesNotExist'].includes(operator))
      return `${at}.operator is ${JSON.stringify(operator.slice(0, 40))}, not In, NotIn, Exists or DoesNotExist`;
    const wantsValues = operator === 'In' || operator === 'NotIn';
    if (wantsValues && values.length === 0) return `${at}.values is empty, but ${operator} needs some`;
    if (!wantsValues && values.length > 0) return `${at}.values has values, but ${operator} takes none`;
  }
  return undefined;
}

/** Equal for selectors that are written differently but say the same with the same words. */
export function selectorText({ matchLabels, matchExpressions }: LabelSelector): string {
  const pairs = Object.entries(matchLabels).map(([key, value]) => JSON.stringify([key, '=', value]));
  const expressions = matchExpressions.map(({ key, operator, values }) =>
    JSON.stringify([key, operator, [...new Set(values)].toSorted()]),
  );
  return `[${[...new Set([...pairs, ...expressions])].toSorted().join()}]`;
}

/** As kubectl writes it. */
export function selectorWords({ matchLabels, matchExpressions }: LabelSelector): string {
  const words = [
    ...Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(({ key, operator, values }) => {
      if (operator === 'Exists') return key;
      if (operator === 'DoesNotExist') return `!${key}`;
      return `${key} ${operator.toLowerCase()} (${values.join(',')})`;
    }),
  ];
  return words.length === 0 ? 'all' : words.join(',');
}

/** Selectors by one label that they demand, so that a set of labels is compared with few of many. */
export class LabelIndex<Item> {
  readonly #items = new Map<string, Map<Item, LabelSelector>>();

  get isEmpty(): boolean {
    return this.#items.size === 0;
  }

  add(item: Item, selector: LabelSelector): void {
    const bucket = bucketOf(selector);
    const items = this.#items.get(bucket) ?? new Map<Item, LabelSelector>();
    this.#items.set(bucket, items.set(item, selector));
  }

  /** @param selector that it was added with */
  delete(item: Item, selector: LabelSelector): void {
    const bucket = bucketOf(selector);
    const items = this.#items.get(bucket);
    if (items?.delete(item) && items.size === 0) this.#items.delete(bucket);
  }

  /** Those whose selector matches, in no particular order. */
  matching(labels: Labels): Item[] {
    const found: Item[] = [];
    const look = (bucket: string): void => {
      for (const [item, selector] of this.#items.get(bucket) ?? []) if (selects(selector, labels)) found.push(item);
    };
    look('');
    if (this.#items.size > 0) for (const key in labels) look(`${key}=${labelOf(labels, key) ?? ''}`);
    return found;
  }
}

function bucketOf({ matchLabels }: LabelSelector): string {
  for (const key in matchLabels) return `${key}=${labelOf(matchLabels, key) ?? ''}`;
  return '';
}
