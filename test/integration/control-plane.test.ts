import { existsSync } from 'node:fs';
import test from 'ava';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import type { Identity } from '../support/control-plane-pki.ts';
import { eventually } from '../support/exec.ts';
import { createRunDir } from '../support/run-dir.ts';
import { processesOf } from '../support/scrub.ts';

// Proves that the test ground is a real cluster: what later tests see there comes from Kubernetes' own programs.

const run = createRunDir();
let cluster: ControlPlane;
let node: Identity;

test.before(async () => {
  cluster = await startControlPlane({ run });
  node = await cluster.nodeIdentity('node-a');
});
test.after.always('nothing is left', async (t) => {
  await cluster?.stop();
  const processes = processesOf(run.path);
  await run.remove();
  t.deepEqual(processes, []);
  t.false(existsSync(run.path));
});

/** What a kubelet would report. */
const nodeStatus = {
  capacity: { cpu: '2', memory: '4Gi', pods: '110', 'ephemeral-storage': '10Gi' },
  allocatable: { cpu: '2', memory: '4Gi', pods: '110', 'ephemeral-storage': '10Gi' },
  addresses: [{ type: 'InternalIP', address: '198.51.100.2' }],
  conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'by hand' }],
};
const heartbeat = (): object => {
  const now = new Date().toISOString();
  const conditions = nodeStatus.conditions.map((condition) => ({
    ...condition,
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  }));
  return { status: { ...nodeStatus, conditions } };
};
const newNode = (name: string): object => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels: { 'kubernetes.io/hostname': name } },
});

test.serial('the API server is of the version that it says', async (t) => {
  t.is((await cluster.request('GET', '/version')).object.gitVersion, `v${cluster.version}`);
});

test.serial('a node registers itself, and only itself', async (t) => {
  t.is((await cluster.request('POST', '/api/v1/nodes', newNode('node-a'), { as: node })).code, 201);
  t.is((await cluster.request('PATCH', '/api/v1/nodes/node-a/status', heartbeat(), { as: node })).code, 200);

  t.is((await cluster.request('POST', '/api/v1/nodes', newNode('node-b'))).code, 201);
  const other = await cluster.request('PATCH', '/api/v1/nodes/node-b/status', heartbeat(), { as: node });
  t.is(other.code, 403);
  t.regex(other.object.message, /node "node-a" is not allowed to modify node "node-b"/);
  await cluster.kubectl('delete', 'node', 'node-b');

  const podCidr = await eventually(
    'the controller gives the node a podCIDR',
    async () => (await cluster.request('GET', '/api/v1/nodes/node-a', undefined, { as: node })).object.spec.podCIDR,
  );
  t.regex(podCidr, /^10\.244\.\d+\.0\/24$/);
});

test.serial('reading slices takes the network identity', async (t) => {
  const { object } = await cluster.request('GET', '/apis/discovery.k8s.io');
  const slices = `/apis/${object.preferredVersion.groupVersion}/endpointslices`;
  t.is((await cluster.request('GET', slices, undefined, { as: node })).code, 403);
  const network = await cluster.networkIdentity();
  t.is((await cluster.request('GET', slices, undefined, { as: network })).code, 200);
  t.is((await cluster.request('GET', '/api/v1/secrets', undefined, { as: network })).code, 403);
  t.is((await cluster.kubectlResult(['get', 'services', '-A'], { as: network })).code, 0);
});

test.serial('a pod is scheduled, and its address comes into the slice of its Service', async (t) => {
  await cluster.kubectl('create', 'namespace', 'shop');
  await eventually('the namespace has its account', async () => {
    const { code } = await cluster.request('GET', '/api/v1/namespaces/shop/serviceaccounts/default');
    return code === 200;
  });
  await cluster.apply(
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'shop' },
      spec: { selector: { app: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web-0', namespace: 'shop', labels: { app: 'web' } },
      spec: { containers: [{ name: 'main', image: 'registry.invalid/web:1' }] },
    },
  );
  const path = '/api/v1/namespaces/shop/pods/web-0';
  const pod = await eventually('the scheduler binds the pod', async () => {
    await cluster.request('PATCH', '/api/v1/nodes/node-a/status', heartbeat(), { as: node });
    const { object } = await cluster.request('GET', path, undefined, { as: node });
    return object.spec?.nodeName === 'node-a' && object;
  });
  // ServiceAccount admission, with the projected volume of current clusters.
  const volumes: { projected?: object }[] = pod.spec.volumes;
  t.true(volumes.some(({ projected }) => projected !== undefined));

  const now = new Date().toISOString();
  const status = {
    phase: 'Running',
    podIP: '10.244.0.7',
    podIPs: [{ ip: '10.244.0.7' }],
    conditions: ['Initialized', 'ContainersReady', 'Ready'].map((type) => ({
      type,
      status: 'True',
      lastTransitionTime: now,
    })),
  };
  t.is((await cluster.request('PATCH', `${path}/status`, { status }, { as: node })).code, 200);
  const endpoints = await eventually('the controller writes the slice', async () => {
    const list = JSON.parse(await cluster.kubectl('get', 'endpointslices', '-n', 'shop', '-o', 'json'));
    return list.items[0]?.endpoints?.length === 1 && list.items[0].endpoints;
  });
  t.deepEqual(endpoints[0].addresses, ['10.244.0.7']);
  t.true(endpoints[0].conditions.ready);

  // TokenRequest: bound to a pod of the node's own.
  const account = '/api/v1/namespaces/shop/serviceaccounts/default/token';
  const tokenRequest = (boundObjectRef?: object): object => ({
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { audiences: ['https://kubernetes.default.svc.cluster.local'], expirationSeconds: 3607, boundObjectRef },
  });
  const bound = { kind: 'Pod', apiVersion: 'v1', name: 'web-0', uid: pod.metadata.uid };
  t.is((await cluster.request('POST', account, tokenRequest(bound), { as: node })).code, 201);
  t.is((await cluster.request('POST', account, tokenRequest(), { as: node })).code, 403);
});

test.serial('the API server comes back with what it had, and forgets history when told', async (t) => {
  const before = (await cluster.request('GET', '/api/v1/nodes')).object.metadata.resourceVersion;
  await cluster.kubectl('create', 'namespace', 'later');
  await cluster.compactEtcd();
  await cluster.apiServer.end('SIGKILL');
  await t.throwsAsync(cluster.request('GET', '/readyz'));
  cluster.apiServer.start();
  await cluster.waitForReady();
  t.is((await cluster.request('GET', '/api/v1/namespaces/later')).code, 200);
  const watch = `/api/v1/namespaces?watch=1&timeoutSeconds=1&resourceVersion=${before}`;
  const { object } = await cluster.request('GET', watch);
  t.is(object.object?.code ?? object.code, 410);
});

test.serial('an expired certificate is refused', async (t) => {
  const expired = await cluster.identity({ user: 'system:node:old', groups: ['system:nodes'], days: -1 });
  t.is((await cluster.request('GET', '/api/v1/nodes', undefined, { as: expired })).code, 401);
});
