/** /configz is a KubeProxyConfiguration that says what is in effect. */
import test from 'ava';
import { loadKubeProxyConfiguration } from '../../config/kube-proxy-configuration.ts';
import { kubeProxyConfigurationPaths } from '../../config/kube-proxy-configuration-paths.ts';
import { proxyConfigz } from './proxy-configz.ts';

const header = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';

const printed = (text: string) => {
  const { config } = loadKubeProxyConfiguration(`${header}${text}`, 'f');
  // biome-ignore lint/suspicious/noExplicitAny: looked into by name
  return (proxyConfigz(config) as any)['kubeproxy.config.k8s.io'];
};

test('defaults, with their types as Go prints them', (t) => {
  const document = printed('');
  t.is(document.apiVersion, 'kubeproxy.config.k8s.io/v1alpha1');
  t.is(document.mode, 'nftables');
  t.is(document.configSyncPeriod, '15m0s');
  t.deepEqual(document.nftables, { masqueradeBit: 14, masqueradeAll: false, syncPeriod: '30s', minSyncPeriod: '1s' });
  t.is(document.ipvs.minSyncPeriod, '0s');
  t.is(document.ipvs.excludeCIDRs, null);
  t.is(document.clientConnection.qps, 5);
  t.is(document.metricsBindAddress, '127.0.0.1:10249');
  t.is(document.clusterCIDR, '');
  t.is(document.oomScoreAdj, -999);
  const known = new Set(kubeProxyConfigurationPaths.map((path) => path.split('.')[0]));
  t.deepEqual(
    Object.keys(document).filter((name) => !known.has(name)),
    [],
  );
});

test('what was set, and that it can be read again', (t) => {
  const text = [
    'clusterCIDR: 10.244.0.0/16',
    'mode: ipvs',
    'hostnameOverride: Node-A',
    'healthzBindAddress: "[::1]:1234"',
    'clientConnection: { kubeconfig: /etc/k }',
  ].join('\n');
  const document = printed(text);
  t.like(document, {
    clusterCIDR: '10.244.0.0/16',
    mode: 'ipvs',
    hostnameOverride: 'node-a',
    healthzBindAddress: '[::1]:1234',
    clientConnection: { kubeconfig: '/etc/k' },
  });
  const again = loadKubeProxyConfiguration(JSON.stringify(document), 'f').config;
  t.deepEqual(again, loadKubeProxyConfiguration(`${header}${text}`, 'f').config);
  t.like(document, { conntrack: { maxPerCore: null, tcpEstablishedTimeout: null, udpTimeout: '0s' } });
  for (const other of [
    '',
    'mode: nftables',
    'nodePortAddresses: [192.0.2.0/24]\niptables: {masqueradeAll: true}',
    'conntrack: {maxPerCore: 7, tcpEstablishedTimeout: 90m, tcpBeLiberal: true}\nipvs: {excludeCIDRs: [10.0.0.0/8], tcpTimeout: 5s}',
    'detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}',
  ])
    t.deepEqual(
      loadKubeProxyConfiguration(JSON.stringify(printed(other)), 'f').config,
      loadKubeProxyConfiguration(`${header}${other}`, 'f').config,
      other,
    );
  t.is(printed('detectLocalMode: NodeCIDR').detectLocalMode, 'NodeCIDR');
});
