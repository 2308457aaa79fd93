/**
 * `keelson doctor`: one line a prerequisite. Exit code 1 when Keelson could not run.
 * Layer: cli.
 */
import type { CheckResult } from '../agent/check-result.ts';
import { runChecks } from '../agent/checks.ts';
import { resolveRunOptions } from '../config/flags.ts';
import { formatTable } from './table.ts';

export async function doctor(flags: Record<string, string | undefined>): Promise<number> {
  const { output, ...rest } = flags;
  // The same checks as `run` makes of its flags; no pods are read, so any folder stands for --standalone.
  const options = resolveRunOptions(rest.kubeconfig === undefined ? { ...rest, standalone: '/nonexistent' } : rest);
  const { mode } = options;
  const cluster = mode.kind === 'cluster' ? mode : undefined;
  const results = await runChecks({ ...options, podCIDR: mode.podCIDR, cluster });
  process.stdout.write(output === 'json' ? `${JSON.stringify(results, null, 2)}\n` : `${doctorTable(results)}\n`);
  return results.some(({ level }) => level === 'fail') ? 1 : 0;
}

export function doctorTable(results: CheckResult[]): string {
  const rows = results.map(({ level, name, finding, fix }) => [level, name, fix ? `${finding} -> ${fix}` : finding]);
  const failed = results.filter(({ level }) => level === 'fail').length;
  const verdict = failed === 0 ? 'Keelson can run here.' : `${failed} of ${results.length} checks failed.`;
  return `${formatTable(rows)}\n${verdict}`;
}
