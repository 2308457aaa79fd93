/**
 * Builds and removes pod links and knows which exist: the one place where IPAM and the kernel are changed together.
 * Layer: network/links, over the rtnetlink edge. Calls of one container run one after the other. Keeps nothing on disk:
 * `load` finds the links of a predecessor by their alias. Must not know CNI's wire formats.
 */
import { type Clock, systemClock } from '../../base/clock.ts';
import { KeyedLock } from '../../base/keyed-lock.ts';
import type { Sysctls } from '../../linux/host.ts';
import { isAlreadyExists, isNotFound, KernelError } from '../../linux/kernel-error.ts';
import {
  keelsonRouteProtocol,
  type LinkRef,
  type Rtnetlink,
  type RtnetlinkNotification,
  type RtnetlinkOpener,
} from '../../linux/rtnetlink.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { familyOf, hostPrefixOf } from '../ipam/ip-prefix.ts';
import type { AssignedAddress, Ipam } from '../ipam/ipam.ts';
import { NetworkError } from '../network-error.ts';
import { applyAll, linkFailed } from './apply.ts';
import { type Expectation, inspectAttachment } from './inspect.ts';
import { isHostLinkName, type LinkIdentity, linkIdentity, parseAlias, runtimeHolder } from './link-identity.ts';
import { requireMtu } from './link-mtu.ts';
import { planCreate, planHostSide, planPodSide } from './link-plan.ts';
import { guardIpv6, noIpv6, noRedirects } from './link-sysctls.ts';
import type { PodExtension, PodWishes } from './pod-extension.ts';

/** One pod link that exists in the kernel. */
export interface Attachment {
  readonly identity: LinkIdentity;
  /** Of the host end. */
  readonly ifindex: number;
  /** `adopted`: found at start, made by a predecessor. */
  readonly origin: 'added' | 'adopted';
  /** Name of the network configuration; undefined when it is not known any more. */
  readonly network?: string | undefined;
  /** When this process made or found it, clock milliseconds. */
  readonly since: number;
}

export interface AttachRequest extends PodWishes {
  containerID: string;
  ifname: string;
  /** Absolute path of the pod's network namespace. */
  netnsPath: string;
  /** Bytes. */
  mtu: number;
}

export interface Attached {
  identity: LinkIdentity;
  addresses: readonly AssignedAddress[];
  mtu: number;
}

export interface PodLinksDependencies {
  /** Socket in the namespace that holds the host ends. */
  host: Rtnetlink;
  /**
   * A second socket there for removals: the kernel takes some 15 ms for one (RCU grace periods), and what a socket is
   * asked is answered in order, so additions would wait behind them.
   */
  remover: Rtnetlink;
  opener: RtnetlinkOpener;
  sysctls: Pick<Sysctls, 'write' | 'writeInNetns'>;
  ipam: Ipam;
  log: Logger;
  /** In this order before a pod starts, in the reverse order when it is gone. */
  extensions?: readonly PodExtension[];
  /** True when the path is the namespace of the host ends itself. */
  isHostNetns: (netnsPath: string) => Promise<boolean>;
  clock?: Clock;
}

export class PodLinks {
  readonly #deps: PodLinksDependencies;
  readonly #clock: Clock;
  readonly #attachments = new Map<string, Attachment>();
  readonly #locks = new KeyedLock();

  constructor(deps: PodLinksDependencies) {
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
  }

  /** The attachments known at this moment. */
  get attachments(): readonly Attachment[] {
    return [...this.#attachments.values()];
  }

  /** Resolves when no attachment is being changed. */
  idle(): Promise<void> {
    return this.#locks.idle();
  }

  /** Finds the links of a predecessor and takes the addresses that they have; before the first `attach`. */
  async load(): Promise<void> {
    const { host, ipam, log, sysctls } = this.#deps;
    const [links, routes] = await Promise.all([host.links(), host.routes()]);
    for (const link of links) {
      const identity = parseAlias(link.alias);
      if (identity) {
        const attachment = { identity, ifindex: link.ifindex, origin: 'adopted', since: this.#clock.now() } as const;
        this.#attachments.set(identity.key, attachment);
        // Links of versions before this setting do not have it.
        await noRedirects(sysctls, identity.hostName);
      } else if (link.alias === undefined && link.kind === 'veth' && isHostLinkName(link.name)) {
        // Died between creating and marking it: nobody was told of this link.
        log.info({ link: link.name }, 'removing a pod link that was never finished');
        await this.#deleteLink({ ifindex: link.ifindex });
      }
    }
    const found = this.attachments.map(({ identity, ifindex }) => ({ identity, ifindex, ips: [] as string[] }));
    const byIfindex = new Map(found.map((link) => [link.ifindex, link]));
    for (const route of routes) {
      const link = route.ifindex === undefined ? undefined : byIfindex.get(route.ifindex);
      if (!link || route.protocol !== keelsonRouteProtocol) continue;
      const ip = route.destination.slice(0, route.destination.indexOf('/'));
      if (route.destination !== hostPrefixOf(ip)) continue;
      link.ips.push(ip);
      if (ipam.hold(ip, link.identity.key) === 'outside') {
        log.warn({ ip, containerID: link.identity.containerID }, 'pod address is outside the pod CIDR');
      }
    }
    for (const extension of this.#extensions) extension.found?.(found);
  }

  /**
   * Builds the link of a pod, or leaves nothing behind.
   * @throws NetworkError NETWORK_ATTACHMENT_EXISTS, NETWORK_NETNS_*, NETWORK_POD_CIDR_EXHAUSTED, NETWORK_MTU_TOO_SMALL,
   * NETWORK_LINK_FAILED
   */
  attach(request: AttachRequest): Promise<Attached> {
    return this.#locks.run(request.containerID, async () => {
      const identity = linkIdentity(request.containerID, request.ifname);
      requireMtu(request.mtu, this.#deps.ipam.families);
      await this.#refuseSecond(identity);
      const pod = await this.#openPod(request.netnsPath);
      try {
        const addresses = this.#deps.ipam.allocate(identity.key);
        await this.#build(identity, request, addresses, pod);
        return { identity, addresses, mtu: request.mtu };
      } finally {
        pod.close();
      }
    });
  }

  /**
   * Removes the link and frees its addresses; harmless when there is none.
   * @throws NetworkError NETWORK_LINK_FAILED when the kernel keeps the link; the addresses stay held then
   */
  detach(containerID: string, ifname: string): Promise<void> {
    return this.#locks.run(containerID, async () => {
      await this.#remove(linkIdentity(containerID, ifname));
      this.#deps.ipam.release(runtimeHolder(containerID));
    });
  }

  /** Removes exactly this attachment; false when it was removed or replaced in the meantime. */
  removeUnchanged(attachment: Attachment): Promise<boolean> {
    return this.#locks.run(attachment.identity.containerID, async () => {
      if (this.#attachments.get(attachment.identity.key) !== attachment) return false;
      await this.#remove(attachment.identity);
      return true;
    });
  }

  /**
   * Gives a link that lost its host side (route, neighbour) the addresses back that the runtime reports for it and nobody
   * else has. Returns them: none when there was nothing to do, or they are of a former pod CIDR.
   */
  restoreHostSide(attachment: Attachment, ips: readonly string[]): Promise<string[]> {
    const { ipam, host } = this.#deps;
    const { key, containerID } = attachment.identity;
    return this.#locks.run(containerID, async () => {
      if (this.#attachments.get(key) !== attachment) return [];
      const before = new Set(ipam.addressesOf(key).map(({ ip }) => ip));
      const families = new Set(ipam.addressesOf(key).map(({ family }) => family));
      for (const ip of ips) if (!families.has(familyOf(ip))) ipam.hold(ip, key);
      const restored = ipam.addressesOf(key).filter(({ ip }) => !before.has(ip));
      if (restored.length === 0) return [];
      const plan = planHostSide(attachment.identity, attachment.ifindex, restored);
      await applyAll(host, plan, 'restoring the host side');
      return restored.map(({ ip }) => ip);
    });
  }

  /**
   * CHECK: compares kernel and expectation.
   * @throws NetworkError NETWORK_ATTACHMENT_UNKNOWN, NETWORK_ATTACHMENT_DAMAGED, NETWORK_NETNS_*
   */
  check(containerID: string, ifname: string, netnsPath: string, expected: Expectation): Promise<void> {
    return this.#locks.run(containerID, async () => {
      const { host, ipam } = this.#deps;
      const identity = linkIdentity(containerID, ifname);
      if (!this.#attachments.has(identity.key)) {
        throw new NetworkError('NETWORK_ATTACHMENT_UNKNOWN', `no interface ${ifname} was added to it`, {
          object: `container ${containerID}`,
        });
      }
      const pod = await this.#openPod(netnsPath);
      try {
        const faults = await inspectAttachment(host, pod, identity, ipam.addressesOf(identity.key), expected);
        if (faults.length === 0) return;
        throw new NetworkError('NETWORK_ATTACHMENT_DAMAGED', faults.join('; '), {
          object: `container ${containerID} interface ${ifname}`,
          fix: 'delete the pod so that it is set up again',
        });
      } finally {
        pod.close();
      }
    });
  }

  /** A link of ours that vanished (its namespace was destroyed) frees its addresses. Resolves when that is done. */
  async onNotification(notification: RtnetlinkNotification): Promise<void> {
    if (notification.event === 'linkDelete') {
      const gone = this.attachments.filter(({ ifindex }) => ifindex === notification.link.ifindex);
      await Promise.all(gone.map((attachment) => this.#forgetIfGone(attachment)));
    } else if (notification.event === 'overrun') {
      // Something was missed; ask the kernel about each.
      await Promise.all(this.attachments.map((attachment) => this.#forgetIfGone(attachment)));
    }
  }

  async #build(
    identity: LinkIdentity,
    request: AttachRequest,
    addresses: readonly AssignedAddress[],
    pod: Rtnetlink,
  ): Promise<void> {
    const { host, ipam, sysctls } = this.#deps;
    const create = planCreate(identity, request.netnsPath, request.mtu);
    const [refused, unmarked] = await host.apply(create).catch(async (error: unknown) => {
      // The edge failed, not the kernel: the link may be there or not.
      await this.#undo(identity);
      throw linkFailed('creating the veth pair', error);
    });
    if (refused) {
      ipam.release(identity.key);
      throw isAlreadyExists(refused) ? alreadyThere(identity, refused) : linkFailed('creating the veth pair', refused);
    }
    try {
      if (unmarked) throw linkFailed('marking the host end', unmarked);
      const [hostLink, podLink] = await Promise.all([
        host.link({ name: identity.hostName }),
        pod.link({ name: request.ifname }),
        addresses.some(({ family }) => family === 6)
          ? guardIpv6(sysctls, identity, request.netnsPath)
          : noIpv6(sysctls, identity.hostName),
        noRedirects(sysctls, identity.hostName),
      ]);
      if (!hostLink || !podLink) throw linkFailed('reading the new link', new Error('it is gone again'));
      // From here on the notification of its disappearance finds it.
      this.#attachments.set(identity.key, this.#added(identity, hostLink.ifindex, request.network));
      const starting = { identity, ifindex: hostLink.ifindex, addresses, wishes: request };
      for (const extension of this.#extensions) await extension.beforeUp(starting);
      const steps = await Promise.allSettled([
        applyAll(host, planHostSide(identity, hostLink.ifindex, addresses), 'setting up the host side'),
        applyAll(pod, planPodSide(identity, podLink.ifindex, addresses), 'setting up the pod side'),
      ]);
      const failed = steps.find((step) => step.status === 'rejected');
      if (failed) throw failed.reason;
    } catch (error) {
      await this.#undo(identity);
      throw error;
    }
  }

  async #undo(identity: LinkIdentity): Promise<void> {
    try {
      await this.#deleteLink({ name: identity.hostName });
      await this.#forget(identity);
    } catch (error) {
      // The address stays held as long as the link may be there: DEL, reconcile or the next start get another try.
      this.#deps.log.error({ link: identity.hostName, error: errorLine(error) }, 'half-built pod link stays behind');
    }
  }

  async #remove(identity: LinkIdentity): Promise<void> {
    const known = this.#attachments.get(identity.key);
    const ref = known ? { ifindex: known.ifindex } : await this.#findUnknown(identity);
    if (ref) await this.#deleteLink(ref);
    await this.#forget(identity);
  }

  /** The link that a name of ours points to although we do not know the attachment. */
  async #findUnknown(identity: LinkIdentity): Promise<LinkRef | undefined> {
    const link = await this.#deps.host.link({ name: identity.hostName });
    if (!link || (link.alias !== undefined && link.alias !== identity.alias)) return undefined;
    return { ifindex: link.ifindex };
  }

  async #deleteLink(link: LinkRef): Promise<void> {
    const [error] = await this.#deps.remover.apply([{ op: 'linkDelete', link }]);
    if (error && !isNotFound(error)) throw linkFailed('removing the veth pair', error);
  }

  async #refuseSecond(identity: LinkIdentity): Promise<void> {
    const known = this.#attachments.get(identity.key);
    if (!known) return;
    // The notification of its end may still be on its way.
    if (await this.#deps.host.link({ ifindex: known.ifindex })) throw alreadyThere(identity);
    await this.#forget(identity);
  }

  #forgetIfGone(attachment: Attachment): Promise<void> {
    const { key, containerID } = attachment.identity;
    return this.#locks.run(containerID, async () => {
      if (this.#attachments.get(key) !== attachment) return;
      if (await this.#deps.host.link({ ifindex: attachment.ifindex })) return;
      this.#deps.log.debug({ containerID, freed: await this.#forget(attachment.identity) }, 'pod link vanished');
    });
  }

  /** The link is gone. What leads to its addresses goes before these can be another pod's. */
  async #forget(identity: LinkIdentity): Promise<string[]> {
    this.#attachments.delete(identity.key);
    for (const extension of this.#extensions.toReversed()) await extension.afterGone(identity);
    return this.#deps.ipam.release(identity.key);
  }

  get #extensions(): readonly PodExtension[] {
    return this.#deps.extensions ?? [];
  }

  #added(identity: LinkIdentity, ifindex: number, network: string | undefined): Attachment {
    return { identity, ifindex, origin: 'added', network, since: this.#clock.now() };
  }

  async #openPod(netnsPath: string): Promise<Rtnetlink> {
    const object = `network namespace ${netnsPath}`;
    if (await this.#deps.isHostNetns(netnsPath)) {
      throw new NetworkError('NETWORK_NETNS_IS_HOST', 'this is the namespace of the host', { object });
    }
    try {
      return await this.#deps.opener.open(netnsPath);
    } catch (cause) {
      if (isNotFound(cause)) throw new NetworkError('NETWORK_NETNS_UNKNOWN', 'does not exist', { object, cause });
      if (cause instanceof KernelError && cause.errnoName === 'EINVAL') {
        throw new NetworkError('NETWORK_NETNS_INVALID', 'is not a network namespace', { object, cause });
      }
      throw linkFailed(`entering ${netnsPath}`, cause);
    }
  }
}

function alreadyThere(identity: LinkIdentity, cause?: unknown): NetworkError {
  return new NetworkError('NETWORK_ATTACHMENT_EXISTS', `interface ${identity.ifname} is already there`, {
    object: `container ${identity.containerID}`,
    fix: 'call DEL before a second ADD',
    cause,
  });
}
