/**
 * Takes everything of the pod network off the node: for `keelson cleanup`, with no daemon running.
 * Layer: network. Finds things by their marks (link alias, route protocol, table name), so it needs no configuration and
 * also removes what an older version or another pod CIDR left. Goes on after a failure and reports every one.
 */
import { unlink } from 'node:fs/promises';
import { hasErrorCode } from '../base/errors.ts';
import { isNotFound } from '../linux/kernel-error.ts';
import type { NftablesOpener } from '../linux/nftables/edge.ts';
import { keelsonRouteProtocol, type Rtnetlink, type RtnetlinkOpener } from '../linux/rtnetlink.ts';
import { errorLine } from '../observe/keelson-error.ts';
import { removeCniFiles } from './cni/install.ts';
import { removeForward } from './forward/kept-forward.ts';
import type { LegacyFilters } from './forward/legacy-program.ts';
import { formerSetups, loopbackOf, readHostState, removeSetup } from './host-setup.ts';
import { removeHostPorts } from './hostports/host-ports.ts';
import { isShaperName, parseShaperAlias } from './links/bandwidth.ts';
import { isHostLinkName, parseAlias } from './links/link-identity.ts';
import { masqueradeTableText, removeMasquerade } from './masquerade.ts';
import { isOurVxlan } from './overlay/vxlan-link.ts';
import { policyTable } from './policy/table.ts';

export interface CleanupOptions {
  cniConfDir: string;
  cniBinDir: string;
  socketPath: string;
  /** The agent's own namespace when undefined. */
  netnsPath?: string;
}

export interface CleanupReport {
  /** What is gone now, in words: `link kl0123456789abc`, `file /etc/cni/net.d/10-keelson.conflist`. */
  removed: string[];
  /** What could not be removed, one line each. */
  failed: string[];
}

/** Sysctls (ip_forward, send_redirects; forwarding and accept_ra of IPv6) are left as they are: others may rely on them by now. */
export async function cleanupPodNetwork(
  options: CleanupOptions,
  dependencies: { rtnetlinkOpener: RtnetlinkOpener; nftablesOpener: NftablesOpener; legacyFilter?: LegacyFilters },
): Promise<CleanupReport> {
  const report: CleanupReport = { removed: [], failed: [] };
  const step = async (task: () => Promise<string[]>): Promise<void> => {
    try {
      report.removed.push(...(await task()));
    } catch (error) {
      report.failed.push(errorLine(error));
    }
  };
  // Configuration first: the runtime then reports the network as not ready and starts nothing in between.
  await step(async () => {
    const files = await removeCniFiles(options.cniConfDir, options.cniBinDir);
    return files.map((path) => `file ${path}`);
  });
  await step(() => removeSocket(options.socketPath));
  await step(async () => {
    const edge = await dependencies.rtnetlinkOpener.open(options.netnsPath);
    try {
      return await removeFromKernel(edge, report.failed);
    } finally {
      edge.close();
    }
  });
  for (const family of [4, 6] as const) {
    await step(async () => {
      const isRemoved = await removeMasquerade(dependencies.nftablesOpener, family, options.netnsPath);
      return isRemoved ? [masqueradeTableText(family)] : [];
    });
  }
  await step(() => removePolicies(dependencies.nftablesOpener, options.netnsPath));
  await step(() => removeHostPorts(dependencies.nftablesOpener, options.netnsPath));
  await step(async () => {
    const nftables = await dependencies.nftablesOpener.open(options.netnsPath);
    try {
      return await removeForward(nftables, dependencies.legacyFilter);
    } finally {
      nftables.close();
    }
  });
  return report;
}

async function removeFromKernel(edge: Rtnetlink, failed: string[]): Promise<string[]> {
  const state = await readHostState(edge);
  const removed: string[] = [];
  const note = (what: string, error: Error | undefined): void => {
    if (error === undefined) removed.push(what);
    else if (!isNotFound(error)) failed.push(`${what}: ${errorLine(error)}`);
  };

  const links = state.links.filter((link) => {
    const { alias, kind, name } = link;
    if (parseAlias(alias) !== undefined || parseShaperAlias(alias) !== undefined || isOurVxlan(link)) return true;
    if (alias === undefined && kind === 'ifb' && isShaperName(name)) return true;
    return alias === undefined && kind === 'veth' && isHostLinkName(name);
  });
  const linkResults = await edge.apply(links.map(({ ifindex }) => ({ op: 'linkDelete', link: { ifindex } })));
  links.forEach(({ name }, index) => void note(`link ${name}`, linkResults[index]));

  const lo = loopbackOf(state);
  for (const setup of formerSetups(state)) {
    try {
      removed.push(...(await removeSetup(edge, lo, setup)));
    } catch (error) {
      failed.push(errorLine(error));
    }
  }
  // Routes of the links went with them; what is left carries our protocol and hangs on nothing of ours.
  const left = (await edge.routes()).filter(({ protocol }) => protocol === keelsonRouteProtocol);
  const routeResults = await edge.apply(
    left.map(({ destination, ifindex, table, type }) => ({
      op: 'routeDelete',
      destination,
      table,
      protocol: keelsonRouteProtocol,
      // The kernel lists a refusing IPv6 route on lo, and takes it without a link only.
      ...(ifindex === undefined || type === 'unreachable' ? {} : { ifindex }),
    })),
  );
  left.forEach(({ destination }, index) => void note(`route ${destination}`, routeResults[index]));
  return removed;
}

/** The pods that the table isolated are gone, or nobody isolates them from here on. */
async function removePolicies(opener: NftablesOpener, netnsPath?: string): Promise<string[]> {
  const nftables = await opener.open(netnsPath);
  try {
    await nftables.apply([{ op: 'tableDelete', table: policyTable }]);
    return [`table ${policyTable.family} ${policyTable.name}`];
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  } finally {
    nftables.close();
  }
}

async function removeSocket(socketPath: string): Promise<string[]> {
  try {
    await unlink(socketPath);
    return [`file ${socketPath}`];
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return [];
    throw error;
  }
}
