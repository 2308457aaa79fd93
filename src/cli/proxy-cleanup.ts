/**
 * `keelson proxy cleanup`: what Service proxies left in the kernel, one line for each thing removed. Exit code 1 when
 * something could not be. Layer: cli.
 */
import { refuseWhileRunning } from '../agent/cleanup.ts';
import { cleanupModes } from '../agent/proxy-modes.ts';
import { KeelsonError } from '../observe/keelson-error.ts';

export async function proxyCleanup({ runDir }: { runDir: string }): Promise<number> {
  if (process.getuid?.() !== 0) throw new KeelsonError('NOT_ROOT', 'cleaning up needs root', { fix: 'use sudo' });
  await refuseWhileRunning(runDir);
  const { removed, failed } = await cleanupModes(undefined);
  for (const line of removed) process.stdout.write(`removed ${line}\n`);
  for (const line of failed) process.stderr.write(`keelson: not removed: ${line}\n`);
  if (removed.length + failed.length === 0) process.stdout.write('Nothing of a Service proxy is left here.\n');
  return failed.length === 0 ? 0 : 1;
}
