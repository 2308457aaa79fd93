/** Sizes that fit and sizes that do not. */
import test from 'ava';
import type { Link, Route } from '../linux/rtnetlink.ts';
import { linkIdentity } from '../network/links/link-identity.ts';
import { vxlanAlias, vxlanLinkName } from '../network/overlay/vtep.ts';
import { mtuResult } from './mtu-check.ts';

const link = (ifindex: number, mtu: number, change: Partial<Link> = {}): Link => ({
  ifindex,
  name: `eth${ifindex}`,
  kind: undefined,
  mtu,
  up: true,
  mac: undefined,
  alias: undefined,
  parentIfindex: undefined,
  linkNetnsId: undefined,
  masterIfindex: undefined,
  ...change,
});
const pod = (number: number, mtu: number): Link => {
  const { alias, hostName } = linkIdentity(`container${number}`, 'eth0');
  return link(100 + number, mtu, { alias, name: hostName, kind: 'veth' });
};
const vxlan = (mtu: number, local = '192.0.2.2'): Link =>
  link(50, mtu, {
    name: vxlanLinkName,
    alias: vxlanAlias,
    kind: 'vxlan',
    vxlan: { vni: 1, port: 8472, local, lower: undefined, learning: false },
  });
const route: Route = {
  destination: '0.0.0.0/0',
  gateway: '192.0.2.1',
  ifindex: 1,
  source: undefined,
  scope: 'global',
  type: 'unicast',
  protocol: 3,
  table: 254,
  onlink: false,
};
const result = (links: readonly Link[], routes: readonly Route[] = [route]) => mtuResult(links, routes);

test('what fits is well', (t) => {
  t.like(result([link(1, 1500), vxlan(1450), pod(1, 1450), pod(2, 1000)]), {
    level: 'ok',
    finding: '1500 on the uplink, at most 1450 for pods',
  });
  t.like(result([link(1, 1500), pod(1, 1500)]), { level: 'ok', finding: '1500 on the uplink, at most 1500 for pods' });
  t.is(result([link(1, 1500), link(2, 9000), vxlan(1430, '2001:db8::2')]).level, 'ok');
  t.is(result([link(1, 1500), vxlan(1450), pod(1, 9000)], []).level, 'ok', 'nothing to compare with');
});

test('a VXLAN too large for the wire, and pods of before', (t) => {
  t.like(result([link(1, 1400), vxlan(1450), pod(1, 1450)]), {
    level: 'warn',
    finding:
      'link keelson-vxlan has 1450, but the uplink leaves room for 1350: large packets to other nodes are cut or lost',
    fix: 'give --mtu 1350 or nothing, on every node',
  });
  t.is(result([link(1, 1500), vxlan(1450, '2001:db8::2')]).level, 'warn', 'IPv6 takes 20 more');
  const kept = result([link(1, 1300), vxlan(1250), pod(1, 1450), pod(2, 1250), pod(3, 1400)]);
  t.is(kept.level, 'warn');
  t.regex(kept.finding, /^2 of 3 pods have links of 1450, made when 1250 /);
  t.is(result([link(1, 1300), pod(1, 1500)]).level, 'warn');
});
