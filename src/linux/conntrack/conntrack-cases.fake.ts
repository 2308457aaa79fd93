/**
 * Layer: linux (test support, not built). What connection tracking does, told once and held against both: the fake
 * (fake-conntrack.test.ts) and the real kernel (test/kernel/conntrack.test.ts). A case gets an empty namespace.
 */
import type { ExecutionContext } from 'ava';
import { addressKey } from './address-key.ts';
import type { Conntrack } from './edge.ts';
import { aFlow } from './flow-add.fake.ts';
import type { Flow, FlowFilter } from './types.ts';

export interface Namespace {
  open(): Promise<Conntrack>;
  /** Makes entries as traffic would; ids are the kernel's. */
  add(...flows: Flow[]): Promise<void>;
}

export interface Case {
  name: string;
  run(t: ExecutionContext, namespace: Namespace): Promise<void>;
}

const udp4: FlowFilter = { family: 'IPv4', protocol: 'UDP' };
const udp6: FlowFilter = { family: 'IPv6', protocol: 'UDP' };
const all = (): boolean => true;
const toDns = aFlow('10.0.0.1:1000', '10.96.0.1:53', '10.244.0.1:5353');
const toOther = aFlow('10.0.0.1:1001', '10.96.0.2:53', '10.244.0.2:5353');
const toDns6 = aFlow('[fd00::1]:1000', '[fd01::1]:53', '[fd02::1]:5353');
const toOther6 = aFlow('[fd00::1]:1001', '[fd01::2]:53');
const connection = aFlow('10.0.0.1:1000', '10.96.0.1:53', '10.244.0.1:5353', { protocol: 'TCP' });

/** Without ids and in order, so that lists compare. */
const plain = (flows: readonly Flow[]): Flow[] =>
  flows
    .map((flow) => ({ ...flow, id: 0 }))
    .sort((a, b) => a.original.sourcePort - b.original.sourcePort || a.zone - b.zone);

export const cases: Case[] = [
  {
    name: 'lists one family and protocol, and of those what is wanted',
    async run(t, { open, add }) {
      await add(toDns, toOther, toDns6, toOther6, connection);
      const conntrack = await open();
      t.deepEqual(plain(await conntrack.flows(udp4, all)), [toDns, toOther]);
      t.deepEqual(plain(await conntrack.flows(udp6, all)), [toDns6, toOther6]);
      t.deepEqual(plain(await conntrack.flows({ family: 'IPv4', protocol: 'TCP' }, all)), [connection]);
      const wanted = await conntrack.flows(udp4, ({ reply }) => reply.source === addressKey('10.244.0.2'));
      t.deepEqual(plain(wanted), [toOther]);
      conntrack.close();
    },
  },
  {
    name: 'lists all that goes to the destinations asked for',
    async run(t, { open, add }) {
      await add(toDns, toOther, toDns6, toOther6, aFlow('10.0.0.1:1002', '192.0.2.1:30053'));
      const conntrack = await open();
      const to = (address: string) => ({ address: addressKey(address), port: 53 });
      const destinations = [to('10.96.0.1'), { port: 30053 }];
      const isTo = (flow: Flow, address: string) => flow.original.destination === addressKey(address);
      const four = await conntrack.flows({ ...udp4, destinations }, all);
      t.true(four.some((flow) => isTo(flow, '10.96.0.1')));
      t.true(four.some((flow) => isTo(flow, '192.0.2.1')));
      const six = await conntrack.flows({ ...udp6, destinations: [to('fd01::1')] }, all);
      t.true(six.some((flow) => isTo(flow, 'fd01::1')));
      conntrack.close();
    },
  },
  {
    name: 'deletes what is listed, and says how many were still there',
    async run(t, { open, add }) {
      await add(toDns, toOther, toDns6);
      const conntrack = await open();
      const flows = [...(await conntrack.flows(udp4, all)), ...(await conntrack.flows(udp6, all))];
      const [first, ...rest] = flows.filter(({ original }) => original.sourcePort === 1000);
      t.is(await conntrack.delete([first!]), 1);
      t.is(await conntrack.delete([first!, ...rest]), 1);
      t.is(await conntrack.delete([]), 0);
      t.deepEqual(plain(await conntrack.flows(udp4, all)), [toOther]);
      t.deepEqual(await conntrack.flows(udp6, all), []);
      conntrack.close();
    },
  },
  {
    name: 'leaves a later flow of equal original tuple that another one answers',
    async run(t, { open, add }) {
      await add(toDns);
      const conntrack = await open();
      const old = await conntrack.flows(udp4, all);
      t.is(await conntrack.delete(old), 1);
      const anew = aFlow('10.0.0.1:1000', '10.96.0.1:53', '10.244.0.9:5353');
      await add(anew);
      t.is(await conntrack.delete(old), 0);
      t.deepEqual(plain(await conntrack.flows(udp4, all)), [anew]);
      conntrack.close();
    },
  },
  {
    name: 'keeps zones apart',
    async run(t, { open, add }) {
      await add(toDns, { ...toDns, zone: 5 });
      const conntrack = await open();
      const flows = await conntrack.flows(udp4, all);
      t.deepEqual(plain(flows), [toDns, { ...toDns, zone: 5 }]);
      t.is(await conntrack.delete(flows.filter(({ zone }) => zone === 5)), 1);
      t.deepEqual(plain(await conntrack.flows(udp4, all)), [toDns]);
      conntrack.close();
    },
  },
  {
    name: 'refuses after close',
    async run(t, { open }) {
      const conntrack = await open();
      conntrack.close();
      conntrack.close();
      await t.throwsAsync(conntrack.flows(udp4, all));
      await t.throwsAsync(conntrack.delete([toDns]));
    },
  },
];
