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
import { familyOf } from '../network/ipam/ip-prefix.ts';
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
import type { MachineFacts } from './node-facts.ts';
import { type RuntimeFacts, readRuntimeFacts } from './runtime-facts.ts';

const sandboxListTimeoutMs = 10_000;

export interface NetworkRoleOptions {
  /** This node's own. */
  podCIDRs: readonly string[];
  /** Of pod links, bytes. */
  mtu: number;
  followUplink?: PodNetworkOptions['followUplink'];
  /** The way to pods of other nodes, and who these are; without it there is none. */
  overlay?: PodNetworkOptions['overlay'];
  peers?: PeerSource;
  /** What else pods get, or wait for, before anything of theirs passes. */
  extensions?: PodNetworkDependencies['extensions'];
}

/** @throws NetworkError */
export async function startNetworkRole(
  options: RunOptions,
  { podCIDRs, mtu, followUplink, overlay, peers, extensions }: NetworkRoleOptions,
  runtime: RuntimeService,
  log: Logger,
  signal: AbortSignal,
): Promise<PodNetwork> {
  const { confDir, binDir } = cniDirectories(options, await readRuntimeFacts(runtime, signal));
  await removeBrokenResults(resultsFolder, systemClock.now() - uptime() * 1000, log);
  return startPodNetwork(
    {
      podCIDRs,
      masqueraded: options.ipv6Masquerade ? [4, 6] : [4],
      mtu,
      ...(followUplink && { followUplink }),
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

/** @param overheadBytes what encapsulation takes of each packet on the wire */
export const followUplink = (
  { hostIPs }: Pick<MachineFacts, 'hostIPs'>,
  overheadBytes: number,
): NonNullable<PodNetworkOptions['followUplink']> => ({
  overheadBytes,
  nodeFamilies: hostIPs.length === 0 ? [4] : hostIPs.map(familyOf),
});

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
      if (state !== 'SANDBOX_READY') return { containerID: id, ips: [], ...pod };
      const { status } = await runtime.podSandboxStatus({ podSandboxId: id }, { timeoutMs: sandboxListTimeoutMs });
      const { ip, additionalIps = [] } = status?.network ?? {};
      const ips = [ip, ...additionalIps.map((other) => other.ip)].filter(
        (text): text is string => text !== undefined && text !== '',
      );
      return { containerID: id, ips, ...pod };
    }),
  );
}
