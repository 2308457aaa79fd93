/**
 * IPVS on the real kernel: batches of operations and listings over generic netlink, and the device that its addresses are on.
 * Layer: kernel. Formats are src/linux/ipvs'; which virtual servers there are is the proxy's to say.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  decodeRealServer,
  decodeService,
  encodeIpvs,
  encodeRealServersDump,
  encodeServicesDump,
  encodeTimeouts,
} from '../linux/ipvs/codec.ts';
import { ipvsFamilyName } from '../linux/ipvs/constants.ts';
import {
  describeIpvs,
  type Ipvs,
  type IpvsOpener,
  type IpvsOperation,
  type IpvsTimeouts,
  type RealServer,
  serviceKey,
  type VirtualServer,
  type VirtualServerRef,
} from '../linux/ipvs/edge.ts';
import { isNotFound, KernelError } from '../linux/kernel-error.ts';
import {
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  netlinkProtocol,
  RTM_NEWLINK,
} from '../linux/netlink/constants.ts';
import { readAcknowledgement } from '../linux/netlink/message-reader.ts';
import { MessageWriter } from '../linux/netlink/message-writer.ts';
import { encodeMatchGet } from '../linux/nftables/xt-match.ts';
import { openGeneric } from './genetlink.ts';
import { NetlinkSocket } from './netlink-socket.ts';

/** Each message of a batch is acknowledged, and all answers must fit into the receive buffer. */
const batchSize = 500;

export const kernelIpvs: IpvsOpener = {
  async open(netnsPath) {
    // A kernel that knows which module the family is in loads it when it is asked (Debian 13's does).
    for (const load of [askForMatch, modprobe]) {
      try {
        return await open(netnsPath);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
      await load();
    }
    return open(netnsPath);
  },
};

async function open(netnsPath: string | undefined): Promise<Ipvs> {
  const { socket, type } = await openGeneric(ipvsFamilyName, netnsPath);
  return new KernelIpvs(socket, type);
}

/** What it answers does not matter, since the next call shows; so below. */
async function askForMatch(): Promise<void> {
  const socket = await NetlinkSocket.open(netlinkProtocol.netfilter);
  try {
    const writer = new MessageWriter();
    encodeMatchGet(writer, socket.reserveSequence(1), 'ipvs');
    await socket.transact('NFNL_MSG_COMPAT_GET', writer.take(), () => undefined);
  } finally {
    socket.close();
  }
}

/** Where only this can load it; the units of our package may not (CAP_SYS_MODULE). */
async function modprobe(): Promise<void> {
  const child = spawn('modprobe', ['-q', 'ip_vs'], {
    env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
    stdio: 'ignore',
  });
  await once(child, 'close').catch(() => undefined);
}

class KernelIpvs implements Ipvs {
  readonly #socket: NetlinkSocket;
  readonly #type: number;

  constructor(socket: NetlinkSocket, type: number) {
    this.#socket = socket;
    this.#type = type;
  }

  async apply(operations: readonly IpvsOperation[]): Promise<(Error | undefined)[]> {
    const results = Array<Error | undefined>(operations.length).fill(undefined);
    for (let start = 0; start < operations.length; start += batchSize) {
      const batch = operations.slice(start, start + batchSize);
      const first = this.#socket.reserveSequence(batch.length);
      const writer = new MessageWriter();
      for (const [index, operation] of batch.entries()) encodeIpvs(writer, this.#type, first + index, operation);
      await this.#socket.transact(`${batch.length} IPVS operations`, writer.take(), (message) => {
        const operation = batch[message.sequence - first];
        if (message.type !== NLMSG_ERROR || operation === undefined) return;
        const { errno, extack } = readAcknowledgement(message);
        if (errno !== 0)
          results[start + message.sequence - first] = new KernelError(errno, 'IPVS', describeIpvs(operation), extack);
      });
    }
    return results;
  }

  services(): Promise<VirtualServer[]> {
    return this.#socket.dump(
      'IPVS_CMD_GET_SERVICE',
      (writer, sequence) => encodeServicesDump(writer, this.#type, sequence),
      decodeService,
    );
  }

  realServers(service: VirtualServerRef): Promise<RealServer[]> {
    return this.#socket.dump(
      `IPVS_CMD_GET_DEST ${serviceKey(service)}`,
      (writer, sequence) => encodeRealServersDump(writer, this.#type, sequence, service),
      (message) => decodeRealServer(message, service.family),
    );
  }

  async setTimeouts(timeouts: IpvsTimeouts): Promise<void> {
    const writer = new MessageWriter();
    encodeTimeouts(writer, this.#type, this.#socket.reserveSequence(1), timeouts);
    await transactOne(this.#socket, writer, 'IPVS_CMD_SET_CONFIG', 'ipvsadm --set');
  }

  close(): void {
    this.#socket.close();
  }
}

/** `ip link add NAME type dummy`. EEXIST is no error. @throws KernelError */
export async function ensureDummyLink(name: string, netnsPath?: string): Promise<void> {
  const socket = await NetlinkSocket.open(netlinkProtocol.route, netnsPath);
  try {
    const writer = new MessageWriter();
    const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    writer.begin(RTM_NEWLINK, flags, socket.reserveSequence(1));
    // struct ifinfomsg, with nothing to say.
    writer.bytes(new Uint8Array(16));
    writer.attributeString(IFLA_IFNAME, name);
    const info = writer.beginAttribute(IFLA_LINKINFO);
    writer.attributeString(IFLA_INFO_KIND, 'dummy', false);
    writer.endAttribute(info);
    writer.end();
    await transactOne(socket, writer, 'RTM_NEWLINK', `ip link add ${name} type dummy`);
  } catch (error) {
    if (!(error instanceof KernelError && error.errnoName === 'EEXIST')) throw error;
  } finally {
    socket.close();
  }
}

async function transactOne(socket: NetlinkSocket, writer: MessageWriter, syscall: string, what: string): Promise<void> {
  let failure: KernelError | undefined;
  await socket.transact(what, writer.take(), (message) => {
    if (message.type !== NLMSG_ERROR) return;
    const { errno, extack } = readAcknowledgement(message);
    if (errno !== 0) failure = new KernelError(errno, syscall, what, extack);
  });
  if (failure !== undefined) throw failure;
}
