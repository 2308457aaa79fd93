/** The forgetter against the stateful fake: what goes, when, in how many listings, and what it says when it cannot. */
import test, { type ExecutionContext } from 'ava';
import { FakeConntrack } from '../../linux/conntrack/fake-conntrack.ts';
import { aFlow } from '../../linux/conntrack/flow-add.fake.ts';
import { KernelError } from '../../linux/kernel-error.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import { endpointRef } from '../services/address.ts';
import type { ConntrackCleanup } from '../services/dataplane.ts';
import { createFlowForgetter } from './flow-forgetter.ts';

const [a, b, c] = [1, 2, 3].map((last) => endpointRef(0x0af40000 + last, 5353)) as [number, number, number];
const toA = ['10.96.0.1:53', '10.244.0.1:5353'] as const;
const toB = ['10.96.0.1:53', '10.244.0.2:5353'] as const;

const removed = (remove: number[] | undefined, keep: number[]): ConntrackCleanup => ({
  ip: '10.96.0.1',
  port: 53,
  remove,
  keep,
});

function setup(t: ExecutionContext, localAddresses: () => Promise<string[]> = async () => ['192.0.2.2']) {
  const kernel = new FakeConntrack();
  const warnings: string[] = [];
  const log: Logger = { ...silentLogger, warn: (fields) => warnings.push(JSON.stringify(fields)) };
  const forgetter = createFlowForgetter({ conntrack: kernel, localAddresses, log });
  t.teardown(() => {
    forgetter.close();
    if (kernel.openSockets !== 0) throw new Error('a socket is still open');
  });
  const clients = () => kernel.flows.map(({ original }) => original.sourcePort);
  return { kernel, forgetter, warnings, clients };
}

test('forgets flows of the removed endpoint, leaves the others, TCP and SCTP', async (t) => {
  const { kernel, forgetter, clients } = setup(t);
  kernel.add(aFlow('10.0.0.1:1', ...toA));
  kernel.add(aFlow('10.0.0.1:2', ...toB));
  kernel.add(aFlow('10.0.0.1:3', ...toA, { protocol: 'TCP' }));
  kernel.add(aFlow('10.0.0.1:4', ...toA, { protocol: 'SCTP' }));
  kernel.add(aFlow('10.0.0.1:5', '198.51.100.1:53'));
  await forgetter.forgetFlows('IPv4', [removed([a], [b])]);
  t.deepEqual(clients(), [2, 3, 4, 5]);
});

test('nothing to do: nothing is opened', async (t) => {
  const { kernel, forgetter } = setup(t);
  await forgetter.forgetFlows('IPv4', []);
  t.is(kernel.opened, 0);
});

test('what queues up while a listing runs is one listing more, and every caller waits for its own', async (t) => {
  const { kernel, forgetter, clients } = setup(t);
  kernel.add(aFlow('10.0.0.1:1', ...toA));
  kernel.add(aFlow('10.0.0.1:2', ...toB));
  const gate = Promise.withResolvers<void>();
  const listing = Promise.withResolvers<void>();
  kernel.intercept = () => {
    listing.resolve();
    return gate.promise;
  };
  const first = forgetter.forgetFlows('IPv4', [removed([a], [b])]);
  await listing.promise;
  const later = [
    forgetter.forgetFlows('IPv4', [removed([b], [c])]),
    forgetter.forgetFlows('IPv4', [removed([c], [a])]),
    forgetter.forgetFlows('IPv6', [{ ip: 'fd01::1', port: 53, remove: undefined, keep: [] }]),
  ];
  gate.resolve();
  await first;
  t.deepEqual(clients(), [2]);
  await Promise.all(later);
  t.deepEqual(clients(), []);
  t.deepEqual(
    kernel.listings.map(({ family }) => family),
    ['IPv4', 'IPv6', 'IPv4'],
  );
  t.is(kernel.opened, 1);
});

test('local addresses are asked for node ports only', async (t) => {
  let asked = 0;
  const { kernel, forgetter, clients } = setup(t, async () => {
    asked++;
    return ['192.0.2.2'];
  });
  kernel.add(aFlow('10.0.0.1:1', '192.0.2.2:30053'));
  kernel.add(aFlow('10.0.0.1:2', '198.51.100.1:30053'));
  await forgetter.forgetFlows('IPv4', [removed([a], [b])]);
  t.is(asked, 0);
  await forgetter.forgetFlows('IPv4', [{ ip: '', port: 30053, remove: undefined, keep: [b] }]);
  t.is(asked, 1);
  t.deepEqual(clients(), [2]);
});

test('a failure is said once and made good with the next call', async (t) => {
  const { kernel, forgetter, warnings, clients } = setup(t);
  kernel.add(aFlow('10.0.0.1:1', ...toA));
  kernel.add(aFlow('10.0.0.1:2', ...toB));
  kernel.intercept = () => {
    throw new KernelError(105, 'recvmsg', 'list');
  };
  await forgetter.forgetFlows('IPv4', [removed([a], [b, c])]);
  await forgetter.forgetFlows('IPv4', [removed([b], [c])]);
  t.is(warnings.length, 1);
  t.regex(warnings[0] ?? '', /recvmsg/);
  t.deepEqual(clients(), [1, 2]);
  kernel.intercept = undefined;
  await forgetter.forgetFlows('IPv4', [{ ip: '10.96.0.9', port: 53, remove: [a], keep: [b] }]);
  t.deepEqual(clients(), []);
  t.is(warnings.length, 1);
});

test('without conntrack netlink it says so once, and keeps nothing', async (t) => {
  const { kernel, forgetter, warnings, clients } = setup(t);
  kernel.add(aFlow('10.0.0.1:1', ...toA));
  kernel.intercept = () => {
    throw new KernelError(95, 'IPCTNL_MSG_CT_GET', 'list');
  };
  await forgetter.forgetFlows('IPv4', [removed([a], [b])]);
  await forgetter.forgetFlows('IPv4', [removed([a], [b])]);
  t.is(warnings.length, 1);
  kernel.intercept = undefined;
  await forgetter.forgetFlows('IPv4', [removed([c], [b])]);
  t.deepEqual(clients(), [1]);
});

test('a failure of the local addresses, or an address that is none, harms nobody', async (t) => {
  const { forgetter, warnings } = setup(t, () => Promise.reject(new Error('no addresses')));
  await forgetter.forgetFlows('IPv4', [{ ip: '', port: 30053, remove: undefined, keep: [b] }]);
  await forgetter.forgetFlows('IPv4', [{ ip: 'nonsense', port: 1, remove: undefined, keep: [b] }]);
  t.is(warnings.length, 2);
});

test('close ends a run under way without a word', async (t) => {
  const { kernel, forgetter, warnings, clients } = setup(t);
  kernel.add(aFlow('10.0.0.1:1', ...toA));
  const gate = Promise.withResolvers<void>();
  const listing = Promise.withResolvers<void>();
  kernel.intercept = () => {
    listing.resolve();
    return gate.promise;
  };
  const first = forgetter.forgetFlows('IPv4', [removed([a], [b])]);
  await listing.promise;
  forgetter.close();
  gate.resolve();
  await first;
  await forgetter.forgetFlows('IPv4', [removed([a], [b])]);
  t.deepEqual(warnings, []);
  t.deepEqual(clients(), [1]);
});
