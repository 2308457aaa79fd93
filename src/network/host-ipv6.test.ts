/** What of IPv6 is asked of the host and changed on it. The kernel's part: test/kernel/pod-network-ipv6.test.ts. */
import test from 'ava';
import { FakeSysctls } from '../linux/fake-host.ts';
import { KernelError } from '../linux/kernel-error.ts';
import type { Link, Route } from '../linux/rtnetlink.ts';
import { silentLogger } from '../observe/logger.ts';
import { forwardIpv6, requireIpv6 } from './host-ipv6.ts';
import { NetworkError } from './network-error.ts';

const link = (ifindex: number, name: string, alias?: string, kind?: string): Link => ({
  ifindex,
  name,
  kind,
  mtu: 1500,
  up: true,
  mac: undefined,
  alias,
  parentIfindex: undefined,
  linkNetnsId: undefined,
  masterIfindex: undefined,
});
const route = (destination: string, ifindex: number, protocol: number): Route => ({
  destination,
  gateway: 'fe80::1',
  ifindex,
  source: undefined,
  scope: 'global',
  type: 'unicast',
  protocol,
  table: 254,
  onlink: false,
});
const names = ['lo', 'eth0', 'eth1', 'docker0', 'keelson-vxlan', 'eth2'];
const kinds: Readonly<Record<string, string>> = { docker0: 'bridge', 'keelson-vxlan': 'vxlan', eth1: 'vlan' };
const state = {
  links: names.map((name, index) =>
    link(index + 1, name, name.startsWith('keelson') ? 'keelson:vxlan' : undefined, kinds[name]),
  ),
  addresses: [],
  routes: [route('::/0', 2, 9), route('2001:db8:5::/64', 3, 9), route('0.0.0.0/0', 5, 3), route('fd00:99::/64', 4, 2)],
};
const forwarding = 'net/ipv6/conf/all/forwarding';
const acceptRa = (name: string): string => `net/ipv6/conf/${name}/accept_ra`;
const sysctls = (values: Record<string, string> = {}): FakeSysctls =>
  new FakeSysctls({
    [forwarding]: '0',
    'net/ipv6/conf/all/disable_ipv6': '0',
    'net/ipv6/conf/lo/disable_ipv6': '0',
    ...Object.fromEntries(names.map((name) => [acceptRa(name), '1'])),
    ...values,
  });

test('links by which routers tell routes, and hardware, go on listening, others do not, and all forward', async (t) => {
  const edge = sysctls();
  await forwardIpv6(edge, state, silentLogger);
  t.is(edge.values.get(forwarding), '1');
  t.deepEqual(
    names.map((name) => edge.values.get(acceptRa(name))),
    ['1', '2', '2', '1', '1', '2'],
  );
});

test('what somebody has chosen stays: no advertisements, always, or forwarding already', async (t) => {
  const chosen = sysctls({ [acceptRa('eth0')]: '0', [acceptRa('eth1')]: '2' });
  await forwardIpv6(chosen, state, silentLogger);
  t.is(chosen.values.get(acceptRa('eth0')), '0');
  t.is(chosen.values.get(acceptRa('eth1')), '2');
  const forwards = sysctls({ [forwarding]: '1' });
  await forwardIpv6(forwards, state, silentLogger);
  t.is(forwards.values.get(acceptRa('eth0')), '1');
});

test('an uplink is asked before anything forwards; one that is gone, or of an odd name, is passed over', async (t) => {
  const edge = sysctls();
  const written: string[] = [];
  const write = edge.write.bind(edge);
  edge.write = async (name, value) => {
    written.push(name);
    await write(name, value);
  };
  edge.values.delete(acceptRa('eth1'));
  const odd = { ...state, links: [...state.links, link(9, 'a b!')], routes: [...state.routes, route('::/0', 9, 9)] };
  await forwardIpv6(edge, odd, silentLogger);
  t.deepEqual(written, [acceptRa('eth0'), acceptRa('eth2'), forwarding]);
  edge.values.set(forwarding, '0');
  edge.write = async () => {
    throw new KernelError(30, 'open', 'sysctl');
  };
  const error = await t.throwsAsync(forwardIpv6(edge, state, silentLogger), { instanceOf: NetworkError });
  t.is(error?.code, 'NETWORK_HOST_SETUP_FAILED');
});

test('IPv6 that is switched off is named by its switch', async (t) => {
  await t.notThrowsAsync(requireIpv6(sysctls(), 'fd00::/64'));
  for (const [values, message, fix] of [
    [
      { 'net/ipv6/conf/all/disable_ipv6': '1' },
      /conf\/all\/disable_ipv6 is 1/,
      /net\.ipv6\.conf\.all\.disable_ipv6 to 0/,
    ],
    [{ 'net/ipv6/conf/lo/disable_ipv6': '1' }, /conf\/lo\/disable_ipv6 is 1/, /net\.ipv6\.conf\.lo\.disable_ipv6 to 0/],
  ] as const) {
    const error = await t.throwsAsync(requireIpv6(sysctls(values), 'fd00::/64'), { instanceOf: NetworkError, message });
    t.is(error?.code, 'NETWORK_IPV6_DISABLED');
    t.is(error?.object, 'pod CIDR fd00::/64');
    t.regex(error?.fix ?? '', fix);
  }
  const error = await t.throwsAsync(requireIpv6(new FakeSysctls({}), 'fd00::/64'), { instanceOf: NetworkError });
  t.regex(`${error?.message} ${error?.fix}`, /kernel has no IPv6.*ipv6\.disable=1/);
  const broken = { read: async () => Promise.reject(new KernelError(13, 'open', 'sysctl')) };
  t.is(
    (await t.throwsAsync(requireIpv6(broken, 'fd00::/64'), { instanceOf: NetworkError }))?.code,
    'NETWORK_HOST_SETUP_FAILED',
  );
});
