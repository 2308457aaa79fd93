/**
 * Rtnetlink on the real kernel: batches of operations, dumps, notifications.
 * Layer: kernel. Formats are src/linux/netlink's; this file only joins them with sockets and errors with operations.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { isNotFound, KernelError } from '../linux/kernel-error.ts';
import { decodeAddress, encodeAddressDump } from '../linux/netlink/address.ts';
import {
  messageName,
  NLMSG_ERROR,
  netlinkProtocol,
  notificationGroupNumber,
  RT_TABLE_MAIN,
} from '../linux/netlink/constants.ts';
import { describe } from '../linux/netlink/describe.ts';
import { decodeForwardingEntry, encodeForwardingDump } from '../linux/netlink/forwarding.ts';
import { decodeLink, encodeLinkDump, encodeLinkGet } from '../linux/netlink/link.ts';
import { MessageCursor, readAcknowledgement } from '../linux/netlink/message-reader.ts';
import { MessageWriter } from '../linux/netlink/message-writer.ts';
import { decodeNeighbour, encodeNeighbourDump } from '../linux/netlink/neighbour.ts';
import { decodeNotification, encodeOperation, messageTypeOf } from '../linux/netlink/operation.ts';
import { decodeRoute, encodeRouteDump } from '../linux/netlink/route.ts';
import type {
  Address,
  ForwardingEntry,
  Link,
  LinkRef,
  Neighbour,
  NotificationGroup,
  Route,
  Rtnetlink,
  RtnetlinkNotification,
  RtnetlinkOpener,
  RtnetlinkOperation,
} from '../linux/rtnetlink.ts';
import { toKernelError } from './kernel-errors.ts';
import { NetlinkSocket } from './netlink-socket.ts';

/** Room for a burst of some thousand notifications while the main thread is busy. */
const notificationBufferBytes = 8 << 20;

export const kernelRtnetlink: RtnetlinkOpener = {
  async open(netnsPath) {
    return new KernelRtnetlink(await NetlinkSocket.open(netlinkProtocol.route, netnsPath));
  },

  async subscribe(groups, listener) {
    const socket = await NetlinkSocket.open(netlinkProtocol.route, undefined, notificationBufferBytes);
    try {
      await socket.subscribe(
        groups.map((group: NotificationGroup) => notificationGroupNumber[group]),
        (bytes, overrun) => deliver(bytes, overrun, listener),
      );
    } catch (error) {
      socket.close();
      throw error;
    }
    return () => socket.close();
  },
};

class KernelRtnetlink implements Rtnetlink {
  readonly #socket: NetlinkSocket;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  async apply(operations: readonly RtnetlinkOperation[]): Promise<(Error | undefined)[]> {
    const results = Array<Error | undefined>(operations.length).fill(undefined);
    const first = this.#socket.reserveSequence(operations.length);
    const writer = new MessageWriter();
    const namespaces = new NamespaceDescriptors();
    try {
      for (const [index, operation] of operations.entries()) {
        try {
          encodeOperation(writer, first + index, operation, (path) => namespaces.open(path));
        } catch (error) {
          results[index] = toKernelError(error, describe(operation));
        }
      }
      if (writer.length > 0) {
        await this.#socket.transact(`apply ${operations.length} operations`, writer.take(), (message) => {
          const index = message.sequence - first;
          const operation = operations[index];
          if (message.type === NLMSG_ERROR && operation) results[index] = refusal(message, operation);
        });
      }
    } finally {
      namespaces.close();
    }
    return results;
  }

  async link(ref: LinkRef): Promise<Link | undefined> {
    const writer = new MessageWriter();
    encodeLinkGet(writer, this.#socket.reserveSequence(1), ref);
    let found: Link | undefined;
    let failure: KernelError | undefined;
    const name = `ip link show ${'name' in ref ? ref.name : `if${ref.ifindex}`}`;
    await this.#socket.transact(name, writer.take(), (message) => {
      if (message.type !== NLMSG_ERROR) {
        found ??= decodeLink(message);
        return;
      }
      const { errno, extack } = readAcknowledgement(message);
      if (errno !== 0) failure = new KernelError(errno, 'RTM_GETLINK', name, extack);
    });
    if (failure !== undefined && !isNotFound(failure)) throw failure;
    return found;
  }

  links(): Promise<Link[]> {
    return this.#socket.dump('RTM_GETLINK', encodeLinkDump, decodeLink);
  }

  addresses(): Promise<Address[]> {
    return this.#socket.dump('RTM_GETADDR', encodeAddressDump, decodeAddress);
  }

  async routes(filter?: { table?: number }): Promise<Route[]> {
    const table = filter?.table ?? RT_TABLE_MAIN;
    return [...(await this.#routesOf(4, table)), ...(await this.#routesOf(6, table))];
  }

  neighbours(): Promise<Neighbour[]> {
    return this.#socket.dump('RTM_GETNEIGH', encodeNeighbourDump, decodeNeighbour);
  }

  forwardingEntries(ifindex: number): Promise<ForwardingEntry[]> {
    return this.#socket.dump(
      'RTM_GETNEIGH',
      (writer, sequence) => encodeForwardingDump(writer, sequence, ifindex),
      (message) => {
        const entry = decodeForwardingEntry(message);
        return entry?.ifindex === ifindex ? entry : undefined;
      },
    );
  }

  close(): void {
    this.#socket.close();
  }

  async #routesOf(family: 4 | 6, table: number): Promise<Route[]> {
    try {
      return await this.#socket.dump(
        'RTM_GETROUTE',
        (writer, sequence) => encodeRouteDump(writer, sequence, family, table),
        (message) => {
          const route = decodeRoute(message);
          // A kernel without IPv6 answers a request for it with all families, an old one with all tables.
          return route?.table === table && route.destination.includes(':') === (family === 6) ? route : undefined;
        },
      );
    } catch (error) {
      // ENOENT: the table has never had a route.
      if (isNotFound(error)) return [];
      throw error;
    }
  }
}

function refusal(message: MessageCursor, operation: RtnetlinkOperation): KernelError | undefined {
  const { errno, extack } = readAcknowledgement(message);
  if (errno === 0) return undefined;
  return new KernelError(errno, messageName(messageTypeOf(operation)), describe(operation), extack);
}

function deliver(bytes: Buffer, overrun: boolean, listener: (notification: RtnetlinkNotification) => void): void {
  if (overrun) listener({ event: 'overrun' });
  const message = new MessageCursor(bytes);
  for (;;) {
    let notification: RtnetlinkNotification | undefined;
    try {
      if (!message.next()) return;
      notification = decodeNotification(message);
    } catch {
      // A message that we cannot read is as good as lost: the listener lists again.
      listener({ event: 'overrun' });
      return;
    }
    if (notification !== undefined) listener(notification);
  }
}

/** Namespace files that a batch refers to by descriptor; open while it is sent. */
class NamespaceDescriptors {
  readonly #open = new Map<string, number>();

  /** Synchronous: opening a namespace file never waits for a disk, and a full libuv pool would make it wait. */
  open(path: string): number {
    let descriptor = this.#open.get(path);
    if (descriptor === undefined) {
      descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      this.#open.set(path, descriptor);
    }
    return descriptor;
  }

  close(): void {
    for (const descriptor of this.#open.values()) closeSync(descriptor);
    this.#open.clear();
  }
}
