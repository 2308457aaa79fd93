/** KubeProxyConfiguration: defaults, every honoured field, a kubeadm file, warnings, and what is refused. */
import test from 'ava';
import fc from 'fast-check';
import { ConfigError } from './config-error.ts';
import {
  defaultKubeProxyConfig,
  type KubeProxyConfig,
  loadKubeProxyConfiguration,
} from './kube-proxy-configuration.ts';

const head = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';
const load = (body: string) => loadKubeProxyConfiguration(head + body, 'p.yaml');
const warned = (body: string) => load(body).warnings.map(({ field, message }) => `${field}: ${message}`);

function failure(text: string): ConfigError {
  try {
    loadKubeProxyConfiguration(text, 'p.yaml');
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error(`taken: ${text}`);
}
const lines = (body: string) => failure(head + body).lines;

const asIs = { tcpTimeoutMs: 0, tcpFinTimeoutMs: 0, udpTimeoutMs: 0 };
const untouched: KubeProxyConfig['conntrack'] = {
  maxPerCore: undefined,
  min: 131_072,
  tcpEstablishedTimeoutMs: undefined,
  tcpCloseWaitTimeoutMs: undefined,
  tcpBeLiberal: false,
  udpTimeoutMs: 0,
  udpStreamTimeoutMs: 0,
};
const defaults: KubeProxyConfig = {
  mode: 'nftables',
  masqueradeAll: false,
  masqueradeBit: 14,
  localhostNodePorts: true,
  nodePortAddresses: 'all',
  ipvs: { scheduler: undefined, excludeCIDRs: [], strictARP: false, ...asIs },
  conntrack: untouched,
  detectLocal: { mode: 'ClusterCIDR', clusterCIDRs: [] },
  kubeconfig: undefined,
  hostnameOverride: undefined,
  healthzBindAddress: { address: '0.0.0.0', port: 10_256 },
  metricsBindAddress: { address: '127.0.0.1', port: 10_249 },
};

/** What `kubeadm init` of 1.36 puts into the ConfigMap kube-proxy, apart from what the cases replace. */
const kubeadm = `
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
logging:
  flushFrequency: 0
  options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
`;

test('an empty configuration has the defaults of Kubernetes 1.36', (t) => {
  t.deepEqual(load(''), { config: defaults, warnings: [] });
  t.deepEqual(defaultKubeProxyConfig(), defaults);
});

test('the file of a kubeadm cluster is taken without a word', (t) => {
  t.deepEqual(load(kubeadm), {
    config: {
      ...defaults,
      kubeconfig: '/var/lib/kube-proxy/kubeconfig.conf',
      detectLocal: { mode: 'ClusterCIDR', clusterCIDRs: ['10.244.0.0/16'] },
    },
    warnings: [],
  });
});

test('each honoured field arrives', (t) => {
  const { config, warnings } = load(`
mode: ipvs
clientConnection: {kubeconfig: /etc/proxy.conf}
hostnameOverride: " Node-1 "
clusterCIDR: 10.244.0.0/16, fd00:10:244::/56
healthzBindAddress: 192.0.2.2
metricsBindAddress: "[::]:9"
nodePortAddresses: [0.0.0.0/0, 192.0.2.0/24, "fd00::/8"]
iptables: {masqueradeAll: true, masqueradeBit: 0, localhostNodePorts: false}
ipvs: {scheduler: lc, excludeCIDRs: [192.0.2.0/24], strictARP: true, tcpTimeout: 1s, tcpFinTimeout: 2s, udpTimeout: 3s}
conntrack: {maxPerCore: 0, min: 5, tcpEstablishedTimeout: 1h, tcpCloseWaitTimeout: 0s, tcpBeLiberal: true, udpTimeout: 4s, udpStreamTimeout: 5s}
`);
  t.deepEqual(warnings, []);
  t.deepEqual(config, {
    mode: 'ipvs',
    masqueradeAll: true,
    masqueradeBit: 0,
    localhostNodePorts: false,
    nodePortAddresses: ['fd00::/8'],
    ipvs: {
      scheduler: 'lc',
      excludeCIDRs: ['192.0.2.0/24'],
      strictARP: true,
      tcpTimeoutMs: 1000,
      tcpFinTimeoutMs: 2000,
      udpTimeoutMs: 3000,
    },
    conntrack: {
      maxPerCore: 0,
      min: 5,
      tcpEstablishedTimeoutMs: 3_600_000,
      tcpCloseWaitTimeoutMs: 0,
      tcpBeLiberal: true,
      udpTimeoutMs: 4000,
      udpStreamTimeoutMs: 5000,
    },
    kubeconfig: '/etc/proxy.conf',
    hostnameOverride: 'node-1',
    detectLocal: { mode: 'ClusterCIDR', clusterCIDRs: ['10.244.0.0/16', 'fd00:10:244::/56'] },
    healthzBindAddress: { address: '192.0.2.2', port: 10_256 },
    metricsBindAddress: { address: '::', port: 9 },
  });
});

test('detectLocalMode', (t) => {
  const local = (body: string) => load(body).config.detectLocal;
  t.deepEqual(local('detectLocalMode: NodeCIDR\nclusterCIDR: 10.0.0.0/8'), { mode: 'NodeCIDR' });
  t.deepEqual(local('detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}'), {
    mode: 'BridgeInterface',
    name: 'cni0',
  });
  t.deepEqual(local('detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}'), {
    mode: 'InterfaceNamePrefix',
    prefix: 'veth',
  });
  t.regex(
    lines('detectLocalMode: BridgeInterface\ndetectLocal: {interfaceNamePrefix: br0}')[0] ?? '',
    /^p\.yaml:3:1: detectLocalMode: .* needs detectLocal\.bridgeInterface/,
  );
  t.regex(lines('detectLocalMode: InterfaceNamePrefix')[0] ?? '', /needs detectLocal\.interfaceNamePrefix/);
  for (const name of ['a/b', '"a b"', 'sixteen-letters-', '..'])
    t.regex(
      lines(`detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: ${name}}`)[0] ?? '',
      /detectLocal\.bridgeInterface: .* is no name of a network interface/,
      name,
    );
});

test('bindAddress only chooses the family of the other addresses', (t) => {
  const { config, warnings } = load('bindAddress: "::"');
  t.deepEqual(config.healthzBindAddress, { address: '::', port: 10_256 });
  t.deepEqual(config.metricsBindAddress, { address: '::1', port: 10_249 });
  t.deepEqual(warnings, []);
  t.is(warned('bindAddress: 192.0.2.2').length, 1);
});

test('the mode, and what depends on it', (t) => {
  t.is(load('mode: ""').config.mode, 'nftables');
  for (const mode of ['iptables', 'ipvs', 'nftables'] as const) t.is(load(`mode: ${mode}`).config.mode, mode);
  for (const mode of ['userspace', 'kernelspace', 'bpf', 'IPVS'])
    t.regex(lines(`mode: ${mode}`)[0] ?? '', /mode: must be one of iptables, ipvs, nftables, not/, mode);
  const masqueradesAll = (body: string) => load(body).config.masqueradeAll;
  t.true(masqueradesAll('nftables: {masqueradeAll: true}'));
  t.true(masqueradesAll('iptables: {masqueradeAll: true}'));
  t.false(masqueradesAll('mode: nftables\niptables: {masqueradeAll: true}'));
  t.false(masqueradesAll('mode: ipvs\nnftables: {masqueradeAll: true}'));
});

test('node ports are never opened wider than asked', (t) => {
  const cases: [string, KubeProxyConfig['nodePortAddresses']][] = [
    ['[]', 'all'],
    ['[0.0.0.0/0]', 'all'],
    ['["::/0"]', 'all'],
    ['["::/0", "fd00::/8"]', 'all'],
    ['[primary]', 'primary'],
    ['[192.0.2.0/24]', ['192.0.2.0/24']],
    ['[0.0.0.0/0, "fd00::/8"]', ['fd00::/8']],
    ['[127.0.0.0/8]', ['127.0.0.0/8']],
  ];
  for (const [body, expected] of cases)
    t.deepEqual(load(`nodePortAddresses: ${body}`).config.nodePortAddresses, expected, body);
  t.is(load('mode: nftables').config.nodePortAddresses, 'primary');
  t.is(load('mode: nftables\nnodePortAddresses: [0.0.0.0/0]').config.nodePortAddresses, 'all');
  t.is(load('mode: ipvs').config.nodePortAddresses, 'all');
  t.regex(
    lines('nodePortAddresses: [0.0.0.0/0, primary]')[0] ?? '',
    /^p\.yaml:3:\d+: nodePortAddresses\[1\]: primary must stand alone/,
  );
  t.regex(lines('nodePortAddresses: [everywhere]')[0] ?? '', /is neither a network nor primary/);
});

test('fields without effect are warned about by name, unless they ask for what happens', (t) => {
  const cases: [string, number][] = [
    ['conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 1h0m0s}', 0],
    ['iptables: {localhostNodePorts: false, masqueradeBit: 0, syncPeriod: 1h, minSyncPeriod: 10s}', 0],
    ['iptables: {localhostNodePorts: true}', 0],
    ['oomScoreAdj: -999', 0],
    ['oomScoreAdj: 0', 1],
    ['clientConnection: {qps: -1, burst: 3}', 0],
    ['logging: {format: json, verbosity: 2}', 2],
    ['winkernel: {enableDSR: true}\nwindowsRunAsService: true\nenableProfiling: true', 3],
    ['featureGates: {MemoryQoS: false, Nonsense: true}', 1],
  ];
  for (const [body, count] of cases) t.is(warned(body).length, count, `${body}: ${warned(body).join('|')}`);
});

test('bad input', (t) => {
  const cases: [string, RegExp][] = [
    ['clusterCidr: 10.0.0.0/8', /^p\.yaml:3:1: clusterCidr: unknown field \(did you mean clusterCIDR\?\)$/],
    ['maxPerCore: 3', /unknown field \(did you mean conntrack\.maxPerCore\?\)/],
    ['kubeconfig: /x', /unknown field \(write it as clientConnection\.kubeconfig\)/],
    [
      'iptables: {masquerdeAll: true}',
      /iptables\.masquerdeAll: unknown field \(did you mean iptables\.masqueradeAll\?\)/,
    ],
    ['iptables: {snatNodeInternalIP: true}', /unknown field/],
    ['"conntrack.min": 3', /must be nested/],
    ['__proto__: 3', /unknown field/],
    ['clusterCIDR: [10.0.0.0/8]', /clusterCIDR: must be a string/],
    ['clusterCIDR: 10.0.0.0', /clusterCIDR: "10\.0\.0\.0" is not usable: .* is not a network in CIDR notation/],
    ['clusterCIDR: 10.0.0.0/8,11.0.0.0/8', /must be one network, or one IPv4 and one IPv6/],
    [
      'clientConnection: {kubeconfig: proxy.conf}',
      /clientConnection\.kubeconfig: "proxy\.conf" must be an absolute path/,
    ],
    ['clientConnection: {burst: -1}', /must be 0 or more/],
    ['clientConnection: {qps: fast}', /must be a number/],
    ['healthzBindAddress: localhost:10256', /healthzBindAddress: "localhost:10256" is not an IP address with a port/],
    ['metricsBindAddress: 10249', /metricsBindAddress: must be a string/],
    ['metricsBindAddress: 0.0.0.0:0', /is not an IP address with a port/],
    ['bindAddress: node-1', /bindAddress: "node-1" is not an IP address/],
    ['hostnameOverride: a_b', /hostnameOverride: "a_b" must consist/],
    ['detectLocalMode: nodecidr', /detectLocalMode: must be one of ClusterCIDR, NodeCIDR/],
    ['iptables: {masqueradeBit: 32}', /must be between 0 and 31/],
    ['iptables: {syncPeriod: 500ms}', /iptables\.syncPeriod: iptables\.minSyncPeriod is longer than/],
    ['nftables: {minSyncPeriod: 1m}', /nftables\.minSyncPeriod: nftables\.minSyncPeriod is longer than/],
    ['iptables: {syncPeriod: -1s}', /must be 0s or more/],
    ['ipvs: {scheduler: best}', /must be one of rr, wrr/],
    ['ipvs: {excludeCIDRs: [x]}', /ipvs\.excludeCIDRs\[0\]: "x" is not a network/],
    ['conntrack: {min: -1}', /must be 0 or more/],
    ['conntrack: 3', /conntrack: must be a mapping/],
    ['oomScoreAdj: 1001', /must be between -1000 and 1000/],
    ['featureGates: {X: "yes"}', /must be true or false/],
    ['mode: nftables\nmode: iptables', /the key stands twice/],
    [`---\n${head}`, /a second document begins here/],
    ['mode: [1', /^p\.yaml:3:\d+: /],
  ];
  for (const [body, pattern] of cases) {
    const found = lines(body);
    t.is(found.length, 1, `${body}: ${found.join('|')}`);
    t.regex(found[0] ?? '', pattern, body);
  }
});

test('another kind, nothing, too much', (t) => {
  t.deepEqual(failure('apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n').lines, [
    'p.yaml:1:1: apiVersion: must be kubeproxy.config.k8s.io/v1alpha1, not "kubelet.config.k8s.io/v1beta1" (write apiVersion: kubeproxy.config.k8s.io/v1alpha1)',
    'p.yaml:2:1: kind: must be KubeProxyConfiguration, not "KubeletConfiguration" (write kind: KubeProxyConfiguration)',
  ]);
  t.is(failure('').code, 'CONFIG_KIND');
  t.is(failure(`${head}# ${'x'.repeat(1024 * 1024)}`).code, 'CONFIG_TOO_LARGE');
  const bomb = [...'abcdefgh'].map((name, i, all) => `${name}: &${name} [${`*${all[i - 1]},`.repeat(i > 0 ? 9 : 0)}x]`);
  t.is(failure(head + bomb.join('\n')).code, 'CONFIG_SYNTAX');
  t.is(lines(Array.from({ length: 500 }, (_, i) => `nonsense${i}: 1`).join('\n')).length, 100);
});

test('whatever stands in the file, the answer is settings or a ConfigError', (t) => {
  const field = fc.constantFrom(
    'mode',
    'clusterCIDR',
    'conntrack',
    'nodePortAddresses',
    'healthzBindAddress',
    'iptables',
  );
  const property = fc.property(fc.dictionary(field, fc.jsonValue({ maxDepth: 3 })), (body) => {
    const text = JSON.stringify({
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      ...body,
    });
    try {
      loadKubeProxyConfiguration(text, 'p.json');
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
    }
  });
  t.notThrows(() => fc.assert(property, { numRuns: 300 }));
});
