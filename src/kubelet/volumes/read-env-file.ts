/**
 * Reads an environment file that an earlier container of the pod wrote into a volume.
 * Layer: kubelet/volumes (edge: disk). The file is a container's: opened inside its volume only, never waited for, and no
 * more than the limit is read. What is in it, plan/env-file.ts says.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { maxEnvFileBytes } from '../plan/env-file.ts';
import { Directory } from './directory.ts';
import { openBeneath } from './open-beneath.ts';
import { VolumeError } from './volume-error.ts';

/** Undefined when there is no such file. Throws VolumeError VOLUME_ENV_FILE for what is no file or too long. */
export async function readEnvFile(volumePath: string, path: string, subject: string): Promise<string | undefined> {
  await using volume = await Directory.open(volumePath);
  const refuse = (why: string): never => {
    throw new VolumeError('VOLUME_ENV_FILE', `the env file ${JSON.stringify(path.slice(0, 100))} ${why}`, {
      object: subject,
    });
  };
  const entry = await openBeneath(volume, path, subject).catch((cause: unknown) => {
    if (cause instanceof VolumeError && cause.code === 'VOLUME_SUB_PATH') return undefined;
    throw cause;
  });
  if (entry === undefined) return undefined;
  await using held = entry;
  if (!held.stats.isFile()) return refuse('is not a file');
  await using handle = await open(held.procPath, constants.O_RDONLY | constants.O_NONBLOCK);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(maxEnvFileBytes + 1), 0, maxEnvFileBytes + 1, 0);
  if (bytesRead > maxEnvFileBytes) refuse(`is longer than ${maxEnvFileBytes} bytes`);
  return buffer.subarray(0, bytesRead).toString('utf8');
}
