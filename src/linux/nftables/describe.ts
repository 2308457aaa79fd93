/**
 * Operations as nft(8) would be told them: for plans, logs, errors and tests.
 * Layer: linux (pure). What nft has words for is said in them; elements of a set whose declaration is not at hand are
 * hexadecimal. Rule texts are describe-rule.ts's.
 */
import { describeRule, describeVerdict, quote } from './describe-rule.ts';
import { formatFields, isTypeof } from './fields.ts';
import type { Chain, Element, Elements, InTable, NftablesOperation, NftSet } from './types.ts';
import { elementCount, isPacked } from './types.ts';

/** The declaration of a set, where the caller knows it, so that its elements become readable. */
export type SetOf = (where: InTable & { set: string }) => NftSet | undefined;

const shownElements = 8;

/** One line. */
export function describe(operation: NftablesOperation, setOf: SetOf = () => undefined): string {
  switch (operation.op) {
    case 'tableAdd': {
      const { family, name, comment } = operation.table;
      return `${verb(operation)} table ${family} ${name}${comment === undefined ? '' : ` { comment ${quote(comment)}; }`}`;
    }
    case 'tableDelete':
      return `delete table ${operation.table.family} ${operation.table.name}`;
    case 'chainAdd':
      return `${verb(operation)} chain ${at(operation.chain)} ${operation.chain.name}${chainBody(operation.chain)}`;
    case 'chainDelete':
      return `delete chain ${at(operation)} ${operation.name}`;
    case 'ruleAdd': {
      const { rule, position } = operation;
      const where =
        position === undefined || position === 'first'
          ? ''
          : ` position ${'after' in position ? position.after : position.before}`;
      const word = position === undefined || (position !== 'first' && 'after' in position) ? 'add' : 'insert';
      return `${word} rule ${at(rule)} ${rule.chain}${where} ${describeRule(rule)}`;
    }
    case 'ruleReplace':
      return `replace rule ${at(operation.rule)} ${operation.rule.chain} handle ${operation.handle} ${describeRule(operation.rule)}`;
    case 'ruleDelete':
      return `delete rule ${at(operation)} ${operation.chain} handle ${operation.handle}`;
    case 'ruleFlush':
      return `flush chain ${at(operation)} ${operation.chain}`;
    case 'setAdd': {
      const kind = operation.set.data === undefined ? 'set' : 'map';
      return `${verb(operation)} ${kind} ${at(operation.set)} ${operation.set.name} { ${setBody(operation.set)} }`;
    }
    case 'setDelete':
      return `delete set ${at(operation)} ${operation.name}`;
    case 'elementsAdd':
      return `${verb(operation)} element ${at(operation)} ${operation.set} ${elementsText(operation.elements, setOf(operation), true)}`;
    case 'elementsDelete':
      return `delete element ${at(operation)} ${operation.set} ${elementsText(operation.elements, setOf(operation), false)}`;
    case 'setFlush':
      return `flush set ${at(operation)} ${operation.set}`;
  }
}

const at = (where: InTable): string => `${where.family} ${where.table}`;
const verb = (operation: { exclusive?: boolean }): string => (operation.exclusive ? 'create' : 'add');

function chainBody({ base, comment }: Chain): string {
  const parts: string[] = [];
  if (base !== undefined) parts.push(`type ${base.type} hook ${base.hook} priority ${base.priority};`);
  if (base?.policy !== undefined) parts.push(`policy ${base.policy};`);
  if (comment !== undefined) parts.push(`comment ${quote(comment)};`);
  return parts.length === 0 ? '' : ` { ${parts.join(' ')} }`;
}

function setBody(set: NftSet): string {
  const [first] = set.key;
  const word = first !== undefined && isTypeof(first) ? 'typeof' : 'type';
  const data = set.data === undefined ? '' : ` : ${set.data === 'verdict' ? 'verdict' : set.data.join(' . ')}`;
  const flags = (['constant', 'interval', 'timeout', 'dynamic'] as const).filter((flag) => set[flag]);
  const parts = [`${word} ${set.key.join(' . ')}${data};`];
  if (set.size !== undefined) parts.push(`size ${set.size};`);
  if (flags.length > 0) parts.push(`flags ${flags.join(',')};`);
  if (set.timeoutMs !== undefined) parts.push(`timeout ${set.timeoutMs}ms;`);
  if (set.gcIntervalMs !== undefined) parts.push(`gc-interval ${set.gcIntervalMs}ms;`);
  if (set.comment !== undefined) parts.push(`comment ${quote(set.comment)};`);
  return parts.join(' ');
}

function elementsText(elements: Elements, set: NftSet | undefined, withData: boolean): string {
  const count = elementCount(elements);
  const shown: string[] = [];
  for (let index = 0; index < Math.min(count, shownElements); index++)
    shown.push(elementText(elementAt(elements, index), set, withData));
  const more = count > shownElements ? `, ... ${count - shownElements} more` : '';
  return `{ ${shown.join(', ')}${more} }`;
}

/** One of them as an object, packed or not. @throws RangeError beyond the end */
export function elementAt(elements: Elements, index: number): Element {
  if (!isPacked(elements)) {
    const element = elements[index];
    if (element === undefined) throw new RangeError(`no element ${index}`);
    return element;
  }
  const { keyBytes, dataBytes, count } = elements;
  if (index >= count) throw new RangeError(`no element ${index}`);
  const key = elements.keys.subarray(index * keyBytes, (index + 1) * keyBytes);
  if (dataBytes === 0) return { key };
  return { key, data: elements.data.subarray(index * dataBytes, (index + 1) * dataBytes) };
}

function elementText(element: Element, set: NftSet | undefined, withData: boolean): string {
  const key = formatFields(set?.key ?? [], element.key);
  const end = element.keyEnd === undefined ? '' : `-${formatFields(set?.key ?? [], element.keyEnd)}`;
  const timeout = withData && element.timeoutMs !== undefined ? ` timeout ${element.timeoutMs}ms` : '';
  const comment = withData && element.comment !== undefined ? ` comment ${quote(element.comment)}` : '';
  const interval = element.intervalEnd ? ' (end)' : '';
  const { data } = element;
  let value = '';
  if (withData && data !== undefined) {
    const fields = set?.data === undefined || set.data === 'verdict' ? [] : set.data;
    value = ` : ${data instanceof Uint8Array ? formatFields(fields, data) : describeVerdict(data)}`;
  }
  return `${key}${end}${interval}${timeout}${comment}${value}`;
}
