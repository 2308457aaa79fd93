/** What scenarios compare with: each throws an error that shows both sides. Layer: test (lab). Pure. */

/** By value, as JSON. */
export function same(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: ${a}, not ${b}`);
}

/** The text holds the other, or matches the pattern. */
export function sameText(actual: unknown, expected: string | RegExp): void {
  const text = String(actual);
  const holds = typeof expected === 'string' ? text.includes(expected) : expected.test(text);
  if (!holds) throw new Error(`no ${expected} in: ${text.slice(0, 3000)}`);
}
