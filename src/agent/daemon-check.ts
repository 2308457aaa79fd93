/**
 * Doctor's check of the daemon itself: does it run, what do its roles wait for, which mode does its proxy have.
 * Layer: agent (edge: asks the control socket).
 */
import { errorLine } from '../observe/keelson-error.ts';
import { type CheckResult, ok, warn } from './check-result.ts';
import { ControlSocketError, queryControl } from './control-socket.ts';

const name = 'daemon';
const timeoutMs = 2_000;

export interface DaemonFinding {
  result: CheckResult;
  runs: boolean;
  /** Of its proxy role; undefined where there is none, or it does not say. */
  proxyMode: string | undefined;
}

export async function checkDaemon(runDir: string): Promise<DaemonFinding> {
  try {
    const report = await queryControl(runDir, timeoutMs);
    return { result: daemonResult(report), runs: true, proxyMode: proxyModeOf(report) };
  } catch (error) {
    if (error instanceof ControlSocketError && error.code === 'DAEMON_NOT_RUNNING') {
      return { result: ok(name, `does not run (no answer in ${runDir})`), runs: false, proxyMode: undefined };
    }
    return { result: warn(name, errorLine(error), 'look at its log'), runs: true, proxyMode: undefined };
  }
}

/** @param report see daemonResult */
export function proxyModeOf(report: unknown): string | undefined {
  const { proxy } = fieldsOf(report);
  const { mode } = fieldsOf(proxy);
  return typeof mode === 'string' ? mode : undefined;
}

/** @param report of a daemon of whatever version: nothing of it is taken for granted */
export function daemonResult(report: unknown): CheckResult {
  const fields = fieldsOf(report);
  if (fields.starting === true) return ok(name, 'is starting');
  const waiting: unknown[] = Array.isArray(fields.waiting) ? fields.waiting : [];
  const lines = waiting.map((entry) => {
    const { role, reason } = fieldsOf(entry);
    return `${String(role)} is not started: ${String(reason)}`;
  });
  return lines.length === 0 ? ok(name, 'runs') : warn(name, `runs, but ${lines.join('; ')}`, 'see keelson status');
}

const fieldsOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? { ...value } : {};
