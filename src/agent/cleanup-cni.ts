/**
 * A runtime ends no sandbox without a network plugin to call, so that one is put in place where a former cleanup, which
 * could not reach the runtime, or a person has taken it away. The rest of the cleanup removes it again.
 * Layer: agent (edge: disk, CRI). The plugin's DEL needs no daemon (native/cni/relay.c).
 */
import { join } from 'node:path';
import { sleep } from '../base/clock.ts';
import type { RuntimeService } from '../cri/service.ts';
import { installShim, writeConflist } from '../network/cni/install.ts';
import { cniShimPath } from './install-paths.ts';
import { cniDirectories } from './network-role.ts';
import { readRuntimeFacts } from './runtime-facts.ts';

export interface NetworkPluginOptions {
  readonly runDir: string;
  readonly cniConfDir: string | undefined;
  readonly cniBinDir: string | undefined;
}

/** The runtime watches its folder: it takes milliseconds. */
const patienceMs = 5_000;
const lookAgainMs = 50;

/** Resolves when the runtime has a plugin, or after some seconds. @throws NetworkError NETWORK_CNI_INSTALL_FAILED, CriError */
export async function ensureNetworkPlugin(runtime: RuntimeService, options: NetworkPluginOptions): Promise<void> {
  const facts = await readRuntimeFacts(runtime);
  if (facts.networkReady) return;
  const { confDir, binDir } = cniDirectories(options, facts);
  await installShim(cniShimPath, binDir);
  await writeConflist(confDir, join(options.runDir, 'cni.sock'));
  for (let waitedMs = 0; waitedMs < patienceMs; waitedMs += lookAgainMs) {
    if ((await readRuntimeFacts(runtime)).networkReady) return;
    // Of the clock's timers none keeps this process alive; the runtime's connection does.
    await sleep(lookAgainMs);
  }
}
