/**
 * The small schema language of configuration files: a schema reads one plain value (from YAML or JSON) into its typed
 * form and reports every problem with the path where it stands.
 * Layer: config (pure). Own code instead of a library: importing zod or zod/mini costs 10 MiB of resident memory
 * (measured, Node 26: 43.0 -> 53.7 and 52.8 MiB), a tenth of the whole daemon's budget, for a few checks.
 * Must not know KubeletConfiguration or files.
 */

import type { ConfigErrorCode } from './config-error.ts';
import { durationFromMs, durationToMs, formatDuration, parseDuration } from './duration.ts';

/** Keys and list indexes from the root of the document. */
export type FieldPath = readonly (string | number)[];

/** What a schema says about a bad value; the reader adds file, line and column. */
export interface SchemaProblem {
  readonly code: ConfigErrorCode;
  readonly message: string;
  readonly fix?: string;
}

export type Report = (at: FieldPath, problem: SchemaProblem) => void;

export interface Schema<T> {
  /** For lists and maps of objects: the keys that an element may have. */
  readonly elementKeys?: readonly string[];
  /**
   * The typed value; undefined when a problem was reported or the value stands for "not set" (an empty choice).
   * Never throws for a bad value.
   */
  read(value: unknown, at: FieldPath, report: Report): T | undefined;
  /** The value as a person would write it; two values are the same when their texts are. */
  print(value: T): string;
  /** The value as a JSON document of the kind has it; the value itself where there is no such function. */
  json?(value: T): unknown;
}

/** The reasons why a text is bad; none when it is good. */
export type TextCheck = (text: string) => readonly string[];

/** The value in a message: JSON, shortened. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function wrongType(at: FieldPath, report: Report, expected: string, value: unknown, fix?: string): undefined {
  const problem = { code: 'CONFIG_TYPE' as const, message: `must be ${expected}, not ${shown(value)}` };
  report(at, fix === undefined ? problem : { ...problem, fix });
  return undefined;
}

/** `true` or `false`. */
export function bool(): Schema<boolean> {
  return {
    read: (value, at, report) =>
      typeof value === 'boolean'
        ? value
        : wrongType(at, report, 'true or false', value, 'write true or false without quotes'),
    print: String,
  };
}

export interface Range {
  /** Inclusive. */
  readonly min?: number;
  /** Inclusive. */
  readonly max?: number;
}

const int32: Range = { min: -(2 ** 31), max: 2 ** 31 - 1 };

function rangeReason(value: number, range: Range, print: (value: number) => string): string | undefined {
  const { min, max } = range;
  if ((min === undefined || value >= min) && (max === undefined || value <= max)) return undefined;
  if (min !== undefined && max !== undefined && max !== int32.max) {
    return `must be between ${print(min)} and ${print(max)}, inclusive, not ${print(value)}`;
  }
  if (min !== undefined && value < min) return `must be ${print(min)} or more, not ${print(value)}`;
  return `must be ${print(max ?? 0)} or less, not ${print(value)}`;
}

/** A whole number, by default within int32. */
export function integer(range: Range = {}): Schema<number> {
  const bounds = { ...int32, ...range };
  return {
    read(value, at, report) {
      if (typeof value !== 'number' || !Number.isInteger(value)) return wrongType(at, report, 'a whole number', value);
      const reason = rangeReason(value, bounds, String);
      if (reason === undefined) return value;
      report(at, { code: 'CONFIG_VALUE', message: reason });
      return undefined;
    },
    print: String,
  };
}

/** A number that may have a fraction, more than `above` and at most `max`. */
export function fraction(limits: { readonly above: number; readonly max: number }): Schema<number> {
  return {
    read(value, at, report) {
      if (typeof value !== 'number') return wrongType(at, report, 'a number', value);
      if (value > limits.above && value <= limits.max) return value;
      const message = `must be more than ${limits.above} and at most ${limits.max}, not ${value}`;
      report(at, { code: 'CONFIG_VALUE', message });
      return undefined;
    },
    print: String,
  };
}

/** A text; the empty one passes unchecked, because Kubernetes reads it as "not set". */
export function text(check?: TextCheck, fix?: string): Schema<string> {
  return {
    read(value, at, report) {
      if (typeof value !== 'string') return wrongType(at, report, 'a string', value, quoteFix(value));
      if (value === '' || check === undefined) return value;
      const reasons = check(value);
      if (reasons.length === 0) return value;
      const problem = { code: 'CONFIG_VALUE' as const, message: `${shown(value)} ${reasons.join('; ')}` };
      report(at, fix === undefined ? problem : { ...problem, fix });
      return undefined;
    },
    print: (value) => value,
  };
}

// YAML reads 10, true and ~ without quotes as something else than a string.
function quoteFix(value: unknown): string | undefined {
  return typeof value === 'number' || typeof value === 'boolean' ? 'put the value in quotes' : undefined;
}

/** One of the given words; the empty text means "not set". */
export function oneOf<const Word extends string>(...words: readonly Word[]): Schema<Word> {
  return {
    read(value, at, report) {
      if (typeof value !== 'string') return wrongType(at, report, 'a string', value, quoteFix(value));
      const word = words.find((candidate) => candidate === value);
      if (word === undefined && value !== '') {
        report(at, { code: 'CONFIG_VALUE', message: `must be one of ${words.join(', ')}, not ${shown(value)}` });
      }
      return word;
    },
    print: (value) => value,
  };
}

/** A Go duration, read to milliseconds (fractions kept); by default not negative. `min` and `max` are milliseconds. */
export function duration(range: Range = {}): Schema<number> {
  const bounds = { min: 0, ...range };
  const print = (value: number) => formatDuration(durationFromMs(value));
  return {
    read(value, at, report) {
      if (typeof value !== 'string') {
        return wrongType(at, report, 'a duration string', value, 'write it with a unit, such as 1m30s or 100ms');
      }
      const read = parsed(value, parseDuration, at, report);
      if (read === undefined) return undefined;
      const milliseconds = durationToMs(read);
      const reason = rangeReason(milliseconds, bounds, print);
      if (reason === undefined) return milliseconds;
      report(at, { code: 'CONFIG_VALUE', message: reason });
      return undefined;
    },
    print,
    json: print,
  };
}

/** The text through a parser that throws KeelsonErrors, which become problems of the same code. */
export function parsed<T>(value: string, parse: (text: string) => T, at: FieldPath, report: Report): T | undefined {
  try {
    return parse(value);
  } catch (error) {
    if (!isParseError(error)) throw error;
    const { code, message, fix } = error;
    report(at, fix === undefined ? { code, message } : { code, message, fix });
    return undefined;
  }
}

interface ParseError {
  readonly code: ConfigErrorCode;
  readonly message: string;
  readonly fix: string | undefined;
}

function isParseError(error: unknown): error is ParseError {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('CONFIG_');
}
