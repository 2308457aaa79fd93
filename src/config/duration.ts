/**
 * Durations as Kubernetes writes them (metav1.Duration): the syntax of Go's time.ParseDuration and Duration.String.
 * Layer: config (pure). Values are whole nanoseconds in a bigint, as in Go, so nothing is rounded on the way;
 * whoever sets a timer converts with durationToMs.
 */

import { KeelsonError } from '../observe/keelson-error.ts';

/** A text that is no Go duration. Code CONFIG_DURATION. */
export class DurationError extends KeelsonError {
  constructor(text: string, reason: string) {
    super('CONFIG_DURATION', `${JSON.stringify(text)} is not a duration: ${reason}`, {
      fix: 'write numbers with units, such as 1m30s or 100ms',
    });
  }
}

const nanosecondsPerUnit: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  // Both micro signs that Go knows: U+00B5 and the Greek letter U+03BC.
  '\u00b5s': 1_000n,
  '\u03bcs': 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

const maxNanoseconds = 2n ** 63n - 1n;
// No duration in int64 needs more characters, and the bound keeps bigint work small on hostile input.
const maxLength = 128;
const component = /(\d*)(?:\.(\d*))?([^\d.]+)/y;

/**
 * Nanoseconds of a Go duration: an optional sign, then numbers with units ns, us, ms, s, m, h; `0` alone needs none.
 * Digits below a nanosecond are cut off, as Go does. Throws DurationError on anything else or beyond int64.
 */
export function parseDuration(text: string): bigint {
  if (text.length > maxLength) throw new DurationError(`${text.slice(0, 32)}...`, 'it is too long');
  const negative = text.startsWith('-');
  const body = negative || text.startsWith('+') ? text.slice(1) : text;
  if (body === '0') return 0n;
  if (body === '') throw new DurationError(text, 'it is empty');
  let total = 0n;
  component.lastIndex = 0;
  while (component.lastIndex < body.length) {
    const match = component.exec(body);
    if (match === null) throw new DurationError(text, 'a unit is missing');
    const [, whole = '', fraction = '', unit = ''] = match;
    if (whole === '' && fraction === '') throw new DurationError(text, 'a number is missing');
    const scale = Object.hasOwn(nanosecondsPerUnit, unit) ? nanosecondsPerUnit[unit] : undefined;
    if (scale === undefined) throw new DurationError(text, `unknown unit ${JSON.stringify(unit)}`);
    total += BigInt(whole === '' ? 0 : whole) * scale;
    if (fraction !== '') total += (BigInt(fraction) * scale) / 10n ** BigInt(fraction.length);
    if (total > maxNanoseconds + (negative ? 1n : 0n)) throw new DurationError(text, 'it exceeds 292 years');
  }
  return negative ? -total : total;
}

/** Milliseconds, with a fraction where the duration has one; exact for every whole number of microseconds up to 285 years. */
export function durationToMs(nanoseconds: bigint): number {
  const micros = nanoseconds / 1_000n;
  return (Number(micros) + Number(nanoseconds % 1_000n) / 1_000) / 1_000;
}

/** The nanoseconds of a number of milliseconds, rounded to a whole one. */
export function durationFromMs(milliseconds: number): bigint {
  return BigInt(Math.round(milliseconds * 1_000)) * 1_000n;
}

function decimal(value: bigint, unit: bigint): string {
  const digits = unit.toString().length - 1;
  const fraction = (value % unit).toString().padStart(digits, '0').replace(/0+$/, '');
  return fraction === '' ? `${value / unit}` : `${value / unit}.${fraction}`;
}

/** The text that Go prints: `1m30s`, `100ms`, `2m0s`, `0s`. parseDuration reads it back to the same value. */
export function formatDuration(nanoseconds: bigint): string {
  if (nanoseconds === 0n) return '0s';
  const sign = nanoseconds < 0n ? '-' : '';
  const value = nanoseconds < 0n ? -nanoseconds : nanoseconds;
  if (value < 1_000n) return `${sign}${value}ns`;
  if (value < 1_000_000n) return `${sign}${decimal(value, 1_000n)}\u00b5s`;
  if (value < 1_000_000_000n) return `${sign}${decimal(value, 1_000_000n)}ms`;
  const minutes = value / 60_000_000_000n;
  const seconds = `${decimal(value % 60_000_000_000n, 1_000_000_000n)}s`;
  if (minutes === 0n) return sign + seconds;
  if (minutes < 60n) return `${sign}${minutes}m${seconds}`;
  return `${sign}${minutes / 60n}h${minutes % 60n}m${seconds}`;
}
