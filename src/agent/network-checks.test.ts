import test from 'ava';
import type { Link } from '../linux/rtnetlink.ts';
import { vxlanAlias } from '../network/overlay/vtep.ts';
import { checkBridgeNetfilter, checkForwarding, checkReversePath, vxlanResult } from './network-checks.ts';

const link = (change: Partial<Link>): Link => ({
  ifindex: 7,
  name: 'eth0',
  kind: undefined,
  mac: undefined,
  mtu: 1500,
  up: true,
  alias: undefined,
  parentIfindex: undefined,
  linkNetnsId: undefined,
  masterIfindex: undefined,
  ...change,
});

test('a VXLAN of somebody else, or a program on the port, is named; our own is not', (t) => {
  const settings = { vni: 1, port: 8472 };
  const vxlan = { vni: 1, port: 8472, local: '192.0.2.2', lower: undefined, learning: false };
  t.is(vxlanResult([link({})], new Set([53]), settings).level, 'ok');
  const flannel = link({ name: 'flannel.1', kind: 'vxlan', vxlan });
  const taken = vxlanResult([flannel], new Set([8472]), settings);
  t.is(taken.level, 'fail');
  t.regex(taken.finding, /VNI 1 on port 8472 is taken by link flannel\.1$/);
  t.truthy(taken.fix);
  const own = link({ name: 'keelson-vxlan', kind: 'vxlan', alias: vxlanAlias, vxlan });
  t.is(vxlanResult([own], new Set([8472]), settings).level, 'ok');
  // Another VNI on the port shares it.
  t.is(vxlanResult([link({ ...flannel, vxlan: { ...vxlan, vni: 2 } })], new Set([8472]), settings).level, 'ok');
  t.like(vxlanResult([link({})], new Set([8472]), settings), {
    level: 'fail',
    finding: 'UDP port 8472 is taken by another program',
  });
});

const sysctls =
  (values: Record<string, string>) =>
  async (name: string): Promise<string | undefined> =>
    values[name];
const rpFilter = (link: string): string => `net/ipv4/conf/${link}/rp_filter`;

test('strict rp_filter matters where packets of pods may come by another link', async (t) => {
  const strict = sysctls({ [rpFilter('all')]: '0', [rpFilter('eth0')]: '1', [rpFilter('eth1')]: '0' });
  t.like(await checkReversePath(['eth0', 'eth1'], true, strict), {
    level: 'warn',
    finding:
      'off for all links, eth0 strict: packets of pods that come by another link than answers leave by are dropped',
  });
  t.is((await checkReversePath(['eth0'], true, strict)).level, 'ok');
  t.is((await checkReversePath(['eth0', 'eth1'], false, strict)).level, 'ok');
  // The larger of the two counts: loose for all is loose for each.
  const loose = sysctls({ [rpFilter('all')]: '2', [rpFilter('eth0')]: '1' });
  t.like(await checkReversePath(['eth0', 'eth1'], true, loose), {
    level: 'ok',
    finding: 'loose for all links, none strict',
  });
  t.is((await checkReversePath(['eth0', 'eth1'], true, sysctls({}))).level, 'ok');
});

test('br_netfilter is told and never wrong', async (t) => {
  const value = (text: string) => sysctls({ 'net/bridge/bridge-nf-call-iptables': text });
  t.like(await checkBridgeNetfilter([], sysctls({})), {
    level: 'ok',
    finding: 'not there, and not needed: pods hang on no bridge',
  });
  t.regex((await checkBridgeNetfilter([{ name: 'docker0', kind: 'bridge' }], value('1'))).finding, /^on: .*docker0/);
  t.regex((await checkBridgeNetfilter([], value('0'))).finding, /off/);
});

test('forwarding that is off is Keelson’s to turn on, unless it runs and somebody turned it off', async (t) => {
  const [four, six] = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'];
  const dual = ['10.244.0.0/24', 'fd00:10:244::/64'];
  const own = { hasNetwork: true, daemonRuns: true, podCIDRs: undefined };
  const off = sysctls({ [four]: '0', [six]: '0' });
  t.like(await checkForwarding(own, sysctls({ [four]: '1', [six]: '0' })), { level: 'ok', finding: 'on' });
  t.like(await checkForwarding({ ...own, daemonRuns: false }, off), {
    level: 'ok',
    finding: 'off; Keelson turns it on',
  });
  t.like(await checkForwarding({ ...own, hasNetwork: false, daemonRuns: false }, off), { level: 'warn' });
  const both = await checkForwarding({ ...own, podCIDRs: dual }, off);
  t.is(both.level, 'warn');
  t.regex(both.finding, /^net\.ipv4\.ip_forward, net\.ipv6\.conf\.all\.forwarding off: /);
  t.regex(both.fix ?? '', /^run sysctl -w net\.ipv4\.ip_forward=1 net\.ipv6\.conf\.all\.forwarding=1,/);
  const one = await checkForwarding({ ...own, podCIDRs: dual }, sysctls({ [four]: '1', [six]: '0' }));
  t.regex(one.finding, /^net\.ipv6\.conf\.all\.forwarding off/);
});
