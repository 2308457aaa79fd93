/**
 * What containers find of what their manifests ask for: environment, users, privileges, limits, names, namespaces.
 * Layer: test (integration, root). The unit tests of kubelet/plan say what is sent; here the kernel says what came of it.
 */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { container, type Daemon, type Manifest, podManifest, startDaemon } from '../support/daemon.ts';

let daemon: Daemon;
let out: string;

test.before(async () => {
  daemon = await startDaemon({
    keelson: () => ({
      config:
        'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n' +
        'clusterDomain: cluster.local\nclusterDNS: [10.96.0.10]\n',
    }),
  });
  out = join(daemon.node.run.path, 'out');
  mkdirSync(out);
  // Also for containers of other users.
  chmodSync(out, 0o777);
});
test.after.always(() => daemon?.end());

/** Runs a script to its end in a pod of its own and gives what it wrote to /out/<name>. */
async function told(name: string, script: string, spec: Manifest = {}, more: Manifest = {}): Promise<string> {
  const { volumeMounts = [], ...rest } = more as { volumeMounts?: Manifest[] };
  const { volumes = [], ...others } = spec as { volumes?: Manifest[] };
  daemon.write(
    `${name}.yaml`,
    podManifest(name, {
      restartPolicy: 'Never',
      ...others,
      volumes: [...volumes, { name: 'out', hostPath: { path: out } }],
      containers: [
        container('main', ['sh', '-c', `(${script}) > /out/${name} 2>&1`], {
          ...rest,
          volumeMounts: [...volumeMounts, { name: 'out', mountPath: '/out' }],
        }),
      ],
    }),
  );
  await daemon.waitForPod(name, 'ends', (pod) => ['Succeeded', 'Failed'].includes(pod.status.phase));
  return readFileSync(join(out, name), 'utf8');
}
const field = (status: string, name: string): string => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';

test.serial('environment: references, fields, resources', async (t) => {
  const main = container('main', ['env'], {
    resources: { limits: { cpu: '500m', memory: '64Mi' }, requests: { memory: '32Mi' } },
    env: [
      { name: 'A', value: 'x' },
      { name: 'B', value: '$(A)-$$(A)-$(NONE)' },
      { name: 'odd name!', value: 'odd' },
      { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      { name: 'IPS', valueFrom: { fieldRef: { fieldPath: 'status.hostIPs' } } },
      { name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu', divisor: '1m' } } },
      { name: 'MEM', valueFrom: { resourceFieldRef: { resource: 'requests.memory', divisor: '1Mi' } } },
    ],
  });
  daemon.write('env.yaml', podManifest('env', { restartPolicy: 'Never', containers: [main] }));
  // Not through a shell: it keeps no variable whose name it cannot use.
  const pod = await daemon.waitForPod('env', 'ends', ({ status }) => status.phase === 'Succeeded');
  const text = daemon.log(pod, 'main');
  for (const line of ['B=x-$(A)-$(NONE)', 'odd name!=odd', 'CPU=500', 'MEM=32'])
    t.true(text.includes(`stdout F ${line}\n`), line);
  t.regex(text, /F POD=env-/);
  t.regex(text, /F IPS=\d+\.\d+\.\d+\.\d+\n/);
});

test.serial('users, groups, capabilities, no new privileges, a read-only root', async (t) => {
  const status = await told(
    'user',
    'cat /proc/self/status; touch /x',
    { securityContext: { fsGroup: 77, supplementalGroups: [88] } },
    {
      securityContext: {
        runAsUser: 1234,
        runAsGroup: 55,
        runAsNonRoot: true,
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'], add: ['CAP_NET_BIND_SERVICE'] },
        seccompProfile: { type: 'RuntimeDefault' },
      },
    },
  );
  t.is(field(status, 'Uid'), '1234\t1234\t1234\t1234');
  t.is(field(status, 'Gid'), '55\t55\t55\t55');
  t.deepEqual(field(status, 'Groups').trim().split(' ').sort(), ['55', '77', '88']);
  t.is(field(status, 'CapBnd'), '0000000000000400');
  t.is(field(status, 'NoNewPrivs'), '1');
  t.is(field(status, 'Seccomp'), '2');
  t.regex(status, /touch: \/x: Read-only file system/);
});

test.serial('seccomp: a profile of the node, unconfined, and none outside the folder', async (t) => {
  const profiles = join(daemon.node.run.path, 'keelson', 'root', 'seccomp');
  mkdirSync(profiles, { recursive: true });
  writeFileSync(
    join(profiles, 'no-mkdir.json'),
    JSON.stringify({
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }],
    }),
  );
  const local = { seccompProfile: { type: 'Localhost', localhostProfile: 'no-mkdir.json' } };
  t.regex(await told('local', 'mkdir /tmp/x', {}, { securityContext: local }), /Operation not permitted/);
  t.is(field(await told('free', 'cat /proc/self/status'), 'Seccomp'), '0');
});

test.serial('kernel files are masked and read-only', async (t) => {
  const text = await told(
    'masked',
    'cat /proc/keys | wc -c; ls /sys/firmware | wc -l; echo x > /proc/sys/kernel/hostname',
  );
  t.regex(text, /^0\n0\n/);
  t.regex(text, /hostname: Read-only file system/);
});

test.serial('limits reach the cgroup; huge pages and pod-level limits are taken', async (t) => {
  const cat = 'cd /sys/fs/cgroup; cat cpu/cpu.shares cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes';
  const own = { resources: { limits: { cpu: '500m', memory: '64Mi' }, requests: { cpu: '250m' } } };
  t.is(await told('limits', cat, {}, own), `256\n50000\n${64 * 2 ** 20}\n`);
  const ofPod = { resources: { limits: { cpu: '1', memory: '32Mi', 'hugepages-2Mi': '2Mi' } } };
  t.is(await told('pod-limits', cat, ofPod), `1024\n100000\n${32 * 2 ** 20}\n`);
});

test.serial('sysctls of the pod', async (t) => {
  const sysctls = [
    { name: 'net.ipv4.ip_local_port_range', value: '20000 20100' },
    { name: 'kernel.shm_rmid_forced', value: '1' },
  ];
  const text = await told('sysctl', 'cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced', {
    securityContext: { sysctls },
  });
  t.is(text, '20000\t20100\n1\n');
});

test.serial('names: FQDN, override, hosts with aliases, resolver', async (t) => {
  const spec = {
    hostname: 'db-0',
    subdomain: 'db',
    setHostnameAsFQDN: true,
    hostAliases: [{ ip: '10.9.9.9', hostnames: ['a', 'b'] }],
  };
  const text = await told('fqdn', 'hostname; cat /etc/hosts /etc/resolv.conf', spec);
  t.true(text.startsWith('db-0.db.default.svc.cluster.local\n'), text);
  t.regex(text, /\tdb-0\.db\.default\.svc\.cluster\.local\tdb-0\n/);
  t.true(text.includes('# Entries added by HostAliases.\n10.9.9.9\ta\tb\n'));
  t.regex(text, /search default\.svc\.cluster\.local svc\.cluster\.local cluster\.local/);
  t.regex(text, /nameserver 10\.96\.0\.10/);
  const override = { hostnameOverride: 'a.b.example', subdomain: 'db' };
  t.is(await told('override', 'hostname', override), 'a.b.example\n');
});

test.serial('namespaces: of the node, and shared', async (t) => {
  const host = await told('host', 'readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc', {
    hostPID: true,
    hostIPC: true,
  });
  const own = await Promise.all(['pid', 'ipc'].map((name) => daemon.node.exec('readlink', `/proc/self/ns/${name}`)));
  t.deepEqual(
    host.trim().split('\n'),
    own.map((link) => link.trim()),
  );
  const shared = await told('shared', 'cat /proc/1/comm', { shareProcessNamespace: true });
  t.is(shared, 'pause\n');
});

test.serial('an init container sees its own limits, and a main container those of it', async (t) => {
  const env = [
    {
      name: 'X',
      valueFrom: { resourceFieldRef: { containerName: 'first', resource: 'limits.cpu', divisor: '1m' } },
    },
  ];
  const first = container('first', ['true'], { resources: { limits: { cpu: '200m' } } });
  t.is(await told('init', 'echo $X', { initContainers: [first] }, { env }), '200\n');
});

test.serial('what the runtime cannot do is said: user namespaces, runtime classes', async (t) => {
  daemon.write('userns.yaml', podManifest('userns', { hostUsers: false }));
  daemon.write('class.yaml', podManifest('class', { runtimeClassName: 'gvisor' }));
  for (const [name, expected] of [
    ['userns', /user namespaces/],
    ['class', /runtime classes come from an API server/],
  ] as const) {
    const pod = await daemon.waitForPod(
      name,
      'has an error or runs',
      ({ error, status }) => error !== undefined || status.phase === 'Running',
    );
    t.log(name, pod.error, pod.status.phase);
    if (pod.status.phase !== 'Running') t.regex(pod.error ?? '', expected);
    else t.is(name, 'userns');
    daemon.remove(`${name}.yaml`);
  }
});
