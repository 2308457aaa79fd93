/**
 * Which selectors select which labels, found without looking at all of either: both are filed by label pairs.
 * Layer: agent/standalone (pure). Source of the rule: apimachinery's labels.Set selectors (every pair must be there);
 * namespaces are worlds of their own.
 */

export type Labels = Readonly<Record<string, string>>;

/** Whether every pair of the selector is among the labels. An empty selector selects nothing, as a Service's does. */
export function selects(selector: Labels, labels: Labels): boolean {
  const pairs = Object.entries(selector);
  return pairs.length > 0 && pairs.every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
}

/** Owners filed under texts. */
class Filing {
  readonly #owners = new Map<string, Set<string>>();

  add(text: string, owner: string): void {
    const owners = this.#owners.get(text) ?? new Set();
    owners.add(owner);
    this.#owners.set(text, owners);
  }

  remove(text: string, owner: string): void {
    const owners = this.#owners.get(text);
    owners?.delete(owner);
    if (owners?.size === 0) this.#owners.delete(text);
  }

  get(text: string): ReadonlySet<string> {
    return this.#owners.get(text) ?? none;
  }
}

const none: ReadonlySet<string> = new Set();

interface Filed {
  namespace: string;
  labels: Labels;
}

/** A selector is filed under its first pair only, labels under each: whoever matches shares that one. */
export class LabelIndex {
  readonly #selectors = new Map<string, Filed>();
  readonly #labelled = new Map<string, Filed>();
  readonly #selectorFiling = new Filing();
  readonly #labelFiling = new Filing();

  setSelector(owner: string, namespace: string, selector: Labels): void {
    this.deleteSelector(owner);
    const [first] = pairsOf(namespace, selector);
    if (first === undefined) return;
    this.#selectors.set(owner, { namespace, labels: selector });
    this.#selectorFiling.add(first, owner);
  }

  deleteSelector(owner: string): void {
    const filed = this.#selectors.get(owner);
    if (filed === undefined) return;
    this.#selectors.delete(owner);
    const [first] = pairsOf(filed.namespace, filed.labels);
    if (first !== undefined) this.#selectorFiling.remove(first, owner);
  }

  setLabels(owner: string, namespace: string, labels: Labels): void {
    this.deleteLabels(owner);
    this.#labelled.set(owner, { namespace, labels });
    for (const pair of pairsOf(namespace, labels)) this.#labelFiling.add(pair, owner);
  }

  deleteLabels(owner: string): void {
    const filed = this.#labelled.get(owner);
    if (filed === undefined) return;
    this.#labelled.delete(owner);
    for (const pair of pairsOf(filed.namespace, filed.labels)) this.#labelFiling.remove(pair, owner);
  }

  /** Owners of the labels that the selector of `owner` selects. */
  selectedBy(owner: string): string[] {
    const filed = this.#selectors.get(owner);
    if (filed === undefined) return [];
    const [first = ''] = pairsOf(filed.namespace, filed.labels);
    return [...this.#labelFiling.get(first)].filter((other) =>
      selects(filed.labels, this.#labelled.get(other)?.labels ?? {}),
    );
  }

  /** Owners of the selectors that select the labels of `owner`. */
  selectorsOf(owner: string): string[] {
    const filed = this.#labelled.get(owner);
    if (filed === undefined) return [];
    const found: string[] = [];
    for (const pair of pairsOf(filed.namespace, filed.labels)) {
      for (const other of this.#selectorFiling.get(pair)) {
        if (selects(this.#selectors.get(other)?.labels ?? {}, filed.labels)) found.push(other);
      }
    }
    return found;
  }
}

/** Namespaces, keys and values hold neither line feeds nor equals signs. */
function pairsOf(namespace: string, labels: Labels): string[] {
  return Object.entries(labels).map(([key, value]) => `${namespace}\n${key}=${value}`);
}
