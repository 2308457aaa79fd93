/**
 * The base of every error that a person may read: a stable code, the object concerned, and the fix.
 * Layer: observe. Domains subclass it (KernelError, CriError, ConfigError, ...); codes are listed in docs/errors.md and a
 * test compares the list. Must not import anything of Keelson's; errors are never matched by their text.
 */

export interface ErrorDetails {
  /** What the error is about: `pod default/web`, `field evictionHard`, `file /etc/x.yaml:3:7`. */
  object?: string;
  /** What the reader should do now, one imperative sentence without a full stop. */
  fix?: string;
  cause?: unknown;
}

export class KeelsonError extends Error {
  /** Upper-case words joined by underscores, e.g. `CONFIG_UNKNOWN_FIELD`; never changes once released. */
  readonly code: string;
  readonly object: string | undefined;
  readonly fix: string | undefined;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.object = details.object;
    this.fix = details.fix;
  }

  /** The one line that a person sees: `object: message (fix)`. */
  toLine(): string {
    const subject = this.object === undefined ? '' : `${this.object}: `;
    const remedy = this.fix === undefined ? '' : ` (${this.fix})`;
    return `${subject}${this.message}${remedy}`;
  }
}

/** One line for any thrown value, never a stack trace; line breaks of a message become spaces. */
export function errorLine(error: unknown): string {
  return messageOf(error)
    .replace(/[\r\n]+\s*/g, ' ')
    .trim();
}

function messageOf(error: unknown): string {
  if (error instanceof KeelsonError) return error.toLine();
  if (error instanceof AggregateError) return error.errors.map(errorLine).join('; ') || error.message;
  if (error instanceof Error) return error.message;
  return String(error);
}
