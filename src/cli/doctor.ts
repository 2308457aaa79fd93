/**
 * `keelson doctor`: one line a prerequisite. Exit code 1 when Keelson could not run.
 * Layer: cli.
 */
import { type CheckResult, fail, failure, ok } from '../agent/check-result.ts';
import { runChecks } from '../agent/checks.ts';
import { ConfigError } from '../config/config-error.ts';
import { resolveRunOptions } from '../config/flags.ts';
import type { LoadedKubeletConfiguration } from '../config/kubelet-configuration.ts';
import { KeelsonError } from '../observe/keelson-error.ts';
import { readKubeletConfiguration } from './configuration-files.ts';
import { formatTable } from './table.ts';

export async function doctor(flags: Record<string, string | undefined>): Promise<number> {
  const { output, config, configDir, ...rest } = flags;
  const { loaded, results: ofConfiguration } = await checkConfiguration({ config, configDir });
  // The same checks as `run` makes of its flags; no pods are read, so any folder stands for --standalone.
  const options = resolveRunOptions(
    rest.kubeconfig === undefined ? { ...rest, standalone: '/nonexistent' } : rest,
    loaded,
  );
  const { mode } = options;
  const cluster = mode.kind === 'cluster' ? mode : undefined;
  const results = [
    ...ofConfiguration,
    ...(await runChecks({
      ...options,
      podCIDRs: mode.podCIDRs,
      cluster,
      failSwapOn: options.kubelet.failSwapOn,
      cgroupsPerQOS: options.kubelet.cgroups.perQOS,
      configured: config !== undefined,
    })),
  ];
  process.stdout.write(output === 'json' ? `${JSON.stringify(results, null, 2)}\n` : `${doctorTable(results)}\n`);
  return results.some(({ level }) => level === 'fail') ? 1 : 0;
}

/** What is wrong in the files is a line for each; everything else is then checked with the defaults. */
async function checkConfiguration(files: {
  config: string | undefined;
  configDir: string | undefined;
}): Promise<{ loaded: LoadedKubeletConfiguration | undefined; results: CheckResult[] }> {
  const name = 'configuration';
  try {
    const loaded = await readKubeletConfiguration(files, new Map());
    if (loaded === undefined) return { loaded, results: [] };
    return { loaded, results: [ok(name, `${[files.config, files.configDir].filter(Boolean).join(', ')} can be used`)] };
  } catch (error) {
    if (!(error instanceof KeelsonError)) throw error;
    const fix = 'mend the file';
    const results =
      error instanceof ConfigError ? error.lines.map((line) => fail(name, line, fix)) : [failure(name, error, fix)];
    return { loaded: undefined, results };
  }
}

export function doctorTable(results: CheckResult[]): string {
  const rows = results.map(({ level, name, finding, fix }) => [level, name, fix ? `${finding} -> ${fix}` : finding]);
  const failed = results.filter(({ level }) => level === 'fail').length;
  const verdict = failed === 0 ? 'Keelson can run here.' : `${failed} of ${results.length} checks failed.`;
  return `${formatTable(rows)}\n${verdict}`;
}
