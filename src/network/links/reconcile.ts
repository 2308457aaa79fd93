/**
 * Brings links and held addresses back in step with the sandboxes that the runtime has.
 * Layer: network/links. Must not remove a link on a single sighting: the runtime lists a sandbox only after its ADD was
 * answered and the sandbox started, so a link without a sandbox may belong to a pod that is being created.
 */
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { Ipam } from '../ipam/ipam.ts';
import { runtimeHolder, runtimeHolderPrefix } from './link-identity.ts';
import type { Attachment, PodLinks } from './pod-links.ts';

/** A sandbox that the runtime has, ready or not. Its link is kept for as long as it is listed. */
export interface KnownSandbox {
  containerID: string;
  /** The addresses it reports; none with host network and once it is not ready (then they are not in use). */
  ips: readonly string[];
  /** Whose it is, where the runtime says so. */
  pod?: { namespace: string; name: string };
}

export interface ReconcileGrace {
  /** How long a link that this process made may wait for its sandbox to be listed, milliseconds. */
  addedMs: number;
  /** The same for a link found at start, counted from the start. */
  adoptedMs: number;
}

export interface ReconcileReport {
  /** Attachments removed, as `<containerID>/<ifname>`. */
  removed: string[];
  /** Attachments without a sandbox that are still within their grace. */
  waiting: number;
  /** Addresses held only because a sandbox without a link reports them. */
  heldForRuntime: number;
}

export interface ReconcilerDependencies {
  links: PodLinks;
  ipam: Ipam;
  log: Logger;
  clock: Clock;
  grace: ReconcileGrace;
}

/** @param listSandboxes called after the links were noted, so that what it misses was either removed or is new */
export async function reconcileLinks(
  deps: ReconcilerDependencies,
  listSandboxes: () => Promise<readonly KnownSandbox[]>,
): Promise<ReconcileReport> {
  const { links, ipam, log, clock, grace } = deps;
  const before = links.attachments;
  const sandboxes = await listSandboxes();
  const known = new Set(sandboxes.map(({ containerID }) => containerID));

  const report: ReconcileReport = { removed: [], waiting: 0, heldForRuntime: 0 };
  for (const attachment of before) {
    const { key, containerID } = attachment.identity;
    if (known.has(containerID)) continue;
    const age = clock.now() - attachment.since;
    if (age < (attachment.origin === 'added' ? grace.addedMs : grace.adoptedMs)) {
      report.waiting++;
      continue;
    }
    try {
      if (await links.removeUnchanged(attachment)) {
        report.removed.push(key);
        log.info({ containerID, link: attachment.identity.hostName }, 'removed the link of a sandbox that is gone');
      }
    } catch (error) {
      log.error({ containerID, error: errorLine(error) }, 'cannot remove the link of a sandbox that is gone');
      report.waiting++;
    }
  }
  for (const sandbox of sandboxes) await adopt(deps, sandbox, before);
  report.heldForRuntime = dropStaleHolds(ipam, known);
  return report;
}

/**
 * CNI GC: removes what is not among the valid attachments of a network. Those of another network are not the caller's; of a
 * predecessor's it is not known which they are of, so they stay while the runtime has their sandbox. Goes on after a failure;
 * returns the failures.
 */
export async function collectGarbage(
  links: PodLinks,
  network: string,
  valid: readonly { containerID: string; ifname: string }[],
  listSandboxes: () => Promise<readonly KnownSandbox[]>,
): Promise<unknown[]> {
  const keep = new Set(valid.map(({ containerID, ifname }) => `${containerID}/${ifname}`));
  const unlisted = links.attachments.filter(({ identity }) => !keep.has(identity.key));
  const isUnknown = unlisted.some((attachment) => attachment.network === undefined);
  const known = new Set(isUnknown ? (await listSandboxes()).map(({ containerID }) => containerID) : []);
  const stale = unlisted.filter((attachment) =>
    attachment.network === undefined ? !known.has(attachment.identity.containerID) : attachment.network === network,
  );
  const results = await Promise.allSettled(stale.map((attachment) => links.removeUnchanged(attachment)));
  return results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
}

async function adopt(
  deps: ReconcilerDependencies,
  sandbox: KnownSandbox,
  before: readonly Attachment[],
): Promise<void> {
  const { links, ipam, log } = deps;
  const { containerID } = sandbox;
  const attachment = before.find(({ identity }) => identity.containerID === containerID);
  const free: string[] = [];
  for (const ip of sandbox.ips) {
    const holder = ipam.holderOf(ip);
    if (holder === undefined) {
      free.push(ip);
      continue;
    }
    const owner = holder.startsWith(runtimeHolderPrefix)
      ? holder.slice(runtimeHolderPrefix.length)
      : holder.slice(0, holder.indexOf('/'));
    if (owner !== containerID) log.error({ containerID, ip, owner }, 'two sandboxes report one address');
  }
  if (free.length === 0) return;
  if (attachment) {
    try {
      const ips = await links.restoreHostSide(attachment, free);
      if (ips.length > 0) log.warn({ containerID, ips }, 'restored the host side of a pod link');
    } catch (error) {
      log.error({ containerID, ips: free, error: errorLine(error) }, 'cannot restore the host side of a pod link');
    }
    return;
  }
  // Either its link is gone, or it was removed while we listed; the next pass tells.
  for (const ip of free) ipam.hold(ip, runtimeHolder(containerID));
}

/** Frees what was held for sandboxes that the runtime no longer has; returns how many holds remain. */
function dropStaleHolds(ipam: Ipam, known: ReadonlySet<string>): number {
  let remaining = 0;
  for (const holder of [...ipam.holders.keys()]) {
    if (!holder.startsWith(runtimeHolderPrefix)) continue;
    if (known.has(holder.slice(runtimeHolderPrefix.length))) remaining++;
    else ipam.release(holder);
  }
  return remaining;
}
