/**
 * Follows the MTU of the links that default routes leave by, and says what is left of it for pods.
 * Layer: network, over the rtnetlink edge. Changes nothing: the overlay and the next ADD take over what it says. Links of pods
 * that are there already keep their MTU; where theirs is too large now, the host tells them so (ICMP, RFC 1191 and 8201).
 */
import type { CancelTimer, Clock } from '../base/clock.ts';
import { RT_TABLE_MAIN } from '../linux/netlink/constants.ts';
import type { Link, Route, Rtnetlink, RtnetlinkNotification, RtnetlinkOpener } from '../linux/rtnetlink.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { everywhere, type IpFamily } from './ipam/ip-prefix.ts';
import { smallestIpv6Mtu } from './links/link-mtu.ts';

/** Several links are changed one after the other, and a default route is replaced in two steps. */
const gatherMs = 50;
const retryMs = 5_000;
/** Bytes. What every host takes of IPv4 (RFC 791), the least that --mtu may be. */
const leastMtu: Readonly<Record<IpFamily, number>> = { 4: 576, 6: smallestIpv6Mtu };

const anyFamily: readonly IpFamily[] = [4, 6];

/** `unreachable` and `blackhole` defaults lead nowhere. */
const isDefault = ({ destination, type, table }: Route, families: readonly IpFamily[]): boolean =>
  families.some((family) => destination === everywhere[family]) && type === 'unicast' && table === RT_TABLE_MAIN;

/** Links that default routes leave by. */
function defaultLinks(links: readonly Link[], routes: readonly Route[], families: readonly IpFamily[]): Link[] {
  const uplinks = new Set(routes.filter((route) => isDefault(route, families)).map(({ ifindex }) => ifindex));
  return links.filter(({ ifindex }) => uplinks.has(ifindex));
}

/** The smallest of the links with a default route, bytes; undefined without one. */
export function uplinkMtu(
  links: readonly Link[],
  routes: readonly Route[],
  families: readonly IpFamily[] = anyFamily,
): number | undefined {
  const mtus = defaultLinks(links, routes, families).map(({ mtu }) => mtu);
  return mtus.length === 0 ? undefined : Math.min(...mtus);
}

/**
 * @param overheadBytes what encapsulation takes of each packet
 * @param podFamilies with IPv6 addresses the result is at least 1280, and what is encapsulated may have to be fragmented
 */
export const podMtuFor = (wireMtu: number, overheadBytes: number, podFamilies: readonly IpFamily[]): number =>
  Math.max(...podFamilies.map((family) => leastMtu[family]), wireMtu - overheadBytes);

export interface UplinkMtuDependencies {
  podFamilies: readonly IpFamily[];
  host: Pick<Rtnetlink, 'links' | 'routes'>;
  rtnetlinkOpener: Pick<RtnetlinkOpener, 'subscribe'>;
  clock: Clock;
  log: Logger;
}

export interface UplinkMtuOptions {
  /** Of pods until the first look, bytes; stays without `followUplink`. */
  mtu: number;
  /** Absent: the MTU was given by the admin. */
  followUplink?: FollowUplink;
}

export interface FollowUplink {
  /** What encapsulation takes of each packet on the wire. */
  overheadBytes: number;
  /** Of the node's addresses: default routes of others do not count. */
  nodeFamilies: readonly IpFamily[];
}

export class UplinkMtu {
  readonly #deps: UplinkMtuDependencies;
  readonly #follow: FollowUplink | undefined;
  readonly #onChange: (bytes: number) => void;
  /** MTU by ifindex. */
  #uplinks: ReadonlyMap<number, number> = new Map();
  #bytes: number;
  #unsubscribe = (): void => undefined;
  #cancel: CancelTimer | undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;

  private constructor(deps: UplinkMtuDependencies, options: UplinkMtuOptions, onChange: (bytes: number) => void) {
    this.#deps = deps;
    this.#follow = options.followUplink;
    this.#bytes = options.mtu;
    this.#onChange = onChange;
  }

  /** @throws KernelError when the kernel tells nothing */
  static async start(
    deps: UplinkMtuDependencies,
    options: UplinkMtuOptions,
    onChange: (bytes: number) => void,
  ): Promise<UplinkMtu> {
    const followed = new UplinkMtu(deps, options, onChange);
    if (options.followUplink === undefined) return followed;
    // Before the first look, so that nothing falls between the two.
    followed.#unsubscribe = await deps.rtnetlinkOpener.subscribe(['link', 'route4', 'route6'], (notification) => {
      if (followed.#concerns(notification)) followed.#lookAfter(gatherMs);
    });
    await followed.#look();
    return followed;
  }

  /** For the next pod, bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#cancel?.();
    await this.#looking;
  }

  /** Links and routes of pods come and go all day: those are passed over without a question to the kernel. */
  #concerns(notification: RtnetlinkNotification): boolean {
    switch (notification.event) {
      case 'overrun':
        return true;
      case 'linkNew': {
        const { ifindex, mtu, up } = notification.link;
        const known = this.#uplinks.get(ifindex);
        // A link that goes down loses its routes, and nothing is said of them.
        return known !== undefined && (known !== mtu || !up);
      }
      case 'linkDelete':
        return this.#uplinks.has(notification.link.ifindex);
      case 'routeNew':
      case 'routeDelete':
        return isDefault(notification.route, this.#follow?.nodeFamilies ?? []);
      default:
        return false;
    }
  }

  #lookAfter(delayMs: number): void {
    if (this.#stopped) return;
    this.#cancel ??= this.#deps.clock.after(delayMs, () => {
      this.#cancel = undefined;
      this.#looking = this.#looking.then(() => this.#look());
    });
  }

  async #look(): Promise<void> {
    const { host, podFamilies, log } = this.#deps;
    if (this.#stopped || this.#follow === undefined) return;
    const { overheadBytes, nodeFamilies } = this.#follow;
    try {
      const [links, routes] = await Promise.all([host.links(), host.routes()]);
      if (this.#stopped) return;
      this.#uplinks = new Map(defaultLinks(links, routes, nodeFamilies).map(({ ifindex, mtu }) => [ifindex, mtu]));
    } catch (error) {
      if (this.#stopped) return;
      log.warn({ error: errorLine(error) }, 'cannot look at the MTU of the uplinks; trying again');
      this.#lookAfter(retryMs);
      return;
    }
    // Without a way out the last one counts: a link that is down for a moment is no smaller.
    if (this.#uplinks.size === 0) return;
    const wireMtu = Math.min(...this.#uplinks.values());
    const now = podMtuFor(wireMtu, overheadBytes, podFamilies);
    if (now === this.#bytes) return;
    const before = this.#bytes;
    this.#bytes = now;
    if (now + overheadBytes > wireMtu)
      log.warn({ before, now, wireMtu, fix: 'raise the MTU of the uplink' }, 'the uplink is too small for pods');
    else log.info({ before, now, wireMtu }, 'the uplink has another MTU: new pods get another one');
    this.#onChange(now);
  }
}
