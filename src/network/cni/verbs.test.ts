import test from 'ava';
import { FakeSysctls } from '../../linux/fake-host.ts';
import { FakeRtnetlink } from '../../linux/fake-rtnetlink.ts';
import { silentLogger } from '../../observe/logger.ts';
import { setUpHost } from '../host-setup.ts';
import { Ipam } from '../ipam/ipam.ts';
import { linkIdentity } from '../links/link-identity.ts';
import { PodLinks } from '../links/pod-links.ts';
import { runVerb } from './verbs.ts';

type Body = Record<string, unknown>;

async function setUp(podCIDR = '10.1.0.0/24') {
  const kernel = new FakeRtnetlink();
  const [host, remover] = [await kernel.open(), await kernel.open()];
  const ipam = new Ipam([podCIDR]);
  await setUpHost(host, [{ podCIDR, gateway: ipam.families[0]?.gateway ?? '' }], silentLogger);
  const shared = { host, remover, opener: kernel, sysctls: new FakeSysctls(), ipam, log: silentLogger };
  const links = new PodLinks({ ...shared, isHostNetns: async () => false });
  let unavailable: string | undefined;
  const deps = { links, mtu: 1450, unavailable: () => unavailable, knownSandboxes: async () => [], log: silentLogger };
  const call = async (
    command: string,
    conf: object | string,
    env: Record<string, string> = {},
  ): Promise<{ exit: number; body: Body }> => {
    const variables = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: 'a',
      CNI_NETNS: '/run/netns/a',
      CNI_IFNAME: 'eth0',
      ...env,
    };
    const stdin =
      typeof conf === 'string'
        ? conf
        : JSON.stringify({ cniVersion: '1.0.0', name: 'keelson', type: 'keelson', ...conf });
    const { exit, stdout } = await runVerb(deps, { env: variables, stdin });
    return { exit, body: stdout === '' ? {} : (JSON.parse(stdout) as Body) };
  };
  kernel.addNamespace('/run/netns/a');
  return {
    kernel,
    ipam,
    call,
    setUnavailable: (reason: string) => {
      unavailable = reason;
    },
  };
}

test('VERSION echoes the version asked in and lists ours', async (t) => {
  const { call } = await setUp();
  t.deepEqual((await call('VERSION', '{"cniVersion":"0.4.0"}')).body, {
    cniVersion: '0.4.0',
    supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'],
  });
});

test('ADD, CHECK, DEL in every version', async (t) => {
  for (const cniVersion of ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
    const { call, ipam, kernel } = await setUp();
    const added = await call('ADD', { cniVersion });
    t.is(added.exit, 0, JSON.stringify(added.body));
    t.is(added.body.cniVersion, cniVersion);
    const check = await call('CHECK', { cniVersion, prevResult: added.body });
    if (cniVersion.startsWith('0.3')) t.is(check.body.code, 1);
    else t.deepEqual(check, { exit: 0, body: {} });
    for (let again = 0; again < 2; again++) t.deepEqual(await call('DEL', { cniVersion }), { exit: 0, body: {} });
    t.is(ipam.families[0]?.allocated, 0);
    t.is(kernel.namespace().links.size, 1);
  }
});

test('the MTU of the configuration comes before that of the daemon', async (t) => {
  const { call, kernel } = await setUp();
  const mtu = (): number | undefined => kernel.namespace('/run/netns/a').find({ name: 'eth0' })?.mtu;
  await call('ADD', {});
  t.is(mtu(), 1450);
  await call('DEL', {});
  await call('ADD', { mtu: 9000 });
  t.is(mtu(), 9000);
});

test('DEL without a namespace, after a failed ADD and for what never was', async (t) => {
  const { call, kernel } = await setUp();
  t.is((await call('DEL', {}, { CNI_CONTAINERID: 'never' })).exit, 0);
  await call('ADD', {});
  t.is((await call('DEL', {}, { CNI_NETNS: '' })).exit, 0);
  t.is((await call('ADD', {}, { CNI_NETNS: '/run/netns/absent' })).body.code, 3);
  t.is((await call('DEL', {}, { CNI_NETNS: '/run/netns/absent' })).exit, 0);
  await call('ADD', {});
  kernel.deleteNamespace('/run/netns/a');
  t.is((await call('DEL', {})).exit, 0);
  t.is(kernel.namespace().links.size, 1);
});

test('errors carry code, version of the call, message and details', async (t) => {
  const { call } = await setUp('10.1.0.0/30');
  t.deepEqual((await call('ADD', { cniVersion: '0.2.0' })).body, {
    cniVersion: '0.2.0',
    code: 1,
    msg: 'cniVersion "0.2.0" is not supported',
    details: 'supported are 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0',
  });
  t.is((await call('ADD', 'x')).body.code, 6);
  t.like((await call('ADD', {}, { CNI_IFNAME: '' })).body, {
    code: 4,
    msg: 'CNI_IFNAME is missing',
    cniVersion: '1.0.0',
  });
  await call('ADD', {});
  t.is((await call('ADD', {})).body.code, 101);
  const exhausted = (await call('ADD', {}, { CNI_CONTAINERID: 'b' })).body;
  t.is(exhausted.code, 11);
  t.regex(String(exhausted.msg), /10\.1\.0\.0\/30/);
});

test('CHECK needs prevResult, knows whom it never saw and lists what is broken', async (t) => {
  const { call, kernel } = await setUp();
  const { body: prevResult } = await call('ADD', {});
  t.is((await call('CHECK', {})).body.code, 7);
  const sandbox = { CNI_CONTAINERID: 'b' };
  t.is((await call('CHECK', { prevResult }, sandbox)).body.code, 3);
  t.is((await call('CHECK', { prevResult: { ...prevResult, interfaces: [] } })).body.code, 102);
  t.is((await call('CHECK', { prevResult })).exit, 0);

  const other = { ...prevResult, ips: [{ address: '10.1.0.9/32', interface: 1 }] };
  t.regex(String((await call('CHECK', { prevResult: other })).body.msg), /address 10\.1\.0\.9 is not the one/);
  const { hostName } = linkIdentity('a', 'eth0');
  kernel.namespace().linkSet({ op: 'linkSet', link: { name: hostName }, up: false });
  const pod = kernel.namespace('/run/netns/a');
  pod.linkSet({ op: 'linkSet', link: { name: 'eth0' }, up: false, mac: '02:00:00:00:00:99' });
  pod.addresses = [];
  const { msg } = (await call('CHECK', { prevResult })).body;
  for (const part of [
    `host link ${hostName} is down`,
    'host route to 10.1.0.2 is missing',
    'host neighbour entry of 10.1.0.2 is missing',
    'interface eth0 is down',
    'another MAC address',
    'lacks address 10.1.0.2',
    'pod neighbour entry of gateway 10.1.0.1 is missing',
    'pod route to 0.0.0.0/0 is missing',
  ]) {
    t.true(String(msg).includes(part), `${part} in ${String(msg)}`);
  }
  kernel.deleteNamespace('/run/netns/a');
  t.is((await call('CHECK', { prevResult })).body.code, 3);
});

test('STATUS and GC belong to version 1.1.0', async (t) => {
  const { call, ipam, setUnavailable } = await setUp();
  const conf = { cniVersion: '1.1.0' };
  for (const command of ['STATUS', 'GC']) t.is((await call(command, {})).body.code, 1);
  t.is((await call('STATUS', conf)).exit, 0);
  await call('ADD', {});
  t.is((await call('GC', conf)).body.code, 7, 'a GC without a list removes nothing');
  t.is((await call('GC', { ...conf, 'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }] })).exit, 0);
  t.is(ipam.families[0]?.allocated, 1);
  t.is((await call('GC', { ...conf, 'cni.dev/valid-attachments': [] })).exit, 0);
  t.is(ipam.families[0]?.allocated, 0);
  setUnavailable('no address left');
  t.deepEqual((await call('STATUS', conf)).body, { cniVersion: '1.1.0', code: 50, msg: 'no address left' });
});
