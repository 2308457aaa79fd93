/**
 * What a pod of a real API server gets on its node: ConfigMaps and Secrets, a token that works, the downward API, names
 * through the cluster's DNS; pods of manifests and their mirrors; and pods that the node rejects.
 * Layer: test (integration, root). One cluster and one node, the tests run in order.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { stringify } from 'yaml';
import { busyboxImage, dnsImage } from '../images/build.ts';
import type { Census } from '../support/census.ts';
import {
  type ApiObject,
  isReady,
  onTerm,
  type PodsOfNamespace,
  podsOfNamespace,
  template,
} from '../support/cluster-namespace.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { container, type Manifest, podManifest, sleeper } from '../support/daemon.ts';
import { eventually, exec } from '../support/exec.ts';

let cluster: ClusterNode;
let pods: PodsOfNamespace;
let before: Census;

const namespace = 'team';
const dnsIp = '10.96.0.10';
const staticPodPath = mkdtempSync(join(tmpdir(), 'keelson-static-pods-'));
const kubectl = (...args: string[]): Promise<string> => cluster.cluster.kubectl('-n', namespace, ...args);
const apply = (...documents: Manifest[]): Promise<void> => cluster.cluster.apply(...documents);
const named = (name: string, more: Manifest = {}): Manifest => ({ name, namespace, ...more });

test.before(async () => {
  const config = stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    clusterDNS: [dnsIp],
    clusterDomain: 'cluster.local',
    staticPodPath,
  });
  cluster = await startClusterNode({ images: ['pause', 'busybox', 'dns'], keelson: { config } });
  await cluster.waitForReady();
  pods = await podsOfNamespace(cluster, namespace);
  before = await pods.warmCensus();
});
test.afterEach.always(async () => {
  // A failed test's pods must not stand in the way of the next.
  rmSync(join(staticPodPath, 'pod.yaml'), { force: true });
  await kubectl('delete', 'deploy,svc,pod', '--all', '--wait=false', '--ignore-not-found');
  await pods.waitForNone();
});
test.after.always(async () => {
  rmSync(staticPodPath, { recursive: true, force: true });
  pods?.close();
  await cluster?.end();
});

async function nothingLeft(t: ExecutionContext): Promise<void> {
  await pods.waitForNone();
  t.deepEqual(await pods.difference(before), []);
}

const pod = (name: string, spec: Manifest = {}, metadata: Manifest = {}): Manifest =>
  podManifest(name, spec, { namespace, ...metadata });
/** Until the command prints this in the pod. */
async function prints(on: ApiObject, command: string, wanted: string): Promise<void> {
  let last = '';
  await eventually(
    () => `${command} prints ${JSON.stringify(wanted)}; last ${JSON.stringify(last)}`,
    async () => {
      const { stdout, stderr } = await pods.exec(on, command);
      last = stdout.trimEnd() || stderr;
      return last === wanted;
    },
  );
}

test.serial('ConfigMaps and Secrets come as variables and files; the files follow changes', async (t) => {
  const settings = (data: Manifest): Manifest => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: named('settings'),
    data,
  });
  const secret = (password: string): Manifest => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: named('login'),
    stringData: { password },
  });
  const main = container('main', sleeper, {
    envFrom: [{ configMapRef: { name: 'settings' } }],
    env: [
      { name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'login', key: 'password' } } },
      { name: 'NOT_THERE', valueFrom: { configMapKeyRef: { name: 'nowhere', key: 'x', optional: true } } },
    ],
    volumeMounts: [
      { name: 'settings', mountPath: '/settings' },
      { name: 'login', mountPath: '/login', readOnly: true },
    ],
  });
  const volumes = [
    { name: 'settings', configMap: { name: 'settings' } },
    { name: 'login', secret: { secretName: 'login', defaultMode: 0o400 } },
  ];
  await apply(pod('reader', { containers: [main], volumes }));
  await pods.waitFor('reader', 'is bound to the node', ({ spec }) => spec.nodeName);
  // It names what is not there yet.
  t.not((await pods.get('reader')).status.phase, 'Running');
  await apply(settings({ color: 'blue', size: 'big' }), secret('first'));
  const reader = await pods.waitForReady('reader');
  t.is(await pods.output(reader, 'echo $color $size $PASSWORD; env | grep -c NOT_THERE || true'), 'blue big first\n0');
  t.is(await pods.output(reader, 'cat /settings/color /login/password'), 'bluefirst');
  t.is(await pods.output(reader, 'stat -L -c %a /login/password'), '400');

  await apply(settings({ color: 'green' }), secret('second'));
  await prints(reader, 'cat /settings/color; ls /settings', 'greencolor');
  await prints(reader, 'cat /login/password', 'second');
  t.is(await pods.output(reader, 'echo $color $PASSWORD'), 'blue first', 'variables stay as they were');
  t.is((await pods.get('reader')).status.containerStatuses[0].restartCount, 0);
  await kubectl('delete', 'pod/reader', 'configmap/settings', 'secret/login');
  await nothingLeft(t);
});

test.serial('the token of the service account works, for that account and bound to the pod', async (t) => {
  const folder = '/var/run/secrets/kubernetes.io/serviceaccount';
  await apply(pod('client'), pod('without', { automountServiceAccountToken: false }));
  const [client, without] = [await pods.waitForReady('client'), await pods.waitForReady('without')];
  t.is(await pods.output(client, `cat ${folder}/namespace`), namespace);
  t.not((await pods.exec(without, `ls ${folder}`)).code, 0);
  const token = await pods.output(client, `cat ${folder}/token`);
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
  t.like(claims['kubernetes.io'], { namespace, pod: { name: 'client', uid: client.metadata.uid } });

  const ca = join(cluster.node.run.path, 'ca-of-pod.crt');
  writeFileSync(ca, await pods.output(client, `cat ${folder}/ca.crt`));
  const list = async (): Promise<ApiObject> => {
    const url = `${cluster.cluster.server}/api/v1/namespaces/${namespace}/pods`;
    const args = ['-sS', '-m', '5', '--cacert', ca, '-H', `Authorization: Bearer ${token}`, url];
    return JSON.parse(await exec('curl', args, { netns: cluster.node.netns }));
  };
  const refused = await list();
  t.is(refused.code, 403);
  t.regex(refused.message, new RegExp(`User "system:serviceaccount:${namespace}:default" cannot list`));
  await kubectl('create', 'rolebinding', 'viewers', '--clusterrole=view', `--serviceaccount=${namespace}:default`);
  await eventually('the rights count', async () => (await list()).kind === 'PodList');

  // Where the pod would ask: the Service `kubernetes`, whose endpoint is outside the node.
  const { spec } = await cluster.get('/api/v1/namespaces/default/services/kubernetes');
  const plain = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc ${spec.clusterIP} 443`;
  t.regex(await pods.output(client, plain), /HTTP request to an HTTPS server/);
  await kubectl('delete', 'pod/client', 'pod/without', 'rolebinding/viewers');
  await nothingLeft(t);
});

test.serial('variables name the Services of the namespace, and where the API server is', async (t) => {
  await apply({ apiVersion: 'v1', kind: 'Service', metadata: named('web-site'), spec: { ports: [{ port: 80 }] } });
  await apply(pod('client'));
  const client = await pods.waitForReady('client');
  const { spec } = await cluster.get(`/api/v1/namespaces/${namespace}/services/web-site`);
  t.is(
    await pods.output(client, 'echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT $WEB_SITE_SERVICE_HOST'),
    `10.96.0.1:443 ${spec.clusterIP}`,
  );
  await kubectl('delete', 'pod/client', 'service/web-site');
  await nothingLeft(t);
});

test.serial('the downward API says what the API server knows, and what changes', async (t) => {
  const field = (name: string, fieldPath: string): Manifest => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  const main = container('main', sleeper, {
    resources: { requests: { cpu: '20m' }, limits: { memory: '64Mi' } },
    env: [
      field('NODE', 'spec.nodeName'),
      field('HOST_IP', 'status.hostIP'),
      field('POD_IP', 'status.podIP'),
      field('ACCOUNT', 'spec.serviceAccountName'),
      field('POD_UID', 'metadata.uid'),
      { name: 'MEMORY', valueFrom: { resourceFieldRef: { resource: 'limits.memory' } } },
    ],
    volumeMounts: [{ name: 'about', mountPath: '/about' }],
  });
  const items = [
    { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
    { path: 'note', fieldRef: { fieldPath: "metadata.annotations['example.com/note']" } },
  ];
  const volumes = [{ name: 'about', downwardAPI: { items } }];
  const metadata = { labels: { tier: 'front' }, annotations: { 'example.com/note': 'one' } };
  await apply(pod('aware', { containers: [main], volumes }, metadata));
  const aware = await pods.waitForReady('aware');
  t.is(
    await pods.output(aware, 'echo $NODE $HOST_IP $POD_IP $ACCOUNT $POD_UID $MEMORY'),
    `${cluster.nodeName} ${cluster.node.nodeIp} ${aware.status.podIP} default ${aware.metadata.uid} 67108864`,
  );
  t.is(await pods.output(aware, 'cat /about/labels'), 'tier="front"');
  await kubectl('label', 'pod/aware', 'tier=back', '--overwrite');
  await kubectl('annotate', 'pod/aware', 'example.com/note=two', '--overwrite');
  await prints(aware, 'cat /about/labels', 'tier="back"');
  await prints(aware, 'cat /about/note', 'two');
  await kubectl('delete', 'pod/aware');
  await nothingLeft(t);
});

test.serial(
  'pods find Services by name: a DNS server answers over UDP and TCP behind the address that they use',
  async (t) => {
    const webIp = '10.96.7.7';
    const domain = `${namespace}.svc.cluster.local`;
    // A name with `tcp` is answered in full over TCP only, so that the resolver has to ask again there.
    const zone = [`web.${domain}=${webIp}`, `tcp-web.${domain}=${webIp}`, 'elsewhere.example=203.0.113.7'];
    const dns = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: named('dns'),
      spec: {
        replicas: 2,
        ...template('dns', {
          dnsPolicy: 'Default',
          containers: [{ name: 'main', image: dnsImage, imagePullPolicy: 'IfNotPresent', args: zone }],
        }),
      },
    };
    const service = (name: string, clusterIP: string, ports: Manifest[]): Manifest => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: named(name),
      spec: { clusterIP, selector: { app: name }, ports },
    });
    const serve = 'mkdir -p /www; echo hello >/www/index.html; httpd -p 8080 -h /www;';
    await apply(
      dns,
      service('dns', dnsIp, [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
      ]),
      pod('web', { containers: [container('main', onTerm('exit 0', serve))] }, { labels: { app: 'web' } }),
      service('web', webIp, [{ port: 80, targetPort: 8080 }]),
      pod('client'),
      pod('host', { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }),
    );
    const servers = await pods.waitForCount('dns', 2);
    await pods.waitForReady('web');
    const client = await pods.waitForReady('client');
    const host = await pods.waitForReady('host');
    const resolvConf = await pods.output(client, 'cat /etc/resolv.conf');
    t.regex(resolvConf, new RegExp(`^search ${domain} svc.cluster.local cluster.local`, 'm'));
    t.regex(resolvConf, new RegExp(`^nameserver ${dnsIp}$`, 'm'));
    t.regex(resolvConf, /^options ndots:5$/m);

    const resolves = async (on: ApiObject, name: string, address: string): Promise<void> => {
      await eventually(`${name} is ${address} for ${on.metadata.name}`, async () => {
        const { stdout } = await pods.exec(on, `nslookup -type=a ${name}`);
        return stdout.split('\n').includes(`Address: ${address}`);
      });
    };
    for (const on of [client, host]) {
      await resolves(on, `web.${domain}`, webIp);
      await resolves(on, 'elsewhere.example', '203.0.113.7');
    }
    t.regex((await pods.exec(client, `nslookup -type=a nobody.${domain}`)).stdout, /NXDOMAIN/);
    // By the C library, with the search list: a short name from a pod, over UDP and over TCP.
    t.is(await pods.fetch(client, 'web', 80), 'hello');
    t.is(await pods.fetch(client, 'tcp-web', 80), 'hello');
    t.is(await pods.fetch(host, 'tcp-web', 80), 'hello');

    // Servers are replaced; clients notice nothing that lasts.
    for (const { metadata } of servers) await kubectl('delete', 'pod', metadata.name);
    await pods.waitForCount('dns', 2);
    await resolves(client, `web.${domain}`, webIp);
    await eventually('TCP, too', async () => (await pods.fetch(client, 'tcp-web', 80).catch(() => '')) === 'hello');
    await kubectl('delete', 'deployment/dns', 'service/dns', 'service/web', 'pod/web', 'pod/client', 'pod/host');
    await nothingLeft(t);
  },
);

test.serial(
  'pods of manifests show in the API server as mirrors, which are made anew and go with the file',
  async (t) => {
    const file = join(staticPodPath, 'pod.yaml');
    const name = `manifest-${cluster.nodeName}`;
    const manifest = (round: string): string =>
      stringify(
        podManifest(
          'manifest',
          { containers: [container('main', sleeper, { env: [{ name: 'ROUND', value: round }] })] },
          { namespace, labels: { app: 'manifest' } },
        ),
      );
    const mirror = (what: string, look: (found: ApiObject) => boolean): Promise<ApiObject> =>
      pods.waitFor(name, what, (found) => (isReady(found) && look(found) ? found : undefined));
    const containerOf = ({ status }: ApiObject): string => status.containerStatuses[0].containerID;
    writeFileSync(file, manifest('1'));
    const first = await mirror('runs', () => true);
    t.is(first.status.phase, 'Running');
    t.is(first.metadata.annotations['kubernetes.io/config.source'], 'file');
    t.like(first.metadata.ownerReferences[0], { kind: 'Node', name: cluster.nodeName });
    t.regex(await kubectl('get', 'pods'), new RegExp(`${name} +1/1 +Running`));

    await kubectl('delete', 'pod', name, '--wait=false');
    const second = await mirror('is there again', ({ metadata }) => metadata.uid !== first.metadata.uid);
    t.is(containerOf(second), containerOf(first), 'the container is the same');
    await kubectl('delete', 'pod', name, '--force', '--grace-period=0');
    const third = await mirror('is there again', ({ metadata }) => metadata.uid !== second.metadata.uid);
    t.is(containerOf(third), containerOf(first));
    await kubectl('set', 'image', `pod/${name}`, 'main=registry.invalid/other:1');
    const fourth = await mirror('is as the file', ({ metadata }) => metadata.uid !== third.metadata.uid);
    t.is(fourth.spec.containers[0].image, busyboxImage);
    t.is(containerOf(fourth), containerOf(first));

    writeFileSync(file, manifest('2'));
    const changed = await mirror('follows the file', (found) => containerOf(found) !== containerOf(first));
    t.is(await pods.output(changed, 'echo $ROUND'), '2');
    t.is(changed.spec.containers[0].env[0].value, '2');
    rmSync(file);
    await nothingLeft(t);
  },
);

test.serial('a pod that the node cannot take is rejected with the reason that the kubelet gives', async (t) => {
  const resources = (requests: Manifest): Manifest => ({
    containers: [container('main', sleeper, { resources: { requests } })],
  });
  const withPort = { containers: [container('main', sleeper, { ports: [{ containerPort: 80, hostPort: 18_080 }] })] };
  // Past the scheduler, which would not send them here.
  const { nodeName } = cluster;
  const onNode = (name: string, spec: Manifest): Manifest => pod(name, { nodeName, ...spec });
  await apply(onNode('holder', withPort));
  await pods.waitForReady('holder');
  const cases: [name: string, spec: Manifest, reason: string, message: RegExp][] = [
    [
      'cpu',
      resources({ cpu: '1000' }),
      'OutOfcpu',
      /^Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000, used: \d+, capacity: \d+$/,
    ],
    ['memory', resources({ memory: '100Ti' }), 'OutOfmemory', /enough resource: memory, requested: 109951162777600, /],
    ['port', withPort, 'NodePorts', /free ports for the requested pod ports/],
    ['label', { nodeSelector: { 'example.com/disk': 'fast' } }, 'NodeAffinity', /node affinity\/selector/],
    [
      'sysctl',
      { securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '65536' }] } },
      'SysctlForbidden',
      /forbidden sysctl: "kernel.msgmax" not allowlisted/,
    ],
  ];
  await apply(...cases.map(([name, spec]) => onNode(name, spec)));
  for (const [name, , reason, message] of cases) {
    const rejected = await pods.waitFor(name, 'is rejected', (found) =>
      found.status.phase === 'Failed' ? found : undefined,
    );
    t.is(rejected.status.reason, reason);
    t.regex(rejected.status.message, message);
    t.is(rejected.status.containerStatuses, undefined);
    t.is(rejected.status.podIP, undefined);
    // What a user sees.
    t.regex(await kubectl('get', 'pod', name), new RegExp(`${name} +0/1 +${reason}`));
    await cluster.waitFor(
      `an event tells why ${name} was rejected`,
      `/api/v1/namespaces/${namespace}/events?fieldSelector=involvedObject.name%3D${name}`,
      ({ items }) => items.some((event: ApiObject) => event.reason === reason && event.type === 'Warning') || undefined,
    );
  }
  t.true(isReady(await pods.get('holder')));
  await kubectl('delete', 'pod', '--all');
  await nothingLeft(t);
});
