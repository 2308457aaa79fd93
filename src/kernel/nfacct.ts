/**
 * Named packet counters on the real kernel.
 * Layer: kernel. Formats are src/linux/nfacct.ts'.
 */
import { isNotFound, KernelError } from '../linux/kernel-error.ts';
import { NLMSG_ERROR, netlinkProtocol } from '../linux/netlink/constants.ts';
import { type MessageCursor, readAcknowledgement } from '../linux/netlink/message-reader.ts';
import { MessageWriter } from '../linux/netlink/message-writer.ts';
import { decodeCounterPackets, encodeCounter, type Nfacct } from '../linux/nfacct.ts';
import { NetlinkSocket } from './netlink-socket.ts';

const EBUSY = 16;
/** nfnetlink's answer for a subsystem that it does not have: nothing in these requests can be wrong. */
const EINVAL = 22;

export const kernelNfacct: Nfacct = {
  async ensure(names, netnsPath) {
    let isThere = true;
    await ask('add', names, netnsPath, (_name, error) => {
      if (error?.errno === EINVAL) isThere = false;
      else if (error !== undefined && error.errno !== EBUSY) throw error;
    });
    return isThere;
  },

  async packets(name, netnsPath) {
    let packets: number | undefined;
    await ask(
      'get',
      [name],
      netnsPath,
      (_name, error) => {
        if (error !== undefined && !isNotFound(error) && error.errno !== EINVAL) throw error;
      },
      (message) => {
        packets ??= decodeCounterPackets(message);
      },
    );
    return packets;
  },

  async destroy(names, netnsPath) {
    const destroyed: string[] = [];
    await ask('delete', names, netnsPath, (name, error) => {
      if (error === undefined) destroyed.push(name);
      else if (!isNotFound(error) && error.errno !== EINVAL && error.errno !== EBUSY) throw error;
    });
    return destroyed;
  },
};

/** One message for each name; `answered` is told of each acknowledgement. */
async function ask(
  request: 'add' | 'get' | 'delete',
  names: readonly string[],
  netnsPath: string | undefined,
  answered: (name: string, error: KernelError | undefined) => void,
  visit: (message: MessageCursor) => void = () => undefined,
): Promise<void> {
  if (names.length === 0) return;
  const socket = await NetlinkSocket.open(netlinkProtocol.netfilter, netnsPath);
  try {
    const first = socket.reserveSequence(names.length);
    const writer = new MessageWriter();
    for (const [index, name] of names.entries()) encodeCounter(writer, request, first + index, name);
    await socket.transact(`nfacct ${request}`, writer.take(), (message) => {
      const name = names[message.sequence - first];
      if (message.type !== NLMSG_ERROR || name === undefined) return visit(message);
      const { errno, extack } = readAcknowledgement(message);
      const what = `nfacct ${request} ${name}`;
      answered(name, errno === 0 ? undefined : new KernelError(errno, 'NFNL_MSG_ACCT', what, extack));
    });
  } finally {
    socket.close();
  }
}
