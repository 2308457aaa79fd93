/**
 * The pod network role on this machine's kernel, for the runtime at hand.
 * Layer: agent (composition). Decides nothing about addresses.
 */
import { uptime } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import type { RunOptions } from '../config/flags.ts';
import type { RuntimeService } from '../cri/service.ts';
import { kernelConntrack } from '../kernel/conntrack.ts';
import { kernelNftables } from '../kernel/nftables.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import { kernelSysctls } from '../kernel/sysctls.ts';
import { removeBrokenResults, resultsFolder } from '../network/cni/cached-results.ts';
import { iptablesLegacy } from '../network/forward/legacy-program.ts';
import type { KnownSandbox } from '../network/links/reconcile.ts';
import type { PeerSource } from '../network/overlay/peer.ts';
import {
  type PodNetwork,
  type PodNetworkDependencies,
  type PodNetworkOptions,
  startPodNetwork,
} from '../network/pod-network.ts';
import type { Logger } from '../observe/logger.ts';
import { cniShimPath } from './install-paths.ts';
import { type RuntimeFacts, readRuntimeFacts } from './runtime-facts.ts';

const sandboxListTimeoutMs = 10_000;

export interface NetworkRoleOptions {
  /** This node's own. */
  podCIDR: string;
  /** Of pod links, bytes. */
  mtu: number;
  /** The way to pods of other nodes, and who these are; without it there is none. */
  overlay?: PodNetworkOptions['overlay'];
  peers?: PeerSource;
  /** What else pods get, or wait for, before anything of theirs passes. */
  extensions?: PodNetworkDependencies['extensions'];
}

/** @throws NetworkError */
export async function startNetworkRole(
  options: RunOptions,
  { podCIDR, mtu, overlay, peers, extensions }: NetworkRoleOptions,
  runtime: RuntimeService,
  log: Logger,
  signal: AbortSignal,
): Promise<PodNetwork> {
  const { confDir, binDir } = cniDirectories(options, await readRuntimeFacts(runtime, signal));
  await removeBrokenResults(resultsFolder, systemClock.now() - uptime() * 1000, log);
  return startPodNetwork(
    {
      podCIDR,
      mtu,
      socketPath: join(options.runDir, 'cni.sock'),
      cniConfDir: confDir,
      cniBinDir: binDir,
      shimPath: cniShimPath,
      ...(overlay && { overlay }),
    },
    {
      rtnetlinkOpener: kernelRtnetlink,
      sysctls: kernelSysctls,
      nftablesOpener: kernelNftables,
      conntrackOpener: kernelConntrack,
      legacyFilter: iptablesLegacy,
      log,
      knownSandboxes: () => knownSandboxes(runtime),
      ...(peers && { peers }),
      ...(extensions && { extensions }),
      signal,
    },
  );
}

/** Flags first, then what the runtime says, then the customary places. */
export function cniDirectories(
  options: Pick<RunOptions, 'cniConfDir' | 'cniBinDir'>,
  facts: RuntimeFacts | undefined,
): { confDir: string; binDir: string } {
  return {
    confDir: options.cniConfDir ?? facts?.cniConfDir ?? '/etc/cni/net.d',
    binDir: options.cniBinDir ?? facts?.cniBinDir ?? '/opt/cni/bin',
  };
}

async function knownSandboxes(runtime: RuntimeService): Promise<KnownSandbox[]> {
  const { items } = await runtime.listPodSandbox({}, { timeoutMs: sandboxListTimeoutMs });
  return Promise.all(
    items.map(async ({ id, state, metadata }) => {
      const pod = metadata && { pod: { namespace: metadata.namespace, name: metadata.name } };
      if (state !== 'SANDBOX_READY') return { containerID: id, ip: undefined, ...pod };
      const { status } = await runtime.podSandboxStatus({ podSandboxId: id }, { timeoutMs: sandboxListTimeoutMs });
      return { containerID: id, ip: status?.network?.ip || undefined, ...pod };
    }),
  );
}
