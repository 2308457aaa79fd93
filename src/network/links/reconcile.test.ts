import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { FakeRtnetlink } from '../../linux/fake-rtnetlink.ts';
import { KernelError } from '../../linux/kernel-error.ts';
import { silentLogger } from '../../observe/logger.ts';
import { setUpHost } from '../host-setup.ts';
import { Ipam } from '../ipam/ipam.ts';
import { PodLinks } from './pod-links.ts';
import { collectGarbage, type KnownSandbox, type ReconcileReport, reconcileLinks } from './reconcile.ts';

const podCIDR = '10.1.0.0/24';
const grace = { addedMs: 1000, adoptedMs: 100 };

/** Sysctls of links that a test makes. */
const lenient = { write: async () => undefined, writeInNetns: async () => undefined };

async function setUp(kernel = new FakeRtnetlink(), clock = new FakeClock(), podCIDRs = [podCIDR]) {
  const [host, remover] = [await kernel.open(), await kernel.open()];
  const ipam = new Ipam(podCIDRs);
  const setups = ipam.families.map(({ cidr, gateway }) => ({ podCIDR: cidr, gateway }));
  await setUpHost(host, setups, silentLogger);
  const deps = { host, remover, opener: kernel, sysctls: lenient, ipam, log: silentLogger, clock };
  const links = new PodLinks({ ...deps, isHostNetns: async () => false });
  await links.load();
  const add = async (containerID: string): Promise<string> => {
    const path = `/run/netns/${containerID}`;
    if (!kernel.hasNamespace(path)) kernel.addNamespace(path);
    const { addresses } = await links.attach({ containerID, ifname: 'eth0', netnsPath: path, mtu: 1400 });
    return addresses[0]?.ip ?? '';
  };
  const reconcile = (...known: KnownSandbox[]): Promise<ReconcileReport> =>
    reconcileLinks({ links, ipam, log: silentLogger, clock, grace }, async () => known);
  return { kernel, clock, ipam, links, add, reconcile, allocated: () => ipam.families[0]?.allocated };
}

test('a link without a sandbox waits for its grace, then goes with its address', async (t) => {
  const { add, reconcile, clock, allocated, kernel } = await setUp();
  const [a] = [await add('a'), await add('b')];
  const known = { containerID: 'a', ips: [a] };
  await clock.advance(999);
  t.deepEqual(await reconcile(known), { removed: [], waiting: 1, heldForRuntime: 0 });
  await clock.advance(1);
  t.deepEqual(await reconcile(known), { removed: ['b/eth0'], waiting: 0, heldForRuntime: 0 });
  t.is(allocated(), 1);
  t.is(kernel.namespace().links.size, 2);
});

test('a link found at start has a grace of its own', async (t) => {
  const first = await setUp();
  const ip = await first.add('a');
  const { reconcile, clock, ipam } = await setUp(first.kernel);
  t.is(ipam.holderOf(ip), 'a/eth0');
  t.is((await reconcile()).waiting, 1);
  await clock.advance(100);
  t.deepEqual((await reconcile()).removed, ['a/eth0']);
});

test('a pod added while the runtime was being asked is not touched', async (t) => {
  const { add, links, ipam, clock } = await setUp();
  const report = await reconcileLinks(
    { links, ipam, log: silentLogger, clock, grace: { addedMs: 0, adoptedMs: 0 } },
    async () => {
      await add('late');
      return [];
    },
  );
  t.deepEqual(report.removed, []);
  t.is(links.attachments.length, 1);
});

test('an address that only the runtime reports is held until it drops the sandbox', async (t) => {
  const { reconcile, add, ipam, links } = await setUp();
  t.is((await reconcile({ containerID: 'old', ips: ['10.1.0.2'] })).heldForRuntime, 1);
  t.is(await add('new'), '10.1.0.3');
  await reconcile({ containerID: 'new', ips: ['10.1.0.3'] });
  t.is(ipam.holderOf('10.1.0.2'), undefined);
  // DEL frees it too.
  await reconcile({ containerID: 'old', ips: ['10.1.0.2'] });
  await links.detach('old', 'eth0');
  t.is(ipam.holderOf('10.1.0.2'), undefined);
});

test('addresses of other networks, and none at all, hold nothing', async (t) => {
  const { reconcile, allocated } = await setUp();
  await reconcile({ containerID: 'host', ips: ['192.0.2.2'] }, { containerID: 'down', ips: [] });
  t.is(allocated(), 0);
});

test('a host side that somebody removed is restored with the address that the pod has', async (t) => {
  const { kernel, add } = await setUp();
  const ip = await add('a');
  kernel.namespace().routeDelete({ op: 'routeDelete', destination: `${ip}/32` });
  const { reconcile, ipam } = await setUp(kernel);
  t.is(ipam.holderOf(ip), undefined);
  await reconcile({ containerID: 'a', ips: [ip] });
  t.is(ipam.holderOf(ip), 'a/eth0');
  t.truthy(kernel.namespace().routes.find(({ destination }) => destination === `${ip}/32`));
});

test('a link that cannot be removed is tried again and keeps its address', async (t) => {
  const { add, reconcile, clock, kernel, allocated } = await setUp();
  await add('a');
  await clock.advance(1000);
  kernel.intercept = ({ op }) => (op === 'linkDelete' ? new KernelError(16, 'RTM_DELLINK', 'x') : undefined);
  t.deepEqual(await reconcile(), { removed: [], waiting: 1, heldForRuntime: 0 });
  t.is(allocated(), 1);
  kernel.intercept = undefined;
  t.deepEqual((await reconcile()).removed, ['a/eth0']);
});

test('GC keeps what is valid, removes the rest and goes on after a failure', async (t) => {
  const { add, links, kernel } = await setUp();
  for (const id of ['a', 'b', 'c']) await add(id);
  let refused = false;
  kernel.intercept = ({ op }) => {
    if (op !== 'linkDelete' || refused) return undefined;
    refused = true;
    return new KernelError(16, 'RTM_DELLINK', 'x');
  };
  t.is((await collectGarbage(links, 'keelson', [{ containerID: 'a', ifname: 'eth0' }], async () => [])).length, 1);
  t.is(links.attachments.length, 2);
  t.is((await collectGarbage(links, 'keelson', [{ containerID: 'a', ifname: 'eth0' }], async () => [])).length, 0);
  t.deepEqual(
    links.attachments.map(({ identity }) => identity.key),
    ['a/eth0'],
  );
});

test('GC leaves what is of another network, and what the runtime still has when nobody knows the network', async (t) => {
  const { kernel, links } = await setUp();
  const attach = (containerID: string, network: string | undefined) => {
    kernel.addNamespace(`/run/netns/${containerID}`);
    const request = { containerID, ifname: 'eth0', netnsPath: `/run/netns/${containerID}`, mtu: 1400 };
    return links.attach({ ...request, ...(network !== undefined && { network }) });
  };
  await attach('a', 'ours');
  await attach('b', 'other');
  await attach('c', undefined);
  await attach('d', undefined);
  await collectGarbage(links, 'ours', [], async () => [{ containerID: 'd', ips: [] }]);
  t.deepEqual(
    links.attachments.map(({ identity }) => identity.containerID),
    ['b', 'd'],
  );
});

test('both families: what is gone of one is restored, the other is left alone', async (t) => {
  const podCIDRs = [podCIDR, 'fd00:1::/64'];
  const { kernel, add, links } = await setUp(undefined, undefined, podCIDRs);
  await add('a');
  t.is(links.attachments.length, 1);
  const host = kernel.namespace();
  const routes = (): string[] =>
    host.routes.filter(({ protocol, type }) => protocol === 75 && type === 'unicast').map((one) => one.destination);
  t.deepEqual(routes(), ['10.1.0.2/32', 'fd00:1::2/128']);
  host.routeDelete({ op: 'routeDelete', destination: 'fd00:1::2/128' });
  const { reconcile, ipam } = await setUp(kernel, undefined, podCIDRs);
  t.deepEqual([ipam.holderOf('10.1.0.2'), ipam.holderOf('fd00:1::2')], ['a/eth0', undefined]);
  kernel.applied.length = 0;
  await reconcile({ containerID: 'a', ips: ['10.1.0.2', 'fd00:1::2'] });
  t.deepEqual(routes(), ['10.1.0.2/32', 'fd00:1::2/128']);
  t.is(ipam.holderOf('fd00:1::2'), 'a/eth0');
  t.false(kernel.applied.some(({ operation }) => operation.op === 'routeReplace' && operation.source === '10.1.0.1'));
  // A second address of a family that it has is nobody's to give.
  await reconcile({ containerID: 'a', ips: ['10.1.0.2', 'fd00:1::2', 'fd00:1::9'] });
  t.is(ipam.holderOf('fd00:1::9'), undefined);
  // Without a link both are held.
  await reconcile({ containerID: 'b', ips: ['10.1.0.7', 'fd00:1::7'] });
  t.deepEqual([ipam.holderOf('10.1.0.7'), ipam.holderOf('fd00:1::7')], ['sandbox:b', 'sandbox:b']);
});
