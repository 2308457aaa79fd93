import test from 'ava';
import fc from 'fast-check';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { FakeSysctls } from '../../linux/fake-host.ts';
import { FakeRtnetlink } from '../../linux/fake-rtnetlink.ts';
import { KernelError } from '../../linux/kernel-error.ts';
import type { RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { silentLogger } from '../../observe/logger.ts';
import { setUpHost } from '../host-setup.ts';
import { Ipam } from '../ipam/ipam.ts';
import { NetworkError } from '../network-error.ts';
import { linkIdentity } from './link-identity.ts';
import { type Attached, PodLinks } from './pod-links.ts';

const podCIDR = '10.1.0.0/28';
const gateway = '10.1.0.1';

interface Daemon {
  links: PodLinks;
  ipam: Ipam;
  /** As kill -9: sockets are gone, nothing else happens. */
  kill(): void;
}

async function startDaemon(kernel: FakeRtnetlink): Promise<Daemon> {
  const [host, remover] = [await kernel.open(), await kernel.open()];
  await setUpHost(host, [{ podCIDR, gateway }], silentLogger);
  const ipam = new Ipam([podCIDR]);
  const links = new PodLinks({
    host,
    remover,
    opener: kernel,
    // No IPv6 in the fake kernel: the sysctl of a new link does not exist.
    sysctls: new FakeSysctls(),
    ipam,
    log: silentLogger,
    isHostNetns: async (path) => path === '/proc/1/ns/net',
    clock: new FakeClock(),
  });
  const unsubscribe = await kernel.subscribe(['link'], (notification) => void links.onNotification(notification));
  await links.load();
  return {
    links,
    ipam,
    kill() {
      unsubscribe();
      host.close();
      remover.close();
    },
  };
}

const netnsOf = (containerID: string): string => `/run/netns/${containerID}`;

function attach(daemon: Daemon, containerID: string): Promise<Attached> {
  return daemon.links.attach({ containerID, ifname: 'eth0', netnsPath: netnsOf(containerID), mtu: 1400 });
}

/** What pods can leave on the host. */
function residue(kernel: FakeRtnetlink): unknown {
  const { links, routes, neighbours, addresses } = kernel.namespace();
  return structuredClone({ links: [...links.values()].map(({ name }) => name), routes, neighbours, addresses });
}

test('builds both sides in three round trips', async (t) => {
  const kernel = new FakeRtnetlink();
  const daemon = await startDaemon(kernel);
  kernel.addNamespace(netnsOf('a'));
  kernel.applied.length = 0;
  const attached = await attach(daemon, 'a');
  t.deepEqual(
    attached.addresses.map(({ ip }) => ip),
    ['10.1.0.2'],
  );
  const { hostName, hostMac, podMac, alias } = linkIdentity('a', 'eth0');
  const host = kernel.namespace();
  const link = [...host.links.values()].find(({ name }) => name === hostName);
  t.like(link, { alias, up: true, mac: hostMac, mtu: 1400 });
  t.like(
    host.routes.find(({ destination }) => destination === '10.1.0.2/32'),
    { ifindex: link?.ifindex, source: gateway, scope: 'link', protocol: 75 },
  );
  t.like(host.neighbours[0], { ip: '10.1.0.2', mac: podMac, permanent: true });
  const pod = kernel.namespace(netnsOf('a'));
  t.like(pod.neighbours[0], { ip: gateway, mac: hostMac, permanent: true });
  t.deepEqual(
    pod.routes.map(({ destination, gateway: via }) => [destination, via]),
    [
      [`${gateway}/32`, undefined],
      ['0.0.0.0/0', gateway],
    ],
  );
  daemon.kill();
  t.is(kernel.openSockets, 0, 'the socket in the pod is closed');
});

test('whichever operation fails, nothing stays and the address is free', async (t) => {
  const kernel = new FakeRtnetlink();
  const daemon = await startDaemon(kernel);
  kernel.addNamespace(netnsOf('a'));
  const before = residue(kernel);
  const sockets = kernel.openSockets;
  let total = 0;
  kernel.intercept = () => {
    total++;
    return undefined;
  };
  await attach(daemon, 'a');
  await daemon.links.detach('a', 'eth0');
  const operations = total - 1;
  t.is(operations, 10);
  for (let failing = 0; failing < operations; failing++) {
    let count = 0;
    kernel.intercept = (operation: RtnetlinkOperation) =>
      count++ === failing ? new KernelError(1, 'RTM_TEST', operation.op) : undefined;
    const error = await t.throwsAsync(attach(daemon, 'a'), { instanceOf: NetworkError });
    t.is(error?.code, 'NETWORK_LINK_FAILED');
    kernel.intercept = undefined;
    t.deepEqual(residue(kernel), before, `operation ${failing}`);
    t.is(daemon.ipam.families[0]?.allocated, 0);
    t.is(kernel.openSockets, sockets);
  }
  t.is((await attach(daemon, 'a')).addresses.length, 1);
});

test('a half-built link that cannot be removed keeps its address until DEL', async (t) => {
  const kernel = new FakeRtnetlink();
  const daemon = await startDaemon(kernel);
  kernel.addNamespace(netnsOf('a'));
  kernel.intercept = (operation) =>
    operation.op === 'neighReplace' || operation.op === 'linkDelete' ? new KernelError(16, 'x', 'x') : undefined;
  await t.throwsAsync(attach(daemon, 'a'));
  t.is(daemon.ipam.families[0]?.allocated, 1);
  await t.throwsAsync(daemon.links.detach('a', 'eth0'), { instanceOf: NetworkError });
  t.is(daemon.ipam.families[0]?.allocated, 1);
  kernel.intercept = undefined;
  await daemon.links.detach('a', 'eth0');
  t.is(daemon.ipam.families[0]?.allocated, 0);
  t.is(kernel.namespace().links.size, 1);
});

test('a second ADD, an absent namespace and the namespace of the host are refused', async (t) => {
  const kernel = new FakeRtnetlink();
  const daemon = await startDaemon(kernel);
  kernel.addNamespace(netnsOf('a'));
  await attach(daemon, 'a');
  const codes = async (call: Promise<unknown>): Promise<string | undefined> =>
    (await t.throwsAsync(call, { instanceOf: NetworkError }))?.code;
  t.is(await codes(attach(daemon, 'a')), 'NETWORK_ATTACHMENT_EXISTS');
  const other = daemon.links.attach({ containerID: 'b', ifname: 'eth0', netnsPath: netnsOf('a'), mtu: 1400 });
  t.is(await codes(other), 'NETWORK_ATTACHMENT_EXISTS');
  t.is(await codes(attach(daemon, 'absent')), 'NETWORK_NETNS_UNKNOWN');
  const host = daemon.links.attach({ containerID: 'b', ifname: 'eth0', netnsPath: '/proc/1/ns/net', mtu: 1400 });
  t.is(await codes(host), 'NETWORK_NETNS_IS_HOST');
  t.is(daemon.ipam.families[0]?.allocated, 1);
});

test('DEL does not touch a link of another product that has our name', async (t) => {
  const kernel = new FakeRtnetlink();
  const daemon = await startDaemon(kernel);
  kernel.addNamespace('/run/netns/x');
  const { hostName } = linkIdentity('a', 'eth0');
  kernel
    .namespace()
    .linkAddVeth({ op: 'linkAddVeth', name: hostName, peer: { name: 'eth0' } }, kernel.namespace('/run/netns/x'));
  kernel.namespace().linkSet({ op: 'linkSet', link: { name: hostName }, alias: 'somebody else' });
  await daemon.links.detach('a', 'eth0');
  t.truthy(kernel.namespace().find({ name: hostName }));
});

test('a link that vanishes unseen is found by the next overrun or ADD', async (t) => {
  const kernel = new FakeRtnetlink();
  const daemon = await startDaemon(kernel);
  for (const id of ['a', 'b']) {
    kernel.addNamespace(netnsOf(id));
    await attach(daemon, id);
  }
  const { listeners } = kernel.namespace();
  const [listener] = listeners;
  listeners.clear();
  kernel.deleteNamespace(netnsOf('a'));
  await settle();
  t.is(daemon.ipam.families[0]?.allocated, 2);
  kernel.addNamespace(netnsOf('a'));
  const again = await attach(daemon, 'a');
  t.is(again.addresses.length, 1);
  t.is(daemon.ipam.families[0]?.allocated, 2);
  kernel.deleteNamespace(netnsOf('b'));
  await settle();
  if (listener) listeners.add(listener);
  kernel.overrun();
  await settle();
  t.is(daemon.ipam.families[0]?.allocated, 1);
});

test('the end of an old link does not free the address of the new one', async (t) => {
  const kernel = new FakeRtnetlink();
  const daemon = await startDaemon(kernel);
  kernel.addNamespace(netnsOf('a'));
  await attach(daemon, 'a');
  const [old] = await (await kernel.open()).links().then((links) => links.filter(({ kind }) => kind === 'veth'));
  await daemon.links.detach('a', 'eth0');
  await attach(daemon, 'a');
  if (old) await daemon.links.onNotification({ event: 'linkDelete', link: old });
  t.is(daemon.ipam.families[0]?.allocated, 1);
});

type Step =
  | { do: 'add' | 'del' | 'destroy'; pods: number[] }
  | { do: 'restart' }
  | { do: 'crash'; pod: number; after: number }
  | { do: 'fail'; pod: number; at: number };

test('random ADD, DEL, destroyed namespaces, failures and restarts: no address twice, none leaked', async (t) => {
  const pods = fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 1, maxLength: 6 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('add' as const), pods }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('del' as const), pods }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('destroy' as const), pods }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), pod: fc.nat(15), after: fc.nat(30) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), pod: fc.nat(15), at: fc.nat(9) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const kernel = new FakeRtnetlink();
      let daemon = await startDaemon(kernel);
      const before = residue(kernel);
      /** What the runtime believes: containers whose ADD was answered and whose DEL was not, with their address. */
      const live = new Map<string, string>();
      const name = (pod: number): string => `pod${pod}`;
      const ensureNamespace = (id: string): void => {
        if (!kernel.hasNamespace(netnsOf(id))) kernel.addNamespace(netnsOf(id));
      };
      const add = async (id: string): Promise<void> => {
        ensureNamespace(id);
        try {
          const { addresses } = await attach(daemon, id);
          t.false(live.has(id), 'a second ADD succeeded');
          const ip = addresses[0]?.ip ?? '';
          t.false([...live.values()].includes(ip), `${ip} given twice`);
          live.set(id, ip);
        } catch (error) {
          const { code } = error as NetworkError;
          if (code === 'NETWORK_POD_CIDR_EXHAUSTED') t.is(daemon.ipam.families[0]?.free, 0);
          else t.is(code, 'NETWORK_ATTACHMENT_EXISTS', String(error));
        }
      };
      const del = async (id: string): Promise<void> => {
        await daemon.links.detach(id, 'eth0');
        live.delete(id);
      };
      for (const action of steps) {
        if (action.do === 'add') await Promise.all(action.pods.map((pod) => add(name(pod))));
        else if (action.do === 'del') await Promise.all(action.pods.map((pod) => del(name(pod))));
        else if (action.do === 'destroy') {
          for (const id of action.pods.map(name)) {
            if (kernel.hasNamespace(netnsOf(id))) kernel.deleteNamespace(netnsOf(id));
            live.delete(id);
          }
        } else if (action.do === 'fail') {
          const id = name(action.pod);
          if (live.has(id)) continue;
          ensureNamespace(id);
          let count = 0;
          kernel.intercept = ({ op }) => (count++ === action.at ? new KernelError(12, 'RTM_TEST', op) : undefined);
          await t.throwsAsync(attach(daemon, id));
          kernel.intercept = undefined;
        } else if (action.do === 'crash') {
          const id = name(action.pod);
          if (live.has(id)) continue;
          ensureNamespace(id);
          const unanswered = attach(daemon, id).catch(() => undefined);
          for (let turn = 0; turn < action.after; turn++) await Promise.resolve();
          daemon.kill();
          await unanswered;
          daemon = await startDaemon(kernel);
          // Whoever gets no answer to ADD calls DEL.
          await del(id);
        } else {
          daemon.kill();
          daemon = await startDaemon(kernel);
        }
        await settle();
        t.is(daemon.ipam.families[0]?.allocated, live.size);
        for (const [id, ip] of live) t.is(daemon.ipam.holderOf(ip), `${id}/eth0`);
        t.is(kernel.namespace().links.size, live.size + 1);
      }
      await Promise.all([...live.keys()].map(del));
      t.is(daemon.ipam.families[0]?.allocated, 0);
      t.deepEqual(residue(kernel), before);
      daemon.kill();
      t.is(kernel.openSockets, 0);
    }),
    { numRuns: 100 },
  );
});

interface Written {
  path: string;
  value: string;
}

async function startDual(
  kernel: FakeRtnetlink,
  written: Written[] = [],
  podCIDRs = [podCIDR, 'fd00:1::/64'],
  refuse = async (_path: string): Promise<void> => undefined,
) {
  const [host, remover] = [await kernel.open(), await kernel.open()];
  const ipam = new Ipam(podCIDRs);
  const setups = ipam.families.map((pool) => ({ podCIDR: pool.cidr, gateway: pool.gateway }));
  await setUpHost(host, setups, silentLogger);
  const found: unknown[] = [];
  const sysctls = {
    async write(path: string, value: string) {
      await refuse(path);
      written.push({ path, value });
    },
    async writeInNetns(netns: string, path: string, value: string) {
      await refuse(path);
      written.push({ path: `${netns}:${path}`, value });
    },
  };
  const extension = {
    found: (links: readonly { identity: { key: string }; ips: readonly string[] }[]) =>
      void found.push(...links.map(({ identity, ips }) => [identity.key, ips])),
    beforeUp: async () => undefined,
    afterGone: async () => undefined,
  };
  const links = new PodLinks({
    host,
    remover,
    opener: kernel,
    sysctls,
    ipam,
    log: silentLogger,
    extensions: [extension],
    isHostNetns: async () => false,
    clock: new FakeClock(),
  });
  await links.load();
  return { links, ipam, found };
}

test('both families: routes, neighbours and addresses of each, and no advertisement is taken anywhere', async (t) => {
  const kernel = new FakeRtnetlink();
  const written: Written[] = [];
  const { links } = await startDual(kernel, written);
  kernel.addNamespace(netnsOf('a'));
  kernel.applied.length = 0;
  const request = { containerID: 'a', ifname: 'eth0', netnsPath: netnsOf('a'), mtu: 1400 };
  const { addresses } = await links.attach(request);
  t.deepEqual(
    addresses.map(({ ip }) => ip),
    ['10.1.0.2', 'fd00:1::2'],
  );
  const { hostName, hostMac, podMac } = linkIdentity('a', 'eth0');
  const host = kernel.namespace();
  const pod = kernel.namespace(netnsOf('a'));
  t.like(
    host.routes.find(({ destination }) => destination === 'fd00:1::2/128'),
    { source: 'fd00:1::1', gateway: undefined, protocol: 75 },
  );
  t.like(
    host.neighbours.find(({ ip }) => ip === 'fd00:1::2'),
    { mac: podMac, permanent: true },
  );
  t.true(pod.addresses.some(({ prefix }) => prefix === 'fd00:1::2/128'));
  t.like(
    pod.routes.find(({ destination }) => destination === '::/0'),
    { gateway: 'fd00:1::1', protocol: 75 },
  );
  t.like(
    pod.neighbours.find(({ ip }) => ip === 'fd00:1::1'),
    { mac: hostMac, permanent: true },
  );
  const added = kernel.applied.flatMap(({ operation }) => (operation.op === 'addressAdd' ? operation : []));
  t.deepEqual(
    added.map(({ prefix, noDad }) => [prefix, noDad]),
    [
      ['10.1.0.2/32', undefined],
      ['fd00:1::2/128', true],
    ],
  );
  const ofHost = `net/ipv6/conf/${hostName}`;
  const ofPod = `${netnsOf('a')}:net/ipv6/conf/eth0`;
  t.deepEqual(
    Object.fromEntries(written.filter(({ path }) => path.includes('ipv6')).map((one) => [one.path, one.value])),
    {
      [`${ofHost}/accept_ra`]: '0',
      [`${ofHost}/addr_gen_mode`]: '1',
      [`${ofHost}/disable_ipv6`]: '0',
      [`${ofPod}/accept_ra`]: '0',
      [`${ofPod}/disable_ipv6`]: '0',
    },
  );
  await t.notThrowsAsync(
    links.check('a', 'eth0', netnsOf('a'), {
      ips: ['10.1.0.2', 'fd00:1::2'],
      routes: [{ destination: '::/0', gateway: 'fd00:1::1' }],
    }),
  );
  await links.detach('a', 'eth0');
  t.false(host.routes.some(({ destination }) => destination === 'fd00:1::2/128'));
});

test('both families: whichever operation or sysctl fails, nothing stays and both addresses are free', async (t) => {
  const kernel = new FakeRtnetlink();
  const { links, ipam } = await startDual(kernel);
  kernel.addNamespace(netnsOf('a'));
  const request = { containerID: 'a', ifname: 'eth0', netnsPath: netnsOf('a'), mtu: 1400 };
  const before = residue(kernel);
  let operations = 0;
  kernel.intercept = () => {
    operations++;
    return undefined;
  };
  await links.attach(request);
  await links.detach('a', 'eth0');
  t.is(--operations, 16);
  for (let failing = 0; failing < operations; failing++) {
    let count = 0;
    kernel.intercept = ({ op }) => (count++ === failing ? new KernelError(1, 'RTM_TEST', op) : undefined);
    const error = await t.throwsAsync(links.attach(request), { instanceOf: NetworkError });
    t.is(error?.code, 'NETWORK_LINK_FAILED');
    kernel.intercept = undefined;
    t.deepEqual(residue(kernel), before, `operation ${failing}`);
    t.is(ipam.holders.size, 0);
  }
  // Without its guard no link of the kind comes up.
  for (const failing of ['accept_ra', 'addr_gen_mode', 'eth0/disable_ipv6']) {
    const refusing = new FakeRtnetlink();
    refusing.addNamespace(netnsOf('a'));
    const refuse = async (path: string): Promise<void> => {
      if (path.endsWith(failing)) throw new KernelError(2, 'open', path);
    };
    const other = await startDual(refusing, [], undefined, refuse);
    await t.throwsAsync(other.links.attach(request), { code: 'NETWORK_LINK_FAILED' }, failing);
    t.is(refusing.namespace().links.size, 1, failing);
    t.is(other.ipam.holders.size, 0);
  }
});

test('extensions are told of the links that are found, with the addresses of both families and of former networks', async (t) => {
  const kernel = new FakeRtnetlink();
  const first = await startDual(kernel);
  t.deepEqual(first.found, []);
  for (const id of ['a', 'b']) {
    kernel.addNamespace(netnsOf(id));
    await first.links.attach({ containerID: id, ifname: 'eth0', netnsPath: netnsOf(id), mtu: 1400 });
  }
  const second = await startDual(kernel, [], ['10.7.0.0/24', 'fd00:1::/64']);
  t.deepEqual(second.found, [
    ['a/eth0', ['10.1.0.2', 'fd00:1::2']],
    ['b/eth0', ['10.1.0.3', 'fd00:1::3']],
  ]);
  t.deepEqual(
    second.ipam.addressesOf('a/eth0').map(({ ip }) => ip),
    ['fd00:1::2'],
  );
});

test('a link too small for IPv6 is refused before anything is made; IPv4 alone takes it', async (t) => {
  const kernel = new FakeRtnetlink();
  const { links, ipam } = await startDual(kernel);
  kernel.addNamespace(netnsOf('a'));
  const request = { containerID: 'a', ifname: 'eth0', netnsPath: netnsOf('a'), mtu: 1279 };
  const error = await t.throwsAsync(links.attach(request), { instanceOf: NetworkError, message: /1280/ });
  t.is(error?.code, 'NETWORK_MTU_TOO_SMALL');
  t.is(ipam.holders.size, 0);
  t.is(kernel.namespace().links.size, 1);
  const other = new FakeRtnetlink();
  const alone = await startDual(other, [], [podCIDR]);
  other.addNamespace(netnsOf('a'));
  t.is((await alone.links.attach(request)).addresses.length, 1);
});
