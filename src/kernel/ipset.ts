/**
 * Ipset on the real kernel.
 * Layer: kernel. Formats are src/linux/ipset.ts'.
 */
import { encodeSetDestroy, type IpsetOpener } from '../linux/ipset.ts';
import { isNotFound, KernelError } from '../linux/kernel-error.ts';
import { NLMSG_ERROR, netlinkProtocol } from '../linux/netlink/constants.ts';
import { readAcknowledgement } from '../linux/netlink/message-reader.ts';
import { MessageWriter } from '../linux/netlink/message-writer.ts';
import { NetlinkSocket } from './netlink-socket.ts';

/** nfnetlink's answer when the kernel has no ipset, or not loaded: then no set is there either. */
const EINVAL = 22;

export const kernelIpset: IpsetOpener = {
  async destroy(names, netnsPath) {
    const socket = await NetlinkSocket.open(netlinkProtocol.netfilter, netnsPath);
    const destroyed: string[] = [];
    const failed = new Map<string, Error>();
    try {
      const first = socket.reserveSequence(names.length);
      const writer = new MessageWriter();
      for (const [index, name] of names.entries()) encodeSetDestroy(writer, first + index, name);
      if (writer.length === 0) return { destroyed, failed };
      await socket.transact('ipset destroy', writer.take(), (message) => {
        const name = names[message.sequence - first];
        if (message.type !== NLMSG_ERROR || name === undefined) return;
        const { errno, extack } = readAcknowledgement(message);
        const error = new KernelError(errno, 'IPSET_CMD_DESTROY', `ipset destroy ${name}`, extack);
        if (errno === 0) destroyed.push(name);
        else if (!isNotFound(error) && errno !== EINVAL) failed.set(name, error);
      });
    } finally {
      socket.close();
    }
    return { destroyed, failed };
  },
};
