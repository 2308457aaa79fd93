/** Label selectors as the API server understands them. */
import test from 'ava';
import type { LabelSelector } from '../../api/core.ts';
import { matchesLabelSelector } from './label-selector.ts';

const labels = { app: 'web', tier: 'front' };
const expression = (operator: string, values: string[] = [], key = 'app'): LabelSelector => ({
  matchExpressions: [{ key, operator, values }],
});

for (const [what, selector, expected] of [
  ['the empty one', {}, true],
  ['a label', { matchLabels: { app: 'web' } }, true],
  ['another value', { matchLabels: { app: 'db' } }, false],
  ['both halves', { matchLabels: { app: 'web' }, ...expression('Exists', undefined, 'zone') }, false],
  ['In', expression('In', ['db', 'web']), true],
  ['In nothing', expression('In'), false],
  ['NotIn', expression('NotIn', ['web']), false],
  ['NotIn of a label that is not there', expression('NotIn', ['x'], 'zone'), true],
  ['Exists', expression('Exists'), true],
  ['DoesNotExist', expression('DoesNotExist', undefined, 'zone'), true],
  ['an operator that there is not', expression('Gt', ['1']), false],
  ['a name that every object has', { matchLabels: { constructor: 'x' } }, false],
] as const satisfies [string, LabelSelector, boolean][]) {
  test(`a selector takes the labels or not: ${what}`, (t) => t.is(matchesLabelSelector(selector, labels), expected));
}
