/**
 * What is wrong with a cluster, its objects or this node's identity is named, tried again, and stops nothing that is right:
 * no podCIDR or one that the host uses, hostile objects, certificates and rights that do not fit, broken kubeconfigs.
 * Layer: test (integration, root). One node, the tests run in order. What an API server refuses to take is put into etcd
 * beneath it: so it comes from a real API server all the same.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { parse, stringify } from 'yaml';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import {
  type ApiObject,
  type ClusterPods,
  clusterPods,
  condition,
  containerIds,
  fetchFrom,
  restarts,
  service,
  webPod,
} from '../support/cluster-pods.ts';
import { createPki } from '../support/control-plane-pki.ts';
import { container, type Manifest, podManifest } from '../support/daemon.ts';
import { eventually, exec, execResult } from '../support/exec.ts';
import { keelsonArguments, keelsonBinary } from '../support/keelson.ts';

let on: ClusterNode;
let pods: ClusterPods;
let nodePath: string;
let webUrl: string;
/** Good kubeconfigs: the node's, and that of the other roles. */
let good: { kubeconfig: string; networkKubeconfig: string };

test.before(async () => {
  on = await startClusterNode({ images: ['pause', 'busybox'] });
  // Before it gives the node a podCIDR: it sleeps for ten seconds first.
  await on.cluster.nodeIpam.end('SIGKILL');
  pods = clusterPods(on);
  nodePath = `/api/v1/nodes/${on.nodeName}`;
  const { kubeconfig } = await on.cluster.nodeIdentity(on.nodeName);
  good = { kubeconfig, networkKubeconfig: (await on.cluster.networkIdentity()).kubeconfig };
});
test.after.always(() => on?.end());

const identity = (pod: ApiObject) => ({
  uid: pod.metadata.uid,
  containers: containerIds(pod),
  restarts: restarts(pod),
});
const logHas = (pattern: RegExp): Promise<true> =>
  eventually(
    () => `the log has ${pattern}:\n${on.keelson.logs().split('\n').slice(-15).join('\n')}`,
    () => pattern.test(on.keelson.logs()) || undefined,
    60_000,
  );
/** Where the running daemon's part of the log begins; the file is that of all daemons. */
let logBegan = 0;
const newLogHas = (pattern: RegExp): Promise<true> =>
  eventually(
    () => `the log has ${pattern}:\n${on.keelson.logs().slice(logBegan).split('\n').slice(-15).join('\n')}`,
    () => pattern.test(on.keelson.logs().slice(logBegan)) || undefined,
    60_000,
  );
async function restart(more: Parameters<ClusterNode['start']>[0] = {}): Promise<void> {
  if (on.keelson.exit() === undefined) await on.keelson.stop();
  logBegan = on.keelson.logs().length;
  await on.start(more);
}
/** Bound by hand: the scheduler keeps away from a node that is not ready. */
const bound = (spec: Manifest = {}): Manifest => ({ ...webPod(), nodeName: on.nodeName, ...spec });

test.serial(
  'no podCIDR: pods of the host network run, others wait, log and status say it; then it comes',
  async (t) => {
    await on.waitFor('the Node', nodePath, ({ metadata }) => metadata.uid);
    await pods.createPod('host', bound({ hostNetwork: true }));
    await pods.createPod('web', bound(), { labels: { app: 'web' } });
    await pods.waitForReady('host');
    t.is(condition(await on.get(nodePath), 'Ready'), 'False');
    await logHas(/the Node has no spec\.podCIDR yet/);
    const { stdout } = await on.keelson.command('status');
    t.regex(stdout, /network: .*spec\.podCIDR/);
    const waiting = await pods.get('web');
    t.is(waiting.status.phase, 'Pending');
    const why = await pods.events('web');
    t.true('NetworkNotReady' in why, JSON.stringify(why));

    on.cluster.nodeIpam.start();
    const [web] = await pods.waitForReady('web');
    t.is(web.metadata.uid, waiting.metadata.uid);
    t.is(restarts(web), 0);
    await on.waitForReady();
    await pods.remove('host');
    const made = await pods.create(service('web', { app: 'web' }));
    webUrl = `http://${made.spec.clusterIP}/`;
    await eventually('the Service answers', () => fetchFrom(on, webUrl));
  },
);

/** etcd's own HTTP interface. */
async function etcd(method: 'put' | 'deleterange', key: string, value?: unknown): Promise<void> {
  const arguments_ = readFileSync(`/proc/${on.cluster.etcd.pid}/cmdline`, 'utf8');
  const url = /--listen-client-urls=([^\0]+)/.exec(arguments_)?.[1];
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const body = { key: base64(key), ...(value !== undefined && { value: base64(JSON.stringify(value)) }) };
  await exec('curl', ['-sSf', '--data-binary', '@-', `${url}/v3/kv/${method}`], {
    netns: on.node.outside,
    input: JSON.stringify(body),
  });
}

/** Pods that are known by a name that can be used. */
const evilNames = ['container', 'empty', 'enums', 'numbers', 'subpath', 'volume'].map((name) => `evil-${name}`);

test.serial('hostile objects: each is refused or run as it can be, and everybody else is served', async (t) => {
  const [web] = await pods.waitForReady('web');
  const createdAt = new Date().toISOString().replace(/\.\d+Z/, 'Z');
  const put: string[] = [];
  const plant = async (resource: string, name: string, object: Manifest): Promise<void> => {
    const key = `/registry/${resource}/default/${name}`;
    put.push(key);
    await etcd('put', key, object);
  };
  const metadata = (name: string, uid: string): Manifest => ({
    name,
    namespace: 'default',
    uid,
    creationTimestamp: createdAt,
  });
  const podObject = (name: string, uid: string, spec: Manifest = {}, more: Manifest = {}): Manifest => ({
    ...podManifest(name, {
      nodeName: on.nodeName,
      restartPolicy: 'Always',
      dnsPolicy: 'Default',
      enableServiceLinks: false,
      tolerations: [{ operator: 'Exists' }],
      ...spec,
    }),
    status: { phase: 'Pending' },
    ...more,
    metadata: metadata(name, uid),
  });
  const uid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
  const evil: Record<string, Manifest> = {
    path: podObject('../../../../evil-name', uid(1)),
    uid: podObject('evil-uid', '../../../../evil-uid'),
    namespace: {
      ...podObject('evil-namespace', uid(3)),
      metadata: { ...metadata('evil-namespace', uid(3)), namespace: '../evil' },
    },
    container: podObject('evil-container', uid(4), { containers: [container('../../../evil-container')] }),
    volume: podObject('evil-volume', uid(5), {
      containers: [container('main', undefined, { volumeMounts: [{ name: '../../evil', mountPath: '/evil' }] })],
      volumes: [{ name: '../../evil', emptyDir: {} }],
    }),
    subpath: podObject('evil-subpath', uid(6), {
      containers: [
        container('main', undefined, {
          volumeMounts: [{ name: 'v', mountPath: '/v', subPath: '../../../../evil-sub' }],
        }),
      ],
      volumes: [{ name: 'v', emptyDir: {} }],
    }),
    enums: podObject(
      'evil-enums',
      uid(7),
      {
        restartPolicy: 'Sometimes',
        dnsPolicy: 'Guess',
        containers: [container('main', undefined, { imagePullPolicy: 'Perhaps', terminationMessagePolicy: 'Loud' })],
      },
      { status: { phase: 'Strange', qosClass: 'Gold' } },
    ),
    empty: podObject('evil-empty', uid(8), { containers: [] }),
    numbers: podObject('evil-numbers', uid(9), {
      terminationGracePeriodSeconds: -9_000_000_000_000,
      activeDeadlineSeconds: -1,
      containers: [
        container('main', undefined, { ports: [{ containerPort: 99_999_999, hostPort: -1, protocol: 'FOO' }] }),
      ],
    }),
  };
  for (const [name, object] of Object.entries(evil)) await plant('pods', `evil-${name}`, object);
  await plant('services/specs', 'evil-service', {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata('evil-service', uid(20)),
    spec: {
      type: 'Odd',
      clusterIP: '10.96.200.1',
      clusterIPs: ['10.96.200.1', 'not-an-address'],
      externalIPs: ['127.0.0.1', '0.0.0.0', web.status.hostIP],
      externalTrafficPolicy: 'Sometimes',
      sessionAffinity: 'Forever',
      ports: [
        { port: 99_999, protocol: 'TCP' },
        { port: 80, protocol: 'FOO' },
        { name: '../x', port: 81, protocol: 'TCP', targetPort: 8080 },
      ],
    },
  });
  await plant('endpointslices', 'evil-slice', {
    apiVersion: 'discovery.k8s.io/v1beta1',
    kind: 'EndpointSlice',
    metadata: { ...metadata('evil-slice', uid(21)), labels: { 'kubernetes.io/service-name': 'manual' } },
    addressType: 'IPv4',
    endpoints: ['127.0.0.1', '169.254.169.254', '224.0.0.1', '0.0.0.0', 'fe80::1', 'x', web.status.podIP].map(
      (address) => ({
        addresses: [address],
        conditions: { ready: true },
      }),
    ),
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
  });
  await plant('endpointslices', 'evil-type', {
    apiVersion: 'discovery.k8s.io/v1beta1',
    kind: 'EndpointSlice',
    metadata: { ...metadata('evil-type', uid(22)), labels: { 'kubernetes.io/service-name': 'manual' } },
    addressType: 'Odd',
    endpoints: [{ addresses: ['example.com'] }],
    ports: [{ name: '', port: -5, protocol: 'FOO' }],
  });

  // What the API server takes: the largest and longest, and Services that nobody stands behind.
  const longName = `${'n'.repeat(126)}.${'m'.repeat(126)}`;
  const words = 'x'.repeat(1000);
  const annotations = Object.fromEntries(Array.from({ length: 250 }, (_, n) => [`test/a${n}`, words]));
  await pods.create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'large' },
    data: { large: 'y'.repeat(1_000_000) },
  });
  await pods.createPod(longName, webPod());
  await pods.createPod(
    'large',
    {
      containers: [
        container('main', undefined, {
          volumeMounts: [
            { name: 'words', mountPath: '/words' },
            { name: 'self', mountPath: '/self' },
          ],
        }),
      ],
      volumes: [
        { name: 'words', configMap: { name: 'large' } },
        { name: 'self', downwardAPI: { items: [{ path: 'all', fieldRef: { fieldPath: 'metadata.annotations' } }] } },
      ],
    },
    { annotations },
  );
  const manual = await pods.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'manual' },
    spec: { ports: [{ port: 80, targetPort: 8080 }] },
  });
  await pods.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'outside' },
    spec: { type: 'ExternalName', externalName: 'example.com' },
  });
  await pods.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'a'.repeat(63) },
    spec: { clusterIP: 'None' },
  });
  await pods.createPod('fair', webPod(), { labels: { app: 'fair' } });
  const fair = await pods.create(service('fair', { app: 'fair' }));

  const [large] = await pods.waitForReady('large', 'fair');
  t.is((await pods.exec(large, 'wc -c < /words/large')).stdout.trim(), '1000000');
  t.true(Number((await pods.exec(large, 'wc -c < /self/all')).stdout) > 250_000);
  await eventually('a Service made meanwhile answers', () => fetchFrom(on, `http://${fair.spec.clusterIP}/`));
  for (let i = 0; i < 10; i++)
    t.is(
      await eventually('only the fair endpoint of the slice', () => fetchFrom(on, `http://${manual.spec.clusterIP}/`)),
      'web',
    );
  await on.keelson.waitFor('what is wrong with Services and slices is told', ({ proxy }) =>
    proxy.problems.some((line) => line.includes('default/evil-slice: endpoint address')),
  );
  t.is(await fetchFrom(on, webUrl), 'web');
  t.is(on.keelson.exit(), undefined);

  await eventually(
    'it is told that no log folder can have the longest name',
    async () => 'FailedCreatePodSandBox' in (await pods.events(longName)),
  );
  const { pods: known } = await on.keelson.status();
  const evilPods = known.filter(({ name }) => name.startsWith('evil-'));
  t.deepEqual(evilPods.map(({ name }) => name).sort(), evilNames);
  for (const { name, summary, status } of evilPods) {
    if (name === 'evil-subpath') {
      // As the kubelet does: its other containers could run.
      t.is(summary, 'CreateContainerConfigError');
      t.regex(status.containerStatuses?.[0]?.state?.waiting?.message ?? '', /must not contain '\.\.'/);
      continue;
    }
    t.is(summary, 'PodFeatureUnsupported', name);
    t.regex(status.message ?? '', /^Pod was rejected: .* with spec\./, name);
  }
  // Without a uid or a namespace that could be used there is no pod to refuse; the API server itself drops the name.
  for (const name of ['default/evil-uid', '../evil/evil-namespace'])
    t.true(on.keelson.logs().includes(`object=${name} error=`), name);
  for (const name of ['services object=default/evil-service', 'endpointslices object=default/evil-type'])
    t.true(on.keelson.logs().includes(name), name);

  // Nothing stands where the paths would lead.
  const { stdout } = await execResult('find', [
    on.node.run.path,
    '/var/log',
    '/etc',
    '/tmp',
    '-maxdepth',
    '6',
    '-name',
    '*evil*',
  ]);
  const { root, podLogs } = on.node.dirs;
  const outside = stdout
    .split('\n')
    .filter((path) => path !== '' && !path.startsWith(`${root}/pods/0`) && !path.startsWith(`${podLogs}/default_evil-`))
    .filter((path) => !path.startsWith(join(on.node.run.path, 'keelson/log/containers/evil-')));
  t.deepEqual(outside, []);

  for (const key of put) await etcd('deleterange', key);
  for (const name of [longName, 'large', 'fair']) await pods.remove(name);
  await pods.waitForGone(longName, 'large', 'fair');
  await on.keelson.waitFor(
    'none of them is left',
    ({ pods: known, ending }) => known.length === 1 && ending.length === 0,
    90_000,
  );
  t.deepEqual(readdirSync(join(root, 'pods')), [web.metadata.uid]);
  t.deepEqual(identity(await pods.get('web')), identity(web));
  t.is(await fetchFrom(on, webUrl), 'web');
});

test.serial('a podCIDR that the host uses: a clear error, and the other roles go on', async (t) => {
  const [web] = await pods.waitForReady('web');
  await restart({ podCidr: '198.51.100.0/25' });
  const { waiting } = await on.keelson.waitFor('the network is refused', (status) => status.waiting.length === 1);
  t.is(waiting[0]?.role, 'network');
  const { stdout } = await on.keelson.command('status');
  t.regex(stdout, /network: NOT STARTED.*198\.51\.100\.\d+/);
  await newLogHas(/NETWORK_POD_CIDR_OVERLAP|overlaps|uses/);
  const node = await on.waitFor('NotReady, with the reason', nodePath, (object) =>
    condition(object, 'Ready') === 'False' ? object : undefined,
  );
  t.regex(node.status.conditions.find(({ type }: { type: string }) => type === 'Ready').message, /198\.51\.100/);
  t.is(await fetchFrom(on, webUrl), 'web');
  await pods.createPod('host', bound({ hostNetwork: true }));
  await pods.waitForReady('host');
  await pods.remove('host');

  await restart();
  await on.waitForReady();
  t.deepEqual((await pods.waitForReady('web')).map(identity), [identity(web)]);
});

/** The kubeconfig with some fields of its cluster or user changed; a new file. */
function changed(file: string, name: string, change: { cluster?: Manifest; user?: Manifest }): string {
  const document = parse(readFileSync(file, 'utf8'));
  Object.assign(document.clusters[0].cluster, change.cluster);
  Object.assign(document.users[0].user, change.user);
  for (const part of [document.clusters[0].cluster, document.users[0].user])
    for (const key of Object.keys(part)) if (part[key] === null) delete part[key];
  const path = join(on.node.run.path, `${name}.kubeconfig`);
  writeFileSync(path, stringify(document), { mode: 0o600 });
  return path;
}

test.serial(
  'an expired certificate, then a wrong CA: named, the other roles go on; mended without a restart',
  async (t) => {
    const [web] = await pods.waitForReady('web');
    const other = await createPki(join(on.node.run.path, 'other-pki'));
    const file = (name: string): string => join(on.node.run.path, name);
    const ca = file('node-ca.crt');
    writeFileSync(ca, readFileSync(other.caFile));
    const expired = await on.cluster.identity({
      user: `system:node:${on.nodeName}`,
      groups: ['system:nodes'],
      days: -1,
    });
    const pair = (key: 'certFile' | 'keyFile'): Buffer => readFileSync(expired.certificate?.[key] ?? '');
    const expiredPair = { cert: pair('certFile'), key: pair('keyFile') };
    const fresh = await on.cluster.nodeIdentity(on.nodeName);
    writeFileSync(file('node.crt'), expiredPair.cert);
    writeFileSync(file('node.key'), expiredPair.key);
    const kubeconfig = changed(good.kubeconfig, 'files', {
      cluster: { 'certificate-authority-data': null, 'certificate-authority': ca },
      user: {
        'client-certificate-data': null,
        'client-key-data': null,
        'client-certificate': file('node.crt'),
        'client-key': file('node.key'),
      },
    });
    await restart({ cluster: { ...good, kubeconfig } });
    await newLogHas(/client-certificate: the certificate expired/);
    t.regex(
      (await on.keelson.command('status')).stdout,
      /^API server: Node NOT REGISTERED: .*the certificate expired/m,
    );
    // The other roles have another identity.
    await on.keelson.waitFor('proxy and network stand', ({ waiting }) => waiting.length === 0);
    const second = await pods.create(service('second', { app: 'web' }));
    await eventually('a new Service answers', () => fetchFrom(on, `http://${second.spec.clusterIP}/`));

    writeFileSync(file('node.key'), readFileSync(fresh.certificate?.keyFile ?? ''));
    writeFileSync(file('node.crt'), readFileSync(fresh.certificate?.certFile ?? ''));
    await newLogHas(/API server https:\S+ .*(certificate|CA)/);
    t.is(await fetchFrom(on, webUrl), 'web');
    writeFileSync(ca, readFileSync(on.cluster.caFile));
    await on.keelson.waitFor(
      'the node is known again',
      ({ node, pods: known }) => node?.registered === true && known.length === 1,
      120_000,
    );
    await pods.createPod('later');
    await pods.waitForReady('later');
    await pods.remove('later');
    t.deepEqual((await pods.waitForReady('web')).map(identity), [identity(web)]);
  },
);

test.serial('the identity of another node: refused by name, and the other roles go on', async (t) => {
  const [web] = await pods.waitForReady('web');
  const { kubeconfig } = await on.cluster.nodeIdentity('node-other');
  await restart({ cluster: { ...good, kubeconfig } });
  await newLogHas(/forbidden|not allowed/i);
  await on.keelson.waitFor('status says that the Node cannot be written', ({ node }) =>
    /forbidden|not allowed/i.test(node?.error ?? ''),
  );
  t.regex((await on.keelson.command('status')).stdout, /^API server: Node .*: .*(forbidden|not allowed)/im);
  await on.keelson.waitFor('proxy and network stand', ({ waiting }) => waiting.length === 0);
  t.is(await fetchFrom(on, webUrl), 'web');
  await on.keelson.stop();
  t.is((await pods.exec(web, 'true')).code, 0, 'its container runs');
});

test.serial(
  'no right to EndpointSlices: named, pods run all the same; the right is given, and Services work',
  async (t) => {
    const read = ['get', 'list', 'watch'];
    const rights = (resources: string[]): object[] => [
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRole',
        metadata: { name: 'test-network' },
        rules: [
          // Without these the pods of a node that enforced policies do not start.
          { apiGroups: ['networking.k8s.io'], resources: ['networkpolicies'], verbs: read },
          { apiGroups: [''], resources: ['pods', 'namespaces'], verbs: read },
          ...resources.map((resource) => ({
            apiGroups: [resource === 'endpointslices' ? 'discovery.k8s.io' : ''],
            resources: [resource],
            verbs: read,
          })),
        ],
      },
    ];
    await on.cluster.apply(...rights(['nodes', 'services']), {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'test-network' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'test-network' },
      subjects: [{ kind: 'User', name: 'test-network' }],
    });
    const { kubeconfig } = await on.cluster.identity({ user: 'test-network' });
    await restart({ cluster: { ...good, networkKubeconfig: kubeconfig } });
    await newLogHas(/endpointslices.*forbidden|forbidden.*endpointslices/i);
    await on.waitForReady();
    await pods.createPod('meanwhile', webPod(), { labels: { app: 'meanwhile' } });
    const [meanwhile] = await pods.waitForReady('meanwhile');
    t.truthy(meanwhile.status.podIP);
    t.is(await fetchFrom(on, webUrl), 'web', 'what the kernel has goes on');
    const made = await pods.create(service('meanwhile', { app: 'meanwhile' }));
    const { stdout } = await on.keelson.command('status');
    t.regex(
      stdout,
      /proxy: NOT STARTED: waits for Services and EndpointSlices of the API server: endpointslices: .*forbidden/i,
    );
    await on.cluster.apply(...rights(['nodes', 'services', 'endpointslices']));
    t.is(
      await eventually('the Service answers', () => fetchFrom(on, `http://${made.spec.clusterIP}/`), 120_000),
      'meanwhile',
    );
    await pods.remove('meanwhile');
    await pods.waitForGone('meanwhile');
  },
);

test.serial('a broken kubeconfig: one clear line, exit code 1', async (t) => {
  await on.keelson.stop();
  const { node } = on;
  const text = (name: string, content: string): string => {
    const path = join(node.run.path, `${name}.kubeconfig`);
    writeFileSync(path, content);
    return path;
  };
  const junk = Buffer.from('junk').toString('base64');
  const cases: [what: string, file: string, line: RegExp][] = [
    ['missing', join(node.run.path, 'none.kubeconfig'), /none\.kubeconfig: cannot be read/],
    ['a folder', node.run.path, /cannot be read|not a regular file/],
    ['no YAML', text('yaml', '"apiVersion'), /yaml\.kubeconfig/],
    ['empty', text('empty', ''), /empty\.kubeconfig/],
    ['another kind', text('kind', 'apiVersion: v1\nkind: Pod\n'), /kind/],
    [
      'no context',
      text('context', readFileSync(good.kubeconfig, 'utf8').replace(/^current-context:.*$/m, 'current-context: none')),
      /current-context.*none|none/,
    ],
    ['http', changed(good.kubeconfig, 'http', { cluster: { server: 'http://198.51.100.1:6443' } }), /server/],
    ['no server', changed(good.kubeconfig, 'server', { cluster: { server: null } }), /server/],
    [
      'insecure',
      changed(good.kubeconfig, 'insecure', {
        cluster: { 'certificate-authority-data': null, 'insecure-skip-tls-verify': true },
      }),
      /insecure-skip-tls-verify/,
    ],
    [
      'a CA that is none',
      changed(good.kubeconfig, 'ca', { cluster: { 'certificate-authority-data': junk } }),
      /certificate-authority-data/,
    ],
    [
      'a certificate that is none',
      changed(good.kubeconfig, 'cert', { user: { 'client-certificate-data': junk, 'client-key-data': null } }),
      /client-certificate-data/,
    ],
    [
      'a program',
      changed(good.kubeconfig, 'exec', {
        user: { exec: { command: 'id', apiVersion: 'client.authentication.k8s.io/v1' } },
      }),
      /exec/,
    ],
  ];
  const { endpoint, cniConfDir, cniBinDir } = node.containerd;
  const runs = await Promise.all(
    cases.map(async ([what, kubeconfig, line], index) => {
      const args = keelsonArguments({
        dirs: { ...node.dirs, run: `${node.dirs.run}-${index}` },
        endpoint,
        cniConfDir,
        cniBinDir,
        hostname: on.nodeName,
        logFile: '',
        cluster: { ...good, kubeconfig },
        args: ['--roles', 'proxy'],
      });
      return { what, line, result: await execResult(keelsonBinary, args, { netns: node.netns, timeoutMs: 30_000 }) };
    }),
  );
  for (const { what, line, result } of runs) {
    // A daemon that got further has logged before.
    const lines = result.stderr.split('\n').filter((one) => one !== '' && !/^\S+Z (info|warn|error) /.test(one));
    const found = {
      what,
      code: result.code,
      lines: lines.length,
      isClear: /^keelson: /.test(lines[0] ?? '') && line.test(lines[0] ?? ''),
    };
    t.like(found, { code: 1, lines: 1, isClear: true }, `${what}: ${result.stderr}`);
  }
});
