/**
 * Doctor's check of the daemon itself: does it run, and what do its roles wait for.
 * Layer: agent (edge: asks the control socket).
 */
import { errorLine } from '../observe/keelson-error.ts';
import { type CheckResult, ok, warn } from './check-result.ts';
import { ControlSocketError, queryControl } from './control-socket.ts';

const name = 'daemon';
const timeoutMs = 2_000;

/** With whether it runs. */
export async function checkDaemon(runDir: string): Promise<[CheckResult, boolean]> {
  try {
    return [daemonResult(await queryControl(runDir, timeoutMs)), true];
  } catch (error) {
    if (error instanceof ControlSocketError && error.code === 'DAEMON_NOT_RUNNING') {
      return [ok(name, `does not run (no answer in ${runDir})`), false];
    }
    return [warn(name, errorLine(error), 'look at its log'), true];
  }
}

/** @param report of a daemon of whatever version: nothing of it is taken for granted */
export function daemonResult(report: unknown): CheckResult {
  const fields: Record<string, unknown> = typeof report === 'object' && report !== null ? { ...report } : {};
  if (fields.starting === true) return ok(name, 'is starting');
  const waiting: unknown[] = Array.isArray(fields.waiting) ? fields.waiting : [];
  const lines = waiting.map((entry) => {
    const { role, reason }: Record<string, unknown> = typeof entry === 'object' && entry !== null ? { ...entry } : {};
    return `${String(role)} is not started: ${String(reason)}`;
  });
  return lines.length === 0 ? ok(name, 'runs') : warn(name, `runs, but ${lines.join('; ')}`, 'see keelson status');
}
