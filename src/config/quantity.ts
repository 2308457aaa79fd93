/**
 * Kubernetes resource quantities (`100m`, `1.5Gi`, `12e6`): parsing, exact value, canonical text.
 * Layer: config (pure). The rules are apimachinery's pkg/api/resource (quantity.go, suffix.go): nothing is finer than
 * a billionth and what is finer is rounded away from zero, so a bigint of billionths holds every quantity exactly.
 */

import { KeelsonError } from '../observe/keelson-error.ts';

/** A text that is no quantity. Code CONFIG_QUANTITY. */
export class QuantityError extends KeelsonError {
  constructor(text: string, reason: string) {
    super('CONFIG_QUANTITY', `${JSON.stringify(text)} is not a quantity: ${reason}`, {
      fix: 'write a number with an optional suffix, such as 250m, 2, 128Mi or 1G',
    });
  }
}

export type QuantityFormat = 'DecimalSI' | 'BinarySI' | 'DecimalExponent';

/** An exact amount and the family of suffixes in which it prints. */
export interface Quantity {
  /** The amount in billionths (10^-9), exact. */
  readonly nanos: bigint;
  readonly format: QuantityFormat;
}

const nano = 1_000_000_000n;
const maxWhole = 2n ** 63n - 1n;
// Quantities are short; the bounds keep bigint work small on hostile input. 10^100 is far beyond any resource.
const maxLength = 256;
const maxExponent = 100;

const decimalSuffixes = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const binarySuffixes = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const shape = /^([+-]?)(\d*)(?:\.(\d*))?([a-zA-Z]*)([+-]?\d*)$/;

interface Scale {
  readonly format: QuantityFormat;
  readonly base: 2 | 10;
  readonly exponent: number;
}

function scaleOf(suffix: string): Scale | undefined {
  const decimal = decimalSuffixes.indexOf(suffix);
  if (decimal >= 0) return { format: 'DecimalSI', base: 10, exponent: (decimal - 3) * 3 };
  const binary = binarySuffixes.indexOf(suffix);
  if (binary > 0) return { format: 'BinarySI', base: 2, exponent: binary * 10 };
  const exponent = /^[eE]([+-]?\d+)$/.exec(suffix)?.[1];
  return exponent === undefined ? undefined : { format: 'DecimalExponent', base: 10, exponent: Number(exponent) };
}

function divideAwayFromZero(value: bigint, divisor: bigint): bigint {
  const quotient = value / divisor;
  if (value % divisor === 0n) return quotient;
  return value < 0n ? quotient - 1n : quotient + 1n;
}

/**
 * Reads a quantity: a signed decimal number and one of n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or a decimal exponent.
 * Binary amounts above 2^63-1 are capped, as apimachinery caps them. Throws QuantityError.
 */
export function parseQuantity(text: string): Quantity {
  if (text.length > maxLength) throw new QuantityError(`${text.slice(0, 32)}...`, 'it is too long');
  const match = shape.exec(text);
  if (match === null) throw new QuantityError(text, text === '' ? 'it is empty' : 'it is not a number with a suffix');
  const [, sign = '', whole = '', fraction = '', letters = '', digits = ''] = match;
  // apimachinery takes a bare sign or a lone suffix for zero; nobody means that.
  if (whole === '' && fraction === '') throw new QuantityError(text, 'the number is missing');
  const suffix = letters + digits;
  const scale = scaleOf(suffix);
  if (scale === undefined) throw new QuantityError(text, `unknown suffix ${JSON.stringify(suffix)}`);
  if (Math.abs(scale.exponent) > maxExponent) throw new QuantityError(text, `the exponent exceeds ${maxExponent}`);

  let value = BigInt(whole + fraction) * nano;
  let divisor = 10n ** BigInt(fraction.length);
  if (scale.base === 2) value *= 2n ** BigInt(scale.exponent);
  else if (scale.exponent >= 0) value *= 10n ** BigInt(scale.exponent);
  else divisor *= 10n ** BigInt(-scale.exponent);
  let nanos = divideAwayFromZero(value, divisor);
  if (scale.format === 'BinarySI' && nanos > maxWhole * nano) nanos = maxWhole * nano;
  return { nanos: sign === '-' ? -nanos : nanos, format: scale.format };
}

/**
 * The canonical text: no fraction and the largest suffix that keeps it so (`1.5` -> `1500m`, `1.5Gi` -> `1536Mi`).
 * Binary amounts below 1024 or with a fraction print in decimal form, as in apimachinery.
 */
export function formatQuantity(quantity: Quantity): string {
  const { nanos } = quantity;
  if (nanos === 0n) return '0';
  const magnitude = nanos < 0n ? -nanos : nanos;
  if (quantity.format === 'BinarySI' && magnitude >= 1024n * nano && nanos % nano === 0n) {
    let mantissa = nanos / nano;
    let step = 0;
    while (mantissa % 1024n === 0n && step < binarySuffixes.length - 1) {
      mantissa /= 1024n;
      step++;
    }
    return `${mantissa}${binarySuffixes[step] ?? ''}`;
  }
  let mantissa = nanos;
  let step = 0;
  // SI suffixes end at E; an exponent has no end.
  const lastStep = quantity.format === 'DecimalExponent' ? Number.POSITIVE_INFINITY : decimalSuffixes.length - 1;
  while (mantissa % 1000n === 0n && step < lastStep) {
    mantissa /= 1000n;
    step++;
  }
  if (quantity.format !== 'DecimalExponent') return `${mantissa}${decimalSuffixes[step] ?? ''}`;
  return step === 3 ? `${mantissa}` : `${mantissa}e${(step - 3) * 3}`;
}

/** The whole number of units (bytes, pods, ...), rounded away from zero as Quantity.Value() does. */
export function quantityToUnits(quantity: Quantity): bigint {
  return divideAwayFromZero(quantity.nanos, nano);
}

/** Bytes, rounded up; the same number as quantityToUnits, named for what memory and storage mean by it. */
export function quantityToBytes(quantity: Quantity): bigint {
  return quantityToUnits(quantity);
}

/** Thousandths (millicores of CPU), rounded away from zero as Quantity.MilliValue() does. */
export function quantityToMillis(quantity: Quantity): bigint {
  return divideAwayFromZero(quantity.nanos, 1_000_000n);
}

/** -1, 0 or 1 as `a` is less than, equal to or greater than `b`. */
export function compareQuantities(a: Quantity, b: Quantity): -1 | 0 | 1 {
  if (a.nanos === b.nanos) return 0;
  return a.nanos < b.nanos ? -1 : 1;
}
