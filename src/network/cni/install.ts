/**
 * The files that a container runtime looks for: the plugin binary under its two names, and the network configuration.
 * Layer: network/cni. Writes atomically (temporary file, fsync, rename) and only what differs; never replaces or removes
 * a file that another product put there.
 */
import { mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { NetworkError } from '../network-error.ts';
import { isObject } from './json-object.ts';

export const conflistName = '10-keelson.conflist';
const pluginType = 'keelson';
/** Name of the key by which the plugin binary finds the daemon. It is also a string inside that binary: see `isOurs`. */
const socketKey = 'keelsonSocket';

/** The configuration that a runtime hands to the plugin with every call. */
export function renderConflist(socketPath: string): string {
  const conflist = {
    cniVersion: '1.0.0',
    name: 'keelson',
    plugins: [{ type: pluginType, [socketKey]: socketPath, capabilities: { portMappings: true, bandwidth: true } }],
  };
  return `${JSON.stringify(conflist, undefined, 2)}\n`;
}

export interface ConflistReport {
  /** False when the file was there with the same content. */
  written: boolean;
  /** Configurations that the runtime would take instead, because their name sorts before ours. */
  shadowedBy: string[];
}

/**
 * To be called only once the socket listens: the file is what makes the runtime report the network as ready.
 * @throws NetworkError NETWORK_CNI_INSTALL_FAILED
 */
export async function writeConflist(confDir: string, socketPath: string): Promise<ConflistReport> {
  return explain(`CNI configuration directory ${confDir}`, 'check --cni-conf-dir', async () => {
    await mkdir(confDir, { recursive: true, mode: 0o755 });
    const path = join(confDir, conflistName);
    const content = Buffer.from(renderConflist(socketPath));
    const written = !(await readIfPresent(path))?.equals(content);
    if (written) await replaceFile(path, content, 0o644);
    const names = await readdir(confDir);
    const shadowedBy = names.filter((name) => /\.(conf|conflist|json)$/.test(name) && name < conflistName).sort();
    return { written, shadowedBy };
  });
}

export interface ShimReport {
  /** Paths written; the others were up to date. */
  written: string[];
  /** A loopback plugin of another product that was left in place: it does the same. */
  foreignLoopback: boolean;
}

/**
 * Installs the multi-call plugin binary as `keelson` and, where no other product did, as `loopback`.
 * @throws NetworkError NETWORK_CNI_INSTALL_FAILED
 */
export async function installShim(shimPath: string, binDir: string): Promise<ShimReport> {
  const shim = await readIfPresent(shimPath);
  if (!shim || !isOurs(shim)) {
    throw new NetworkError('NETWORK_CNI_INSTALL_FAILED', shim ? 'is not Keelson’s CNI plugin' : 'does not exist', {
      object: `CNI plugin ${shimPath}`,
      fix: 'build it with script/build',
    });
  }
  return explain(`CNI plugin directory ${binDir}`, 'check --cni-bin-dir', async () => {
    await mkdir(binDir, { recursive: true, mode: 0o755 });
    const report: ShimReport = { written: [], foreignLoopback: false };
    for (const name of [pluginType, 'loopback']) {
      const path = join(binDir, name);
      const present = await readIfPresent(path);
      if (present?.equals(shim)) continue;
      if (present && !isOurs(present)) {
        if (name === 'loopback') {
          report.foreignLoopback = true;
          continue;
        }
        throw new NetworkError('NETWORK_CNI_INSTALL_FAILED', 'belongs to another product', {
          object: `file ${path}`,
          fix: 'move it away or choose another --cni-bin-dir',
        });
      }
      await replaceFile(path, shim, 0o755);
      report.written.push(path);
    }
    return report;
  });
}

/** Removes our configuration and binaries; returns the paths removed. @throws NetworkError NETWORK_CNI_INSTALL_FAILED */
export async function removeCniFiles(confDir: string, binDir: string): Promise<string[]> {
  const removed: string[] = [];
  const remove = async (path: string, ours: (content: Buffer) => boolean): Promise<void> => {
    await unlink(temporaryName(path)).catch(ignoreAbsence);
    const content = await readIfPresent(path);
    if (!content || !ours(content)) return;
    await unlink(path);
    removed.push(path);
  };
  await explain('CNI files', 'check --cni-conf-dir and --cni-bin-dir', async () => {
    // The configuration first: without it the runtime starts no pod whose plugin is missing.
    await remove(join(confDir, conflistName), isOurConflist);
    for (const name of [pluginType, 'loopback']) await remove(join(binDir, name), isOurs);
  });
  return removed;
}

/** Every version of our binary contains the key that it looks for in the configuration; no other product's does. */
function isOurs(binary: Buffer): boolean {
  return binary.includes(socketKey);
}

function isOurConflist(content: Buffer): boolean {
  try {
    const parsed: unknown = JSON.parse(content.toString('utf8'));
    if (!isObject(parsed) || !Array.isArray(parsed.plugins)) return false;
    return parsed.plugins.some((plugin: unknown) => isObject(plugin) && plugin.type === pluginType);
  } catch {
    // Not even JSON: somebody else is at work in a file of our name.
    return false;
  }
}

function ignoreAbsence(error: unknown): void {
  if (!hasErrorCode(error, 'ENOENT', 'ENOTDIR')) throw error;
}

async function readIfPresent(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/**
 * The temporary name begins with a dot and ends with no suffix that a runtime watching the directory would load; it is
 * always the same, so that one left by a kill is overwritten.
 */
async function replaceFile(path: string, content: Buffer, mode: number): Promise<void> {
  const temporary = temporaryName(path);
  try {
    const file = await open(temporary, 'w', mode);
    try {
      await file.writeFile(content);
      // The umask may have taken bits away.
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.keelson-tmp`);
}

async function explain<T>(object: string, fix: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (cause) {
    if (cause instanceof NetworkError) throw cause;
    throw new NetworkError('NETWORK_CNI_INSTALL_FAILED', errorLine(cause), { object, fix, cause });
  }
}
