/**
 * Operations to messages, messages to notifications: the table that joins the four kinds of object.
 * Layer: linux (pure). Must not decide anything; what an operation means is in link.ts, address.ts, route.ts, neighbour.ts,
 * forwarding.ts, qdisc.ts.
 */
import type { RtnetlinkNotification, RtnetlinkOperation } from '../rtnetlink.ts';
import { decodeAddress, encodeAddressChange } from './address.ts';
import {
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWQDISC,
  RTM_NEWROUTE,
  RTM_NEWTFILTER,
} from './constants.ts';
import { decodeForwardingEntry, encodeForwardingChange } from './forwarding.ts';
import {
  decodeLink,
  encodeLinkAddPlain,
  encodeLinkAddVeth,
  encodeLinkAddVxlan,
  encodeLinkDelete,
  encodeLinkSet,
  type NetnsDescriptor,
} from './link.ts';
import type { MessageCursor } from './message-reader.ts';
import type { MessageWriter } from './message-writer.ts';
import { decodeNeighbour, encodeNeighbourChange } from './neighbour.ts';
import { encodeFilterRedirect, encodeQdiscAddIngress, encodeQdiscReplaceTbf } from './qdisc.ts';
import { decodeRoute, encodeRouteDelete, encodeRouteReplace } from './route.ts';

/**
 * Appends the message of one operation. On an error the writer is as it was before.
 * @throws AddressFormatError, NetlinkEncodeError
 */
export function encodeOperation(
  writer: MessageWriter,
  sequence: number,
  operation: RtnetlinkOperation,
  netnsDescriptor: NetnsDescriptor,
): void {
  try {
    switch (operation.op) {
      case 'linkAddVeth':
        encodeLinkAddVeth(writer, sequence, operation, netnsDescriptor);
        break;
      case 'linkAddBridge':
      case 'linkAddIfb':
        encodeLinkAddPlain(writer, sequence, operation);
        break;
      case 'linkAddVxlan':
        encodeLinkAddVxlan(writer, sequence, operation);
        break;
      case 'linkSet':
        encodeLinkSet(writer, sequence, operation);
        break;
      case 'linkDelete':
        encodeLinkDelete(writer, sequence, operation);
        break;
      case 'addressAdd':
      case 'addressDelete':
        encodeAddressChange(writer, sequence, operation);
        break;
      case 'routeReplace':
        encodeRouteReplace(writer, sequence, operation);
        break;
      case 'routeDelete':
        encodeRouteDelete(writer, sequence, operation);
        break;
      case 'neighReplace':
      case 'neighDelete':
        encodeNeighbourChange(writer, sequence, operation);
        break;
      case 'fdbReplace':
      case 'fdbDelete':
        encodeForwardingChange(writer, sequence, operation);
        break;
      case 'qdiscReplaceTbf':
        encodeQdiscReplaceTbf(writer, sequence, operation);
        break;
      case 'qdiscAddIngress':
        encodeQdiscAddIngress(writer, sequence, operation);
        break;
      case 'filterRedirect':
        encodeFilterRedirect(writer, sequence, operation);
        break;
    }
  } catch (error) {
    writer.cancel();
    throw error;
  }
}

/** The kernel's name for the request that an operation becomes, for errors. */
export function messageTypeOf(operation: RtnetlinkOperation): number {
  switch (operation.op) {
    case 'linkAddVeth':
    case 'linkAddBridge':
    case 'linkAddIfb':
    case 'linkAddVxlan':
    case 'linkSet':
      return RTM_NEWLINK;
    case 'linkDelete':
      return RTM_DELLINK;
    case 'addressAdd':
      return RTM_NEWADDR;
    case 'addressDelete':
      return RTM_DELADDR;
    case 'routeReplace':
      return RTM_NEWROUTE;
    case 'routeDelete':
      return RTM_DELROUTE;
    case 'neighReplace':
    case 'fdbReplace':
      return RTM_NEWNEIGH;
    case 'neighDelete':
    case 'fdbDelete':
      return RTM_DELNEIGH;
    case 'qdiscReplaceTbf':
    case 'qdiscAddIngress':
      return RTM_NEWQDISC;
    case 'filterRedirect':
      return RTM_NEWTFILTER;
  }
}

/** Undefined for messages that tell nothing about the objects we know. @throws NetlinkFormatError */
export function decodeNotification(message: MessageCursor): RtnetlinkNotification | undefined {
  switch (message.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const link = decodeLink(message);
      return link && { event: message.type === RTM_NEWLINK ? 'linkNew' : 'linkDelete', link };
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const address = decodeAddress(message);
      return address && { event: message.type === RTM_NEWADDR ? 'addressNew' : 'addressDelete', address };
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const route = decodeRoute(message);
      return route && { event: message.type === RTM_NEWROUTE ? 'routeNew' : 'routeDelete', route };
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const neighbour = decodeNeighbour(message);
      if (neighbour !== undefined)
        return { event: message.type === RTM_NEWNEIGH ? 'neighNew' : 'neighDelete', neighbour };
      const entry = decodeForwardingEntry(message);
      return entry && { event: message.type === RTM_NEWNEIGH ? 'fdbNew' : 'fdbDelete', entry };
    }
    default:
      return undefined;
  }
}
