import test from 'ava';
import type { Link } from '../linux/rtnetlink.ts';
import { vxlanAlias } from '../network/overlay/vtep.ts';
import {
  checkBridgeNetfilter,
  checkForwardPolicy,
  checkReversePath,
  droppingForwardChains,
  vxlanResult,
} from './network-checks.ts';

const docker = `table ip filter {
\tchain INPUT {
\t\ttype filter hook input priority filter; policy drop;
\t}

\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t}
}
table ip keelson-network {
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t}
}
table inet firewalld {
\tchain filter_FORWARD {
\t\ttype filter hook forward priority filter + 10; policy accept;
\t}
}
`;

test('only forward chains that drop by default are named', (t) => {
  t.deepEqual(droppingForwardChains(docker), ['ip filter FORWARD']);
  t.deepEqual(droppingForwardChains(''), []);
});

test('the finding says what to do, also when nft is missing', async (t) => {
  const alone = docker.slice(0, docker.indexOf('table inet firewalld'));
  t.like(await checkForwardPolicy(async () => alone), { level: 'ok' }, 'that of iptables is seen to');
  const firewalld = await checkForwardPolicy(async () => docker);
  t.is(firewalld.level, 'warn');
  t.regex(firewalld.finding, /^firewalld refuses/);
  const strict = docker.replace('filter + 10; policy accept', 'filter + 10; policy drop');
  t.like(await checkForwardPolicy(async () => strict), {
    level: 'warn',
    finding: 'inet firewalld filter_FORWARD drops by default',
  });
  t.like(await checkForwardPolicy(async () => ''), { level: 'ok' });
  const missing = checkForwardPolicy(() => Promise.reject(new Error('no nft')));
  t.like(await missing, { level: 'warn', finding: 'cannot list the firewall: no nft' });
});

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
