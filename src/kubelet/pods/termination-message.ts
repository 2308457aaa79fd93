/**
 * The last words of a container: the file behind terminationMessagePath, or the end of its log when it failed silently.
 * Rules: 4 KiB of the file; of the log, the last 80 lines within 2 KiB (pkg/kubelet/kuberuntime/kuberuntime_container.go).
 * Layer: kubelet/pods (edge to the disk). The container wrote these bytes: the file is opened without following a
 * symlink, must be below our own pod directories, and only its size is trusted to be wrong.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import type { TerminationMessageRequest } from './inspect-pod.ts';

const maxFileBytes = 4096;
const maxLogBytes = 2048;
const maxLogLines = 80;

/** @param rootDir only files below `<rootDir>/pods` are read */
export function terminationMessageReader(rootDir: string): (request: TerminationMessageRequest) => Promise<string> {
  const allowed = join(rootDir, 'pods') + sep;
  return async ({ hostPath, logPath, fallbackToLogs }) => {
    if (hostPath?.startsWith(allowed)) {
      const message = await readBytes(hostPath, maxFileBytes, 'start');
      if (message !== '') return message;
    }
    return fallbackToLogs && logPath !== '' ? logTail(await readBytes(logPath, 2 * maxLogBytes + 4096, 'end')) : '';
  };
}

/** CRI log lines (`<time> <stream> <tag> <text>`) -> their text, the last `maxLogLines` within `maxLogBytes`. */
export function logTail(text: string): string {
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => /^\S+ (?:stdout|stderr) [FP] ?(.*)$/.exec(line)?.[1])
    .filter((line) => line !== undefined)
    .slice(-maxLogLines)
    .join('\n');
  return Buffer.from(lines).subarray(-maxLogBytes).toString('utf8');
}

async function readBytes(path: string, limit: number, from: 'start' | 'end'): Promise<string> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const info = await handle.stat();
    if (!info.isFile()) return '';
    const position = from === 'start' ? 0 : Math.max(0, info.size - limit);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(limit), 0, limit, position);
    return buffer.subarray(0, bytesRead).toString('utf8');
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ELOOP', 'ENXIO', 'ENOTDIR')) return '';
    throw error;
  }
}
