/** What encapsulation takes of a packet, by the families that pods and nodes have. */
import test from 'ava';
import { overheadBytes } from './cluster-network.ts';

const vxlan = { network: { backend: 'vxlan', directRouting: false, vni: 1, port: 8472 } } as const;
const [four, six] = [['10.244.0.0/24'], ['fd00:244::/64']];

test('50 bytes for IPv4 pods between IPv4 addresses, 70 where IPv6 is pods’ or nodes’, none without VXLAN', (t) => {
  const of = (hostIPs: string[], podCIDRs: string[]) => overheadBytes(vxlan, { hostIPs }, podCIDRs);
  t.is(of(['192.0.2.1'], four), 50);
  t.is(of(['192.0.2.1', 'fd00::1'], four), 50);
  t.is(of(['192.0.2.1', 'fd00::1'], [...four, ...six]), 70);
  // The Node may have an IPv6 address that this machine's flags do not name.
  t.is(of(['192.0.2.1'], [...four, ...six]), 70);
  t.is(of(['fd00::1'], six), 70);
  t.is(of(['fd00::1'], four), 70);
  // Before the machine's address is known, that of the pods' family is the likely one.
  t.is(of([], six), 70);
  t.is(of([], four), 50);
  const hostGw = { network: { ...vxlan.network, backend: 'host-gw' } } as const;
  t.is(overheadBytes(hostGw, { hostIPs: ['fd00::1'] }, six), 0);
});
