/**
 * The parameters of a query for the node's logs, checked, and what journalctl is told.
 * Layer: kubelet/server (pure). Rules: newNodeLogQuery and validate of pkg/kubelet/kubelet_server_journal.go, getLoggingCmd of
 * kubelet_server_journal_linux.go.
 */
import { HttpStatusError } from '../http-status-error.ts';

export interface LogQuery {
  services: readonly string[];
  /** One at most, below the folder of logs; without options. */
  files: readonly string[];
  sinceTime: Date | undefined;
  untilTime: Date | undefined;
  tailLines: number | undefined;
  /** 0 is this boot, -1 the one before. */
  boot: number | undefined;
  /** A regular expression of journalctl's own (PCRE2). */
  pattern: string | undefined;
  hasOptions: boolean;
}

const maxServices = 4;
const maxServiceLength = 256;
const maxTailLines = 100_000;
const maxPatternLength = 1_000;
/** As the kubelet has it: what unit names may have, without what a shell or a path would read. */
const unitName = /^[\w.:@-]+$/;
const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;

/** @throws HttpStatusError that names each bad parameter: 400 for what cannot be read, 406 for what cannot be asked for */
export function parseLogQuery(parameters: URLSearchParams): LogQuery {
  const problems: string[] = [];
  let status = 406;
  const fail = (name: string, why: string): undefined => void problems.push(`${name}: ${why}`);
  const unreadable = (name: string, why: string): undefined => {
    status = 400;
    return fail(name, why);
  };
  const queries = parameters.getAll('query').filter((text) => text.trim() !== '');
  const files = queries.filter((text) => /[/\\]/.test(text));
  const services = queries.filter((text) => !/[/\\]/.test(text));
  if (files.length + services.length === 0) unreadable('query', 'must not be empty');
  if (files.length > 0 && services.length > 0) fail('query', 'cannot specify a file and service');
  if (files.length > 1) fail('query', 'cannot specify more than one file');
  if (services.length > maxServices) fail('query', `must have at most ${maxServices} services`);
  for (const service of services) {
    if (service.length > maxServiceLength) fail('query', `length must be less than ${maxServiceLength}`);
    // A dash would make an option of it.
    else if (!unitName.test(service) || service.startsWith('-')) fail('query', 'input contains unsupported characters');
  }
  const time = (name: string): Date | undefined => {
    const text = parameters.get(name) ?? '';
    if (text === '') return undefined;
    const parsed = rfc3339.test(text) ? new Date(text) : undefined;
    return parsed === undefined || Number.isNaN(parsed.getTime()) ? unreadable(name, 'invalid time format') : parsed;
  };
  const number = (name: string, min: number, max: number): number | undefined => {
    const text = parameters.get(name) ?? '';
    if (text === '') return undefined;
    if (!/^[+-]?\d{1,9}$/.test(text)) return unreadable(name, 'must be a whole number');
    const value = Number(text);
    return value >= min && value <= max ? value : fail(name, `must be from ${min} to ${max}`);
  };
  const sinceTime = time('sinceTime');
  const untilTime = time('untilTime');
  if (sinceTime !== undefined && untilTime !== undefined && sinceTime > untilTime) {
    fail('untilTime', 'must be after `sinceTime`');
  }
  const tailLines = number('tailLines', 0, maxTailLines);
  const boot = number('boot', -1_000_000, 0);
  const pattern = parameters.get('pattern') || undefined;
  if (pattern !== undefined && (pattern.length > maxPatternLength || pattern.includes('\0'))) {
    fail('pattern', `must have at most ${maxPatternLength} characters`);
  }
  const hasOptions = [sinceTime, untilTime, tailLines, boot, pattern].some((option) => option !== undefined);
  if (files.length > 0 && hasOptions) fail('query', 'cannot specify file with options');
  if (problems.length > 0) throw new HttpStatusError(status, `${problems.join('; ')}\n`);
  return { services, files, sinceTime, untilTime, tailLines, boot, pattern, hasOptions };
}

/** Each value stands in one argument with its option, so that none is read as another option. */
export function journalArguments({ services, sinceTime, untilTime, tailLines, boot, pattern }: LogQuery): string[] {
  return [
    '--utc',
    '--no-pager',
    '--output=short-precise',
    ...(sinceTime === undefined ? [] : [`--since=${journalTime(sinceTime)}`]),
    ...(untilTime === undefined ? [] : [`--until=${journalTime(untilTime)}`]),
    ...(tailLines === undefined ? [] : [`--lines=${tailLines}`]),
    ...services.map((service) => `--unit=${service}`),
    ...(pattern === undefined ? [] : [`--grep=${pattern}`]),
    ...(boot === undefined ? [] : [`--boot=${boot}`]),
  ];
}

const journalTime = (time: Date): string => `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
