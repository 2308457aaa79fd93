/**
 * The socket below rtnetlink with another protocol: nf_tables batches, whose answers come differently (errors without
 * having been asked for, one ACK for thousands of messages). Root only.
 */
import { execFileSync } from 'node:child_process';
import test, { type ExecutionContext } from 'ava';
import { NetlinkSocket } from '../../src/kernel/netlink-socket.ts';
import { KernelError } from '../../src/linux/kernel-error.ts';
import {
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  netlinkProtocol,
} from '../../src/linux/netlink/constants.ts';
import { readAcknowledgement } from '../../src/linux/netlink/message-reader.ts';
import { MessageWriter } from '../../src/linux/netlink/message-writer.ts';

const subsystem = 10; // NFNL_SUBSYS_NFTABLES
const batchBegin = 0x10;
const batchEnd = 0x11;
const newTable = subsystem << 8;
const deleteTable = newTable | 2;
/** Not npm's: node_modules/.bin may hold another program called nft. */
const systemPath = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

interface Message {
  type: number;
  flags?: number;
  name?: string;
}

async function send(
  socket: NetlinkSocket,
  messages: Message[],
  endFlags = 0,
): Promise<{ index: number; errno: number }[]> {
  const all: Message[] = [{ type: batchBegin }, ...messages, { type: batchEnd, flags: endFlags }];
  const first = socket.reserveSequence(all.length);
  const writer = new MessageWriter();
  for (const [index, { type, flags = 0, name }] of all.entries()) {
    const edge = type === batchBegin || type === batchEnd;
    writer.begin(type, NLM_F_REQUEST | flags, first + index);
    writer.u8(edge ? 0 : 2);
    writer.u8(0);
    writer.u16(edge ? subsystem << 8 : 0); // big-endian
    if (name !== undefined) writer.attributeString(1, name);
    writer.end();
  }
  const answers: { index: number; errno: number }[] = [];
  await socket.transact('nf_tables batch', writer.take(), (message) => {
    if (message.type === NLMSG_ERROR)
      answers.push({ index: message.sequence - first, errno: readAcknowledgement(message).errno });
  });
  return answers;
}

async function inFreshNamespace(t: ExecutionContext): Promise<{ socket: NetlinkSocket; tables: () => number }> {
  const name = `kf${process.pid}-${Math.random().toString(36).slice(2, 8)}`;
  execFileSync('ip', ['netns', 'add', name]);
  const socket = await NetlinkSocket.open(netlinkProtocol.netfilter, `/run/netns/${name}`);
  t.teardown(() => {
    socket.close();
    execFileSync('ip', ['netns', 'del', name]);
  });
  const tables = (): number =>
    execFileSync('ip', ['netns', 'exec', name, 'nft', 'list', 'tables'], { encoding: 'utf8', env: systemPath })
      .split('\n')
      .filter(Boolean).length;
  return { socket, tables };
}

test.serial('a batch with one ACK, a refused one without any, and the socket goes on', async (t) => {
  const { socket, tables } = await inFreshNamespace(t);
  const make = (name: string, ack = false): Message => ({
    type: newTable,
    flags: NLM_F_CREATE | (ack ? NLM_F_ACK : 0),
    name,
  });
  t.deepEqual(await send(socket, [make('a'), make('b', true)]), [{ index: 2, errno: 0 }]);
  t.is(tables(), 2);
  // ENOENT for the second, which did not ask; the third did, and still gets its answer or none: either way we return.
  const refused = await send(socket, [make('c'), { type: deleteTable, name: 'none' }, make('d', true)]);
  t.true(refused.some(({ index, errno }) => index === 2 && errno === 2));
  t.is(tables(), 2, 'all or nothing');
  t.deepEqual(await send(socket, [{ type: deleteTable, name: 'none' }]), [{ index: 1, errno: 2 }]);
  // The end of a refused batch asks in vain.
  const vain = await send(socket, [{ type: deleteTable, name: 'none' }], NLM_F_ACK);
  t.deepEqual(vain[0], { index: 1, errno: 2 });
  t.deepEqual(await send(socket, [make('e')]), [], 'nobody asked, nothing comes');
  t.is(tables(), 3);
});

test.serial('thousands of messages in one sendmsg, far above the default buffer', async (t) => {
  const { socket, tables } = await inFreshNamespace(t);
  const messages = Array.from({ length: 1000 }, (_, index) => ({
    type: newTable,
    flags: NLM_F_CREATE | (index === 999 ? NLM_F_ACK : 0),
    name: `table-${index}-${'x'.repeat(200)}`,
  }));
  t.deepEqual(await send(socket, messages), [{ index: 1000, errno: 0 }]);
  t.is(tables(), 1000);
});

test.serial('many ACKs fit', async (t) => {
  const { socket } = await inFreshNamespace(t);
  const messages = Array.from({ length: 3000 }, () => ({
    type: newTable,
    flags: NLM_F_CREATE | NLM_F_ACK,
    name: 'same',
  }));
  t.is((await send(socket, messages)).length, 3000);
});

test.serial('what is no netlink is refused before it is sent', async (t) => {
  const { socket } = await inFreshNamespace(t);
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(15), Buffer.from('ff000000100001000100000000000000', 'hex')]) {
    const error = await t.throwsAsync(
      socket.transact('nonsense', bytes, () => {}),
      { instanceOf: KernelError },
    );
    t.is(error.errnoName, 'EINVAL');
  }
  const unknown = await t.throwsAsync(NetlinkSocket.open(99), { instanceOf: KernelError });
  t.is(unknown.errnoName, 'EPROTONOSUPPORT');
});
