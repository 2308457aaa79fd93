/** How older kernels are taken, by a socket that answers as they do. What Linux 6.18 does is test/kernel/conntrack.test.ts'. */
import test from 'ava';
import { addressKey } from '../linux/conntrack/address-key.ts';
import { aFlow, encodeFlowAdds } from '../linux/conntrack/flow-add.fake.ts';
import type { Flow } from '../linux/conntrack/types.ts';
import { isNotSupported, KernelError } from '../linux/kernel-error.ts';
import { MessageCursor } from '../linux/netlink/message-reader.ts';
import { MessageWriter } from '../linux/netlink/message-writer.ts';
import { KernelConntrack } from './conntrack.ts';

/** Requests that select have attributes behind struct nfgenmsg. */
const plainBytes = 20;

function openOn(answer: (selects: boolean) => Flow[]) {
  const requests: boolean[] = [];
  const conntrack = new KernelConntrack({
    async dump(_operation, encode, decode) {
      const writer = new MessageWriter();
      encode(writer, 1);
      const selects = writer.length > plainBytes;
      requests.push(selects);
      const message = new MessageCursor(withIds(encodeFlowAdds(answer(selects), 1)));
      const entries = [];
      while (message.next()) {
        const entry = decode(message);
        if (entry !== undefined) entries.push(entry);
      }
      return entries;
    },
    transact: async () => undefined,
    reserveSequence: () => 1,
    close: () => undefined,
  });
  return { conntrack, requests };
}

/** What makes an entry is nearly what lists one: CTA_TIMEOUT (7) becomes CTA_ID (12). */
function withIds(adds: Buffer): Buffer {
  for (let at = adds.indexOf('08000700', 0, 'hex'); at >= 0; at = adds.indexOf('08000700', at, 'hex'))
    adds[at + 2] = 12;
  return adds;
}

const table = [
  aFlow('10.0.0.1:1', '10.96.0.1:53'),
  aFlow('10.0.0.1:2', '10.96.0.2:54'),
  aFlow('10.0.0.1:3', '10.96.0.3:55'),
];
const destinations = [
  { address: addressKey('10.96.0.1'), port: 53 },
  { address: addressKey('10.96.0.2'), port: 54 },
];
const filter = { family: 'IPv4', protocol: 'UDP', destinations } as const;
const ports = (flows: Flow[]): number[] => flows.map(({ original }) => original.sourcePort);

test('a kernel that does not know selections lists everything once, and is not asked for them again', async (t) => {
  const { conntrack, requests } = openOn(() => table);
  t.deepEqual(ports(await conntrack.flows(filter, () => true)), [1, 2, 3]);
  t.deepEqual(requests, [true]);
  await conntrack.flows(filter, ({ original }) => original.destinationPort === 54);
  t.deepEqual(requests, [true, false]);
});

test('a kernel that refuses selections is asked plainly', async (t) => {
  const { conntrack, requests } = openOn((selects) => {
    if (selects) throw new KernelError(95, 'IPCTNL_MSG_CT_GET', 'dump');
    return table;
  });
  t.deepEqual(ports(await conntrack.flows(filter, ({ original }) => original.destinationPort === 54)), [2]);
  await conntrack.flows(filter, () => true);
  t.deepEqual(requests, [true, false, false]);
});

test('a kernel without conntrack netlink is not supported; other refusals stay what they are', async (t) => {
  let errno = 22;
  const { conntrack } = openOn(() => {
    throw new KernelError(errno, 'IPCTNL_MSG_CT_GET', 'dump');
  });
  const missing = await t.throwsAsync(conntrack.flows(filter, () => true));
  t.true(isNotSupported(missing));
  errno = 1;
  t.like(await t.throwsAsync(conntrack.flows(filter, () => true)), { errnoName: 'EPERM' });
});
