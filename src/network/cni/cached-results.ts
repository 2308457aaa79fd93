/**
 * What libcni remembers of each ADD, in files that it writes without flushing: a power cut leaves empty ones. Every DEL reads
 * them first and fails, so the runtime could never remove the sandboxes of the boot before. Those are taken away: without
 * one, DEL goes on. Layer: network/cni. Only files of our network that a former boot wrote and that are no JSON.
 * Source: containernetworking/cni, libcni/api.go (getCachedResult, DelNetworkList).
 */
import { readdir, readFile, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { isObject } from './json-object.ts';

/** libcni's CacheDir; no setting of containerd changes it. */
export const resultsFolder = '/var/lib/cni/results';

/** `NETWORK-CONTAINER-INTERFACE`; the network is the `name` of our configuration (install.ts). */
const ours = /^keelson-[0-9a-f]+-[^/]+$/;

/**
 * The paths removed. Never throws: what cannot be looked at is logged and left.
 * @param bootedAtMs when this boot began; later files are the runtime's, which may be writing them
 */
export async function removeBrokenResults(folder: string, bootedAtMs: number, log: Logger): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await namesIn(folder, log)) {
    const path = join(folder, name);
    try {
      const { mtimeMs } = await stat(path);
      if (mtimeMs >= bootedAtMs || isResult(await readFile(path, 'utf8'))) continue;
      await unlink(path);
      removed.push(path);
    } catch (error) {
      if (!hasErrorCode(error, 'ENOENT'))
        log.warn({ path, error: errorLine(error) }, 'a cached CNI result cannot be looked at');
    }
  }
  if (removed.length > 0) {
    log.warn({ paths: removed }, 'cached CNI results that the former boot did not finish were removed: a power cut?');
  }
  return removed;
}

async function namesIn(folder: string, log: Logger): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => ours.test(name)).sort();
  } catch (error) {
    if (!hasErrorCode(error, 'ENOENT'))
      log.warn({ folder, error: errorLine(error) }, 'cached CNI results cannot be listed');
    return [];
  }
}

function isResult(text: string): boolean {
  try {
    return isObject(JSON.parse(text));
  } catch {
    return false;
  }
}
