/**
 * What one of doctor's checks found. Layer: agent (pure).
 */
import { errorLine, KeelsonError } from '../observe/keelson-error.ts';

export interface CheckResult {
  name: string;
  /** `warn`: Keelson runs, but something will surprise you. `fail`: it will not run. */
  level: 'ok' | 'warn' | 'fail';
  finding: string;
  fix?: string;
}

export const ok = (name: string, finding: string): CheckResult => ({ name, level: 'ok', finding });
export const warn = (name: string, finding: string, fix: string): CheckResult => ({
  name,
  level: 'warn',
  finding,
  fix,
});
export const fail = (name: string, finding: string, fix: string): CheckResult => ({
  name,
  level: 'fail',
  finding,
  fix,
});

/** What was thrown, as a finding: its own remedy where it has one. */
export function failure(name: string, error: unknown, fix: string): CheckResult {
  if (!(error instanceof KeelsonError)) return fail(name, errorLine(error), fix);
  return fail(name, error.object === undefined ? error.message : `${error.object}: ${error.message}`, error.fix ?? fix);
}
