/**
 * One netlink socket of any protocol: sequence numbers, transactions and dumps on top of the addon.
 * Layer: kernel. Knows netlink's framing, nothing of rtnetlink or nf_tables.
 */
import { setImmediate } from 'node:timers/promises';
import { KernelError } from '../linux/kernel-error.ts';
import { NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR } from '../linux/netlink/constants.ts';
import { MessageCursor, readAcknowledgement, readDone } from '../linux/netlink/message-reader.ts';
import { MessageWriter } from '../linux/netlink/message-writer.ts';
import { loadAddon, type NativeNetlinkSocket } from './addon.ts';
import { kernelCall } from './kernel-errors.ts';

/** Answers come within microseconds once RTNL or the nf_tables mutex is ours, so this only ends what is lost. */
const answerTimeoutMs = 30_000;
/** A dump that the kernel changed meanwhile is taken again this often before we give up. */
const dumpAttempts = 10;
const defaultReceiveBufferBytes = 1 << 20;

export class NetlinkSocket {
  readonly #native: NativeNetlinkSocket;
  #nextSequence = 1;

  private constructor(native: NativeNetlinkSocket) {
    this.#native = native;
  }

  /**
   * @param protocol see netlinkProtocol
   * @param netnsPath the namespace that the socket belongs to for its whole life; the process's own when absent
   * @throws KernelError, AddonError
   */
  static async open(
    protocol: number,
    netnsPath?: string,
    receiveBufferBytes = defaultReceiveBufferBytes,
  ): Promise<NetlinkSocket> {
    const addon = loadAddon();
    const where = netnsPath === undefined ? '' : ` in ${netnsPath}`;
    const native = await kernelCall(`open netlink socket${where}`, () =>
      addon.openNetlink(protocol, netnsPath, receiveBufferBytes),
    );
    return new NetlinkSocket(native);
  }

  /** The first of `count` consecutive sequence numbers that no recent transaction used. */
  reserveSequence(count: number): number {
    if (this.#nextSequence + count > 0x7fffffff) this.#nextSequence = 1;
    const first = this.#nextSequence;
    this.#nextSequence += count;
    return first;
  }

  /** Sends a batch and hands every message of the answer to `visit`, NLMSG_ERROR included. @throws KernelError */
  async transact(operation: string, batch: Buffer, visit: (message: MessageCursor) => void): Promise<void> {
    const answers = await kernelCall(operation, () => this.#native.transact(batch, false, answerTimeoutMs));
    for (const answer of answers) {
      const message = new MessageCursor(answer);
      while (message.next()) visit(message);
    }
  }

  /**
   * Sends one dump request and decodes what it lists; entries for which `decode` gives undefined are left out. Taken
   * again when objects changed meanwhile (NLM_F_DUMP_INTR), so that the result is one consistent state.
   * @throws KernelError; EINTR when the objects never stood still
   */
  async dump<Entry>(
    operation: string,
    encode: (writer: MessageWriter, sequence: number) => void,
    decode: (message: MessageCursor) => Entry | undefined,
  ): Promise<Entry[]> {
    for (let attempt = 0; attempt < dumpAttempts; attempt++) {
      const writer = new MessageWriter();
      encode(writer, this.reserveSequence(1));
      const answers = await kernelCall(operation, () => this.#native.transact(writer.take(), true, answerTimeoutMs));
      const entries = await decodeDump(operation, answers, decode);
      if (entries !== undefined) return entries;
    }
    throw new KernelError(4, 'recvmsg', `${operation}: changed during each of ${dumpAttempts} dumps`);
  }

  /** From then on the socket only listens. Each call of `listener` has whole messages. @throws KernelError */
  async subscribe(groups: readonly number[], listener: (bytes: Buffer, overrun: boolean) => void): Promise<void> {
    await kernelCall('join netlink groups', () => this.#native.subscribe([...groups], listener));
  }

  /** Idempotent; the descriptor closes within moments, on a native thread. */
  close(): void {
    this.#native.close();
  }
}

/** Undefined when the dump was interrupted by a change. */
async function decodeDump<Entry>(
  operation: string,
  answers: readonly Buffer[],
  decode: (message: MessageCursor) => Entry | undefined,
): Promise<Entry[] | undefined> {
  const entries: Entry[] = [];
  let interrupted = false;
  for (const [index, answer] of answers.entries()) {
    // A quarter of a million conntrack entries would hold the main thread for half a second.
    if (index > 0) await setImmediate();
    const message = new MessageCursor(answer);
    while (message.next()) {
      if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
      if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
        const { errno, extack } = message.type === NLMSG_ERROR ? readAcknowledgement(message) : readDone(message);
        if (errno !== 0) throw new KernelError(errno, operation, 'dump', extack);
        continue;
      }
      const entry = decode(message);
      if (entry !== undefined) entries.push(entry);
    }
  }
  return interrupted ? undefined : entries;
}
