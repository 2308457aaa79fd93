/**
 * The error of the config domain: every problem of one file or command line, found in one pass and reported together.
 * Layer: config (pure). Must not print, read files or exit; src/cli prints `lines`, one problem each.
 * Codes are stable and listed here so that docs/errors.md can be compared with them.
 */

import { KeelsonError } from '../observe/keelson-error.ts';

/** Every code that a ConfigError or one of its problems can carry. */
export const configErrorCodes = [
  'CONFIG_INVALID',
  'CONFIG_SYNTAX',
  'CONFIG_TOO_LARGE',
  'CONFIG_KIND',
  'CONFIG_UNKNOWN_FIELD',
  'CONFIG_TYPE',
  'CONFIG_VALUE',
  'CONFIG_UNSUPPORTED',
  'CONFIG_FLAG',
  'CONFIG_DURATION',
  'CONFIG_QUANTITY',
  'CONFIG_IMAGE_REFERENCE',
] as const;

export type ConfigErrorCode = (typeof configErrorCodes)[number];

/** One thing that is wrong, with where it stands and what to do. */
export interface ConfigProblem {
  readonly code: ConfigErrorCode;
  /** The file's name, absent for command-line flags. */
  readonly file?: string;
  /** 1-based; present with `file` whenever a place in it is known. */
  readonly line?: number;
  /** 1-based, in UTF-16 units. */
  readonly column?: number;
  /** `authentication.webhook.cacheTTL`, `registerWithTaints[0].effect` or `--pod-cidr`. */
  readonly field?: string;
  readonly message: string;
  /** One imperative sentence without a full stop. */
  readonly fix?: string;
}

/** `file:line:column: field: message (fix)`, always a single line. */
export function problemLine(problem: ConfigProblem): string {
  const place = [problem.file, problem.line, problem.column].filter((part) => part !== undefined).join(':');
  const subject = [place, problem.field].filter((part) => part !== undefined && part !== '').join(': ');
  const remedy = problem.fix === undefined ? '' : ` (${problem.fix})`;
  const line = `${subject === '' ? '' : `${subject}: `}${problem.message}${remedy}`;
  return line.replace(/[\r\n]+/g, ' ');
}

/**
 * One or more problems of the same input. `code` is the problems' code when they share one, else CONFIG_INVALID.
 * The message joins the lines with `; ` for logs; a terminal should print `lines`.
 */
export class ConfigError extends KeelsonError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[], cause?: unknown) {
    const [first] = problems;
    const shared = first !== undefined && problems.every((problem) => problem.code === first.code);
    super(shared ? first.code : 'CONFIG_INVALID', problems.map(problemLine).join('; '), { cause });
    this.problems = problems;
  }

  /** One printable line for each problem, in the order of the input. */
  get lines(): string[] {
    return this.problems.map(problemLine);
  }
}
