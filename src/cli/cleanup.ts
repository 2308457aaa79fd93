/**
 * `keelson cleanup`: one line for each thing removed. Exit code 1 when something could not be.
 * Layer: cli.
 */
import { cleanupNode } from '../agent/cleanup.ts';
import { resolveRunOptions } from '../config/flags.ts';
import { kubeletRootDir } from '../config/flags-kubelet.ts';
import { KeelsonError } from '../observe/keelson-error.ts';

export async function cleanup(flags: Record<string, string | undefined>): Promise<number> {
  // The same checks as `run` makes of its paths; no pods are read, so any folder stands for --standalone.
  const options = resolveRunOptions({ ...flags, standalone: '/nonexistent' });
  if (process.getuid?.() !== 0) throw new KeelsonError('NOT_ROOT', 'cleaning up needs root', { fix: 'use sudo' });
  // Unless it is said where: under the name of a kubelet the daemon has its pods there.
  const otherRootDirs = flags.rootDir === undefined ? [kubeletRootDir] : [];
  const report = await cleanupNode({ ...options, otherRootDirs });
  for (const line of report.kept) process.stdout.write(`kept ${line}\n`);
  for (const line of report.removed) process.stdout.write(`removed ${line}\n`);
  for (const line of report.failed) process.stderr.write(`keelson: not removed: ${line}\n`);
  if (report.removed.length + report.failed.length + report.kept.length === 0)
    process.stdout.write('Nothing of Keelson is left here.\n');
  return report.failed.length === 0 ? 0 : 1;
}
