/**
 * The configuration files that a run is given: --config with the drop-ins of --config-dir, and --proxy-config.
 * Layer: cli (edge: disk). What is in them is decided by src/config.
 */
import { open, readdir } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { hasErrorCode } from '../base/errors.ts';
import type { RunFlags } from '../config/flags.ts';
import type { FieldSetting } from '../config/flags-kubelet.ts';
import type { LoadedKubeletConfiguration } from '../config/kubelet-configuration.ts';
import { type ConfigurationFile, loadConfigurationLayers } from '../config/kubelet-configuration-layers.ts';
import { KeelsonError } from '../observe/keelson-error.ts';

/** A configuration file is a page or two; more is a mistake. */
const maxConfigBytes = 1 << 20;
/** So is a folder of many. */
const maxDropIns = 1_000;

/**
 * Undefined when nothing is given.
 * @param fields that flags of a kubelet set
 * @throws ConfigError, KeelsonError CONFIG_FILE
 */
export async function readKubeletConfiguration(
  { config, configDir }: Pick<RunFlags, 'config' | 'configDir'>,
  fields: ReadonlyMap<string, FieldSetting>,
): Promise<LoadedKubeletConfiguration | undefined> {
  if (!config && !configDir && fields.size === 0) return undefined;
  const file = config ? await readConfigurationFile('--config', config) : undefined;
  const dropIns: ConfigurationFile[] = [];
  for (const path of configDir ? await dropInPaths(configDir) : []) {
    dropIns.push(await readConfigurationFile('--config-dir', path));
  }
  return loadConfigurationLayers({ file, dropIns, fields });
}

/** @throws KeelsonError CONFIG_FILE */
export async function readConfigurationFile(flag: string, path: string): Promise<ConfigurationFile> {
  return orFileError(flag, path, async () => {
    await using handle = await open(path, 'r');
    const { size } = await handle.stat();
    if (size > maxConfigBytes) {
      throw new KeelsonError('CONFIG_FILE', `has ${size} bytes, more than ${maxConfigBytes}`, { object: path });
    }
    return { file: path, text: await handle.readFile('utf8') };
  });
}

/** Files that end in `.conf`, in the folder and those below it, in the order in which Go's filepath.WalkDir comes to them. */
async function dropInPaths(directory: string): Promise<string[]> {
  const entries = await orFileError('--config-dir', directory, () =>
    readdir(directory, { recursive: true, withFileTypes: true }),
  );
  const paths = entries
    .filter((entry) => !entry.isDirectory() && entry.name.endsWith('.conf'))
    .map((entry) => join(entry.parentPath, entry.name).split(sep));
  if (paths.length > maxDropIns) {
    const message = `has ${paths.length} files that end in .conf, more than ${maxDropIns}`;
    throw new KeelsonError('CONFIG_FILE', message, { object: directory, fix: 'name the folder of the drop-ins' });
  }
  return paths.sort(bySteps).map((steps) => steps.join(sep));
}

/** Folder by folder: `a/z` comes before `a-b`, although `-` is less than `/`. */
function bySteps(a: readonly string[], b: readonly string[]): number {
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    const order = Buffer.compare(Buffer.from(a[at] ?? ''), Buffer.from(b[at] ?? ''));
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

async function orFileError<T>(flag: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!hasErrorCode(cause, 'ENOENT', 'EACCES', 'EISDIR', 'ENOTDIR')) throw cause;
    const fix = flag === '--config-dir' ? `name a readable folder with ${flag}` : `name a readable file with ${flag}`;
    throw new KeelsonError('CONFIG_FILE', 'cannot be read', { object: path, fix, cause });
  }
}
