/**
 * One network namespace of the fake kernel: links and what hangs on them, with the rules by which Linux refuses and
 * cleans up. Test support that is itself tested against the real kernel (rtnetlink-cases.fake.ts).
 * Layer: linux (pure). Left out: the local table (255), IPv6 link-local and multicast entries, metrics, statistics.
 */

import { checkName, errno, Refusal } from './fake-refusal.ts';
import { networkOf, parseMac, parsePrefix, prefixContains } from './ip-bytes.ts';
import { RT_TABLE_MAIN } from './netlink/constants.ts';
import { defaultScope, defaultTable } from './netlink/route.ts';
import {
  type Address,
  type ForwardingEntry,
  keelsonRouteProtocol,
  type Link,
  type LinkRef,
  type Neighbour,
  type Route,
  type RtnetlinkNotification,
  type RtnetlinkOperation,
} from './rtnetlink.ts';

/** RTPROT_KERNEL: routes that the kernel makes for addresses. */
const kernelRouteProtocol = 2;

export interface FakeLink extends Link {
  peer: { netns: FakeNetns; ifindex: number } | undefined;
}

type Operation<Name extends RtnetlinkOperation['op']> = Extract<RtnetlinkOperation, { op: Name }>;

export class FakeNetns {
  readonly links = new Map<number, FakeLink>();
  addresses: Address[] = [];
  routes: Route[] = [];
  neighbours: Neighbour[] = [];
  forwardingEntries: ForwardingEntry[] = [];
  /** Of links that have any: the token bucket, and where what comes in is led. */
  readonly shaping = new Map<number, { tbf?: Operation<'qdiscReplaceTbf'>; ingress?: boolean; redirect?: number }>();
  /** UDP ports that programs have: a VXLAN link on one of them does not come up. */
  readonly usedPorts = new Set<number>();
  readonly listeners = new Set<(notification: RtnetlinkNotification) => void>();
  /** The name by which others refer to it in `linkNetnsId`. */
  readonly id: number;
  #nextIfindex = 1;

  constructor(id: number) {
    this.id = id;
    this.#add({ name: 'lo', kind: undefined, mtu: 65_536, mac: '00:00:00:00:00:00' });
  }

  find(ref: LinkRef): FakeLink | undefined {
    if ('ifindex' in ref) return this.links.get(ref.ifindex);
    return [...this.links.values()].find((link) => link.name === ref.name);
  }

  /** @throws Refusal */
  linkAddVeth(operation: Operation<'linkAddVeth'>, peerNetns: FakeNetns): void {
    const { name, mac, mtu, peer } = operation;
    for (const end of [operation, peer]) {
      checkName(end.name);
      if (end.mac !== undefined && ((parseMac(end.mac)[0] ?? 0) & 1) === 1) throw new Refusal(errno.EADDRNOTAVAIL);
      if (end.mtu !== undefined && (end.mtu < 68 || end.mtu > 65_535)) throw new Refusal(errno.EINVAL);
    }
    if (this.find({ name }) || peerNetns.find({ name: peer.name })) throw new Refusal(errno.EEXIST);
    if (peerNetns === this && peer.name === name) throw new Refusal(errno.EEXIST);
    // The kernel registers the peer first, so in one namespace it has the smaller ifindex.
    const other = peerNetns.#add({ name: peer.name, kind: 'veth', mtu: peer.mtu ?? 1500, mac: peer.mac });
    const own = this.#add({ name, kind: 'veth', mtu: mtu ?? 1500, mac });
    own.peer = { netns: peerNetns, ifindex: other.ifindex };
    other.peer = { netns: this, ifindex: own.ifindex };
    for (const [link, far] of [
      [own, peerNetns],
      [other, this],
    ] as const) {
      link.parentIfindex = link.peer?.ifindex;
      if (peerNetns !== this) link.linkNetnsId = far.id;
    }
    peerNetns.#announce(other);
    this.#announce(own);
  }

  /** @throws Refusal */
  linkAddBridge(operation: Operation<'linkAddBridge'>): void {
    checkName(operation.name);
    if (this.find(operation)) throw new Refusal(errno.EEXIST);
    this.#announce(this.#add({ name: operation.name, kind: 'bridge', mtu: 1500, mac: undefined }));
  }

  /** @throws Refusal */
  linkAddIfb({ name }: Operation<'linkAddIfb'>): void {
    checkName(name);
    if (this.find({ name })) throw new Refusal(errno.EEXIST);
    this.#announce(this.#add({ name, kind: 'ifb', mtu: 1500, mac: undefined }));
  }

  /** @throws Refusal */
  shape(operation: Operation<'qdiscReplaceTbf' | 'qdiscAddIngress' | 'filterRedirect'>): void {
    this.#existing(operation);
    const before = this.shaping.get(operation.ifindex) ?? {};
    const set = (change: typeof before): unknown => this.shaping.set(operation.ifindex, { ...before, ...change });
    if (operation.op === 'qdiscReplaceTbf') set({ tbf: operation });
    else if (operation.op === 'qdiscAddIngress') {
      if (before.ingress) throw new Refusal(errno.EEXIST, 'Exclusivity flag on, cannot modify');
      set({ ingress: true });
    } else {
      if (!before.ingress) throw new Refusal(errno.EINVAL, "Parent Qdisc doesn't exists");
      if (!this.links.has(operation.toIfindex)) throw new Refusal(errno.ENODEV);
      set({ redirect: operation.toIfindex });
    }
  }

  /** @throws Refusal */
  linkAddVxlan({ name, mac, mtu, vni, port, local }: Operation<'linkAddVxlan'>): void {
    checkName(name);
    if (((parseMac(mac)[0] ?? 0) & 1) === 1) throw new Refusal(errno.EADDRNOTAVAIL);
    if (mtu < 68 || mtu > 65_535) throw new Refusal(errno.EINVAL);
    if (this.find({ name })) throw new Refusal(errno.EEXIST);
    // One for each family between hosts (vxlan_vni_in_use).
    const taken = [...this.links.values()].some(
      ({ vxlan }) => vxlan?.vni === vni && vxlan.port === port && isV6(vxlan.local ?? '') === isV6(local),
    );
    if (taken) throw new Refusal(errno.EEXIST, 'A VXLAN device with the specified VNI already exists');
    const link = this.#add({ name, kind: 'vxlan', mtu, mac });
    link.vxlan = { vni, port, local, lower: undefined, learning: false };
    this.#announce(link);
  }

  /** @throws Refusal */
  linkSet(operation: Operation<'linkSet'>): void {
    const link = this.#existing(operation.link);
    const { mac, mtu, rename, alias, masterIfindex, up } = operation;
    if (alias !== undefined && Buffer.byteLength(alias) > 255) throw new Refusal(errno.ERANGE);
    if (rename !== undefined) checkName(rename);
    if (mac !== undefined) {
      if (((parseMac(mac)[0] ?? 0) & 1) === 1) throw new Refusal(errno.EADDRNOTAVAIL);
      link.mac = mac.toLowerCase();
    }
    if (mtu !== undefined) {
      if (mtu < 68 || mtu > 65_535) throw new Refusal(errno.EINVAL);
      link.mtu = mtu;
    }
    if (rename !== undefined && rename !== link.name) {
      if (this.find({ name: rename })) throw new Refusal(errno.EEXIST);
      link.name = rename;
    }
    if (alias !== undefined) link.alias = alias === '' ? undefined : alias;
    if (masterIfindex !== undefined) {
      if (masterIfindex === 0) link.masterIfindex = undefined;
      else {
        const master = this.links.get(masterIfindex);
        if (!master) throw new Refusal(errno.EINVAL);
        if (master.kind !== 'bridge') throw new Refusal(errno.EOPNOTSUPP);
        if (link.kind === 'bridge') throw new Refusal(errno.ELOOP);
        if (link.name === 'lo') throw new Refusal(errno.EINVAL);
        link.masterIfindex = masterIfindex;
      }
    }
    if (up === true && !link.up) {
      if (link.vxlan !== undefined && this.usedPorts.has(link.vxlan.port)) throw new Refusal(errno.EADDRINUSE);
      this.#up(link);
    }
    if (up === false && link.up) this.#down(link);
    this.#announce(link);
  }

  /** @throws Refusal */
  linkDelete(operation: Operation<'linkDelete'>): void {
    const link = this.#existing(operation.link);
    if (link.kind === undefined) throw new Refusal(errno.EOPNOTSUPP);
    this.#remove(link);
  }

  /** @throws Refusal */
  addressAdd(operation: Operation<'addressAdd'>): void {
    const link = this.#existing(operation);
    const { ifindex, prefix, scope = 'global' } = operation;
    const address: Address = { ifindex, prefix, scope };
    // IPv6 has an address once a link, IPv4 once a link and prefix length.
    const taken = this.addresses.find(
      (other) =>
        other.ifindex === ifindex && (isV6(prefix) ? host(other.prefix) === host(prefix) : other.prefix === prefix),
    );
    if (taken) {
      if (!operation.replace)
        throw new Refusal(
          errno.EEXIST,
          isV6(prefix) ? 'ipv6: address already assigned' : 'ipv4: Address already assigned',
        );
      this.#notify({ event: 'addressNew', address: taken });
      return;
    }
    this.addresses.push(address);
    this.#notify({ event: 'addressNew', address });
    if (link.up) this.#connect(address);
  }

  /** @throws Refusal */
  addressDelete(operation: Operation<'addressDelete'>): void {
    this.#existing(operation);
    const address = this.addresses.find(
      (other) => other.ifindex === operation.ifindex && other.prefix === operation.prefix,
    );
    if (!address)
      throw new Refusal(
        errno.EADDRNOTAVAIL,
        isV6(operation.prefix) ? 'ipv6: address not found' : 'ipv4: Address not found',
      );
    this.#dropAddress(address);
  }

  /** @throws Refusal */
  routeReplace(operation: Operation<'routeReplace'>): void {
    const { gateway, source, onlink = false, type = 'unicast', protocol = keelsonRouteProtocol } = operation;
    const v6 = isV6(operation.destination);
    const destination = networkOf(operation.destination);
    if (!v6 && host(destination) !== host(operation.destination))
      throw new Refusal(errno.EINVAL, 'Invalid prefix for given prefix length');
    let ifindex = operation.ifindex;
    if (type === 'unicast' || type === 'local' || type === 'broadcast')
      ifindex = this.#nextHop(v6, ifindex, gateway, onlink);
    else ifindex = v6 ? this.find({ name: 'lo' })?.ifindex : undefined;
    if (source !== undefined && !this.addresses.some((address) => host(address.prefix) === source)) {
      throw new Refusal(errno.EINVAL, v6 ? 'Invalid source address' : 'Invalid prefsrc address');
    }
    const route: Route = {
      destination,
      gateway,
      ifindex,
      source,
      scope: operation.scope ?? defaultScope(operation),
      type,
      protocol,
      table: operation.table ?? defaultTable(operation),
      onlink,
    };
    const at = this.routes.findIndex((other) => other.destination === destination && other.table === route.table);
    if (at < 0) this.routes.push(route);
    else this.routes[at] = route;
    this.#notify({ event: 'routeNew', route });
  }

  /** @throws Refusal */
  routeDelete(operation: Operation<'routeDelete'>): void {
    const { ifindex, gateway, table = RT_TABLE_MAIN, protocol } = operation;
    const destination = networkOf(operation.destination);
    const at = this.routes.findIndex(
      (route) =>
        route.destination === destination &&
        route.table === table &&
        (ifindex === undefined || route.ifindex === ifindex) &&
        (gateway === undefined || route.gateway === gateway) &&
        (protocol === undefined || route.protocol === protocol),
    );
    const route = this.routes[at];
    if (!route) throw new Refusal(errno.ESRCH);
    this.routes.splice(at, 1);
    this.#notify({ event: 'routeDelete', route });
  }

  /** @throws Refusal */
  neighReplace(operation: Operation<'neighReplace'>): void {
    this.#existing(operation);
    const neighbour: Neighbour = {
      ifindex: operation.ifindex,
      ip: operation.ip,
      mac: operation.mac.toLowerCase(),
      permanent: true,
    };
    this.neighbours = this.neighbours.filter(
      (other) => other.ifindex !== neighbour.ifindex || other.ip !== neighbour.ip,
    );
    this.neighbours.push(neighbour);
    this.#notify({ event: 'neighNew', neighbour });
  }

  /** @throws Refusal */
  neighDelete(operation: Operation<'neighDelete'>): void {
    this.#existing(operation);
    const neighbour = this.neighbours.find((other) => other.ifindex === operation.ifindex && other.ip === operation.ip);
    if (!neighbour) throw new Refusal(errno.ENOENT);
    this.neighbours = this.neighbours.filter((other) => other !== neighbour);
    this.#notify({ event: 'neighDelete', neighbour });
  }

  /** @throws Refusal */
  fdbReplace(operation: Operation<'fdbReplace'>): void {
    if (this.#existing(operation).kind !== 'vxlan') throw new Refusal(errno.EOPNOTSUPP);
    const { ifindex, ip } = operation;
    const mac = operation.mac.toLowerCase();
    if (mac === '00:00:00:00:00:00') throw new Refusal(errno.EOPNOTSUPP);
    // vxlan_fdb_parse: a link has hosts of one family.
    if (isV6(ip) !== isV6(this.#existing(operation).vxlan?.local ?? '')) throw new Refusal(errno.EAFNOSUPPORT);
    const entry: ForwardingEntry = { ifindex, mac, ip, permanent: true };
    this.forwardingEntries = this.forwardingEntries.filter((other) => other.ifindex !== ifindex || other.mac !== mac);
    this.forwardingEntries.push(entry);
    this.#notify({ event: 'fdbNew', entry });
  }

  /** @throws Refusal */
  fdbDelete(operation: Operation<'fdbDelete'>): void {
    this.#existing(operation);
    const mac = operation.mac.toLowerCase();
    const entry = this.forwardingEntries.find((other) => other.ifindex === operation.ifindex && other.mac === mac);
    if (entry === undefined) throw new Refusal(errno.ENOENT);
    // Of another host: nothing happens, and nothing is said (__vxlan_fdb_delete).
    if (operation.ip !== undefined && operation.ip !== entry.ip) return;
    this.forwardingEntries = this.forwardingEntries.filter((other) => other !== entry);
    this.#notify({ event: 'fdbDelete', entry });
  }

  /** The end of the namespace: its virtual links go, and their other ends with them. */
  destroy(): void {
    for (const link of [...this.links.values()]) if (this.links.has(link.ifindex)) this.#remove(link);
  }

  #add(fields: { name: string; kind: string | undefined; mtu: number; mac: string | undefined }): FakeLink {
    const ifindex = this.#nextIfindex++;
    const link: FakeLink = {
      ...fields,
      ifindex,
      up: false,
      mac: fields.mac?.toLowerCase() ?? `02:00:${hex(this.id)}:${hex(ifindex >> 8)}:${hex(ifindex)}:01`,
      alias: undefined,
      parentIfindex: undefined,
      linkNetnsId: undefined,
      masterIfindex: undefined,
      peer: undefined,
    };
    this.links.set(ifindex, link);
    return link;
  }

  #existing(ref: LinkRef): FakeLink {
    const link = this.find(ref);
    if (!link) throw new Refusal(errno.ENODEV);
    return link;
  }

  #remove(link: FakeLink): void {
    for (const end of [{ netns: this as FakeNetns, ifindex: link.ifindex }, ...(link.peer ? [link.peer] : [])]) {
      const { netns, ifindex } = end;
      const gone = netns.links.get(ifindex);
      if (!gone) continue;
      netns.#down(gone);
      for (const address of netns.addresses.filter((other) => other.ifindex === ifindex)) netns.#dropAddress(address);
      netns.neighbours = netns.neighbours.filter((other) => other.ifindex !== ifindex);
      netns.forwardingEntries = netns.forwardingEntries.filter((other) => other.ifindex !== ifindex);
      netns.shaping.delete(ifindex);
      netns.routes = netns.routes.filter((route) => route.ifindex !== ifindex || route.type === 'unreachable');
      netns.links.delete(ifindex);
      for (const port of netns.links.values()) if (port.masterIfindex === ifindex) port.masterIfindex = undefined;
      netns.#notify({ event: 'linkDelete', link: toLink(gone) });
    }
  }

  /** Routes to connected networks come with the link going up; loopback gets its addresses then. */
  #up(link: FakeLink): void {
    link.up = true;
    if (link.name === 'lo') {
      for (const prefix of ['127.0.0.1/8', '::1/128']) {
        if (!this.addresses.some((other) => other.ifindex === link.ifindex && other.prefix === prefix)) {
          this.addresses.push({ ifindex: link.ifindex, prefix, scope: 'host' });
        }
      }
      return;
    }
    for (const address of this.addresses) if (address.ifindex === link.ifindex) this.#connect(address);
  }

  /** IPv4 addresses stay, IPv6 ones go (keep_addr_on_down is 0); routes and neighbours of both go, IPv4's silently. */
  #down(link: FakeLink): void {
    link.up = false;
    for (const route of this.routes.filter((other) => other.ifindex === link.ifindex)) {
      if (route.type !== 'unicast') continue;
      this.routes = this.routes.filter((other) => other !== route);
      if (isV6(route.destination)) this.#notify({ event: 'routeDelete', route });
    }
    for (const address of this.addresses.filter((other) => other.ifindex === link.ifindex && isV6(other.prefix)))
      this.#dropAddress(address);
    for (const neighbour of this.neighbours.filter((other) => other.ifindex === link.ifindex)) {
      this.neighbours = this.neighbours.filter((other) => other !== neighbour);
      this.#notify({ event: 'neighDelete', neighbour });
    }
  }

  /** The route that the kernel makes to the network of an address. */
  #connect(address: Address): void {
    const v6 = isV6(address.prefix);
    const { length } = parsePrefix(address.prefix);
    if (!v6 && length === 32) return;
    const route: Route = {
      destination: networkOf(address.prefix),
      gateway: undefined,
      ifindex: address.ifindex,
      source: v6 ? undefined : host(address.prefix),
      scope: v6 ? 'global' : 'link',
      type: 'unicast',
      protocol: kernelRouteProtocol,
      table: RT_TABLE_MAIN,
      onlink: false,
    };
    this.routes.push(route);
    this.#notify({ event: 'routeNew', route });
  }

  /** With an address go its connected route and routes that prefer it; with the last IPv4 one all IPv4 routes of the link. */
  #dropAddress(address: Address): void {
    const { ifindex } = address;
    const v6 = isV6(address.prefix);
    this.addresses = this.addresses.filter((other) => other !== address);
    this.#notify({ event: 'addressDelete', address });
    const last = !v6 && !this.addresses.some((other) => other.ifindex === ifindex && !isV6(other.prefix));
    const network = networkOf(address.prefix);
    this.routes = this.routes.filter((route) => {
      if (isV6(route.destination) !== v6) return true;
      if (route.source !== undefined && route.source === host(address.prefix)) return false;
      if (route.ifindex !== ifindex) return true;
      return !last && !(route.destination === network && route.protocol === kernelRouteProtocol);
    });
  }

  /** Where a unicast route leaves by; refuses as fib_check_nh does. */
  #nextHop(v6: boolean, ifindex: number | undefined, gateway: string | undefined, onlink: boolean): number {
    if (ifindex !== undefined || onlink || gateway === undefined) {
      const link = ifindex === undefined ? undefined : this.links.get(ifindex);
      if (!link) throw new Refusal(errno.ENODEV);
      if (!link.up)
        throw new Refusal(
          errno.ENETDOWN,
          onlink || gateway === undefined ? 'Device for nexthop is not up' : 'Nexthop device is not up',
        );
      if (gateway === undefined || onlink || isV6(gateway)) return link.ifindex;
    }
    const candidates = this.routes.filter(
      (route) =>
        route.table === RT_TABLE_MAIN &&
        (ifindex === undefined || route.ifindex === ifindex) &&
        prefixContains(route.destination, gateway),
    );
    const best = candidates.sort((a, b) => parsePrefix(b.destination).length - parsePrefix(a.destination).length)[0];
    if (best?.ifindex === undefined || best.gateway !== undefined || best.type !== 'unicast') {
      throw new Refusal(v6 ? errno.EHOSTUNREACH : errno.ENETUNREACH, v6 ? undefined : 'Nexthop has invalid gateway');
    }
    return best.ifindex;
  }

  #announce(link: FakeLink): void {
    this.#notify({ event: 'linkNew', link: toLink(link) });
  }

  /** Later, as from the kernel, but in order. */
  #notify(notification: RtnetlinkNotification): void {
    for (const listener of this.listeners) {
      queueMicrotask(() => {
        if (this.listeners.has(listener)) listener(structuredClone(notification));
      });
    }
  }
}

/** Without what only the fake knows. */
export function toLink(link: FakeLink): Link {
  const { peer: _, ...visible } = link;
  return visible;
}

const isV6 = (text: string): boolean => text.includes(':');
const host = (prefix: string): string => prefix.slice(0, prefix.indexOf('/'));
const hex = (value: number): string => (value & 0xff).toString(16).padStart(2, '0');
