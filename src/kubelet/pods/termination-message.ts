/**
 * The last words of a container: the file behind terminationMessagePath, or the end of its log when it failed silently.
 * Rules: the last 4 KiB of the file; of the log, the last 80 lines within 2 KiB (pkg/kubelet/kuberuntime/kuberuntime_container.go).
 * Layer: kubelet/pods (edge to the disk). The container wrote these bytes: the file must be where only we make files, is
 * opened without following a symlink, and only its size is trusted to be wrong. What a container mounted at the path
 * instead is not read, unless it is a part of a volume: elsewhere its own symlinks would lead the way.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { TerminationMessageRequest } from './inspect-pod.ts';

const maxFileBytes = 4096;
const maxLogBytes = 2048;
const maxLogLines = 80;
/** Enough for `maxLogBytes` of text: the runtime cuts lines at 16 KiB, and each short one brings some 45 bytes of header. */
const logWindowBytes = 20_480;

/** Below `<rootDir>/pods`: the file that container-start.ts makes, or the bind mount of a subPath. */
const ownFile = /^[^/]+\/(?:containers\/[^/]+\/[0-9a-f]{8}|volume-subpaths\/[^/]+\/[^/]+\/\d+)$/;

/** @param rootDir only files that Keelson made below `<rootDir>/pods` are read */
export function terminationMessageReader(rootDir: string): (request: TerminationMessageRequest) => Promise<string> {
  const allowed = join(rootDir, 'pods') + sep;
  return async ({ hostPath, logPath, fallbackToLogs }) => {
    const file = hostPath === undefined ? '' : resolve(hostPath);
    try {
      if (file.startsWith(allowed) && ownFile.test(file.slice(allowed.length))) {
        const message = await readEnd(file, maxFileBytes);
        if (message !== '') return message;
      }
      return fallbackToLogs && logPath !== '' ? logTail(await readEnd(logPath, logWindowBytes)) : '';
    } catch (error) {
      // As in the kubelet the failure becomes the message: it must not hide the pod it belongs to.
      return `cannot read the termination message: ${errorLine(error)}`;
    }
  };
}

/**
 * CRI log lines (`<time> <stream> <tag> <text>`) -> their text, the last `maxLogLines` within `maxLogBytes`. Whole lines keep
 * their line feed, the last one, too.
 */
export function logTail(text: string): string {
  const lines = text
    .split(/(?<=\n)/)
    .map((line) => /^\S+ (?:stdout|stderr) ([FP]) ?(.*)(\n?)$/.exec(line))
    .filter((match) => match !== null)
    .slice(-maxLogLines)
    // P marks a piece of a line that goes on.
    .map(([, tag, piece = '', end = '']) => (tag === 'P' ? piece : piece + end))
    .join('');
  return Buffer.from(lines).subarray(-maxLogBytes).toString('utf8');
}

async function readEnd(path: string, limit: number): Promise<string> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const info = await handle.stat();
    if (!info.isFile()) return '';
    const position = Math.max(0, info.size - limit);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(limit), 0, limit, position);
    return buffer.subarray(0, bytesRead).toString('utf8');
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ELOOP', 'ENXIO', 'ENOTDIR')) return '';
    throw error;
  }
}
