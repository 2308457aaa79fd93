/**
 * The words of rtnetlink as plain data: links, addresses, routes, neighbours, the operations on them, and the edge that
 * applies them. Names follow iproute2 and vishvananda/netlink.
 * Layer: linux (pure types). The codec is in netlink/, the real edge in src/kernel, the stateful fake in fake-rtnetlink.ts.
 */

/** `IPv4` in dotted form or IPv6 in RFC 5952 form, without prefix length. */
export type IpAddress = string;
/** `10.244.0.7/32` */
export type IpPrefix = string;
/** Six lower-case hex pairs joined by colons. */
export type MacAddress = string;

export interface Link {
  ifindex: number;
  name: string;
  /** IFLA_INFO_KIND (`veth`, `bridge`, `vxlan`), or undefined for hardware and loopback. */
  kind: string | undefined;
  mtu: number;
  /** IFF_UP: administratively up. */
  up: boolean;
  mac: MacAddress | undefined;
  /** IFLA_IFALIAS: up to 255 bytes that the kernel keeps for us; Keelson marks its links here. */
  alias: string | undefined;
  /** ifindex of the veth peer or the underlying device (IFLA_LINK), in the namespace of `linkNetnsId` when that is set. */
  parentIfindex: number | undefined;
  linkNetnsId: number | undefined;
  /** ifindex of the bridge or bond this link is enslaved to. */
  masterIfindex: number | undefined;
  /** Of a link of kind `vxlan` only. */
  vxlan?: VxlanSettings;
}

/** What a VXLAN link was made with (if_link.h, IFLA_VXLAN_*). The kernel lets `vni`, `port` and `learning` never change. */
export interface VxlanSettings {
  /** 0 to 16,777,215. */
  vni: number;
  /** UDP port that it receives on and sends to. */
  port: number;
  /** Source of the packets it sends; undefined: what the route says. */
  local: IpAddress | undefined;
  /** ifindex of the link that packets must leave by; undefined: what the route says. */
  lower: number | undefined;
  /** Whether received packets make forwarding entries. */
  learning: boolean;
}

export interface Address {
  ifindex: number;
  prefix: IpPrefix;
  scope: Scope;
}

export type Scope = 'global' | 'link' | 'host';

export interface Route {
  destination: IpPrefix;
  gateway: IpAddress | undefined;
  ifindex: number | undefined;
  /** RTA_PREFSRC */
  source: IpAddress | undefined;
  scope: Scope;
  /** RTN_UNICAST and so on; only what Keelson makes or reads. */
  type: 'unicast' | 'local' | 'broadcast' | 'blackhole' | 'unreachable' | 'prohibit' | 'other';
  /** rtm_protocol: who made the route. Keelson's own carry `keelsonRouteProtocol`. */
  protocol: number;
  /** Routing table, 254 is main. */
  table: number;
  onlink: boolean;
}

/** rtm_protocol of every route that Keelson makes (include/uapi/linux/rtnetlink.h leaves 4..254 minus a few to daemons). */
export const keelsonRouteProtocol = 75;

export interface Neighbour {
  ifindex: number;
  ip: IpAddress;
  mac: MacAddress | undefined;
  permanent: boolean;
}

/**
 * A forwarding entry of a VXLAN link (`bridge fdb`, NTF_SELF): frames for `mac` go to the host `ip`. The all-zero address
 * stands for every unknown one; a link may have several entries for it.
 */
export interface ForwardingEntry {
  ifindex: number;
  mac: MacAddress;
  /** Undefined for an entry that names no host. */
  ip: IpAddress | undefined;
  permanent: boolean;
}

/** A link is named by ifindex where it is known, else by name; rtnetlink takes either for links. */
export type LinkRef = { ifindex: number } | { name: string };

export type RtnetlinkOperation =
  /**
   * `ip link add NAME type veth peer name PEER netns FD`. With `peer.netnsPath` the peer is created directly in that
   * namespace (moving it afterwards would cost an RCU grace period).
   */
  | {
      op: 'linkAddVeth';
      name: string;
      mac?: MacAddress;
      mtu?: number;
      peer: { name: string; netnsPath?: string; mac?: MacAddress; mtu?: number };
    }
  | { op: 'linkAddBridge'; name: string }
  /** What is redirected there comes back where it came in, so that its token bucket shapes what a link receives. */
  | { op: 'linkAddIfb'; name: string }
  /** With UDP checksums, without learning, no lower link. EEXIST also when another link has the VNI and port. */
  | { op: 'linkAddVxlan'; name: string; mac: MacAddress; mtu: number; vni: number; port: number; local: IpAddress }
  | {
      op: 'linkSet';
      link: LinkRef;
      up?: boolean;
      alias?: string;
      mtu?: number;
      masterIfindex?: number;
      mac?: MacAddress;
      rename?: string;
    }
  | { op: 'linkDelete'; link: LinkRef }
  /**
   * Replaces an equal address instead of failing when `replace` is set. `noDad` (IPv6) makes the address usable at once
   * instead of after duplicate address detection, which takes a second.
   */
  | {
      op: 'addressAdd';
      ifindex: number;
      prefix: IpPrefix;
      scope?: Scope;
      replace?: boolean;
      noDad?: boolean;
      /** Never chosen as a source by the kernel itself (IPv6; for IPv4 a scope of `host` does that). */
      deprecated?: boolean;
    }
  | { op: 'addressDelete'; ifindex: number; prefix: IpPrefix }
  /** NLM_F_CREATE|NLM_F_REPLACE, protocol `keelsonRouteProtocol` unless given. */
  | {
      op: 'routeReplace';
      destination: IpPrefix;
      ifindex?: number;
      gateway?: IpAddress;
      source?: IpAddress;
      scope?: Scope;
      type?: Route['type'];
      onlink?: boolean;
      table?: number;
      protocol?: number;
    }
  | {
      op: 'routeDelete';
      destination: IpPrefix;
      ifindex?: number;
      gateway?: IpAddress;
      table?: number;
      protocol?: number;
    }
  | { op: 'neighReplace'; ifindex: number; ip: IpAddress; mac: MacAddress }
  | { op: 'neighDelete'; ifindex: number; ip: IpAddress }
  /** Permanent. Changes the host of the entry when there is one; not for the all-zero address, which has several. */
  | { op: 'fdbReplace'; ifindex: number; mac: MacAddress; ip: IpAddress }
  /** With an `ip` only an entry for that host: another stays, and that is no error. */
  | { op: 'fdbDelete'; ifindex: number; mac: MacAddress; ip?: IpAddress }
  /**
   * `tc qdisc replace dev LINK root tbf`: at most `rateBytes` a second leave by the link, `burstBytes` at once (1 to 2^32-1);
   * `limitBytes` wait.
   */
  | { op: 'qdiscReplaceTbf'; ifindex: number; rateBytes: number; burstBytes: number; limitBytes: number }
  /** `tc qdisc add dev LINK ingress`; EEXIST when there is one. */
  | { op: 'qdiscAddIngress'; ifindex: number }
  /** Everything that comes in by `ifindex` passes the way out of `toIfindex`; after qdiscAddIngress. */
  | { op: 'filterRedirect'; ifindex: number; toIfindex: number };

export type RtnetlinkNotification =
  | { event: 'linkNew'; link: Link }
  | { event: 'linkDelete'; link: Link }
  | { event: 'addressNew' | 'addressDelete'; address: Address }
  | { event: 'routeNew' | 'routeDelete'; route: Route }
  | { event: 'neighNew' | 'neighDelete'; neighbour: Neighbour }
  | { event: 'fdbNew' | 'fdbDelete'; entry: ForwardingEntry }
  /** ENOBUFS: notifications were lost; the listener must list again. */
  | { event: 'overrun' };

/** `neigh` tells of neighbours and of forwarding entries. */
export type NotificationGroup = 'link' | 'address4' | 'address6' | 'route4' | 'route6' | 'neigh';

/** One rtnetlink socket bound to one network namespace for its whole life. */
export interface Rtnetlink {
  /**
   * Sends all operations in one sendmsg and waits for every answer. The kernel executes them in order and goes on after
   * a failure; entry i of the result is undefined when operation i succeeded.
   */
  apply(operations: readonly RtnetlinkOperation[]): Promise<(Error | undefined)[]>;
  /** One link, or undefined when there is none of that name or index. */
  link(ref: LinkRef): Promise<Link | undefined>;
  links(): Promise<Link[]>;
  addresses(): Promise<Address[]>;
  /** Both families, main table only unless `table` is given. */
  routes(filter?: { table?: number }): Promise<Route[]>;
  neighbours(): Promise<Neighbour[]>;
  /** Of one VXLAN link; empty when there is none of that index. */
  forwardingEntries(ifindex: number): Promise<ForwardingEntry[]>;
  /** Closes the socket; calls under way reject. */
  close(): void;
}

/** Opens rtnetlink in a namespace. The namespace need only exist during the call; the socket keeps it alive, so close it. */
export interface RtnetlinkOpener {
  /** @param netnsPath path of a namespace file (`/run/netns/x`, `/proc/1/ns/net`); undefined means the agent's own. */
  open(netnsPath?: string): Promise<Rtnetlink>;
  /** Notifications of the agent's own namespace, in order, until the returned function is called. */
  subscribe(
    groups: readonly NotificationGroup[],
    listener: (notification: RtnetlinkNotification) => void,
  ): Promise<() => void>;
}
