/**
 * What doctor says of a node's network settings, with the real sysctls of a namespace, and that the fix which it names is one.
 * Firewalls: firewalls.test.ts. Layer: test.
 */
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { exec, repositoryRoot } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import { createRunDir } from '../support/run-dir.ts';

interface Check {
  name: string;
  level: string;
  finding: string;
  fix?: string;
}

/** A machine with two uplinks, and commands in it. */
async function machine(t: ExecutionContext) {
  const run = createRunDir();
  t.teardown(() => run.remove());
  const [netns, far] = [await createNetns(run), await createNetns(run, '-far')];
  const sh = (command: string): Promise<string> => exec('bash', ['-c', command], { netns });
  for (const number of [0, 1])
    await sh(
      `ip link add eth${number} type veth peer name eth${number} netns /run/netns/${far} && ip link set eth${number} up && ip addr add 192.0.${number}.2/24 dev eth${number}`,
    );
  await exec('ip', ['-n', far, 'link', 'set', 'eth0', 'up']);
  await sh('ip route add default via 192.0.0.1');
  const doctor = async (call: string, name: string): Promise<Check> => {
    const source = (path: string): string => JSON.stringify(join(repositoryRoot, 'src/agent', path));
    const script = `
      const network = await import(${source('network-checks.ts')});
      const { checkMtu } = await import(${source('mtu-check.ts')});
      console.log(JSON.stringify([await ${call}].flat()));`;
    const found = JSON.parse(await exec(process.execPath, ['--input-type=module', '-e', script], { netns })) as Check[];
    return found.find((check) => check.name === name) ?? { name, level: 'absent', finding: '' };
  };
  return { sh, doctor };
}

/** The command at the beginning of a fix. */
const commandOf = ({ fix = '' }: Check): string => /sysctl -w( [a-z0-9._]+=\d+)+/.exec(fix)?.[0] ?? 'false';

test('strict rp_filter with plain routes and two uplinks: the fix makes it loose', async (t) => {
  const { sh, doctor } = await machine(t);
  const ask = () => doctor('network.checkHostSettings(true)', 'rp_filter');
  await sh('sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0');
  t.like(await ask(), { level: 'ok', finding: 'off for all links, none strict' });
  await sh('sysctl -qw net.ipv4.conf.all.rp_filter=1');
  const strict = await ask();
  t.is(strict.level, 'warn');
  t.regex(strict.finding, /eth0, eth1 strict/);
  t.is((await doctor('network.checkHostSettings(false)', 'rp_filter')).level, 'ok', 'the VXLAN does not mind');
  await sh(commandOf(strict));
  t.is((await ask()).level, 'ok');
});

test('ip_forward turned off beside a daemon: the fix turns it on', async (t) => {
  const { sh, doctor } = await machine(t);
  const ask = (more: string) =>
    doctor(
      `network.checkForwarding({ hasNetwork: true, podCIDRs: ['10.244.0.0/24', 'fd00::/64'], ${more} })`,
      'ip_forward',
    );
  await sh('sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0');
  t.is((await ask('daemonRuns: false')).level, 'ok', 'it turns it on at start');
  const off = await ask('daemonRuns: true');
  t.is(off.level, 'warn');
  await sh(commandOf(off));
  t.like(await ask('daemonRuns: true'), { level: 'ok', finding: 'on' });
});

test('br_netfilter is told with the bridges that it concerns', async (t) => {
  const { sh, doctor } = await machine(t);
  const ask = () => doctor('network.checkHostSettings(false)', 'br_netfilter');
  const knob = 'net.bridge.bridge-nf-call-iptables';
  if ((await sh(`sysctl -n ${knob} 2>/dev/null || true`)).trim() === '') {
    t.regex((await ask()).finding, /^not there/);
    return;
  }
  await sh(`ip link add docker0 type bridge && sysctl -qw ${knob}=1`);
  t.like(await ask(), { level: 'ok' });
  t.regex((await ask()).finding, /docker0/);
  await sh(`sysctl -qw ${knob}=0`);
  t.regex((await ask()).finding, /off/);
});

test('MTU: a VXLAN that is too large for the uplink, and pods of before it became small', async (t) => {
  const { sh, doctor } = await machine(t);
  const ask = () => doctor('checkMtu()', 'MTU');
  t.like(await ask(), { level: 'ok', finding: '1500 on the uplink, at most 1500 for pods' });
  await sh(
    'ip link add keelson-vxlan mtu 1450 type vxlan id 1 local 192.0.0.2 dstport 8472 && ip link set keelson-vxlan alias keelson:vxlan',
  );
  await sh(
    'ip link add kl0123456789abc mtu 1450 type veth peer name p && ip link set kl0123456789abc alias keelson:c1/eth0',
  );
  t.is((await ask()).level, 'ok');
  await sh('ip link set eth0 mtu 1400');
  t.regex((await ask()).finding, /keelson-vxlan has 1450, but the uplink leaves room for 1350/);
  await sh('ip link set keelson-vxlan mtu 1350');
  t.regex((await ask()).finding, /^1 of 1 pods have links of 1450/);
  await sh('ip link del kl0123456789abc');
  t.is((await ask()).level, 'ok');
});
