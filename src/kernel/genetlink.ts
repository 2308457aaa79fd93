/**
 * Generic netlink: a socket and the number that a family has on this kernel.
 * Layer: kernel. What a family's messages mean is its codec's.
 */
import { decodeFamily, encodeFamilyGet } from '../linux/ipvs/codec.ts';
import { NETLINK_GENERIC } from '../linux/ipvs/constants.ts';
import { KernelError } from '../linux/kernel-error.ts';
import { NLMSG_ERROR } from '../linux/netlink/constants.ts';
import { readAcknowledgement } from '../linux/netlink/message-reader.ts';
import { MessageWriter } from '../linux/netlink/message-writer.ts';
import { NetlinkSocket } from './netlink-socket.ts';

export interface GenericSocket {
  socket: NetlinkSocket;
  /** The message type of the family. */
  type: number;
}

/** @throws KernelError; isNotFound when the kernel has no such family (its module may not be loaded) */
export async function openGeneric(family: string, netnsPath?: string): Promise<GenericSocket> {
  const socket = await NetlinkSocket.open(NETLINK_GENERIC, netnsPath);
  try {
    const writer = new MessageWriter();
    encodeFamilyGet(writer, socket.reserveSequence(1), family);
    let type: number | undefined;
    await socket.transact('CTRL_CMD_GETFAMILY', writer.take(), (message) => {
      if (message.type !== NLMSG_ERROR) {
        type ??= decodeFamily(message);
        return;
      }
      const { errno, extack } = readAcknowledgement(message);
      if (errno !== 0) throw new KernelError(errno, 'CTRL_CMD_GETFAMILY', `genetlink family ${family}`, extack);
    });
    if (type === undefined) throw new KernelError(2, 'CTRL_CMD_GETFAMILY', `genetlink family ${family}`);
    return { socket, type };
  } catch (error) {
    socket.close();
    throw error;
  }
}
