/**
 * `keelson run`: reads the configuration files, checks flags and files together, and hands over to the agent.
 * Layer: cli. SIGTERM and SIGINT end the daemon gently; a second one ends it at once.
 */
import { open } from 'node:fs/promises';
import { hasErrorCode } from '../base/errors.ts';
import { type RunFlags, resolveRunOptions } from '../config/flags.ts';
import { loadKubeProxyConfiguration } from '../config/kube-proxy-configuration.ts';
import { loadKubeletConfiguration } from '../config/kubelet-configuration.ts';
import { KeelsonError } from '../observe/keelson-error.ts';
import { createLogger } from '../observe/logger.ts';

/** A configuration file is a page or two; more is a mistake. */
const maxConfigBytes = 1 << 20;

export async function run(flags: RunFlags, watchEventLoop: boolean): Promise<void> {
  const options = resolveRunOptions(
    flags,
    flags.config ? await loadFile('--config', flags.config, loadKubeletConfiguration) : undefined,
    flags.proxyConfig ? await loadFile('--proxy-config', flags.proxyConfig, loadKubeProxyConfiguration) : undefined,
  );
  if (process.getuid?.() !== 0) {
    throw new KeelsonError('NOT_ROOT', 'Keelson needs root for mounts and network namespaces', { fix: 'use sudo' });
  }
  const format = process.stderr.isTTY ? 'text' : options.kubelet.logging.format;
  const log = createLogger(options.verbosity, format);
  for (const warning of options.warnings) log.warn({ ...warning }, 'configuration');
  const controller = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(1);
      log.info({ signal }, 'stopping');
      controller.abort(new KeelsonError('STOPPED', `stopped by ${signal}`));
    });
  }
  try {
    const lag = watchEventLoop ? (await import('../observe/event-loop-lag.ts')).startEventLoopLag() : undefined;
    const { mode } = options;
    if (mode.kind === 'standalone') {
      const { runStandalone } = await import('../agent/run-standalone.ts');
      await runStandalone({ ...options, mode }, log, controller.signal, lag);
    } else {
      const { runCluster } = await import('../agent/cluster/run-cluster.ts');
      await runCluster({ ...options, mode }, log, controller.signal, lag);
    }
  } catch (error) {
    if (!controller.signal.aborted) throw error;
  }
}

async function loadFile<Loaded>(
  flag: string,
  path: string,
  load: (text: string, file: string) => Loaded,
): Promise<Loaded> {
  try {
    await using handle = await open(path, 'r');
    const { size } = await handle.stat();
    if (size > maxConfigBytes) {
      throw new KeelsonError('CONFIG_FILE', `has ${size} bytes, more than ${maxConfigBytes}`, { object: path });
    }
    return load(await handle.readFile('utf8'), path);
  } catch (error) {
    if (!hasErrorCode(error, 'ENOENT', 'EACCES', 'EISDIR', 'ENOTDIR')) throw error;
    throw new KeelsonError('CONFIG_FILE', 'cannot be read', {
      object: path,
      fix: `name a readable file with ${flag}`,
      cause: error,
    });
  }
}
