/**
 * The pod network role: sets the host up, finds a predecessor's pods, serves CNI calls, follows what the kernel and the
 * runtime report.
 * Layer: network, its composition. Stopping leaves links, addresses and rules alone (the pods go on talking); removing
 * them is cleanup.ts.
 */
import { stat } from 'node:fs/promises';
import { type Clock, systemClock } from '../base/clock.ts';
import type { ConntrackOpener } from '../linux/conntrack/edge.ts';
import type { Sysctls } from '../linux/host.ts';
import type { NftablesOpener } from '../linux/nftables/edge.ts';
import type { RtnetlinkOpener } from '../linux/rtnetlink.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { installShim, writeConflist } from './cni/install.ts';
import { type CniServer, checkSocketPath, startCniServer } from './cni/server.ts';
import { runVerb, type VerbsDependencies } from './cni/verbs.ts';
import { FormerNetworks } from './former-networks.ts';
import type { LegacyFilters } from './forward/legacy-program.ts';
import { requireIpv6 } from './host-ipv6.ts';
import { setHostSysctls, setUpHost } from './host-setup.ts';
import { HostPorts } from './hostports/host-ports.ts';
import { PodPorts } from './hostports/pod-ports.ts';
import type { AddressPool } from './ipam/address-pool.ts';
import type { IpFamily } from './ipam/ip-prefix.ts';
import { Ipam } from './ipam/ipam.ts';
import { requireMtu } from './links/link-mtu.ts';
import type { PodExtension } from './links/pod-extension.ts';
import { PodLinks } from './links/pod-links.ts';
import { type KnownSandbox, type ReconcileGrace, type ReconcileReport, reconcileLinks } from './links/reconcile.ts';
import { Shapers } from './links/shapers.ts';
import type { Overlay, OverlayDependencies, OverlayOptions, OverlayStatus } from './overlay/contract.ts';
import { startOverlay } from './overlay/overlay.ts';
import type { PeerSource } from './overlay/peer.ts';
import { PodFilters } from './pod-filters.ts';
import { type FollowUplink, UplinkMtu } from './uplink-mtu.ts';

export interface PodNetworkOptions {
  /**
   * For the pods of this node: an IPv4 prefix of /8 to /30, an IPv6 prefix of /48 to /126, or one of each in the order that
   * the node's are listed in.
   */
  podCIDRs: readonly string[];
  /** Families whose pods leave the pod network with the node's address; all when undefined. */
  masqueraded?: readonly IpFamily[];
  /** Bytes: the smallest MTU of the node's default-route links; with IPv6 at least 1280. */
  mtu: number;
  /** New pods and the overlay get another MTU when the uplinks do; absent: `mtu` stays. */
  followUplink?: FollowUplink;
  /** Absolute path of the CNI socket, at most 107 bytes. */
  socketPath: string;
  /** Where the runtime reads network configurations and plugin binaries (CRI `Status(verbose)` or flags). */
  cniConfDir: string;
  cniBinDir: string;
  /** The built multi-call plugin binary. */
  shimPath: string;
  /** Namespace that holds the host ends; the agent's own when undefined (other values are for tests). */
  netnsPath?: string;
  /** The way to pods of other nodes; undefined: there are none, or it is not known which. */
  overlay?: Omit<OverlayOptions, 'podCIDRs' | 'mtu' | 'netnsPath'>;
  /** See ReconcileGrace; the defaults suit a daemon whose own death also ends the runtime's calls for it. */
  grace?: Partial<ReconcileGrace>;
}

export interface PodNetworkDependencies {
  rtnetlinkOpener: RtnetlinkOpener;
  sysctls: Pick<Sysctls, 'read' | 'write' | 'writeInNetns'>;
  nftablesOpener: NftablesOpener;
  /** To forget UDP flows to former hostPorts; without it they stay until nothing comes any more. */
  conntrackOpener?: ConntrackOpener;
  log: Logger;
  /** Every sandbox of the runtime; may reject while the runtime is away. */
  knownSandboxes: () => Promise<readonly KnownSandbox[]>;
  /** What else pods get before anything passes: policies. */
  extensions?: readonly PodExtension[];
  /** Where iptables-legacy may be used: its chain FORWARD is looked at, too. */
  legacyFilter?: LegacyFilters;
  /** The nodes of the cluster; with `overlay`. */
  peers?: PeerSource;
  /** Stops the role when aborted. */
  signal: AbortSignal;
  clock?: Clock;
}

export interface PodCIDRStatus {
  podCIDR: string;
  gateway: string;
  /** Addresses held, and addresses left. */
  allocated: number;
  free: number;
}

export interface PodNetworkStatus extends PodCIDRStatus {
  /** The other family of a node that has both. */
  second?: PodCIDRStatus;
  /** Pod CIDRs of before, and how many pods still have addresses of each; absent when there are none. */
  former?: { podCIDR: string; pods: number }[];
  /** Ports of the node that lead to pods; absent when there are none. */
  hostPorts?: number;
  /** What keeps packets of pods from passing, one line each; absent when nothing does. */
  faults?: string[];
  /** Absent without an overlay. */
  overlay?: OverlayStatus;
}

export interface PodNetwork {
  /** Compares with the runtime now; rejects when the runtime does not answer. */
  reconcile(): Promise<ReconcileReport>;
  status(): PodNetworkStatus;
  /**
   * Runs `work` while this role listens to no nf_tables notifications, which make large batches of others slow; then the
   * masquerade table is looked at again.
   */
  withoutNftablesNotifications<Result>(work: () => Promise<Result>): Promise<Result>;
  /** Ends calls under way and closes the socket; safe to repeat. */
  stop(): Promise<void>;
}

/**
 * A sandbox is listed by the runtime some time after its ADD. The kubelet waits four minutes for one of its own; a
 * predecessor's died with it, as the runtime cancels what a vanished client asked for.
 */
const defaultGrace: ReconcileGrace = { addedMs: 240_000, adoptedMs: 10_000 };

/** How long to wait with another look when the runtime did not answer, or links still wait for their sandbox. */
const reconcileRetryMs = 5_000;

/** @throws NetworkError when an option or the host does not allow it; nothing listens then */
export async function startPodNetwork(
  options: PodNetworkOptions,
  dependencies: PodNetworkDependencies,
): Promise<PodNetwork> {
  const { rtnetlinkOpener, nftablesOpener, sysctls, signal, knownSandboxes } = dependencies;
  const clock = dependencies.clock ?? systemClock;
  const log = dependencies.log.child({ component: 'network' });
  const grace = { ...defaultGrace, ...options.grace };
  checkSocketPath(options.socketPath);
  const ipam = new Ipam(options.podCIDRs);
  const pools = ipam.families;
  const podCIDRs = options.podCIDRs;
  requireMtu(options.mtu, pools);
  signal.throwIfAborted();
  const six = pools.find(({ family }) => family === 6);
  if (six !== undefined) await requireIpv6(sysctls, six.cidr);

  const netns = options.netnsPath === undefined ? {} : { netnsPath: options.netnsPath };
  const host = await rtnetlinkOpener.open(options.netnsPath);
  const closers: (() => void | Promise<void>)[] = [() => host.close()];
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= closeAll(closers));

  try {
    const remover = await rtnetlinkOpener.open(options.netnsPath);
    closers.push(() => remover.close());
    const wanted = pools.map(({ cidr, gateway }) => ({ podCIDR: cidr, gateway }));
    const setups = await setUpHost(host, wanted, log);
    const families = pools.map(({ family }) => family);
    await setHostSysctls(sysctls, families, host, log);
    const nftables = await nftablesOpener.open(options.netnsPath);
    closers.push(() => nftables.close());
    const withFormer = (former: readonly { podCIDR: string }[]): string[] => [
      ...podCIDRs,
      ...former.map(({ podCIDR }) => podCIDR),
    ];
    const { legacyFilter: legacy } = dependencies;
    const filters = await PodFilters.start(
      { nftables, legacy, overlay: options.overlay, masqueraded: options.masqueraded ?? [4, 6], log, clock },
      withFormer(setups),
    );
    closers.push(() => filters.stop());
    const overlay = await overlayOf(options, withFormer(setups), { ...dependencies, networks: filters, log, clock });
    closers.push(() => overlay?.stop());
    const former = new FormerNetworks({
      host,
      podCIDRs,
      setups,
      async onGone(remaining) {
        await filters.setOwn(withFormer(remaining));
        overlay?.setPodCIDRs(withFormer(remaining));
      },
      log,
    });
    closers.push(() => former.idle());

    const isHostNetns = sameNamespaceAs(options.netnsPath ?? '/proc/self/ns/net');
    const shapers = new Shapers(host, remover, log);
    const extensions: PodExtension[] = [...(dependencies.extensions ?? []), shapers];
    const links = new PodLinks({
      host,
      remover,
      opener: rtnetlinkOpener,
      sysctls,
      ipam,
      log,
      extensions,
      isHostNetns,
      clock,
    });
    // Before the listing, so that nothing vanishes unseen between the two.
    const unsubscribe = await rtnetlinkOpener.subscribe(['link'], (notification) => {
      if (notification.event === 'linkDelete' || notification.event === 'overrun') former.linkEnded();
      links.onNotification(notification).catch((error: unknown) => {
        if (!stopping) log.error({ error: errorLine(error) }, 'cannot follow a link notification');
      });
    });
    closers.push(() => links.idle(), unsubscribe);
    await links.load();
    const isPodLink = (key: string): boolean => links.attachments.some(({ identity }) => identity.key === key);
    await shapers.load(new Set(links.attachments.map(({ identity }) => identity.key)));
    const hostPorts = await HostPorts.start(
      { ...dependencies, nftables, host, conntrack: dependencies.conntrackOpener, ...netns, families, log, clock },
      (podIP) => [ipam.holderOf(podIP)].find((holder) => holder !== undefined && isPodLink(holder)),
    );
    closers.push(() => hostPorts.stop());
    const podPorts = new PodPorts(hostPorts);
    extensions.push(podPorts);
    // Of links that vanished meanwhile nobody else tells.
    for (const holder of hostPorts.holders) if (!isPodLink(holder)) await hostPorts.withdraw(holder);

    let cancelRetry = (): void => undefined;
    closers.push(() => cancelRetry());
    const retry = (): void => {
      cancelRetry();
      if (!stopping) cancelRetry = clock.after(reconcileRetryMs, () => void reconcileAndLog());
    };
    const reconcile = async (): Promise<ReconcileReport> => {
      try {
        const report = await reconcileLinks({ links, ipam, log, clock, grace }, async () => {
          const sandboxes = await knownSandboxes();
          for (const { containerID, pod } of sandboxes) if (pod !== undefined) podPorts.learn(containerID, pod);
          return sandboxes;
        });
        if (report.waiting > 0 || report.heldForRuntime > 0) retry();
        return report;
      } catch (error) {
        retry();
        throw error;
      }
    };
    const reconcileAndLog = async (): Promise<void> => {
      await reconcile().catch((error: unknown) => {
        if (!stopping) log.warn({ error: errorLine(error) }, 'the runtime does not list its sandboxes; trying again');
      });
    };
    // Before the first ADD: an address that only the runtime remembers is not to be given out.
    await reconcileAndLog();

    const mtu = await UplinkMtu.start({ host, rtnetlinkOpener, podFamilies: families, clock, log }, options, (now) =>
      overlay?.setMtu(now),
    );
    closers.push(() => mtu.stop());
    const verbs = {
      links,
      get mtu() {
        return mtu.bytes;
      },
      unavailable: () => unavailable(stopping !== undefined, pools),
      knownSandboxes,
      log,
    };
    const server = await serveCni(options, verbs, log);
    closers.push(() => server.close());
    const onAbort = (): void => {
      stop().catch((error: unknown) => log.error({ error: errorLine(error) }, 'stopping the pod network'));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    closers.push(() => signal.removeEventListener('abort', onAbort));
    signal.throwIfAborted();
    log.info({ podCIDRs, pods: links.attachments.length }, 'pod network is ready');
    return {
      reconcile,
      status: () => ({
        ...statusOf(podCIDRs, pools),
        ...(overlay && { overlay: overlay.status() }),
        ...(hostPorts.count > 0 && { hostPorts: hostPorts.count }),
        ...(filters.faults.length > 0 && { faults: filters.faults }),
        ...(former.setups.length > 0 && { former: former.setups.map(({ podCIDR, pods }) => ({ podCIDR, pods })) }),
      }),
      withoutNftablesNotifications: (work) => filters.unwatched(() => hostPorts.unwatched(work)),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function overlayOf(
  { overlay, mtu, netnsPath }: PodNetworkOptions,
  podCIDRs: readonly string[],
  { peers, ...dependencies }: PodNetworkDependencies & Omit<OverlayDependencies, 'source'>,
): Promise<Overlay> | undefined {
  if (overlay === undefined || peers === undefined) return undefined;
  const options = { ...overlay, podCIDRs, mtu, ...(netnsPath !== undefined && { netnsPath }) };
  return startOverlay(options, { ...dependencies, source: peers });
}

/** Binary, socket, configuration, in this order: each relies on the one before. */
async function serveCni(options: PodNetworkOptions, verbs: VerbsDependencies, log: Logger): Promise<CniServer> {
  const shim = await installShim(options.shimPath, options.cniBinDir);
  for (const path of shim.written) log.info({ path }, 'installed the CNI plugin');
  if (shim.foreignLoopback) log.debug({ dir: options.cniBinDir }, 'left the loopback plugin of another product');

  const server = await startCniServer({
    socketPath: options.socketPath,
    handle: (call) => runVerb(verbs, call),
    log,
  });
  try {
    const conflist = await writeConflist(options.cniConfDir, options.socketPath);
    if (conflist.written) log.info({ dir: options.cniConfDir }, 'wrote the CNI configuration');
    if (conflist.shadowedBy.length > 0) {
      log.warn(
        { files: conflist.shadowedBy },
        'the runtime prefers these CNI configurations to Keelson’s; remove them',
      );
    }
    return server;
  } catch (error) {
    await server.close();
    throw error;
  }
}

function statusOf(
  podCIDRs: readonly string[],
  pools: readonly AddressPool[],
): PodCIDRStatus & Pick<PodNetworkStatus, 'second'> {
  const [first, second] = podCIDRs
    .flatMap((podCIDR) => pools.find(({ cidr }) => cidr === podCIDR) ?? [])
    .map(({ cidr, gateway, allocated, free }) => ({ podCIDR: cidr, gateway, allocated, free }));
  if (first === undefined) throw new Error('a pod network without a pod CIDR');
  return second === undefined ? first : { ...first, second };
}

function unavailable(stopping: boolean, pools: readonly AddressPool[]): string | undefined {
  if (stopping) return 'Keelson is stopping';
  const empty = pools.find(({ free }) => free === 0);
  return empty && `every address of pod CIDR ${empty.cidr} is in use`;
}

/** Compares namespace files by device and inode (namespaces(7)); a path that cannot be read is left to the kernel edge. */
function sameNamespaceAs(hostPath: string): (netnsPath: string) => Promise<boolean> {
  return async (netnsPath) => {
    try {
      const [host, pod] = await Promise.all([stat(hostPath), stat(netnsPath)]);
      return host.dev === pod.dev && host.ino === pod.ino;
    } catch {
      // Opening the namespace comes next and says precisely what is wrong with it.
      return false;
    }
  };
}

/** In reverse order of opening; every one is tried. */
async function closeAll(closers: readonly (() => void | Promise<void>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const close of closers.toReversed()) {
    try {
      await close();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'stopping the pod network');
}
