import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { FakeSysctls } from '../../linux/fake-host.ts';
import { FakeNftables } from '../../linux/fake-nftables.ts';
import { describe } from '../../linux/nftables/describe.ts';
import { silentLogger } from '../../observe/logger.ts';
import { linkIdentity } from '../links/link-identity.ts';
import { NetworkError } from '../network-error.ts';
import { HostPorts, removeHostPorts } from './host-ports.ts';
import { PodPorts } from './pod-ports.ts';
import { type PortMapping, parsePortMappings } from './port-mapping.ts';
import { claimsOf, hostPortTable, planHostPorts } from './port-plan.ts';

const tcp = (hostPort: number, more: object = {}): readonly PortMapping[] =>
  parsePortMappings([{ hostPort, containerPort: 8080, protocol: 'tcp', ...more }]) as PortMapping[];

async function setUp(t: ExecutionContext, kernel = new FakeNftables(), owners: Record<string, string> = {}) {
  const nftables = await kernel.open();
  const sysctls = new FakeSysctls(
    Object.fromEntries(['a', 'b'].map((id) => [`net/ipv4/conf/${nameOf(id)}/route_localnet`, '0'])),
  );
  const host = { addresses: async () => [] };
  const ports = await HostPorts.start(
    { nftables, host, sysctls, families: [4, 6], log: silentLogger, clock: new FakeClock() },
    (ip) => owners[ip],
  );
  const pods = new PodPorts(ports);
  t.teardown(() => ports.stop());
  const start = (id: string, ip: string, portMappings: readonly PortMapping[]): Promise<void> =>
    pods.beforeUp({
      identity: linkIdentity(id, 'eth0'),
      ifindex: 7,
      addresses: [{ family: 4, ip, gateway: '10.1.0.1' }],
      wishes: { pod: { namespace: 'web', name: id }, portMappings },
    });
  const elements = async (): Promise<string[]> =>
    claimsOf(4, await nftables.dump(hostPortTable(4))).map(
      ({ hostIP = '*', protocol, hostPort, podIP, containerPort }) =>
        `${hostIP}:${hostPort}/${protocol} ${podIP}:${containerPort}`,
    );
  return {
    kernel,
    nftables,
    sysctls,
    ports,
    pods,
    start,
    elements,
    end: (id: string) => pods.afterGone(linkIdentity(id, 'eth0')),
  };
}

const nameOf = (id: string): string => linkIdentity(id, 'eth0').hostName;

test('ports come with a pod and go with it', async (t) => {
  const { start, end, elements, sysctls, ports } = await setUp(t);
  await start('a', '10.1.0.2', [...tcp(80), ...tcp(53, { protocol: 'udp', hostIP: '192.0.2.1' })]);
  t.deepEqual((await elements()).sort(), ['*:80/tcp 10.1.0.2:8080', '192.0.2.1:53/udp 10.1.0.2:8080']);
  t.is(sysctls.values.get(`net/ipv4/conf/${nameOf('a')}/route_localnet`), '1');
  await start('b', '10.1.0.3', tcp(81, { hostIP: '192.0.2.1' }));
  t.is(sysctls.values.get(`net/ipv4/conf/${nameOf('b')}/route_localnet`), '0', 'nobody can ask on loopback');
  await end('a');
  t.deepEqual(await elements(), ['192.0.2.1:81/tcp 10.1.0.3:8080']);
  await end('b');
  await end('b');
  t.deepEqual(await elements(), []);
  t.is(ports.count, 0);
});

test('a port that is taken is refused with the name of the pod that has it, and nothing is taken', async (t) => {
  const { start, end, elements } = await setUp(t);
  await start('a', '10.1.0.2', tcp(80));
  const error = await t.throwsAsync(start('b', '10.1.0.3', [...tcp(81), ...tcp(80)]), { instanceOf: NetworkError });
  t.is(error?.code, 'NETWORK_HOST_PORT_TAKEN');
  t.is(`${error?.object}: ${error?.message}`, 'hostPort 80/tcp: is taken by pod web/a');
  t.deepEqual(await elements(), ['*:80/tcp 10.1.0.2:8080']);
  // As the links do after a refusal.
  await end('b');
  await end('a');
  await start('b', '10.1.0.3', tcp(80));
  t.deepEqual(await elements(), ['*:80/tcp 10.1.0.3:8080']);
});

test('of two pods that want one port at once one gets it', async (t) => {
  const { start } = await setUp(t);
  const results = await Promise.allSettled([start('a', '10.1.0.2', tcp(80)), start('b', '10.1.0.3', tcp(80))]);
  t.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  );
});

test('after kill -9 the table says whose ports are whose; those of vanished pods go', async (t) => {
  const first = await setUp(t);
  await first.start('a', '10.1.0.2', tcp(80));
  await first.start('b', '10.1.0.3', tcp(81));
  const second = await setUp(t, first.kernel, { '10.1.0.2': 'a/eth0' });
  t.deepEqual(await second.elements(), ['*:80/tcp 10.1.0.2:8080']);
  await t.throwsAsync(second.start('c', '10.1.0.4', tcp(80)), { message: 'is taken by container a' });
  second.pods.learn('a', { namespace: 'web', name: 'front' });
  await t.throwsAsync(second.start('c', '10.1.0.4', tcp(80)), { message: 'is taken by pod web/front' });
  const batches = first.kernel.applied.length;
  await setUp(t, first.kernel, { '10.1.0.2': 'a/eth0' });
  t.is(first.kernel.applied.length, batches, 'a restart changes nothing');
});

test('what another program does to the table is undone', async (t) => {
  const { kernel, start, elements } = await setUp(t);
  await start('a', '10.1.0.2', tcp(80));
  const foreign = await kernel.open();
  await foreign.apply([{ op: 'tableDelete', table: hostPortTable(4) }]);
  await settle();
  t.deepEqual(await elements(), ['*:80/tcp 10.1.0.2:8080']);
});

test('a pod without an address of the family of its hostIP is told so', async (t) => {
  const { start } = await setUp(t);
  const error = await t.throwsAsync(start('a', '10.1.0.2', tcp(80, { hostIP: 'fd00::1' })), {
    instanceOf: NetworkError,
  });
  t.is(error?.code, 'NETWORK_HOST_PORT_INVALID');
});

test('the rules in the words of nft', (t) => {
  const rules = planHostPorts(4, [])
    .filter(({ op }) => op === 'ruleAdd')
    .map((operation) =>
      describe(operation)
        .replace(/ comment ".*"/, '')
        .replace('add rule ip keelson-hostports ', ''),
    );
  t.deepEqual(rules, [
    'prerouting fib daddr type 0x02000000 dnat ip to ip daddr . ip protocol . th dport map @address-ports',
    'prerouting fib daddr type 0x02000000 dnat ip to ip protocol . th dport map @ports',
    'output fib daddr type 0x02000000 dnat ip to ip daddr . ip protocol . th dport map @address-ports',
    'output fib daddr type 0x02000000 dnat ip to ip protocol . th dport map @ports',
    'postrouting ip saddr . ip daddr @hairpin masquerade',
    'postrouting ip saddr & 255.0.0.0 127.0.0.0 oifname 0x6b6c masquerade',
    'guard iifname 0x6b6c ip saddr & 255.0.0.0 127.0.0.0 counter drop',
    'guard iifname 0x6b6c ip daddr & 255.0.0.0 127.0.0.0 counter drop',
  ]);
});

test('cleanup takes both tables and says so', async (t) => {
  const { kernel, ports } = await setUp(t);
  await ports.stop();
  t.deepEqual(await removeHostPorts(kernel), ['nft table ip keelson-hostports', 'nft table ip6 keelson-hostports']);
  t.deepEqual(await removeHostPorts(kernel), []);
});
