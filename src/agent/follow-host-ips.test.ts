/** A machine whose address changes, on the fake kernel. */
import test, { type ExecutionContext } from 'ava';
import { FakeClock } from '../base/fake-clock.ts';
import { FakeRtnetlink } from '../linux/fake-rtnetlink.ts';
import { silentLogger } from '../observe/logger.ts';
import { followHostIPs } from './follow-host-ips.ts';
import { readMachineFacts } from './node-facts.ts';

async function setUp(t: ExecutionContext) {
  const kernel = new FakeRtnetlink();
  const admin = await kernel.open();
  await admin.apply([{ op: 'linkAddVeth', name: 'eth0', peer: { name: 'wire0' } }]);
  const ifindex = (await admin.link({ name: 'eth0' }))?.ifindex ?? 0;
  const address = (op: 'addressAdd' | 'addressDelete', prefix: string) =>
    admin.apply([op === 'addressAdd' ? { op, ifindex, prefix } : { op, ifindex, prefix }]);
  await admin.apply([{ op: 'linkSet', link: { ifindex }, up: true }]);
  await address('addressAdd', '192.0.2.10/24');
  await admin.apply([{ op: 'routeReplace', destination: '0.0.0.0/0', gateway: '192.0.2.1', ifindex, protocol: 3 }]);
  const clock = new FakeClock();
  let reads = 0;
  let failing = false;
  const read = async () => {
    reads++;
    if (failing) throw new Error('no');
    return readMachineFacts(admin, { hostname: 'node' });
  };
  const { hostIPs } = await read();
  const told: string[] = [];
  const stop = await followHostIPs({
    hostIPs,
    read,
    rtnetlinkOpener: kernel,
    clock,
    log: silentLogger,
    onChange: () => told.push(hostIPs.join()),
  });
  t.teardown(stop);
  await clock.advance(2_000);
  return {
    kernel,
    admin,
    ifindex,
    address,
    clock,
    hostIPs,
    told,
    stop,
    reads: () => reads,
    fail(now: boolean) {
      failing = now;
    },
  };
}

test('another address is told once, in the list that everybody holds', async (t) => {
  const { address, clock, hostIPs, told } = await setUp(t);
  t.deepEqual(hostIPs, ['192.0.2.10']);
  await address('addressDelete', '192.0.2.10/24');
  await clock.advance(100);
  await address('addressAdd', '192.0.2.99/24');
  await clock.advance(2_000);
  t.deepEqual(hostIPs, ['192.0.2.99']);
  t.deepEqual(told, ['192.0.2.99']);
  await address('addressAdd', '198.51.100.7/24');
  await clock.advance(2_000);
  t.deepEqual(told, ['192.0.2.99'], 'a second address changes nothing');
});

test('without an address the last one counts', async (t) => {
  const { address, clock, hostIPs, told } = await setUp(t);
  await address('addressDelete', '192.0.2.10/24');
  await clock.advance(60_000);
  t.deepEqual(hostIPs, ['192.0.2.10']);
  await address('addressAdd', '192.0.2.10/24');
  await clock.advance(2_000);
  t.deepEqual(told, []);
});

test('routes of pods are passed over; lost notifications and failures are not', async (t) => {
  const { kernel, admin, ifindex, address, clock, hostIPs, told, stop, reads, fail } = await setUp(t);
  const before = reads();
  await admin.apply([{ op: 'routeReplace', destination: '10.244.0.7/32', ifindex, scope: 'link' }]);
  await clock.advance(10_000);
  t.is(reads(), before);
  fail(true);
  await address('addressDelete', '192.0.2.10/24');
  await address('addressAdd', '192.0.2.11/24');
  await clock.advance(2_000);
  t.deepEqual(told, []);
  fail(false);
  await clock.advance(20_000);
  t.deepEqual(told, ['192.0.2.11']);
  kernel.overrun();
  await clock.advance(2_000);
  t.deepEqual(told, ['192.0.2.11']);
  stop();
  await address('addressDelete', '192.0.2.11/24');
  await address('addressAdd', '192.0.2.12/24');
  await clock.advance(20_000);
  t.deepEqual(hostIPs, ['192.0.2.11'], 'nobody looks any more');
});
