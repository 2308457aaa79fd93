/** What of the configuration and the Node the proxy role is started with. */
import test from 'ava';
import type { Node } from '../../api/node.ts';
import { loadKubeProxyConfiguration } from '../../config/kube-proxy-configuration.ts';
import { familiesOf, healthCheckAddresses, internalIps, localTrafficOf, nodePortAddressesOf } from './proxy-traffic.ts';

const config = (body: string) =>
  loadKubeProxyConfiguration(
    `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n${body}`,
    'p.yaml',
  ).config;
const node = (ips: string[], podCIDRs: string[] = []): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'n', uid: 'u' },
  spec: { podCIDRs },
  status: {
    addresses: [
      ...ips.map((address) => ({ type: 'InternalIP', address })),
      { type: 'ExternalIP', address: '203.0.113.1' },
      { type: 'Hostname', address: 'n' },
    ],
  },
});

test('families are those of the Node, before it is known those of the pods', (t) => {
  t.deepEqual(familiesOf(config(''), undefined), ['IPv4']);
  t.deepEqual(familiesOf(config('clusterCIDR: fd00::/64'), undefined), ['IPv6']);
  t.deepEqual(familiesOf(config('clusterCIDR: "10.0.0.0/8,fd00::/64"'), undefined), ['IPv4', 'IPv6']);
  t.deepEqual(familiesOf(config('clusterCIDR: fd00::/64'), node(['192.0.2.1'])), ['IPv4']);
  t.deepEqual(familiesOf(config(''), node(['fd00::1', '192.0.2.1'])), ['IPv4', 'IPv6']);
  t.deepEqual(familiesOf(config(''), node([], ['10.0.0.0/24', 'fd00::/64'])), ['IPv4', 'IPv6']);
});

test('node ports: everywhere, at networks, or at the primary addresses, and nowhere while these are not known', (t) => {
  const ips = internalIps(node(['192.0.2.1', 'fd00::1']));
  t.deepEqual(ips, ['192.0.2.1', 'fd00::1']);
  t.is(nodePortAddressesOf(config(''), ips), 'all');
  t.deepEqual(nodePortAddressesOf(config('mode: nftables'), ips), ['192.0.2.1/32', 'fd00::1/128']);
  t.deepEqual(nodePortAddressesOf(config('nodePortAddresses: [primary]'), []), ['0.0.0.0/32', '::/128']);
  t.deepEqual(nodePortAddressesOf(config('nodePortAddresses: [192.0.2.9/24]'), ips), ['192.0.2.0/24']);
});

test('health checks listen where node ports are served', (t) => {
  const own = ['127.0.0.1', '192.0.2.1', '198.51.100.1', '::1', 'fd00::1'];
  t.deepEqual(healthCheckAddresses('IPv4', 'all', own), ['0.0.0.0']);
  t.deepEqual(healthCheckAddresses('IPv6', ['192.0.2.0/24'], own), ['::']);
  t.deepEqual(healthCheckAddresses('IPv4', ['192.0.2.0/24', 'fd00::/64'], own), ['192.0.2.1']);
  t.deepEqual(healthCheckAddresses('IPv6', ['fd00::/64'], own), ['fd00::1']);
  t.deepEqual(healthCheckAddresses('IPv4', ['0.0.0.0/32', '::/128'], own), []);
});

test('whose traffic is that of pods', (t) => {
  const local = (body: string) => localTrafficOf(config(body).detectLocal, ['10.244.1.0/24']);
  t.deepEqual(local(''), { by: 'prefixes', prefixes: [] });
  t.deepEqual(local('clusterCIDR: 10.244.0.9/16'), { by: 'prefixes', prefixes: ['10.244.0.0/16'] });
  t.deepEqual(local('detectLocalMode: NodeCIDR'), { by: 'prefixes', prefixes: ['10.244.1.0/24'] });
  t.deepEqual(local('detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}'), {
    by: 'interface',
    name: 'cni0',
  });
  t.deepEqual(local('detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}'), {
    by: 'interfacePrefix',
    prefix: 'veth',
  });
});
