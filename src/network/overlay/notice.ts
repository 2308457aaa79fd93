/**
 * What a notification of the kernel means for the overlay.
 * Layer: network/overlay (pure).
 */
import { RT_TABLE_MAIN } from '../../linux/netlink/constants.ts';
import { type Address, keelsonRouteProtocol, type RtnetlinkNotification } from '../../linux/rtnetlink.ts';
import { familyOf, type IpFamily } from '../ipam/ip-prefix.ts';
import { type Entry, entryOfForwarding, entryOfNeighbour, entryOfRoute } from './entries.ts';
import { isLinkLocal6 } from './family.ts';
import { isOurVxlanOf } from './vxlan-link.ts';

/** `look`: more may have changed than is told, so dump. */
export type Notice = 'look' | 'nothing' | { entry: Entry; event: 'new' | 'gone' };

export interface NoticeContext {
  /** Of pods. */
  family: IpFamily;
  /** Of the addresses that nodes reach each other at. */
  nodeFamily: IpFamily;
  vxlanIfindex: number | undefined;
  /** Links that the host's own addresses and routes are on. */
  uplinks: ReadonlySet<number>;
  /** Of the last look. */
  isKnown: (address: Address) => boolean;
  /** The link of the VXLAN cannot be made just now. */
  isWithoutLink: boolean;
}

export function noticeOf(notification: RtnetlinkNotification, context: NoticeContext): Notice {
  switch (notification.event) {
    case 'overrun':
      return 'look';
    case 'linkNew':
    case 'linkDelete': {
      const { link } = notification;
      // Links of pods come and go all day. A link that goes down loses its routes, and nothing is said of them.
      if (
        link.ifindex === context.vxlanIfindex ||
        context.uplinks.has(link.ifindex) ||
        isOurVxlanOf(link, context.family)
      )
        return 'look';
      // It may have been the one that had our VNI.
      return context.isWithoutLink && notification.event === 'linkDelete' && link.kind === 'vxlan' ? 'look' : 'nothing';
    }
    case 'addressNew':
      if (context.isKnown(notification.address)) return 'nothing';
      return isOfInterest(notification.address.prefix, context) ? 'look' : 'nothing';
    case 'addressDelete':
      return isOfInterest(notification.address.prefix, context) ? 'look' : 'nothing';
    case 'routeNew':
    case 'routeDelete': {
      const { route } = notification;
      if (route.table !== RT_TABLE_MAIN || !isOfInterest(route.destination, context)) return 'nothing';
      if (route.protocol !== keelsonRouteProtocol) return 'look';
      return entryNotice(entryOfRoute(route, context.family), notification.event === 'routeNew');
    }
    case 'neighNew':
    case 'neighDelete': {
      const { neighbour } = notification;
      if (neighbour.ifindex !== context.vxlanIfindex) return 'nothing';
      return entryNotice(entryOfNeighbour(neighbour, context.family), notification.event === 'neighNew');
    }
    case 'fdbNew':
    case 'fdbDelete': {
      const { entry } = notification;
      if (entry.ifindex !== context.vxlanIfindex) return 'nothing';
      return entryNotice(entryOfForwarding(entry), notification.event === 'fdbNew');
    }
  }
}

/** Each link that comes up, a pod's too, brings link-local ones. */
function isOfInterest(prefix: string, context: NoticeContext): boolean {
  const family = familyOf(prefix);
  return (family === context.family || family === context.nodeFamily) && !isLinkLocal6(prefix);
}

const entryNotice = (entry: Entry | undefined, isNew: boolean): Notice =>
  entry === undefined ? 'nothing' : { entry, event: isNew ? 'new' : 'gone' };
