/**
 * The controllers' pods on a node that joined a real control plane: Deployment and Service, Job, DaemonSet, StatefulSet,
 * drain, deletion in its ways; and that nothing of them stays. What only the API server and the real controllers decide
 * (who replaces which pod when) is theirs; here it meets what the node reports and what Services reach.
 * Layer: test (integration, root). One cluster and one node, the tests run in order.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Census } from '../support/census.ts';
import {
  type ApiObject,
  httpRequest,
  onTerm,
  type PodsOfNamespace,
  podsOfNamespace,
  template,
} from '../support/cluster-namespace.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { container, type Manifest, podManifest, sleeper } from '../support/daemon.ts';
import { eventually, exec, spawnIn } from '../support/exec.ts';

let cluster: ClusterNode;
let pods: PodsOfNamespace;
let before: Census;

const namespace = 'shop';
const kubectl = (...args: string[]): Promise<string> => cluster.cluster.kubectl('-n', namespace, ...args);
const apply = (...documents: Manifest[]): Promise<void> => cluster.cluster.apply(...documents);
const named = (name: string): Manifest => ({ name, namespace });

const config = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
clusterDomain: cluster.local
`;

test.before(async () => {
  cluster = await startClusterNode({ images: ['pause', 'busybox'], keelson: { config } });
  await cluster.waitForReady();
  pods = await podsOfNamespace(cluster, namespace);
  before = await pods.warmCensus();
});
test.afterEach.always(async () => {
  // A failed test's pods must not stand in the way of the next.
  await kubectl('delete', 'deploy,ds,sts,job,svc,pod', '--all', '--wait=false', '--ignore-not-found');
  await pods.waitForNone();
});
test.after.always(async () => {
  pods?.close();
  await cluster?.end();
});

/** After what was to be deleted: no pod in the API server, and nothing on the node that was not there before. */
async function nothingLeft(t: ExecutionContext): Promise<void> {
  await pods.waitForNone();
  t.deepEqual(await pods.difference(before), []);
}

/**
 * A server of `$VERSION $HOSTNAME`. Asked to end it goes on for a while, as any server behind a Service must: others learn
 * of its end at the same moment as it does. Its neighbour holds back the pod's readiness until the server listens.
 */
const webSpec = (version: string): Manifest => ({
  containers: [
    container(
      'main',
      onTerm('sleep 3; exit 0', 'mkdir -p /www; echo "$VERSION $(hostname)" >/www/index.html; httpd -p 8080 -h /www;'),
      { env: [{ name: 'VERSION', value: version }], ports: [{ containerPort: 8080 }] },
    ),
    container('later'),
  ],
});
const web = (replicas: number): Manifest => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: named('web'),
  spec: {
    replicas,
    strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
    ...template('web', webSpec('v1')),
  },
});
const webService: Manifest = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: named('web'),
  spec: { type: 'NodePort', selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
};

interface Place {
  name: string;
  /** One request; throws when it fails. */
  request(): Promise<string>;
}

/** The Service's addresses, from each place that may use them. */
async function places(client: ApiObject): Promise<Place[]> {
  const { node } = cluster;
  const { spec } = await cluster.get(`/api/v1/namespaces/${namespace}/services/web`);
  const clusterIp = `http://${spec.clusterIP}/`;
  const nodePort = `http://${node.nodeIp}:${spec.ports[0].nodePort}/`;
  const curl = (netns: string, url: string): Promise<string> => exec('curl', ['-sSf', '-m', '5', url], { netns });
  return [
    { name: 'node, cluster IP', request: () => curl(node.netns, clusterIp) },
    { name: 'node, node port', request: () => curl(node.netns, nodePort) },
    { name: 'pod, cluster IP', request: () => pods.fetch(client, spec.clusterIP, 80) },
    { name: 'pod, node port', request: () => pods.fetch(client, node.nodeIp, spec.ports[0].nodePort) },
    { name: 'outside, node port', request: () => curl(node.outside, nodePort) },
  ];
}

/** Requests until each of `hosts` has answered, and then some: all must succeed, and nobody else may answer. */
async function reachesExactly(t: ExecutionContext, place: Place, hosts: string[]): Promise<void> {
  const answers: string[] = [];
  const answered = (): Set<string> => new Set(answers);
  await eventually(
    () => `${place.name}: ${hosts.join(' ')} answer; ${[...answered()].join(' ')} did`,
    async () => {
      answers.push((await place.request()).trim().split(' ')[1] ?? '');
      return hosts.every((host) => answered().has(host));
    },
    30_000,
    0,
  );
  for (let more = 0; more < 5; more++) answers.push((await place.request()).trim().split(' ')[1] ?? '');
  t.deepEqual([...answered()].sort(), [...hosts].sort(), place.name);
}

const namesOf = (list: ApiObject[]): string[] => list.map(({ metadata }) => metadata.name);

/** Until the Service has just these pods; then what it forwards is a matter of the milliseconds until the node hears it. */
async function endpointsAre(list: ApiObject[], service = 'web'): Promise<void> {
  const wanted = list.map(({ status }) => status.podIP).sort();
  await cluster.waitFor(
    `endpoints of ${service}: ${wanted.join(' ')}`,
    `/api/v1/namespaces/${namespace}/endpoints/${service}`,
    ({ subsets = [] }) => {
      const found = subsets.flatMap(({ addresses = [] }: ApiObject) => addresses.map(({ ip }: ApiObject) => ip)).sort();
      return JSON.stringify(found) === JSON.stringify(wanted) || undefined;
    },
  );
}

/** Until a request after the change no longer reaches what went. */
async function settled(place: Place, hosts: string[]): Promise<void> {
  let last = '';
  let inRow = 0;
  await eventually(
    () => `${place.name} settles on ${hosts.join(' ')}; last: ${last}`,
    async () => {
      last = (await place.request().catch(String)).trim();
      inRow = hosts.includes(last.split(' ')[1] ?? '') ? inRow + 1 : 0;
      return inRow > 10;
    },
    30_000,
    0,
  );
}

test.serial(
  'a Deployment of 3 behind a Service: its addresses reach all three, and those that scaling leaves',
  async (t) => {
    await apply(web(3), webService, podManifest('client', {}, { namespace }));
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
    const three = await pods.waitForCount('web', 3);
    const client = await pods.waitForReady('client');
    const { spec } = await cluster.get(`/api/v1/nodes/${cluster.nodeName}`);
    const network = spec.podCIDR.replace(/\.0\/24$/, '.');
    for (const { status } of three) {
      t.is(status.phase, 'Running');
      t.is(status.hostIP, cluster.node.nodeIp);
      t.true(status.podIP.startsWith(network), `${status.podIP} of ${spec.podCIDR}`);
      t.deepEqual(status.podIPs, [{ ip: status.podIP }]);
    }
    t.is(new Set(three.map(({ status }) => status.podIP)).size, 3);
    await endpointsAre(three);
    const from = await places(client);
    await settled(from[0] as Place, namesOf(three));
    for (const place of from) await reachesExactly(t, place, namesOf(three));

    await kubectl('scale', 'deployment/web', '--replicas=5');
    const five = await pods.waitForCount('web', 5);
    await endpointsAre(five);
    for (const place of from) await reachesExactly(t, place, namesOf(five));

    await kubectl('scale', 'deployment/web', '--replicas=1');
    const one = await pods.waitForCount('web', 1);
    await endpointsAre(one);
    await settled(from[0] as Place, namesOf(one));
    for (const place of from) await reachesExactly(t, place, namesOf(one));

    await kubectl('delete', 'deployment/web', 'service/web', 'pod/client');
    await nothingLeft(t);
  },
);

/** Requests as fast as one client makes them, one line each, until `stop`. */
function endlessRequests(netns: string, url: string, file: string): { stop(): Promise<string[]> } {
  const script = `while :; do curl -sSf -m 5 "$0" >>"$1" 2>&1 || echo "FAILED $?" >>"$1"; done`;
  const child = spawnIn(netns, 'sh', ['-c', script, url, file], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  return {
    async stop() {
      child.kill();
      await ended;
      // The last answer may be on its way.
      const lines = readFileSync(file, 'utf8').trim().split('\n').slice(0, -1);
      rmSync(file);
      return lines;
    },
  };
}

test.serial('a rolling update under constant requests: none fails', async (t) => {
  const { node } = cluster;
  await apply(web(3), webService);
  const first = await pods.waitForCount('web', 3);
  await endpointsAre(first);
  const { spec } = await cluster.get(`/api/v1/namespaces/${namespace}/services/web`);
  const [clusterIp, nodePort] = [`http://${spec.clusterIP}/`, `http://${node.nodeIp}:${spec.ports[0].nodePort}/`];
  // Its log is its report.
  const loop = `while :; do answer=$(${httpRequest(spec.clusterIP, 80)}); echo "\${answer:-FAILED}"; done`;
  await apply(podManifest('client', { containers: [container('main', ['sh', '-c', loop])] }, { namespace }));
  const client = await pods.waitForReady('client');
  const file = (name: string): string => join(node.run.path, name);
  const clients = [
    endlessRequests(node.netns, clusterIp, file('requests-node')),
    endlessRequests(node.outside, nodePort, file('requests-outside')),
  ];

  await kubectl('set', 'env', 'deployment/web', '-c', 'main', 'VERSION=v2');
  await kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
  const second = await pods.waitForCount('web', 3);
  await endpointsAre(second);
  const [place] = await places(client);
  await settled(place as Place, namesOf(second));
  t.is(second.filter(({ metadata }) => namesOf(first).includes(metadata.name)).length, 0);

  const podLog = async (): Promise<string[]> =>
    pods
      .log(client)
      .trim()
      .split('\n')
      .slice(0, -1)
      .map((line) => line.split(' ').slice(3).join(' '));
  const said = [...(await Promise.all(clients.map((endless) => endless.stop()))), await podLog()];
  for (const lines of said) {
    t.deepEqual(lines.filter((line) => !/^v[12] web-\S+$/.test(line)).slice(0, 5), [], 'every request was answered');
    t.true(lines.some((line) => line.startsWith('v1 ')) && lines.some((line) => line.startsWith('v2 ')));
  }
  t.log(`${said.map(({ length }) => length).join(' + ')} requests`);

  await kubectl('delete', 'deployment/web', 'service/web');
  await kubectl('delete', 'pod/client', '--grace-period=1');
  await nothingLeft(t);
});

const job = (name: string, command: string, more: Manifest): Manifest => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: named(name),
  spec: {
    ...more,
    template: { spec: { restartPolicy: 'Never', containers: [container('main', ['sh', '-c', command])] } },
  },
});
const jobPath = (name: string): string => `/apis/batch/v1/namespaces/${namespace}/jobs/${name}`;
const hasCondition = (object: ApiObject, type: string): boolean =>
  (object.status?.conditions ?? []).some(
    (condition: ApiObject) => condition.type === type && condition.status === 'True',
  );

test.serial('a Job runs to completion; one that fails is tried again up to its limit', async (t) => {
  await apply(
    job('good', 'echo finished; echo why >/dev/termination-log', { completions: 4, parallelism: 2 }),
    job('bad', 'exit 3', { backoffLimit: 1 }),
  );
  const good = await cluster.waitFor('the Job is complete', jobPath('good'), (object) =>
    hasCondition(object, 'Complete') ? object : undefined,
  );
  t.is(good.status.succeeded, 4);
  t.is(good.status.failed, undefined);
  const done = (await pods.list()).filter(({ metadata }) => metadata.labels['job-name'] === 'good');
  t.is(done.length, 4);
  for (const pod of done) {
    t.is(pod.status.phase, 'Succeeded');
    const { terminated } = pod.status.containerStatuses[0].state;
    t.like(terminated, { exitCode: 0, reason: 'Completed', message: 'why\n' });
    t.regex(pods.log(pod), /finished/);
  }

  const bad = await cluster.waitFor('the Job has failed', jobPath('bad'), (object) =>
    hasCondition(object, 'Failed') ? object : undefined,
  );
  t.is(bad.status.failed, 2);
  t.is(bad.status.conditions[0].reason, 'BackoffLimitExceeded');
  for (const pod of (await pods.list()).filter(({ metadata }) => metadata.labels['job-name'] === 'bad')) {
    t.is(pod.status.phase, 'Failed');
    t.like(pod.status.containerStatuses[0].state.terminated, { exitCode: 3, reason: 'Error' });
    t.is(pod.status.containerStatuses[0].restartCount, 0);
  }
  await kubectl('delete', 'job', '--all');
  await nothingLeft(t);
});

test.serial('a DaemonSet has one pod here, whatever happens to it', async (t) => {
  await apply({
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: named('agent'),
    spec: template('agent', { containers: [container('main')] }),
  });
  const [first] = await pods.waitForCount('agent', 1);
  t.is(first.spec.nodeName, cluster.nodeName);
  await kubectl('delete', 'pod', first.metadata.name);
  const [second] = await pods.waitForCount('agent', 1);
  t.not(second.metadata.uid, first.metadata.uid);
  await kubectl('set', 'env', 'daemonset/agent', 'ROUND=2');
  await kubectl('rollout', 'status', 'daemonset/agent', '--timeout=60s');
  const [third] = await pods.waitForCount('agent', 1);
  t.is(await pods.output(third, 'echo $ROUND'), '2');
  await kubectl('delete', 'daemonset/agent');
  await nothingLeft(t);
});

test.serial('a StatefulSet of 2 with a headless Service: in order, each with its name for good', async (t) => {
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: named('db'),
    spec: { clusterIP: 'None', selector: { app: 'db' }, ports: [{ port: 5432 }] },
  };
  const set = {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: named('db'),
    spec: { replicas: 2, serviceName: 'db', ...template('db', { containers: [container('main')] }) },
  };
  await apply(service, set);
  const both = await pods.waitForCount('db', 2);
  t.deepEqual(namesOf(both).sort(), ['db-0', 'db-1']);
  const [db0, db1] = [await pods.get('db-0'), await pods.get('db-1')];
  const readyAt = db0.status.conditions.find(({ type }: ApiObject) => type === 'Ready').lastTransitionTime;
  t.true(
    readyAt <= db1.metadata.creationTimestamp,
    `db-0 ready ${readyAt}, db-1 made ${db1.metadata.creationTimestamp}`,
  );
  await endpointsAre(both, 'db');
  t.is(await pods.output(db1, 'hostname'), 'db-1');
  const fullName = `db-1.db.${namespace}.svc.cluster.local`;
  t.regex(await pods.output(db1, 'cat /etc/hosts'), new RegExp(`^${db1.status.podIP}\\t${fullName}\\tdb-1$`, 'm'));

  await kubectl('delete', 'pod', 'db-0');
  const again = await pods.waitFor('db-0', 'is there again', (pod) =>
    pod.metadata.uid !== db0.metadata.uid && hasCondition(pod, 'Ready') ? pod : undefined,
  );
  t.is(await pods.output(again, 'hostname'), 'db-0');
  await endpointsAre([again, db1], 'db');

  await kubectl('scale', 'statefulset/db', '--replicas=1');
  t.deepEqual(namesOf(await pods.waitForCount('db', 1)), ['db-0']);
  await kubectl('delete', 'statefulset/db', 'service/db');
  await nothingLeft(t);
});

test.serial('kubectl drain takes all but the DaemonSet away, uncordon lets them come back', async (t) => {
  const volumes = { volumes: [{ name: 'cache', emptyDir: {} }] };
  await apply(
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: named('agent'),
      spec: template('agent', { containers: [container('main')] }),
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: named('app'),
      spec: {
        replicas: 2,
        ...template('app', {
          ...volumes,
          containers: [container('main', sleeper, { volumeMounts: [{ name: 'cache', mountPath: '/cache' }] })],
        }),
      },
    },
    podManifest('alone', {}, { namespace, labels: { app: 'alone' } }),
  );
  const running = [...(await pods.waitForCount('app', 2)), ...(await pods.waitForCount('alone', 1))];
  const [agent] = await pods.waitForCount('agent', 1);
  const refused = await cluster.cluster.kubectlResult(['drain', cluster.nodeName, '--ignore-daemonsets']);
  t.not(refused.code, 0, 'without --force a pod of nobody stays');
  await kubectl('drain', cluster.nodeName, '--ignore-daemonsets', '--force', '--delete-emptydir-data', '--timeout=60s');
  const node = await cluster.get(`/api/v1/nodes/${cluster.nodeName}`);
  t.true(node.spec.unschedulable);
  const left = await pods.list();
  for (const { metadata } of running)
    t.false(
      left.some((pod) => pod.metadata.uid === metadata.uid),
      metadata.name,
    );
  t.is((await pods.get(agent.metadata.name)).metadata.uid, agent.metadata.uid);
  t.deepEqual(
    left.filter(({ metadata }) => metadata.labels.app === 'app').map(({ spec }) => spec.nodeName),
    [undefined, undefined],
    'their successors wait for a node',
  );
  await kubectl('uncordon', cluster.nodeName);
  await pods.waitForCount('app', 2);
  t.true(hasCondition(await cluster.get(`/api/v1/nodes/${cluster.nodeName}`), 'Ready'));
  await kubectl('delete', 'deployment/app', 'daemonset/agent');
  await nothingLeft(t);
});

test.serial('deletion waits for the pod, no longer than its grace period', async (t) => {
  // `slow` ends when it is told to by the test, `deaf` never.
  await apply(
    podManifest(
      'slow',
      {
        terminationGracePeriodSeconds: 120,
        containers: [container('main', onTerm('touch /asked; while [ ! -e /go ]; do sleep 0.1; done; exit 0'))],
      },
      { namespace },
    ),
    podManifest(
      'deaf',
      { terminationGracePeriodSeconds: 1, containers: [container('main', onTerm(':'))] },
      { namespace },
    ),
    podManifest(
      'hurried',
      { terminationGracePeriodSeconds: 600, containers: [container('main', onTerm(':'))] },
      { namespace },
    ),
  );
  const [slow] = [await pods.waitForReady('slow'), await pods.waitForReady('deaf'), await pods.waitForReady('hurried')];
  await kubectl('delete', 'pod', 'slow', 'deaf', '--wait=false');
  await kubectl('delete', 'pod', 'hurried', '--grace-period=1', '--wait=false');
  await eventually('deaf and hurried are killed', async () => (await pods.list()).length === 1);
  const ending = await pods.get('slow');
  t.is(ending.metadata.deletionGracePeriodSeconds, 120);
  t.is(ending.status.phase, 'Running');
  await eventually('slow was asked', async () => (await pods.exec(slow, 'test -e /asked')).code === 0);
  t.truthy(await pods.get('slow'));
  await pods.output(slow, 'touch /go');
  await nothingLeft(t);
});

test.serial('pods deleted by force leave the API server at once and the node soon', async (t) => {
  // Several: whether the last word on each and its end come in one piece is a matter of chance.
  const names = Array.from({ length: 6 }, (_, index) => `deaf-${index}`);
  const spec = { terminationGracePeriodSeconds: 600, containers: [container('main', onTerm(':'))] };
  await apply(...names.map((name) => podManifest(name, spec, { namespace })));
  for (const name of names) await pods.waitForReady(name);
  await kubectl('delete', 'pod', ...names, '--force', '--grace-period=0');
  t.deepEqual(await pods.list(), []);
  await nothingLeft(t);
});

test.serial('a namespace goes with its 20 pods', async (t) => {
  const many = await podsOfNamespace(cluster, 'many');
  t.teardown(() => many.close());
  const names = Array.from({ length: 20 }, (_, index) => `pod-${index}`);
  await apply(...names.map((name) => podManifest(name, {}, { namespace: 'many', labels: { app: 'many' } })));
  await many.waitForCount('many', 20);
  await kubectl('delete', 'namespace', 'many', '--timeout=90s');
  await nothingLeft(t);
});
