/** Flags of `keelson run --kubeconfig`: defaults, precedence over both files, and one clear line for each bad value. */
import test from 'ava';
import { ConfigError } from './config-error.ts';
import { type ClusterMode, type RunFlags, type RunOptions, resolveRunOptions } from './flags.ts';
import { networkBackends } from './flags-network.ts';
import { loadKubeProxyConfiguration } from './kube-proxy-configuration.ts';
import { loadKubeletConfiguration } from './kubelet-configuration.ts';

const kubelet = (body: string) =>
  loadKubeletConfiguration(`apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${body}`, 'k');
const proxy = (body: string) =>
  loadKubeProxyConfiguration(
    `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n${body}`,
    'p',
  );
const good: RunFlags = { kubeconfig: '/etc/kubernetes/kubelet.conf' };

function cluster(options: RunOptions): ClusterMode {
  if (options.mode.kind !== 'cluster') throw new Error('no cluster');
  return options.mode;
}

function lines(flags: RunFlags, proxyBody?: string): readonly string[] {
  try {
    resolveRunOptions(flags, undefined, proxyBody === undefined ? undefined : proxy(proxyBody));
  } catch (error) {
    if (error instanceof ConfigError) return error.lines;
    throw error;
  }
  throw new Error(`taken: ${JSON.stringify(flags)}`);
}

test('defaults', (t) => {
  const options = resolveRunOptions(good);
  t.deepEqual(options.mode, {
    kind: 'cluster',
    roles: new Set(['kubelet', 'proxy', 'network'] as const),
    kubeconfig: '/etc/kubernetes/kubelet.conf',
    bootstrapKubeconfig: undefined,
    networkKubeconfig: '/etc/kubernetes/kubelet.conf',
    additionalAPIServers: [],
    allowInsecureAPIServer: false,
    podCIDRs: undefined,
    nodeLabels: new Map(),
    externalCloudProvider: false,
    network: { backend: 'vxlan', vni: 1, port: 8472, directRouting: false },
  });
  t.is(options.kubelet.podCIDR, undefined);
  t.true(options.kubelet.registerNode);
  t.deepEqual(options.proxy.detectLocal, { mode: 'ClusterCIDR', clusterCIDRs: [] });
  t.deepEqual(options.warnings, []);
});

test('each flag arrives', (t) => {
  const options = resolveRunOptions({
    kubeconfig: '/k//a.conf',
    bootstrapKubeconfig: '/k/boot.conf',
    rotateCertificates: 'true',
    networkKubeconfig: '/k/b.conf',
    roles: 'proxy, network,kubelet,proxy',
    additionalApiServers: 'https://10.0.0.2:6443/,https://[fd00::2]:6443',
    podCidr: '10.1.2.0/24',
    clusterCidr: '10.1.0.0/16,fd00:1::/56',
    nodeLabels: 'disk=ssd,node.kubernetes.io/x=',
    registerWithTaints: 'dedicated=web:NoSchedule,gone:NoExecute',
    registerNode: 'false',
    cloudProvider: 'external',
    vxlanVni: '7',
    vxlanPort: '4789',
    directRouting: true,
    mtu: '1400',
  });
  t.is(options.mtu, 1400);
  t.deepEqual(cluster(options), {
    kind: 'cluster',
    roles: new Set(['proxy', 'network', 'kubelet'] as const),
    kubeconfig: '/k/a.conf',
    bootstrapKubeconfig: '/k/boot.conf',
    networkKubeconfig: '/k/b.conf',
    additionalAPIServers: ['https://10.0.0.2:6443', 'https://[fd00::2]:6443'],
    allowInsecureAPIServer: false,
    podCIDRs: ['10.1.2.0/24'],
    nodeLabels: new Map([
      ['disk', 'ssd'],
      ['node.kubernetes.io/x', ''],
    ]),
    externalCloudProvider: true,
    network: { backend: 'vxlan', vni: 7, port: 4789, directRouting: true },
  });
  t.false(options.kubelet.registerNode);
  t.true(options.kubelet.rotateCertificates);
  t.deepEqual(options.kubelet.registerWithTaints, [
    { key: 'dedicated', value: 'web', effect: 'NoSchedule' },
    { key: 'gone', effect: 'NoExecute' },
  ]);
  t.deepEqual(options.proxy.detectLocal, { mode: 'ClusterCIDR', clusterCIDRs: ['10.1.0.0/16', 'fd00:1::/56'] });
});

test('a flag wins over the file, the file over the default', (t) => {
  const taints =
    'registerNode: false\nregisterWithTaints: [{key: a, effect: NoSchedule}]\npodCIDR: 10.5.0.0/24\nkubeletCgroups: /k\nport: 10350\n';
  const file = kubelet(taints);
  const proxyFile = proxy(
    'clientConnection: {kubeconfig: /file/proxy.conf}\nclusterCIDR: 10.4.0.0/16\nhostnameOverride: FROM-file\nmode: ipvs\n',
  );
  const fromFiles = resolveRunOptions(good, file, proxyFile);
  t.like(fromFiles.mode, { networkKubeconfig: '/file/proxy.conf', podCIDRs: ['10.5.0.0/24'] });
  t.is(fromFiles.hostnameOverride, 'from-file');
  t.false(fromFiles.kubelet.registerNode);
  t.is(fromFiles.kubelet.registerWithTaints.length, 1);
  t.deepEqual(fromFiles.proxy.detectLocal, { mode: 'ClusterCIDR', clusterCIDRs: ['10.4.0.0/16'] });
  t.deepEqual(
    fromFiles.warnings.map(({ field, file: name }) => [name, field]),
    [['k', 'kubeletCgroups']],
  );
  const flags: RunFlags = {
    ...good,
    networkKubeconfig: '/flag.conf',
    hostnameOverride: 'from-flag',
    registerNode: true,
    registerWithTaints: '',
    clusterCidr: '10.3.0.0/16',
    address: '::1',
    readOnlyPort: '10255',
    certDir: '/srv/pki/',
  };
  const fromFlags = resolveRunOptions(flags, file, proxyFile);
  t.like(fromFlags.mode, { networkKubeconfig: '/flag.conf' });
  t.is(fromFlags.hostnameOverride, 'from-flag');
  t.true(fromFlags.kubelet.registerNode);
  t.deepEqual(fromFlags.kubelet.registerWithTaints, []);
  t.like(fromFlags.kubelet.server, { listen: { address: '::1', port: 10_350 }, readOnlyPort: 10_255 });
  t.is(fromFlags.certDir, '/srv/pki');
  t.like(fromFiles.kubelet.server, { listen: { address: '0.0.0.0', port: 10_350 }, readOnlyPort: undefined });
  t.deepEqual(fromFlags.proxy.detectLocal, { mode: 'ClusterCIDR', clusterCIDRs: ['10.3.0.0/16'] });
});

test('a small pod network is warned about when it is known', (t) => {
  t.is(resolveRunOptions({ ...good, podCidr: '10.1.0.0/26' }).warnings.length, 1);
});

test('each bad flag has its line', (t) => {
  const cases: [RunFlags, RegExp][] = [
    [{ ...good, standalone: '/srv' }, /^--standalone: cannot be used together with --kubeconfig \(choose one/],
    [{ kubeconfig: '' }, /^--kubeconfig: "" must not be empty/],
    [{ kubeconfig: 'kubelet.conf' }, /^--kubeconfig: "kubelet.conf" must be an absolute path/],
    [{ ...good, networkKubeconfig: '../x' }, /^--network-kubeconfig: /],
    [{ ...good, serviceCidr: '10.96.0.0/16' }, /^--service-cidr: has a meaning with --standalone only/],
    [{ ...good, roles: '' }, /^--roles: must name a role \(use one or more of kubelet, proxy, network\)/],
    [{ ...good, roles: 'kubelet,proxi' }, /^--roles: "proxi" is no role \(did you mean proxy\?\)/],
    [{ ...good, roles: 'scheduler' }, /^--roles: "scheduler" is no role \(use kubelet, proxy, network\)/],
    [{ ...good, podCidr: '10.1.2.3/24' }, /^--pod-cidr: 10\.1\.2\.3\/24 has host bits set/],
    [{ ...good, clusterCidr: '10.0.0.0/33' }, /^--cluster-cidr: "10\.0\.0\.0\/33" is not a network/],
    [
      { ...good, clusterCidr: '10.0.0.0/8,11.0.0.0/8' },
      /^--cluster-cidr: must be one network, or one IPv4 and one IPv6/,
    ],
    [{ ...good, nodeLabels: 'disk' }, /^--node-labels: "disk" must be written key=value/],
    [{ ...good, nodeLabels: 'a b=c' }, /^--node-labels: "a b" name part must consist/],
    [
      { ...good, nodeLabels: 'node-role.kubernetes.io/x=' },
      /^--node-labels: .* is not one of the kubernetes\.io and k8s/,
    ],
    [{ ...good, registerWithTaints: 'a=b' }, /^--register-with-taints: "a=b" must be written key=value:effect/],
    [{ ...good, registerWithTaints: 'a:Never' }, /^--register-with-taints: "a:Never" must have one of the effects/],
    [{ ...good, registerWithTaints: 'a b:NoSchedule' }, /^--register-with-taints: .* must consist/],
    [{ ...good, registerNode: 'yes' }, /^--register-node: must be true or false, not "yes"/],
    [{ ...good, cloudProvider: 'aws' }, /^--cloud-provider: must be external or empty, not "aws"/],
    [{ ...good, additionalApiServers: '10.0.0.2:6443' }, /^--additional-api-servers: "10\.0\.0\.2:6443" is no address/],
    [{ ...good, additionalApiServers: 'http://10.0.0.2' }, /^--additional-api-servers: http would send credentials/],
    [{ ...good, allowInsecureApiServer: 'x' }, /^--allow-insecure-api-server: must be true or false/],
    [{ ...good, port: '0' }, /^--port: must not be 0 \(set enableServer: false/],
    [{ ...good, port: '65536' }, /^--port: must be a whole number from 0 to 65535/],
    [{ ...good, readOnlyPort: '10250' }, /^--read-only-port: must not be the port of the API of the kubelet/],
    [{ ...good, address: 'node-1' }, /^--address: "node-1" is not an IP address/],
    [{ ...good, certDir: 'pki' }, /^--cert-dir: "pki" must be an absolute path/],
    [{ ...good, bootstrapKubeconfig: 'x' }, /^--bootstrap-kubeconfig: "x" must be an absolute path/],
    [
      { ...good, bootstrapKubeconfig: '/etc//kubernetes/kubelet.conf' },
      /^--bootstrap-kubeconfig: must not be the file of --kubeconfig/,
    ],
    [{ ...good, rotateCertificates: 'maybe' }, /^--rotate-certificates: must be true or false/],
    [{ ...good, roles: 'proxy', bootstrapKubeconfig: '/b' }, /^--bootstrap-kubeconfig: needs the role kubelet/],
    [{ ...good, roles: 'proxy', port: '10350' }, /^--port: needs the role kubelet/],
    [{ ...good, proxyConfig: '' }, /^--proxy-config: must not be empty/],
    [{ ...good, roles: 'proxy', nodeLabels: 'a=b' }, /^--node-labels: needs the role kubelet/],
    [{ standalone: '/srv', networkKubeconfig: '/x' }, /^--network-kubeconfig: has a meaning with --kubeconfig only/],
    [
      { standalone: '/srv', bootstrapKubeconfig: '/x' },
      /^--bootstrap-kubeconfig: has a meaning with --kubeconfig only/,
    ],
    [{ standalone: '/srv', port: '10350' }, /^--port: has a meaning with --kubeconfig only/],
    [{ standalone: '/srv', registerNode: true }, /^--register-node: has a meaning with --kubeconfig only/],
    [{ standalone: '/srv', roles: 'kubelet' }, /^--roles: must name all roles with --standalone/],
  ];
  for (const [flags, pattern] of cases) {
    const found = lines(flags);
    t.is(found.length, 1, found.join('|'));
    t.regex(found[0] ?? '', pattern);
  }
});

test('the way to other nodes: backends, and the roles that go with them', (t) => {
  for (const networkBackend of networkBackends) {
    const mode = cluster(resolveRunOptions({ ...good, networkBackend }));
    t.is(mode.network.backend, networkBackend);
    t.is(mode.roles.has('network'), networkBackend !== 'none');
  }
  const without = cluster(resolveRunOptions({ ...good, roles: 'kubelet,proxy', networkBackend: 'none' }));
  t.false(without.roles.has('network'));
  const cases: [RunFlags, RegExp][] = [
    [{ networkBackend: 'vxlam' }, /^--network-backend: "vxlam" is no backend \(did you mean vxlan\?\)/],
    [
      { networkBackend: 'wireguard' },
      /^--network-backend: "wireguard" is no backend \(use vxlan, host-gw, alloc, none\)/,
    ],
    [{ networkBackend: '' }, /^--network-backend: "" is no backend/],
    [{ vxlanVni: '0' }, /^--vxlan-vni: must not be 0/],
    [{ vxlanVni: '16777216' }, /^--vxlan-vni: must be a whole number from 0 to 16777215/],
    [{ vxlanVni: '-1' }, /^--vxlan-vni: must be a whole number/],
    [{ vxlanPort: '0' }, /^--vxlan-port: must not be 0/],
    [{ vxlanPort: '65536' }, /^--vxlan-port: must be a whole number/],
    [{ directRouting: 'yes' }, /^--direct-routing: must be true or false/],
    [{ mtu: '575' }, /^--mtu: must be from 576 to 65535, not 575/],
    [{ mtu: '1e3' }, /^--mtu: must be a whole number/],
    [{ networkBackend: 'host-gw', vxlanVni: '1' }, /^--vxlan-vni: has a meaning with --network-backend vxlan only/],
    [
      { networkBackend: 'host-gw', directRouting: true },
      /^--direct-routing: has a meaning with --network-backend vxlan/,
    ],
    [
      { networkBackend: 'none', roles: 'kubelet,network' },
      /^--network-backend: none leaves out the role network, which/,
    ],
    [{ networkBackend: 'vxlan', roles: 'kubelet' }, /^--network-backend: needs the role network/],
    [{ vxlanPort: '4789', roles: 'proxy' }, /^--vxlan-port: needs the role network/],
    [{ mtu: '1400', roles: 'proxy' }, /^--mtu: needs the role network/],
    [{ ipv6Masquerade: 'false', roles: 'proxy' }, /^--ipv6-masquerade: needs the role network/],
    [{ ipv6Masquerade: 'no' }, /^--ipv6-masquerade: must be true or false/],
    [{ podCidr: '10.1.0.0/24,10.2.0.0/24' }, /^--pod-cidr: .*more than one network of a family/],
    [{ podCidr: '10.1.0.0/24,' }, /^--pod-cidr: "" is not/],
    [{ podCidr: 'fd00::1/64' }, /^--pod-cidr: fd00::1\/64 has host bits set \(write fd00::\/64\)/],
  ];
  for (const [flags, pattern] of cases) {
    const found = lines({ ...good, ...flags });
    t.is(found.length, 1, found.join('|'));
    t.regex(found[0] ?? '', pattern);
  }
  t.regex(lines({ standalone: '/srv', networkBackend: 'vxlan' })[0] ?? '', /has a meaning with --kubeconfig only/);
  t.is(resolveRunOptions({ standalone: '/srv', mtu: '1300' }).mtu, 1300);
});

test('what is insecure must be allowed in so many words', (t) => {
  const additionalApiServers = 'http://127.0.0.1:8080';
  const { mode } = resolveRunOptions({ ...good, additionalApiServers, allowInsecureApiServer: true });
  t.like(mode, { allowInsecureAPIServer: true });
});

test('--cluster-cidr beside NodeCIDR would have no effect', (t) => {
  const found = lines({ ...good, clusterCidr: '10.0.0.0/8' }, 'detectLocalMode: NodeCIDR\n');
  t.regex(found[0] ?? '', /^--cluster-cidr: has no effect with detectLocalMode: NodeCIDR/);
});

test('all roles may be named with --standalone', (t) => {
  t.is(resolveRunOptions({ standalone: '/srv', roles: 'kubelet,proxy,network' }).mode.kind, 'standalone');
});
