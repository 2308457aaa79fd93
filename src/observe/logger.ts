/**
 * Structured logs: one JSON line (or one readable line on a terminal) an event, written where the event is handled.
 * Layer: observe. pino does the work; nothing below agent/ creates a root logger, components are handed a child.
 * Must not be used to report an error that is also thrown.
 */
import { pino, stdTimeFunctions } from 'pino';

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** A logger that adds `fields` (component, pod, namespace, ...) to every line. */
  child(fields: object): Logger;
}

/** klog verbosity, as `-v` takes it: 0-2 is info, 3 and more is debug. */
export function createLogger(verbosity: number, format: 'json' | 'text' = 'json'): Logger {
  const level = verbosity >= 3 ? 'debug' : 'info';
  const options = {
    level,
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  // Synchronous writes: the last line before a crash is the one that matters at 3 a.m.
  return format === 'json'
    ? pino(options, pino.destination({ fd: 2, sync: true }))
    : pino(options, { write: writeAsText });
}

/** `2026-01-01T00:00:00.000Z info  message component=pods pod=default/web` */
export function textLine(record: Record<string, unknown>): string {
  const { time, level, msg, ...fields } = record;
  const rest = Object.entries(fields)
    .map(
      ([name, value]) =>
        ` ${name}=${typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)}`,
    )
    .join('');
  // Values come from outside; what could move a terminal's cursor must not reach it.
  return `${`${String(time)} ${String(level).padEnd(5)} ${String(msg)}${rest}`.replace(/\p{Cc}/gu, ' ')}\n`;
}

function writeAsText(line: string): void {
  process.stderr.write(textLine(JSON.parse(line) as Record<string, unknown>));
}

export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
};
