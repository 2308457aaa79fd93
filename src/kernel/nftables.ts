/**
 * Nftables on the real kernel: batches, dumps, notifications.
 * Layer: kernel. Formats are src/linux/nftables'; this file only joins them with sockets and errors with operations.
 */
import { setTimeout } from 'node:timers/promises';
import { isNotFound, KernelError } from '../linux/kernel-error.ts';
import { NLMSG_ERROR, netlinkProtocol } from '../linux/netlink/constants.ts';
import { MessageCursor, readAcknowledgement } from '../linux/netlink/message-reader.ts';
import { MessageWriter } from '../linux/netlink/message-writer.ts';
import { encodeBatch } from '../linux/nftables/batch.ts';
import { NFNLGRP_NFTABLES, nftMessageName } from '../linux/nftables/constants.ts';
import { describe } from '../linux/nftables/describe.ts';
import {
  type ApplyOptions,
  type DumpOptions,
  type Nftables,
  NftablesError,
  type NftablesNotification,
  type NftablesOpener,
} from '../linux/nftables/edge.ts';
import { decodeElements, encodeElementsDump } from '../linux/nftables/elements.ts';
import { fieldsBytes } from '../linux/nftables/fields.ts';
import { NotificationReader } from '../linux/nftables/notification.ts';
import { decodeChain, decodeGeneration, decodeRule, decodeSet, decodeTable } from '../linux/nftables/object-decode.ts';
import { encodeDump, encodeGenerationGet, encodeTableGet } from '../linux/nftables/object-encode.ts';
import { PackedReader } from '../linux/nftables/packed-reader.ts';
import type {
  Elements,
  InstalledSet,
  NftablesOperation,
  NftSet,
  Table,
  TableDump,
  TableRef,
} from '../linux/nftables/types.ts';
import { NetlinkSocket } from './netlink-socket.ts';

/** Room for some ten thousand notifications while the main thread is busy. */
const notificationBufferBytes = 16 << 20;
/** A table that others change during each of so many dumps is given up. */
const dumpAttempts = 10;
/** How long to leave the kernel to a resize that is under way. */
const resizeMs = 50;
const EINTR = 4;

export const kernelNftables: NftablesOpener = {
  async open(netnsPath) {
    const socket = await NetlinkSocket.open(netlinkProtocol.netfilter, netnsPath);
    try {
      // The first answer also tells the socket's port number, by which notifications of our own batches are known.
      const { portId } = await readGeneration(socket);
      return new KernelNftables(socket, netnsPath, portId);
    } catch (error) {
      socket.close();
      throw error;
    }
  },
};

class KernelNftables implements Nftables {
  readonly #socket: NetlinkSocket;
  readonly #netnsPath: string | undefined;
  readonly #portId: number;

  constructor(socket: NetlinkSocket, netnsPath: string | undefined, portId: number) {
    this.#socket = socket;
    this.#netnsPath = netnsPath;
    this.#portId = portId;
  }

  async apply(operations: readonly NftablesOperation[], options: ApplyOptions = {}): Promise<void> {
    if (operations.length === 0) return;
    const first = this.#socket.reserveSequence(1);
    const batch = encodeBatch(operations, first, options.generation);
    this.#socket.reserveSequence(batch.messages - 1);
    let failure: NftablesError | undefined;
    // The name is only for failures of the socket itself, so it must not cost the description of every batch.
    await this.#socket.transact('nf_tables batch', batch.bytes, (message) => {
      if (message.type !== NLMSG_ERROR || failure !== undefined) return;
      const { errno, extack } = readAcknowledgement(message);
      if (errno === 0) return;
      const index = batch.operationOf(message.sequence);
      const operation = index === undefined ? undefined : operations[index];
      const where = index === undefined || operation === undefined ? undefined : { index, operation };
      const text = operation === undefined ? 'nf_tables batch' : describe(operation);
      failure = new NftablesError(errno, nftMessageName(refusedType(message)), text, extack, where);
    });
    if (failure !== undefined) throw failure;
  }

  async generation(): Promise<number> {
    return (await readGeneration(this.#socket)).generation;
  }

  async dump(ref: TableRef, options: DumpOptions = {}): Promise<TableDump | undefined> {
    for (let attempt = 0; attempt < dumpAttempts; attempt++) {
      const generation = await this.generation();
      let dump: TableDump | undefined;
      try {
        dump = await this.#dumpOnce(ref, generation, options);
      } catch (error) {
        // The table, or a set of it, may go away meanwhile.
        if (!isNotFound(error) || (await this.generation()) === generation) throw error;
        continue;
      }
      if ((await this.generation()) === generation) return dump;
    }
    throw new KernelError(EINTR, 'NFT_MSG_GETTABLE', `nft list table ${ref.family} ${ref.name}: it kept changing`);
  }

  async subscribe(listener: (notification: NftablesNotification) => void): Promise<() => void> {
    const socket = await NetlinkSocket.open(netlinkProtocol.netfilter, this.#netnsPath, notificationBufferBytes);
    const reader = new NotificationReader(this.#portId, listener);
    try {
      await socket.subscribe([NFNLGRP_NFTABLES], (bytes, overrun) => deliver(bytes, overrun, reader));
    } catch (error) {
      socket.close();
      throw error;
    }
    return () => socket.close();
  }

  close(): void {
    this.#socket.close();
  }

  async #dumpOnce(ref: TableRef, generation: number, { elementsOf }: DumpOptions): Promise<TableDump | undefined> {
    const table = await this.#table(ref);
    if (table === undefined) return undefined;
    const inTable = (object: { table: string }): boolean => object.table === ref.name;
    const chains = await this.#socket.dump('NFT_MSG_GETCHAIN', (w, s) => encodeDump(w, s, 'chain', ref), decodeChain);
    const rules = await this.#socket.dump('NFT_MSG_GETRULE', (w, s) => encodeDump(w, s, 'rule', ref), decodeRule);
    const declared = await this.#socket.dump('NFT_MSG_GETSET', (w, s) => encodeDump(w, s, 'set', ref), decodeSet);
    const sets: InstalledSet[] = [];
    for (const set of declared.filter(inTable)) {
      const wanted = elementsOf?.(set) ?? true;
      sets.push({ set, elements: wanted ? await this.#elements(set) : undefined });
    }
    return { generation, table, chains: chains.filter(inTable), rules: rules.filter(inTable), sets };
  }

  async #table(ref: TableRef): Promise<Table | undefined> {
    const writer = new MessageWriter();
    encodeTableGet(writer, this.#socket.reserveSequence(1), ref);
    const name = `nft list table ${ref.family} ${ref.name}`;
    let table: Table | undefined;
    await this.#socket.transact(name, askingAcknowledgement(writer.take()), (message) => {
      if (message.type !== NLMSG_ERROR) {
        table = decodeTable(message);
        return;
      }
      const { errno, extack } = readAcknowledgement(message);
      const failure = errno === 0 ? undefined : new KernelError(errno, 'NFT_MSG_GETTABLE', name, extack);
      if (failure !== undefined && !isNotFound(failure)) throw failure;
    });
    return table;
  }

  /** Taken again while the kernel resizes the set's hash table; see PackedReader.isDistinct. */
  async #elements(set: NftSet): Promise<Elements> {
    const lengths = packedLengths(set);
    for (let attempt = 0; attempt < dumpAttempts; attempt++) {
      if (attempt > 0) await setTimeout(resizeMs);
      if (lengths !== undefined) {
        const reader = await this.#packed(set, lengths);
        if (reader.isDistinct()) return reader.take();
      } else {
        const lists = await this.#socket.dump('NFT_MSG_GETSETELEM', elementsRequest(set), decodeElements);
        const elements = lists.flat();
        const keys = new Set(
          elements.map(({ key, intervalEnd }) => `${intervalEnd} ${Buffer.from(key).toString('hex')}`),
        );
        if (keys.size === elements.length) return elements;
      }
    }
    throw new KernelError(EINTR, 'NFT_MSG_GETSETELEM', `nft list set ${set.family} ${set.table} ${set.name}`);
  }

  async #packed(set: NftSet, lengths: [number, number]): Promise<PackedReader> {
    let reader = new PackedReader(...lengths);
    const request = elementsRequest(set);
    await this.#socket.dump(
      'NFT_MSG_GETSETELEM',
      (writer, sequence) => {
        // The socket asks again after an interrupted dump, which must not count twice.
        reader = new PackedReader(...lengths);
        request(writer, sequence);
      },
      (message) => reader.add(message),
    );
    return reader;
  }
}

function elementsRequest({ family, table, name }: NftSet): (writer: MessageWriter, sequence: number) => void {
  return (writer, sequence) => encodeElementsDump(writer, sequence, { family, table, set: name, setId: undefined });
}

/** Key and data length of a set whose elements are nothing but that; undefined for all others. */
function packedLengths(set: NftSet): [number, number] | undefined {
  const { key, data } = set;
  if (data === 'verdict' || set.interval || set.timeout || set.dynamic) return undefined;
  if ([...key, ...(data ?? [])].some((field) => field.startsWith('type '))) return undefined;
  return [fieldsBytes(key), data === undefined ? 0 : fieldsBytes(data)];
}

/** The message type that an NLMSG_ERROR echoes. */
const refusedType = (message: MessageCursor): number => message.buffer.readUInt16LE(message.start + 8);

/** Sets NLM_F_ACK on the only message of a request, so that its end is known. */
function askingAcknowledgement(request: Buffer): Buffer {
  request.writeUInt16LE(request.readUInt16LE(6) | 4, 6);
  return request;
}

async function readGeneration(socket: NetlinkSocket): Promise<{ generation: number; portId: number }> {
  const writer = new MessageWriter();
  encodeGenerationGet(writer, socket.reserveSequence(1));
  let answer: { generation: number; portId: number } | undefined;
  await socket.transact('NFT_MSG_GETGEN', askingAcknowledgement(writer.take()), (message) => {
    if (message.type !== NLMSG_ERROR) {
      answer = { generation: decodeGeneration(message).generation, portId: message.portId };
      return;
    }
    const { errno, extack } = readAcknowledgement(message);
    if (errno !== 0) throw new KernelError(errno, 'NFT_MSG_GETGEN', 'nf_tables generation', extack);
  });
  if (answer === undefined) throw new KernelError(EINTR, 'NFT_MSG_GETGEN', 'nf_tables generation: no answer');
  return answer;
}

function deliver(bytes: Buffer, overrun: boolean, reader: NotificationReader): void {
  if (overrun) reader.overrun();
  const message = new MessageCursor(bytes);
  try {
    while (message.next()) reader.read(message);
  } catch {
    // A message that we cannot read is as good as lost: the listener lists again.
    reader.overrun();
  }
}
