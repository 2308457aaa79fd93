import test from 'ava';
import { linkIdentity } from '../links/link-identity.ts';
import { parseResult, renderResult } from './result.ts';
import type { CniVersion } from './version.ts';

const identity = linkIdentity('abc', 'eth0');
const attached = { identity, addresses: [{ family: 4 as const, ip: '10.1.0.5', gateway: '10.1.0.1' }], mtu: 1400 };
const render = (version: CniVersion): unknown => JSON.parse(renderResult(version, attached, '/run/netns/x', {}));

test('1.0.0', (t) => {
  t.deepEqual(render('1.0.0'), {
    cniVersion: '1.0.0',
    interfaces: [
      { name: identity.hostName, mac: identity.hostMac },
      { name: 'eth0', mac: identity.podMac, sandbox: '/run/netns/x' },
    ],
    ips: [{ address: '10.1.0.5/32', gateway: '10.1.0.1', interface: 1 }],
    routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }],
    dns: {},
  });
});

for (const version of ['0.3.0', '0.3.1', '0.4.0'] as const) {
  test(`${version} says the family of an address`, (t) => {
    const result = render(version) as { cniVersion: string; ips: unknown[] };
    t.is(result.cniVersion, version);
    t.deepEqual(result.ips, [{ version: '4', address: '10.1.0.5/32', gateway: '10.1.0.1', interface: 1 }]);
  });
}

test('1.1.0 says the MTU of an interface', (t) => {
  const result = render('1.1.0') as { interfaces: { mtu?: number }[] };
  t.deepEqual(
    result.interfaces.map(({ mtu }) => mtu),
    [1400, 1400],
  );
});

test('a previous result comes first and indexes still point at the right interface', (t) => {
  const previous = parseResult({
    interfaces: [{ name: 'net1', sandbox: '/run/netns/x' }],
    ips: [{ address: '192.168.0.2/24', interface: 0 }],
    dns: { nameservers: ['192.168.0.1'] },
  });
  if (typeof previous === 'string') return t.fail(previous);
  const result = JSON.parse(renderResult('1.0.0', attached, '/run/netns/x', {}, previous)) as {
    interfaces: { name: string }[];
    ips: { interface: number }[];
    dns: unknown;
  };
  t.deepEqual(
    result.ips.map((ip) => result.interfaces[ip.interface]?.name),
    ['net1', 'eth0'],
  );
  t.deepEqual(result.dns, { nameservers: ['192.168.0.1'] });
});

test('both families: IPv4 first, each with its default route, in the form of each version', (t) => {
  const addresses = [
    { family: 4 as const, ip: '10.1.0.5', gateway: '10.1.0.1' },
    { family: 6 as const, ip: 'fd00::5', gateway: 'fd00::1' },
  ];
  for (const version of ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const) {
    const text = renderResult(version, { ...attached, addresses }, '/run/netns/x', {});
    const result = JSON.parse(text) as { ips: unknown[]; routes: unknown[] };
    const of = (family: string): object => (version < '1.0.0' ? { version: family } : {});
    t.deepEqual(result.ips, [
      { ...of('4'), address: '10.1.0.5/32', gateway: '10.1.0.1', interface: 1 },
      { ...of('6'), address: 'fd00::5/128', gateway: 'fd00::1', interface: 1 },
    ]);
    t.deepEqual(result.routes, [
      { dst: '0.0.0.0/0', gw: '10.1.0.1' },
      { dst: '::/0', gw: 'fd00::1' },
    ]);
    t.not(typeof parseResult(JSON.parse(text)), 'string');
  }
});
