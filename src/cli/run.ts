/**
 * `keelson run`: reads the configuration files, checks flags and files together, and hands over to the agent.
 * Layer: cli. SIGTERM and SIGINT end the daemon gently; a second one ends it at once.
 */
import type { ConfigWarning } from '../config/field-reader.ts';
import { type RunFlags, resolveRunOptions } from '../config/flags.ts';
import type { FieldSetting } from '../config/flags-kubelet.ts';
import { loadKubeProxyConfiguration } from '../config/kube-proxy-configuration.ts';
import { KeelsonError } from '../observe/keelson-error.ts';
import { createLogger } from '../observe/logger.ts';
import { readConfigurationFile, readKubeletConfiguration } from './configuration-files.ts';

/** What a kubelet's command line says beyond the flags of `keelson run`. */
export interface KubeletExtras {
  fields: ReadonlyMap<string, FieldSetting>;
  warnings: readonly ConfigWarning[];
}

/** For the last lines of the log, ms. */
const lastWordsMs = 2_000;

const noExtras: KubeletExtras = { fields: new Map(), warnings: [] };

/** Not worth telling the cluster: the daemon runs, was ended, or somebody only tried it out. */
const untold = new Set(['DAEMON_RUNNING', 'STOPPED', 'NOT_ROOT', 'CONFIG_FLAG']);

export async function run(flags: RunFlags, watchEventLoop: boolean, extras: KubeletExtras = noExtras): Promise<void> {
  try {
    await start(flags, watchEventLoop, extras);
  } catch (error) {
    if (error instanceof KeelsonError && !untold.has(error.code)) {
      const { tellCluster } = await import('../agent/cluster/tell-cluster.ts');
      await tellCluster(error, flags);
    }
    throw error;
  }
}

async function start(flags: RunFlags, watchEventLoop: boolean, extras: KubeletExtras): Promise<void> {
  const kubeletFile = await readKubeletConfiguration(flags, extras.fields);
  const proxyFile = flags.proxyConfig ? await readConfigurationFile('--proxy-config', flags.proxyConfig) : undefined;
  const options = resolveRunOptions(
    flags,
    kubeletFile,
    proxyFile && loadKubeProxyConfiguration(proxyFile.text, proxyFile.file),
  );
  if (process.getuid?.() !== 0) {
    throw new KeelsonError('NOT_ROOT', 'Keelson needs root for mounts and network namespaces', { fix: 'use sudo' });
  }
  const format = process.stderr.isTTY ? 'text' : options.kubelet.logging.format;
  const log = createLogger(options.verbosity, format);
  for (const warning of [...extras.warnings, ...options.warnings]) log.warn({ ...warning }, 'configuration');
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
  } finally {
    // Programs that go on (a disk that grows, chains that are removed) are not waited for.
    setTimeout(() => process.exit(), lastWordsMs).unref();
  }
}
