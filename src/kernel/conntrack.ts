/**
 * Connection tracking on the real kernel: selective listings and batches of deletions.
 * Layer: kernel. Formats are src/linux/conntrack's; which flows are to go is the caller's to say.
 */
import type { Conntrack, ConntrackOpener } from '../linux/conntrack/edge.ts';
import { encodeFlowDeletes, encodeFlowsGet } from '../linux/conntrack/encode.ts';
import { FlowReader } from '../linux/conntrack/flow-reader.ts';
import { selectionsOf } from '../linux/conntrack/selection.ts';
import type { Flow, FlowDestination, FlowFilter, FlowTuples } from '../linux/conntrack/types.ts';
import { isNotFound, KernelError } from '../linux/kernel-error.ts';
import { NLMSG_ERROR, netlinkProtocol } from '../linux/netlink/constants.ts';
import { readAcknowledgement } from '../linux/netlink/message-reader.ts';
import { NetlinkSocket } from './netlink-socket.ts';

/** Each of a batch may be answered with an error, and all answers must fit into the receive buffer. */
const deleteBatch = 1000;
const EINVAL = 22;
const EOPNOTSUPP = 95;

export const kernelConntrack: ConntrackOpener = {
  async open(netnsPath) {
    return new KernelConntrack(await NetlinkSocket.open(netlinkProtocol.netfilter, netnsPath));
  },
};

type Wanted = (tuples: FlowTuples) => boolean;

/** What is used of NetlinkSocket; tests put older kernels in its place. */
type Socket = Pick<NetlinkSocket, 'dump' | 'transact' | 'reserveSequence' | 'close'>;

export class KernelConntrack implements Conntrack {
  readonly #socket: Socket;
  /** False once the kernel has refused or ignored a selection. */
  #selects = true;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  async flows(filter: FlowFilter, wanted: Wanted): Promise<Flow[]> {
    try {
      if (this.#selects) return await this.#select(filter, wanted);
    } catch (error) {
      if (!isRefused(error)) throw error;
      this.#selects = false;
    }
    try {
      return await this.#list(filter, undefined, wanted);
    } catch (error) {
      if (!isRefused(error)) throw error;
      // nfnetlink's answer for a subsystem that it does not have: nothing in this request can be wrong.
      const { errno, syscall, object = '' } = error;
      throw new KernelError(errno === EINVAL ? EOPNOTSUPP : errno, syscall, object, 'no nf_conntrack_netlink');
    }
  }

  async delete(flows: readonly Flow[]): Promise<number> {
    let deleted = 0;
    let failure: KernelError | undefined;
    for (let start = 0; start < flows.length; start += deleteBatch) {
      const batch = flows.slice(start, start + deleteBatch);
      const first = this.#socket.reserveSequence(batch.length);
      deleted += batch.length;
      await this.#socket.transact('conntrack -D', encodeFlowDeletes(batch, first), (message) => {
        if (message.type !== NLMSG_ERROR) return;
        const { errno, extack } = readAcknowledgement(message);
        if (errno === 0) return;
        deleted--;
        const error = new KernelError(errno, 'IPCTNL_MSG_CT_DELETE', 'conntrack -D', extack);
        if (!isNotFound(error)) failure ??= error;
      });
    }
    if (failure !== undefined) throw failure;
    return deleted;
  }

  close(): void {
    this.#socket.close();
  }

  async #select(filter: FlowFilter, wanted: Wanted): Promise<Flow[]> {
    let found: Flow[] = [];
    for (const selection of selectionsOf(filter)) {
      let ignored = false;
      const flows = await this.#list(filter, { destination: selection }, (tuples) => {
        ignored ||= selection !== undefined && tuples.original.destinationPort !== selection.port;
        return wanted(tuples);
      });
      if (ignored) {
        // A kernel before 5.8 lists everything each time.
        this.#selects = false;
        return flows;
      }
      // Not push(...flows), which has no room for 200,000.
      found = found.concat(flows);
    }
    return found;
  }

  /** @param selection undefined: ask for the whole family, as every kernel understands it */
  async #list(
    { family, protocol }: FlowFilter,
    selection: { destination: FlowDestination | undefined } | undefined,
    wanted: Wanted,
  ): Promise<Flow[]> {
    const reader = new FlowReader(family, protocol);
    const request = { family, protocol, destination: selection?.destination, filtered: selection !== undefined };
    return this.#socket.dump(
      'IPCTNL_MSG_CT_GET',
      (writer, sequence) => encodeFlowsGet(writer, sequence, request),
      (message) => (reader.read(message) && wanted(reader) ? reader.take() : undefined),
    );
  }
}

const isRefused = (error: unknown): error is KernelError =>
  error instanceof KernelError && (error.errno === EINVAL || error.errno === EOPNOTSUPP);
