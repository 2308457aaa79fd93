/** Flags: defaults, precedence over the file, and one clear line for each bad value. */
import test from 'ava';
import { ConfigError } from './config-error.ts';
import { type RunFlags, resolveRunOptions, runDefaults } from './flags.ts';
import { defaultKubeProxyConfig } from './kube-proxy-configuration.ts';
import {
  defaultKubeletConfig,
  defaultKubeletConfiguration,
  loadKubeletConfiguration,
} from './kubelet-configuration.ts';

const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
const good: RunFlags = { standalone: '/srv/pods' };

function failure(flags: RunFlags, body?: string): ConfigError {
  const error = t0(() =>
    resolveRunOptions(flags, body === undefined ? undefined : loadKubeletConfiguration(head + body, 'k')),
  );
  if (error instanceof ConfigError) return error;
  throw error ?? new Error(`taken: ${JSON.stringify(flags)}`);
}

function t0(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}

test('defaults', (t) => {
  t.deepEqual(resolveRunOptions(good), {
    mode: {
      kind: 'standalone',
      dir: '/srv/pods',
      podCIDRs: ['10.244.0.0/24'],
      serviceCIDR: '10.96.0.0/16',
      serviceNetwork: { address: 0x0a600000, prefixLength: 16 },
    },
    configFile: undefined,
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    cniConfDir: undefined,
    cniBinDir: undefined,
    imageCredentialProviders: undefined,
    rootDir: '/var/lib/keelson',
    certDir: '/var/lib/keelson/pki',
    podLogDir: '/var/log/pods',
    runDir: '/run/keelson',
    hostnameOverride: undefined,
    nodeIPs: [],
    preferredNodeIPFamily: undefined,
    mtu: undefined,
    ipv6Masquerade: true,
    verbosity: 0,
    kubelet: { ...defaultKubeletConfig(), podCIDR: '10.244.0.0/24' },
    kubeletFields: defaultKubeletConfiguration().values,
    proxy: defaultKubeProxyConfig(),
    warnings: [],
  });
  t.is(runDefaults.rootDir, '/var/lib/keelson');
});

test('flags are normalised', (t) => {
  const options = resolveRunOptions({
    standalone: '/srv//pods/./',
    config: 'conf/kubelet.yaml',
    containerRuntimeEndpoint: '/run/k/containerd.sock',
    cniConfDir: '/etc/cni/net.d/',
    cniBinDir: '/usr/lib/cni',
    rootDir: '/srv/root/',
    podLogDir: '/srv/logs/',
    runDir: '/run/k/',
    hostnameOverride: ' Node-1.Example ',
    nodeIp: '192.0.2.2',
    serviceCidr: '172.30.0.0/20',
    verbosity: '10',
  });
  t.like(options, {
    mode: {
      dir: '/srv/pods',
      serviceCIDR: '172.30.0.0/20',
      serviceNetwork: { address: 0xac1e0000, prefixLength: 20 },
    },
    configFile: 'conf/kubelet.yaml',
    containerRuntimeEndpoint: 'unix:///run/k/containerd.sock',
    cniConfDir: '/etc/cni/net.d',
    cniBinDir: '/usr/lib/cni',
    rootDir: '/srv/root',
    podLogDir: '/srv/logs',
    runDir: '/run/k',
    hostnameOverride: 'node-1.example',
    nodeIPs: ['192.0.2.2'],
    verbosity: 10,
  });
});

test('--node-ip: one address, one of each family in that order, or the family alone', (t) => {
  const of = (nodeIp: string) => {
    const { nodeIPs, preferredNodeIPFamily } = resolveRunOptions({ ...good, nodeIp });
    return [nodeIPs, preferredNodeIPFamily];
  };
  t.deepEqual(of('FD00:0::1'), [['fd00::1'], undefined]);
  t.deepEqual(of('fd00::1, 192.0.2.1'), [['fd00::1', '192.0.2.1'], undefined]);
  t.deepEqual(of('::'), [[], 6]);
  t.deepEqual(of('0.0.0.0'), [[], 4]);
  t.deepEqual(resolveRunOptions(good).nodeIPs, []);
});

test('a flag wins over the file, the file over the default', (t) => {
  const body =
    'podCIDR: 10.1.0.0/16\npodLogsDir: /file/logs\ncontainerRuntimeEndpoint: unix:///file.sock\nlogging: {verbosity: 3}\nport: 1\n';
  const loaded = loadKubeletConfiguration(head + body, 'k');
  const fromFile = resolveRunOptions(good, loaded);
  t.like(fromFile, {
    mode: { podCIDRs: ['10.1.0.0/16'] },
    podLogDir: '/file/logs',
    containerRuntimeEndpoint: 'unix:///file.sock',
    verbosity: 3,
  });
  t.is(fromFile.kubelet.imageServiceEndpoint, 'unix:///file.sock');
  t.deepEqual(fromFile.warnings, loaded.warnings);
  const flags = {
    podCidr: '10.2.0.0/16',
    podLogDir: '/flag/logs',
    containerRuntimeEndpoint: '/flag.sock',
    verbosity: '5',
  };
  const fromFlags = resolveRunOptions({ ...good, ...flags }, loaded);
  t.like(fromFlags.kubelet, {
    podCIDR: '10.2.0.0/16',
    podLogsDir: '/flag/logs',
    containerRuntimeEndpoint: 'unix:///flag.sock',
    imageServiceEndpoint: 'unix:///flag.sock',
  });
  t.is(fromFlags.kubelet.logging.verbosity, 5);
  const own = loadKubeletConfiguration(`${head}imageServiceEndpoint: unix:///images.sock\n`, 'k');
  t.is(resolveRunOptions({ ...good, ...flags }, own).kubelet.imageServiceEndpoint, 'unix:///images.sock');
});

test('a network with fewer addresses than pods is warned about', (t) => {
  const { warnings } = resolveRunOptions({ ...good, podCidr: '10.1.0.0/26' });
  t.deepEqual(warnings, [
    { field: '--pod-cidr', message: '10.1.0.0/26 has addresses for 61 pods, and maxPods is 110' },
  ]);
});

test('each bad flag has its line', (t) => {
  const cases: [RunFlags, RegExp][] = [
    [{}, /^--standalone: is missing, and so is --kubeconfig \(add --standalone DIR.*--kubeconfig FILE/],
    [{ standalone: '' }, /^--standalone: "" must not be empty/],
    [{ standalone: 'pods' }, /^--standalone: "pods" must be an absolute path \(write the full path\)/],
    [{ standalone: '/a/../b' }, /must not contain '\.\.'/],
    [{ standalone: '/' }, /must not be the root directory/],
    [{ ...good, config: '' }, /^--config: must not be empty/],
    [{ ...good, rootDir: 'x' }, /^--root-dir: /],
    [{ ...good, runDir: `/${'x'.repeat(90)}` }, /^--run-dir: has more than 80 bytes/],
    [{ ...good, podLogDir: './x' }, /^--pod-log-dir: /],
    [{ ...good, cniConfDir: '../x' }, /^--cni-conf-dir: /],
    [{ ...good, cniBinDir: '/x/..' }, /^--cni-bin-dir: /],
    [
      { ...good, imageCredentialProviderConfig: '/etc/p' },
      /^--image-credential-provider-config: needs --image-credential-provider-bin-dir/,
    ],
    [{ ...good, imageCredentialProviderBinDir: '/opt/p' }, /^--image-credential-provider-bin-dir: needs --image/],
    [{ ...good, rootDir: '/a', runDir: '/a/' }, /^--run-dir: \/a is also the directory of --root-dir/],
    [{ standalone: '/var/lib/keelson' }, /^--standalone: .* is also the directory of --root-dir/],
    [{ ...good, podCidr: '10.1.2.3/16' }, /^--pod-cidr: 10\.1\.2\.3\/16 has host bits set \(write 10\.1\.0\.0\/16\)$/],
    [{ ...good, podCidr: '' }, /^--pod-cidr: "" is not an IPv4 network/],
    [
      { ...good, serviceCidr: '10.96.1.2/16' },
      /^--service-cidr: 10\.96\.1\.2\/16 has host bits set \(give a private IPv4 network of its own/,
    ],
    [{ ...good, serviceCidr: '' }, /^--service-cidr: "" is not an IPv4 network/],
    [{ ...good, serviceCidr: '10.96.0.0' }, /^--service-cidr: "10\.96\.0\.0" is not an IPv4 network/],
    [
      { ...good, serviceCidr: '10.96.0.0/31' },
      /^--service-cidr: .* has prefix length 31, which must be between 8 and 30/,
    ],
    [{ ...good, serviceCidr: 'fd00::/108' }, /^--service-cidr: fd00::\/108 is an IPv6 network/],
    [{ ...good, serviceCidr: '224.0.0.0/16' }, /^--service-cidr: .* overlaps the multicast or reserved range/],
    [
      { ...good, serviceCidr: '10.0.0.0/8' },
      /^--service-cidr: 10\.0\.0\.0\/8 overlaps the pod network 10\.244\.0\.0\/24/,
    ],
    [
      { ...good, podCidr: '10.96.7.0/24' },
      /^--service-cidr: 10\.96\.0\.0\/16 overlaps the pod network 10\.96\.7\.0\/24/,
    ],
    [
      { ...good, containerRuntimeEndpoint: 'http://x' },
      /^--container-runtime-endpoint: "http:\/\/x" must be a unix socket/,
    ],
    [{ ...good, containerRuntimeEndpoint: '' }, /^--container-runtime-endpoint: /],
    [{ ...good, hostnameOverride: 'a_b' }, /^--hostname-override: "a_b" must consist/],
    [{ ...good, hostnameOverride: '' }, /^--hostname-override: "" must not be empty/],
    [{ ...good, nodeIp: 'fe80::1' }, /^--node-ip: fe80::1 is no address/],
    [{ ...good, nodeIp: '0:0::1' }, /^--node-ip: 0:0::1 is no address/],
    [{ ...good, nodeIp: 'ff02::1' }, /^--node-ip: /],
    [{ ...good, nodeIp: 'fd00::1%eth0' }, /is not an IP address/],
    [{ ...good, nodeIp: '' }, /^--node-ip: must not be empty/],
    [{ ...good, nodeIp: 'fd00::1,fd00::2' }, /^--node-ip: has two addresses of one family/],
    [{ ...good, nodeIp: '192.0.2.1,fd00::1,192.0.2.2' }, /^--node-ip: has two/],
    [{ ...good, nodeIp: '::,192.0.2.1' }, /^--node-ip: :: is no address/],
    [{ ...good, nodeIp: '127.0.0.1' }, /^--node-ip: 127\.0\.0\.1 is no address/],
    [{ ...good, nodeIp: '169.254.1.1' }, /^--node-ip: 169\.254\.1\.1 is no address/],
    [{ ...good, nodeIp: '224.0.0.1' }, /^--node-ip: /],
    [{ ...good, nodeIp: '1.2.3' }, /is not an IP address/],
    [{ ...good, verbosity: '11' }, /^-v: must be a whole number from 0 to 10, not "11"/],
    [{ ...good, verbosity: '-1' }, /^-v: /],
    [{ ...good, verbosity: 'x' }, /^-v: /],
    [{ ...good, maxPods: '-1' }, /^--max-pods: must be a whole number from 0 to 2147483647, not "-1"/],
    [{ ...good, maxPods: '2147483648' }, /^--max-pods: /],
    [{ ...good, podManifestPath: 'x' }, /^--pod-manifest-path: "x" must be an absolute path/],
    [{ ...good, clusterDns: '10.96.0.10,dns' }, /^--cluster-dns: "dns" is not an IP address/],
    [{ ...good, clusterDomain: '_' }, /^--cluster-domain: "_" must consist/],
    [{ ...good, healthzPort: '65536' }, /^--healthz-port: must be a whole number from 0 to 65535/],
    [{ ...good, healthzBindAddress: 'localhost' }, /^--healthz-bind-address: "localhost" is not an IP address/],
    [{ ...good, metricsBindAddress: ':10249' }, /^--metrics-bind-address: ":10249" is not an IP address with a port/],
    [{ ...good, proxyHealthzBindAddress: '0.0.0.0:0' }, /^--proxy-healthz-bind-address: /],
  ];
  for (const [flags, pattern] of cases) {
    const { lines, code } = failure(flags);
    t.is(code, 'CONFIG_FLAG');
    t.is(lines.length, 1, lines.join('|'));
    t.regex(lines[0] ?? '', pattern);
  }
});

test('several bad flags are reported together', (t) => {
  t.is(failure({ standalone: 'x', podCidr: 'y', verbosity: 'z' }).problems.length, 3);
});

test('the folder of static pods cannot be the standalone folder as well', (t) => {
  t.regex(failure(good, 'staticPodPath: /srv/pods/\n').lines[0] ?? '', /also the directory of staticPodPath/);
  t.regex(failure({ ...good, podManifestPath: '/srv/pods' }).lines[0] ?? '', /directory of staticPodPath \(--pod-m/);
});

test('servers and pods of both modes', (t) => {
  const { kubelet, proxy } = resolveRunOptions({
    ...good,
    maxPods: '0',
    podManifestPath: '/etc//kubernetes/manifests/',
    clusterDns: '10.96.0.10, fd00::a',
    clusterDomain: 'cluster.local',
    healthzPort: '0',
    proxyHealthzBindAddress: '',
    metricsBindAddress: '[::1]:9',
  });
  t.like(kubelet, {
    maxPods: 0,
    staticPodPath: '/etc/kubernetes/manifests',
    clusterDNS: ['10.96.0.10', 'fd00::a'],
    clusterDomain: 'cluster.local',
    healthz: undefined,
  });
  t.is(proxy.healthzBindAddress, undefined);
  t.deepEqual(proxy.metricsBindAddress, { address: '::1', port: 9 });
  const moved = resolveRunOptions({ ...good, healthzPort: '7', healthzBindAddress: '::1' });
  t.deepEqual(moved.kubelet.healthz, { address: '::1', port: 7 });
});
