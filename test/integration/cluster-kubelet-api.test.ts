/**
 * The kubelet's API in a real cluster: through the API server's proxy with real kubectl, and directly with curl by everybody
 * who has no business there. Layer: test (integration, root).
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { stringify } from 'yaml';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { type ClusterPods, clusterPods, webPod } from '../support/cluster-pods.ts';
import type { Identity } from '../support/control-plane-pki.ts';
import { eventually, execResult } from '../support/exec.ts';

let on: ClusterNode;
let pods: ClusterPods;
let proxy: string;

const config = (more: object = {}): string =>
  stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: on.cluster.caFile } },
    readOnlyPort: 10255,
    ...more,
  });

test.before(async () => {
  on = await startClusterNode({ images: ['pause', 'busybox'] });
  pods = clusterPods(on);
  await on.keelson.stop();
  await on.start({ config: config() });
  await on.waitForReady();
  proxy = `/api/v1/nodes/${on.nodeName}/proxy`;
  await pods.createPod('web', webPod(), { labels: { app: 'web' } });
  await pods.waitForReady('web');
});
test.after.always(() => on?.end());

interface Curl {
  code: number;
  body: string;
}

/** From outside of the node, as the API server is. */
async function curl(path: string, { as, args = [] }: { as?: Identity; args?: string[] } = {}): Promise<Curl> {
  const { certificate, token } = as ?? {};
  const credentials = [
    ...(certificate ? ['--cert', certificate.certFile, '--key', certificate.keyFile] : []),
    ...(token === undefined ? [] : ['-H', `Authorization: Bearer ${token}`]),
  ];
  const url = path.startsWith('http') ? path : `https://${on.node.nodeIp}:10250${path}`;
  const { stdout } = await execResult(
    'curl',
    ['-sk', '--path-as-is', '-m', '20', '-w', '\n%{http_code}', ...credentials, ...args, url],
    { netns: on.node.outside },
  );
  const end = stdout.lastIndexOf('\n');
  return { code: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

const everyPath = [
  '/pods',
  '/runningpods/',
  '/healthz',
  '/healthz/ping',
  '/configz',
  '/statusz',
  '/flagz',
  '/logs/',
].concat([
  '/containerLogs/default/web/main',
  '/exec/default/web/main?command=id&output=1',
  '/nowhere',
  '/logs/../../etc/passwd',
]);

test.serial('the Node says the port, and the API server’s proxy reaches what is behind it', async (t) => {
  const node = await on.get(`/api/v1/nodes/${on.nodeName}`);
  t.is(node.status.daemonEndpoints.kubeletEndpoint.Port, 10250);
  const raw = (path: string): Promise<string> => on.cluster.kubectl('get', '--raw', `${proxy}${path}`);
  t.is(await raw('/healthz'), 'ok');
  const list = JSON.parse(await raw('/pods'));
  t.is(list.kind, 'PodList');
  const web = list.items.find(({ metadata }: { metadata: { name: string } }) => metadata.name === 'web');
  t.is(web.status.phase, 'Running');
  t.is(web.metadata.uid, (await on.get('/api/v1/namespaces/default/pods/web')).metadata.uid);
  const running = JSON.parse(await raw('/runningpods/'));
  t.true(running.items.some(({ metadata }: { metadata: { name: string } }) => metadata.name === 'web'));
  const { kubeletconfig } = JSON.parse(await raw('/configz'));
  t.like(kubeletconfig, { port: 10250, readOnlyPort: 10255, authorization: { mode: 'Webhook' } });
  t.regex(await raw('/logs/'), /<a href="[^"]+">/);
});

test.serial('nobody, strangers, expired certificates and false tokens get 401 on every path', async (t) => {
  const expired = await on.cluster.identity({ user: 'expired', groups: ['system:masters'], days: -1 });
  for (const path of everyPath) {
    for (const [who, as] of Object.entries<Identity | undefined>({
      nobody: undefined,
      expired,
      'false token': { kubeconfig: '', token: 'e30.e30.e30' },
    })) {
      const { code, body } = await curl(path, { ...(as && { as }) });
      t.deepEqual([code, body], [401, 'Unauthorized'], `${path} by ${who}`);
    }
  }
});

test.serial('those without rights get 403, and one fine-grained right is enough for its path', async (t) => {
  const jane = await on.cluster.identity({ user: 'jane', groups: ['dev'] });
  for (const path of everyPath) {
    const { code, body } = await curl(path, { as: jane });
    t.is(code, 403, path);
    t.regex(body, /^Forbidden \(user=jane, verb=get, resource=nodes, subresource\(s\)=\[/);
  }
  await on.cluster.apply(
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'reader', namespace: 'default' } },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'node-pods' },
      rules: [{ apiGroups: [''], resources: ['nodes/pods'], verbs: ['get'] }],
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'node-pods' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'node-pods' },
      subjects: [{ kind: 'ServiceAccount', name: 'reader', namespace: 'default' }],
    },
  );
  const reader = await on.cluster.serviceAccountIdentity('default', 'reader');
  t.is((await curl('/pods', { as: reader })).code, 200);
  t.is((await curl('/configz', { as: reader })).code, 403);
  t.is((await curl('/pods', { as: on.cluster.admin })).code, 200);
});

test.serial('the read-only port shows pods and health, and nothing that changes or tells more', async (t) => {
  const at = (path: string): string => `http://${on.node.nodeIp}:10255${path}`;
  t.is((await curl(at('/healthz'))).body, 'ok');
  t.is((await curl(at('/pods'))).code, 200);
  for (const path of ['/exec/default/web/main', '/containerLogs/default/web/main', '/logs/', '/runningpods/'])
    t.is((await curl(at(path))).code, 405, path);
  t.is((await curl(at('/configz'))).code, 404);
});

test.serial('TLS: the certificate is kept over a restart, and old versions are refused', async (t) => {
  const file = join(on.node.dirs.root, 'pki/kubelet.crt');
  const before = readFileSync(file, 'utf8');
  t.regex(new X509Certificate(before).subject, new RegExp(`^CN=${on.nodeName}@\\d+$`));
  await on.keelson.stop();
  await on.start({ config: config() });
  await eventually('the kubelet API answers', async () => (await curl('/healthz')).code === 401, 60_000, 100);
  t.is(readFileSync(file, 'utf8'), before);
  const { stdout } = await execResult('openssl', ['s_client', '-connect', `${on.node.nodeIp}:10250`, '-tls1_3'], {
    netns: on.node.outside,
    input: '',
  });
  t.true(stdout.includes(`${on.nodeName}@`));
  const old = await execResult(
    'openssl',
    ['s_client', '-connect', `${on.node.nodeIp}:10250`, '-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0'],
    { netns: on.node.outside, input: '' },
  );
  t.not(old.code, 0);
});

test.serial('an API server that is away: known rights hold, others are 500, tokens 401; it comes back', async (t) => {
  const john = await on.cluster.identity({ user: 'john', groups: ['dev'] });
  t.is((await curl('/healthz', { as: on.cluster.admin })).code, 200);
  await on.cluster.apiServer.end('SIGKILL');
  t.is((await curl('/healthz', { as: on.cluster.admin })).code, 200);
  const unknown = await curl('/healthz', { as: john });
  t.is(unknown.code, 500);
  t.regex(unknown.body, /^Authorization error \(user=john, verb=get, resource=nodes, subresource=healthz\)/);
  t.is((await curl('/healthz', { as: { kubeconfig: '', token: 'x.y.z' } })).code, 401);
  on.cluster.apiServer.start();
  await on.cluster.waitForReady();
  t.is((await curl('/healthz', { as: john })).code, 403);
});
