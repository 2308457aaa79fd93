/** A kubelet's command line: what systemd units, kubeadm and people have written since 1.20. */
import test from 'ava';
import fc from 'fast-check';
import { ConfigError } from './config-error.ts';
import { type KubeletCommandLine, type OwnFlag, parseKubeletCommandLine } from './flags-kubelet.ts';
import { kubeletFlags } from './flags-kubelet-table.ts';
import { kubeletConfigurationFields } from './kubelet-configuration-table.ts';

const flag = (name: string, more: Partial<OwnFlag> = {}): OwnFlag => ({
  name,
  key: name.replaceAll(/-(.)/g, (_, letter: string) => letter.toUpperCase()),
  isSwitch: false,
  isList: false,
  ...more,
});
const own: OwnFlag[] = [
  ...['kubeconfig', 'bootstrap-kubeconfig', 'config', 'hostname-override', 'node-ip', 'container-runtime-endpoint'],
  ...['roles', 'network-kubeconfig', 'cert-dir', 'root-dir', 'pod-manifest-path', 'cni-bin-dir', 'max-pods', 'v'],
].map((name) => flag(name));
own.push(flag('node-labels', { isList: true }), flag('rotate-certificates', { isSwitch: true }));

const read = (...args: string[]): KubeletCommandLine => parseKubeletCommandLine(args, own);

function lines(...args: string[]): string[] {
  try {
    read(...args);
  } catch (error) {
    if (error instanceof ConfigError) return error.lines;
    throw error;
  }
  throw new Error(`taken: ${args.join(' ')}`);
}

const fieldsOf = ({ fields }: KubeletCommandLine): Record<string, unknown> =>
  Object.fromEntries([...fields].map(([path, { value }]) => [path, value]));

test("kubeadm's drop-in of 1.20 with containerd", (t) => {
  const line = read(
    '--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf',
    '--kubeconfig=/etc/kubernetes/kubelet.conf',
    '--config=/var/lib/kubelet/config.yaml',
    '--container-runtime=remote',
    '--container-runtime-endpoint=/run/containerd/containerd.sock',
    '--network-plugin=cni',
    '--pod-infra-container-image=k8s.gcr.io/pause:3.2',
    '--hostname-override=',
  );
  t.deepEqual(line.flags, {
    rootDir: '/var/lib/kubelet',
    certDir: '/var/lib/kubelet/pki',
    roles: 'kubelet',
    bootstrapKubeconfig: '/etc/kubernetes/bootstrap-kubelet.conf',
    kubeconfig: '/etc/kubernetes/kubelet.conf',
    config: '/var/lib/kubelet/config.yaml',
    containerRuntimeEndpoint: '/run/containerd/containerd.sock',
  });
  t.is(line.fields.size, 0);
  t.deepEqual(
    line.warnings.map(({ field, message }) => `${field} ${message}`),
    ['--pod-infra-container-image has no effect: the container runtime says which image sandboxes are made of'],
  );
});

test('pflag: with and without =, underscores, switches, shorthands, lists that are given twice', (t) => {
  t.like(read('--kubeconfig', '/a', '--node_labels=a=b', '--node-labels', 'c=d', '-v', '4').flags, {
    kubeconfig: '/a',
    nodeLabels: 'a=b,c=d',
    v: '4',
  });
  t.like(read('-v=2', '--rotate-certificates').flags, { v: '2', rotateCertificates: 'true' });
  t.like(read('-v9', '--rotate-certificates=false').flags, { v: '9', rotateCertificates: 'false' });
  t.deepEqual(fieldsOf(read('--fail-swap-on', '--anonymous-auth=F')), {
    failSwapOn: true,
    'authentication.anonymous.enabled': false,
  });
});

test('fields of the configuration file', (t) => {
  t.deepEqual(
    fieldsOf(
      read(
        '--cgroup-driver=systemd',
        '--eviction-hard=memory.available<100Mi, nodefs.available<5%',
        '--eviction-soft-grace-period=memory.available=1m30s',
        '--kube-reserved=cpu=200m,memory=500Mi',
        '--system-reserved=cpu=1',
        '--system-reserved=memory=1Gi',
        '--feature-gates=A=true,B=false',
        '--tls-cipher-suites=X,Y',
        '--registry-qps=7',
        '--image-gc-high-threshold=many',
        '--vmodule=a*=3',
        '--resolv-conf=',
      ),
    ),
    {
      cgroupDriver: 'systemd',
      evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '5%' },
      evictionSoftGracePeriod: { 'memory.available': '1m30s' },
      kubeReserved: { cpu: '200m', memory: '500Mi' },
      systemReserved: { cpu: '1', memory: '1Gi' },
      featureGates: { A: true, B: false },
      tlsCipherSuites: ['X', 'Y'],
      registryPullQPS: 7,
      imageGCHighThresholdPercent: 'many',
      'logging.vmodule': [{ filePattern: 'a*', verbosity: 3 }],
      resolvConf: '',
    },
  );
  for (const [name, known] of kubeletFlags) {
    if (known.treatment === 'field') t.true(Object.hasOwn(kubeletConfigurationFields, known.path), name);
  }
});

test('what is without effect is said, unless it asks for what happens anyway', (t) => {
  t.deepEqual(read('--logtostderr', '--cloud-config=', '--register-schedulable=true').warnings, []);
  t.is(read('--logtostderr=false', '--cloud-config=/x', '--docker-tls').warnings.length, 3);
  t.like(read('--node-ip=192.0.2.1,fd00::1'), { flags: { nodeIp: '192.0.2.1,fd00::1' }, warnings: [] });
  t.is(read('--node-ip=').flags.nodeIp, undefined);
});

test('what cannot be taken is one line each', (t) => {
  const cases: [string[], RegExp][] = [
    [['--foo'], /^--foo: is no flag of a kubelet \(remove it/],
    [['--foo=s3cret'], /^--foo: is no flag of a kubelet/],
    [['--foo', 'value'], /^--foo: is no flag/],
    [['--max-pod=3'], /^--max-pod: is no flag of a kubelet \(did you mean --max-pods\?\)/],
    [['--eviction_hards=x'], /did you mean --eviction-hard\?/],
    [['-x'], /^-x: is no flag/],
    [
      ['--fail-swap-on', 'false'],
      /^"false": is no flag, and nothing else is expected \(write it behind its flag: --flag=false\)/,
    ],
    [['run'], /^"run": is no flag/],
    [['--'], /^"--": is no flag/],
    [['--kubeconfig'], /^--kubeconfig: needs a value \(write --kubeconfig=VALUE\)/],
    [['--fail-swap-on=yes'], /^--fail-swap-on: must be true or false, not "yes"/],
    [['--eviction-hard=memory.available'], /^--eviction-hard: "memory\.available" must be written key<value/],
    [['--feature-gates=A=maybe'], /^--feature-gates: must be true or false, not "maybe"/],
    [['--container-runtime=docker'], /^--container-runtime: "docker" cannot be used: only runtimes that speak CRI/],
    [['--network-plugin=kubenet'], /^--network-plugin: "kubenet" cannot be used/],
    [['--dynamic-config-dir=/x'], /^--dynamic-config-dir: "\/x" cannot be used/],
  ];
  for (const [args, pattern] of cases) {
    const found = lines(...args);
    t.is(found.length, 1, found.join('|'));
    t.regex(found[0] ?? '', pattern);
    t.false(found.join().includes('s3cret'));
  }
  t.is(lines('--foo', '--bar=1', '--container-runtime=rkt').length, 3);
});

test('--version and --help are answered whatever else is said', (t) => {
  for (const args of [['--version'], ['--foo', '--version=true'], ['--version=raw']])
    t.is(read(...args).asked, 'version');
  for (const args of [['-h'], ['--help'], ['--kubeconfig=/x', '--help']]) t.is(read(...args).asked, 'help');
  t.is(read('--version=false').asked, undefined);
});

test('the other roles are asked for by name or by their identity', (t) => {
  t.is(read().flags.roles, 'kubelet');
  t.is(read('--network-kubeconfig=/n').flags.roles, undefined);
  t.like(read('--roles=kubelet,network').flags, { roles: 'kubelet,network', certDir: '/var/lib/kubelet/pki' });
  t.is(read('--roles=network').flags.certDir, undefined);
});

test('any arguments are read or refused with a ConfigError', (t) => {
  const names = fc.constantFrom(...kubeletFlags.keys(), ...own.map(({ name }) => name), 'version');
  const argument = fc.oneof(
    fc.string(),
    fc.tuple(names, fc.string()).map(([name, value]) => `--${name}=${value}`),
    names.map((name) => `--${name}`),
  );
  fc.assert(
    fc.property(fc.array(argument, { maxLength: 8 }), (args) => {
      try {
        const { flags, fields } = read(...args);
        t.true(Object.values(flags).every((value) => typeof value === 'string'));
        t.true([...fields.keys()].every((path) => Object.hasOwn(kubeletConfigurationFields, path)));
      } catch (error) {
        t.true(error instanceof ConfigError, String(error));
        t.true((error as ConfigError).lines.every((line) => !line.includes('\n')));
      }
    }),
  );
});
