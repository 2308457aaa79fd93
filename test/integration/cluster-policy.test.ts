/**
 * NetworkPolicies as a user of a cluster meets them: real API server, real pods, the whole daemon. What passes is asked with
 * connections, and `keelson policy explain` must say the same. Rules and packets in detail are test/kernel's.
 * Layer: test (integration, root). One cluster and one node, the tests run in order.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { stringify } from 'yaml';
import { queryControl } from '../../src/agent/control-socket.ts';
import type { StandaloneReport, StatusReport } from '../../src/agent/status-report.ts';
import { dnsImage } from '../images/build.ts';
import { type ApiObject, type PodsOfNamespace, podsOfNamespace } from '../support/cluster-namespace.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import {
  type ClusterTraffic,
  createClusterTraffic,
  type Place,
  type TrafficProtocol,
} from '../support/cluster-traffic.ts';
import { container, type Manifest, podManifest } from '../support/daemon.ts';
import { eventually, exec, execResult, repositoryRoot } from '../support/exec.ts';
import type { Keelson } from '../support/keelson.ts';

let cluster: ClusterNode;
let traffic: ClusterTraffic;
/** By namespace. */
let shop: PodsOfNamespace;
let office: PodsOfNamespace;
/** shop/web, which serves; shop/client and shop/stranger; office/client; the node; the host outside. */
let web: Place;
let client: Place;
let stranger: Place;
let far: Place;
let node: Place;
let outside: Place;
const daemons: Keelson[] = [];

const kubectl = (...args: string[]): Promise<string> => cluster.cluster.kubectl(...args);
const apply = (...documents: Manifest[]): Promise<void> => cluster.cluster.apply(...documents);
const policy = (name: string, spec: Manifest, namespace = 'shop'): Manifest => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace },
  spec,
});
const app = (value: string) => ({ matchLabels: { app: value } });
const denyAll = policy('deny-all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
const denyIngress = policy('deny-ingress', { podSelector: {}, policyTypes: ['Ingress'] });

/**
 * Serves TCP and UDP at 8080 and 9090, in both families at 7070. The port of the node keeps the client's address.
 */
const webPod = (name: string, spec: Manifest = {}): Manifest =>
  podManifest(
    name,
    {
      containers: [
        container('main', ['sh', '-c', `${traffic.peer} serve 7070 & exec ${traffic.program} serve 8080 9090`], {
          ports: [
            { name: 'http', containerPort: 8080, ...(name === 'web' && { hostPort: 8088 }) },
            { name: 'stats', containerPort: 9090, protocol: 'UDP' },
          ],
          readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1, failureThreshold: 2 },
          livenessProbe: { tcpSocket: { port: 9090 }, periodSeconds: 1, failureThreshold: 2 },
          volumeMounts: [traffic.mount],
        }),
      ],
      volumes: [traffic.volume],
      ...spec,
    },
    { namespace: 'shop', labels: { app: name } },
  );

test.before(async () => {
  cluster = await startClusterNode({
    images: ['pause', 'busybox', 'dns'],
    // Up to 1.22 a pod may have two addresses where this says so.
    controlPlane: { flags: { apiServer: ['--feature-gates=IPv6DualStack=true'] } },
    keelson: { podCidr: '10.244.0.0/24,fd00:244::/64' },
  });
  await cluster.waitForReady();
  traffic = await createClusterTraffic(cluster);
  shop = await podsOfNamespace(cluster, 'shop');
  office = await podsOfNamespace(cluster, 'office');
  await kubectl('label', 'namespace', 'office', 'team=office');
  await apply(
    webPod('web'),
    ...['client', 'stranger'].map((name) => podManifest(name, {}, { namespace: 'shop', labels: { app: name } })),
    podManifest('client', {}, { namespace: 'office', labels: { app: 'client' } }),
  );
  const place = async (pods: PodsOfNamespace, name: string): Promise<Place> =>
    traffic.placeOf(await pods.waitForReady(name));
  web = await place(shop, 'web');
  client = await place(shop, 'client');
  stranger = await place(shop, 'stranger');
  far = await place(office, 'client');
  const { nodeIp, outsideIp, netns } = cluster.node;
  node = { name: nodeIp, ip: nodeIp, netns: `/run/netns/${netns}` };
  outside = { name: outsideIp, ip: outsideIp, netns: `/run/netns/${cluster.node.outside}` };
});
test.afterEach.always(async () => {
  await kubectl('delete', 'networkpolicy', '--all', '-A');
});
test.after.always(async () => {
  for (const daemon of daemons) if (daemon.exit() === undefined) await daemon.stop();
  shop?.close();
  office?.close();
  traffic?.close();
  await cluster?.end();
});

interface Flow {
  from: Place;
  to: Place;
  port: number | string;
  passes: boolean;
  protocol?: TrafficProtocol;
  /** Asked at another address and port than the pod's own: a port of the node. */
  by?: { ip: string; port: number };
}
const flow = (from: Place, to: Place, port: number, passes: boolean, more: Partial<Flow> = {}): Flow => ({
  from,
  to,
  port,
  passes,
  ...more,
});

const words = ({ from, to, port, protocol = 'TCP' }: Flow): string => `${from.name} -> ${to.name} ${port}/${protocol}`;

/** Until every connection passes or does not, as it should; then `explain` says the same of each. */
async function holds(t: ExecutionContext, what: string, flows: readonly Flow[]): Promise<void> {
  let wrong: string[] = [];
  await eventually(
    () => `${what}: ${wrong.join('; ')}\n${cluster.keelson.logs().split('\n').slice(-8).join('\n')}`,
    async () => {
      const passed = await Promise.all(
        flows.map(({ from, to, port, protocol, by }) =>
          traffic.reaches(from, by?.ip ?? to.ip, by?.port ?? Number(port), protocol),
        ),
      );
      wrong = flows
        .filter(({ passes }, index) => passed[index] !== passes)
        .map((one) => `${words(one)} ${one.passes ? 'does not pass' : 'passes'}`);
      return wrong.length === 0;
    },
  );
  for (const one of flows) {
    const { from, to, port, protocol = 'TCP' } = one;
    const ends = one.by?.ip.includes(':') ? [from.ip6, to.ip6] : [from.name, to.name];
    const [fromName = '', toName = ''] = ends;
    const query = new URLSearchParams({ from: fromName, to: toName, port: String(port), protocol });
    const { verdict, ...why } = (await queryControl(cluster.node.dirs.run, 5_000, `/policy/explain?${query}`)) as {
      verdict: string;
    };
    // Of the node it says what a policy says, and that the node is always let in.
    const wanted = one.passes && from !== node ? 'allowed' : from === node ? verdict : 'denied';
    t.is(verdict, wanted, `${what}: ${words(one)}: ${JSON.stringify(why)}`);
  }
}

const isEnforced = (report: StatusReport): boolean => report.policies?.enforced === true;
const policies = async (): Promise<NonNullable<StatusReport['policies']>> => {
  const report: StatusReport = await cluster.keelson.status();
  if (report.policies === undefined) throw new Error('the status has no policies');
  return report.policies;
};

test.serial('a default deny closes pods to all but their node; it goes, and they are open again', async (t) => {
  const open = [
    flow(client, web, 8080, true),
    flow(far, web, 9090, true),
    flow(web, outside, 7000, false),
    flow(outside, web, 8080, true, { by: { ip: node.ip, port: 8088 } }),
  ].filter(({ to }) => to !== outside);
  await holds(t, 'without policies', open);
  t.like(await policies(), { enforced: true, policies: 0, isolated: { ingress: 0, egress: 0 }, troubles: [] });
  const ready = await shop.waitForReady('web');
  await apply(denyAll);
  await holds(t, 'default deny', [
    flow(client, web, 8080, false),
    flow(client, web, 9090, false, { protocol: 'UDP' }),
    flow(far, web, 8080, false),
    flow(outside, web, 8080, false, { by: { ip: node.ip, port: 8088 } }),
    flow(node, web, 8080, true),
    flow(node, web, 9090, true, { protocol: 'UDP' }),
  ]);
  t.like(await policies(), { policies: 1, isolated: { ingress: 3, egress: 3 }, faults: [] });
  // Probes go on: several periods without one that fails.
  const [before, restarts] = [ready.status.conditions, ready.status.containerStatuses[0].restartCount];
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const after = await shop.get('web');
  t.deepEqual(after.status.conditions, before, 'readiness has not changed');
  t.is(after.status.containerStatuses[0].restartCount, restarts);
  await kubectl('delete', 'networkpolicy', '--all', '-n', 'shop');
  await holds(t, 'without policies again', open);
});

test.serial('peers by labels of pods and namespaces, by addresses, and ports by number, range and name', async (t) => {
  await apply(denyAll);
  const egress = (peer: Manifest, ports?: Manifest[]): Manifest =>
    policy('out', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to: [peer], ...(ports && { ports }) }],
    });
  const ingress = (peer: Manifest, ports?: Manifest[]): Manifest =>
    policy('in', { podSelector: app('web'), ingress: [{ from: [peer], ...(ports && { ports }) }] });
  await apply(egress({ podSelector: {} }), ingress({ podSelector: app('client') }, [{ port: 8080 }]));
  await holds(t, 'podSelector', [
    flow(client, web, 8080, true),
    flow(client, web, 9090, false),
    flow(stranger, web, 8080, false),
    flow(far, web, 8080, false),
    flow(web, client, 8080, false),
  ]);
  await apply(ingress({ namespaceSelector: { matchLabels: { team: 'office' } } }, [{ port: 8080, protocol: 'UDP' }]));
  await holds(t, 'namespaceSelector', [
    flow(far, web, 8080, true, { protocol: 'UDP' }),
    flow(far, web, 8080, false),
    flow(client, web, 8080, false, { protocol: 'UDP' }),
  ]);
  await apply(
    ingress({ namespaceSelector: { matchLabels: { team: 'office' } }, podSelector: app('client') }, [{ port: 'http' }]),
  );
  await holds(t, 'both in one element, and a port by name', [
    flow(far, web, 8080, true),
    flow(far, web, 9090, false),
    flow(client, web, 8080, false),
  ]);
  await apply(ingress({ podSelector: {} }, [{ port: 'stats', protocol: 'UDP' }]));
  await holds(t, 'a name of another protocol', [
    flow(client, web, 9090, true, { protocol: 'UDP' }),
    flow(client, web, 9090, false),
  ]);
  const by = { ip: node.ip, port: 8088 };
  await apply(ingress({ ipBlock: { cidr: `${outside.ip}/24` } }, [{ port: 8080 }]));
  await holds(t, 'ipBlock', [flow(outside, web, 8080, true, { by }), flow(client, web, 8080, false)]);
  await apply(ingress({ ipBlock: { cidr: `${outside.ip}/24`, except: [`${outside.ip}/32`] } }));
  await holds(t, 'except', [flow(outside, web, 8080, false, { by }), flow(node, web, 8080, true)]);
  // Kubernetes has endPort from 1.22 on.
  if (Number(cluster.cluster.version.split('.')[1]) >= 22) {
    await apply(ingress({ podSelector: {} }, [{ port: 8000, endPort: 9000 }]));
    await holds(t, 'a range', [flow(client, web, 8080, true), flow(client, web, 9090, false)]);
  }
  await apply(ingress({ podSelector: {} }, [{ port: 'http' }]));
  await holds(t, 'at last', [flow(client, web, 8080, true), flow(client, web, 9090, false)]);

  const { code, stdout } = await cluster.keelson.command('policy', 'explain', 'shop/client', 'shop/web', '9090');
  t.is(code, 3);
  t.regex(
    stdout,
    /^DENIED: pod shop\/client to pod shop\/web port 9090\/TCP\n {2}egress of shop\/client: allowed by NetworkPolicy shop\/out egress\[0\]\n {2}ingress of shop\/web: denied, .*shop\/deny-all, shop\/in$/m,
  );
  t.is((await cluster.keelson.command('policy', 'explain', 'shop/client', 'shop/web', 'http')).code, 0);
});

test.serial('a pod with two addresses is closed and opened in both families, by an ipBlock in its own', async (t) => {
  t.truthy(web.ip6);
  const six = { by: { ip: web.ip6 ?? '', port: 7070 } };
  const both = (four: boolean, inSix: boolean): Flow[] =>
    (['TCP', 'UDP'] as const).flatMap((protocol) => [
      flow(client, web, 7070, four, { protocol }),
      flow(client, web, 7070, inSix, { ...six, protocol }),
    ]);
  await holds(t, 'open', both(true, true));
  await apply(denyAll);
  await holds(t, 'closed', [...both(false, false)]);
  t.true(await traffic.reaches(node, web.ip6 ?? '', 7070), 'the node reaches it');
  const allow = (peer: Manifest): Manifest =>
    policy('allow', {
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: [peer] }],
      egress: [{ to: [peer] }],
    });
  await apply(allow({ podSelector: {} }));
  await holds(t, 'by labels', both(true, true));
  await apply(allow({ ipBlock: { cidr: 'fd00:244::/64' } }));
  await holds(t, 'an IPv6 block', both(false, true));
  await apply(allow({ ipBlock: { cidr: 'fd00:244::/64', except: [`${client.ip6}/128`] } }));
  await holds(t, 'all but the client', both(false, false));
  await apply(allow({ ipBlock: { cidr: '0.0.0.0/0' } }));
  await holds(t, 'an IPv4 block', both(true, false));
});

test.serial('labels of a pod and of a namespace change, and what passes with them', async (t) => {
  await apply(
    policy('in', {
      podSelector: app('web'),
      ingress: [{ from: [{ podSelector: app('client') }, { namespaceSelector: { matchLabels: { may: 'in' } } }] }],
    }),
  );
  const flows = (pod: boolean, namespace: boolean): Flow[] => [
    flow(client, web, 8080, true),
    flow(stranger, web, 8080, pod),
    flow(far, web, 8080, namespace),
  ];
  await holds(t, 'at first', flows(false, false));
  await kubectl('-n', 'shop', 'label', 'pod', 'stranger', 'app=client', '--overwrite');
  await holds(t, 'the pod is a client', flows(true, false));
  await kubectl('label', 'namespace', 'office', 'may=in');
  await holds(t, 'the namespace may', flows(true, true));
  await kubectl('-n', 'shop', 'label', 'pod', 'stranger', 'app=stranger', '--overwrite');
  await holds(t, 'the pod is none', flows(false, true));
  await kubectl('label', 'namespace', 'office', 'may-');
  await holds(t, 'the namespace may not', flows(false, false));
  // The selected pod itself.
  await kubectl('-n', 'shop', 'label', 'pod', 'web', 'app=other', '--overwrite');
  await holds(t, 'nobody is selected', [flow(stranger, web, 8080, true)]);
  await kubectl('-n', 'shop', 'label', 'pod', 'web', 'app=web', '--overwrite');
  await holds(t, 'web is selected', flows(false, false));
});

test.serial(
  'egress to the name server and one more: names resolve through its Service, nothing else passes',
  async (t) => {
    const dnsIp = '10.96.0.53';
    await apply(
      podManifest(
        'dns',
        {
          containers: [
            { name: 'main', image: dnsImage, imagePullPolicy: 'IfNotPresent', args: [`web.shop=${web.ip}`] },
          ],
        },
        { namespace: 'office', labels: { 'k8s-app': 'kube-dns' } },
      ),
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'dns', namespace: 'office' },
        spec: {
          clusterIP: dnsIp,
          selector: { 'k8s-app': 'kube-dns' },
          ports: [{ name: 'dns', port: 53, protocol: 'UDP' }],
        },
      },
    );
    await office.waitForReady('dns');
    const clientPod = await shop.get('client');
    const resolves = async (): Promise<boolean> =>
      (await shop.exec(clientPod, `timeout 3 nslookup -type=a web.shop ${dnsIp}`)).stdout.includes(
        `Address: ${web.ip}`,
      );
    await eventually('the name server answers', resolves);
    await apply(policy('no-egress', { podSelector: app('client'), policyTypes: ['Egress'] }));
    await holds(t, 'no egress', [flow(client, web, 8080, false)]);
    t.false(await resolves());
    await apply(
      policy('dns-and-web', {
        podSelector: app('client'),
        policyTypes: ['Egress'],
        egress: [
          {
            to: [{ namespaceSelector: {}, podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } }],
            ports: [{ port: 53, protocol: 'UDP' }],
          },
          { to: [{ podSelector: app('web') }], ports: [{ port: 'http' }] },
        ],
      }),
    );
    await eventually('names resolve', resolves);
    await holds(t, 'web alone', [
      flow(client, web, 8080, true),
      flow(client, web, 9090, false),
      flow(client, stranger, 8080, false),
      flow(client, outside, 53, false, { protocol: 'UDP' }),
    ]);
    await kubectl('-n', 'office', 'delete', 'pod,service', 'dns', '--wait=false');
  },
);

test.serial('a new pod never gets a packet through before its policies are there, nor does one reach it', async (t) => {
  await apply(denyAll, policy('web-in', { podSelector: app('web'), ingress: [{}] }));
  await holds(t, 'closed', [flow(client, web, 8080, false)]);
  // Addresses are given out in turn: somebody waits at those of the next pods.
  const next = Math.max(...[web, client, stranger, far].map(({ ip }) => Number(ip.split('.')[3]))) + 1;
  const addresses = Array.from({ length: 8 }, (_, index) => stranger.ip.replace(/\d+$/, String(next + index)));
  const floods = addresses.map((ip) => traffic.flood(far, ip, 8080));
  const ask = `i=0; while [ $i -lt 300 ]; do echo "$i tcp - ${web.ip} 8080 100"; i=$((i+1)); done`;
  const count = `| ${traffic.program} ask 64 | grep -vc ' E' ; true`;
  const mounts = { volumeMounts: [traffic.mount] };
  const names = ['early-0', 'early-1', 'early-2'];
  await apply(
    ...names.map((name) =>
      webPod(name, { initContainers: [container('first', ['sh', '-c', `(${ask}) ${count}`], mounts)] }),
    ),
  );
  for (const name of names) {
    const pod = await shop.waitForReady(name);
    t.true(addresses.includes(pod.status.podIP), `${pod.status.podIP} was asked`);
    t.regex(shop.log(pod, 'first'), /F 0$/m, 'none of its connections were answered');
  }
  // Nor was one refused: that, too, would be an answer of the pod, from the moment on at which its link is up.
  for (const flood of floods) {
    const { answered, failed } = await flood.stop();
    t.deepEqual([answered, failed.ECONNREFUSED], [0, undefined], JSON.stringify(failed));
  }
  // The same without policies is answered, so it would have been seen.
  await kubectl('-n', 'shop', 'delete', 'networkpolicy', '--all');
  await kubectl('-n', 'shop', 'delete', 'pod', ...names);
  const again = addresses.map((ip) => traffic.flood(far, ip, 8080));
  await apply(webPod('late', { initContainers: [container('first', ['sh', '-c', `(${ask}) ${count}`], mounts)] }));
  t.regex(shop.log(await shop.waitForReady('late'), 'first'), /F 300$/m);
  const counts = await Promise.all(again.map((flood) => flood.stop()));
  t.true(counts.some(({ answered, failed }) => answered > 0 && (failed.ECONNREFUSED ?? 0) > 0));
  await kubectl('-n', 'shop', 'delete', 'pod', 'late');
});

test.serial(
  'kill -9 and a restart while a client floods: nothing forbidden passes, what is allowed goes on',
  async (t) => {
    await apply(
      policy('in', {
        podSelector: app('web'),
        ingress: [{ from: [{ podSelector: app('client') }], ports: [{ port: 8080 }] }],
      }),
    );
    await holds(t, 'closed', [
      flow(client, web, 8080, true),
      flow(client, web, 9090, false),
      flow(far, web, 8080, false),
    ]);
    const floods = [traffic.flood(client, web.ip, 9090), traffic.flood(far, web.ip, 8080)];
    // Patient: on a busy machine one of many thousand has to be sent again.
    const allowed = traffic.flood(client, web.ip, 8080, 10_000);
    for (let round = 0; round < 3; round++) {
      await cluster.keelson.kill9();
      // Changed while nobody listens.
      const ports = [{ port: 8080 }, { port: 7000 + round }];
      await apply(
        policy('in', { podSelector: app('web'), ingress: [{ from: [{ podSelector: app('client') }], ports }] }),
      );
      await cluster.start();
      await cluster.keelson.waitFor('policies are enforced', isEnforced);
    }
    for (const flood of floods) {
      const { answered, failed } = await flood.stop();
      t.is(answered, 0);
      t.true((failed.ETIMEDOUT ?? 0) > 100, JSON.stringify(failed));
    }
    const { answered, failed } = await allowed.stop();
    t.deepEqual(failed, {});
    t.true(answered > 100);
    t.like(await policies(), { policies: 1, isolated: { ingress: 1, egress: 0 }, troubles: [] });
    // Of a pod that a former process started nothing stays when it ends.
    const before = await policies();
    await apply(podManifest('brief', {}, { namespace: 'shop', labels: { app: 'brief' } }));
    await shop.waitForReady('brief');
    await cluster.keelson.kill9();
    await cluster.start();
    await cluster.keelson.waitFor('policies are enforced', isEnforced);
    await kubectl('-n', 'shop', 'delete', 'pod', 'brief');
    await eventually('it is forgotten', async () => (await policies()).localPods === before.localPods);
  },
);

test.serial('drops are counted for status and metrics', async (t) => {
  await apply(denyIngress);
  await holds(t, 'closed', [flow(client, web, 8080, false)]);
  const { drops = [] } = await policies();
  const counted = drops.find(({ direction }) => direction === 'ingress');
  t.deepEqual(counted?.policies, ['shop/deny-ingress']);
  t.true((counted?.packets ?? 0) > 0);
  const { stdout } = await execResult('curl', ['-s', 'http://127.0.0.1:10249/metrics'], { netns: cluster.node.netns });
  t.regex(stdout, /^keelson_network_policy_enforced 1$/m);
  t.regex(stdout, /^keelson_network_policy_isolated_pods\{direction="ingress"\} 3$/m);
  t.regex(
    stdout,
    /^keelson_network_policy_dropped_packets_total\{namespace="shop",policy="deny-ingress",direction="ingress"\} [1-9]/m,
  );
  t.regex((await cluster.keelson.command('status')).stdout, /^Network policies: .*1/m);
});

test.serial('the API server is away: rules stay over a restart too; it is back, and changes count again', async (t) => {
  const manifests = join(cluster.node.run.path, 'static-pods');
  mkdirSync(manifests);
  await cluster.keelson.stop();
  const withManifests = { args: ['--pod-manifest-path', manifests] };
  await cluster.start(withManifests);
  await apply(denyIngress);
  await holds(t, 'closed', [flow(client, web, 8080, false)]);
  const flood = traffic.flood(client, web.ip, 8080);
  await cluster.cluster.apiServer.end('SIGKILL');
  await holds(t, 'away', [flow(client, web, 8080, false)]);

  // Nobody isolates the one; who isolates the other is known once the API server has its object.
  for (const namespace of ['default', 'shop'])
    writeFileSync(
      join(manifests, `${namespace}.yaml`),
      stringify(podManifest('static', {}, { namespace, labels: { app: 'static' } })),
    );
  const ready = (namespace: string) => (report: StandaloneReport) =>
    report.pods.some((pod) => pod.namespace === namespace && pod.name.startsWith('static-') && pod.ready === 1);
  const report = await cluster.keelson.waitFor('the static pod of a namespace without policies runs', ready('default'));
  t.false(ready('shop')(report));

  await cluster.keelson.kill9();
  await cluster.start(withManifests);
  await cluster.keelson.waitFor('it runs without the API server', ready('default'));
  t.false(await traffic.reaches(client, web.ip, 8080));
  t.true(await traffic.reaches(node, web.ip, 8080), 'and probes go on');
  t.false((await policies()).enforced, 'not looked after, but there');
  cluster.cluster.apiServer.start();
  await cluster.cluster.waitForReady();
  await cluster.keelson.waitFor('policies are enforced', isEnforced);
  t.like(await flood.stop(), { answered: 0 });
  await cluster.keelson.waitFor('the other one runs', ready('shop'), 120_000);
  const isolated = await traffic.placeOf(await shop.waitForReady(`static-${cluster.nodeName}`));
  await holds(t, 'closed to the static pod too', [flow(isolated, web, 8080, false)]);
  await kubectl('-n', 'shop', 'delete', 'networkpolicy', 'deny-ingress');
  await holds(t, 'open', [flow(client, web, 8080, true), flow(isolated, web, 8080, true)]);
  await cluster.keelson.stop();
  rmSync(manifests, { recursive: true });
  await cluster.start();
  await cluster.keelson.waitFor('no static pod is left', ({ pods, ending }) =>
    [...pods, ...ending].every(({ name }) => !name.startsWith('static-')),
  );
});

/** Of the lab's role; `deploy/` has its own. */
const policyRights = (verb: 'add' | 'remove'): Promise<unknown> =>
  cluster.cluster.request(
    'PATCH',
    '/apis/rbac.authorization.k8s.io/v1/clusterroles/keelson-network',
    verb === 'remove'
      ? [{ op: 'remove', path: '/rules/2' }]
      : [
          {
            op: 'add',
            path: '/rules/2',
            value: {
              apiGroups: ['networking.k8s.io'],
              resources: ['networkpolicies'],
              verbs: ['get', 'list', 'watch'],
            },
          },
        ],
    { contentType: 'application/json-patch+json' },
  );

test.serial(
  'the right to read policies goes: rules stay and no pod starts, which its events say; it returns',
  async (t) => {
    await apply(denyIngress);
    await holds(t, 'closed', [flow(client, web, 8080, false)]);
    await policyRights('remove');
    await cluster.keelson.kill9();
    await cluster.start();
    await apply(podManifest('refused', {}, { namespace: 'shop' }));
    await eventually(
      'an event says why',
      async () => {
        const { object } = await cluster.cluster.request('GET', '/api/v1/namespaces/shop/events');
        return object.items.some(
          ({ involvedObject, reason, message }: ApiObject) =>
            involvedObject.name === 'refused' &&
            reason === 'FailedCreatePodSandBox' &&
            /cannot be isolated as network policies demand: .*networkpolicies/.test(message),
        );
      },
      120_000,
    );
    t.is((await shop.get('refused')).status.phase, 'Pending');
    t.false(await traffic.reaches(client, web.ip, 8080));
    await policyRights('add');
    await shop.waitForReady('refused');
    await holds(t, 'still closed', [flow(client, web, 8080, false)]);
    await kubectl('-n', 'shop', 'delete', 'pod', 'refused');
  },
);

test.serial(
  'a node that may not read policies enforces none: its pods start at once, and status says so',
  async (t) => {
    await cluster.keelson.stop();
    await cluster.node.exec('/usr/sbin/nft', 'delete', 'table', 'inet', 'keelson-policy');
    await policyRights('remove');
    await cluster.start();
    await apply(denyIngress, podManifest('free', {}, { namespace: 'shop' }));
    await shop.waitForReady('free');
    const { enforced, troubles } = await policies();
    t.false(enforced);
    t.regex(
      troubles.join('\n'),
      /^network policies are not enforced: .*networkpolicies.*deploy\/network-policy\.yaml/m,
    );
    t.true(await traffic.reaches(client, web.ip, 8080));
    await policyRights('add');
    await holds(t, 'the right is given: enforced without a restart', [flow(client, web, 8080, false)]);
    await kubectl('-n', 'shop', 'delete', 'pod', 'free');
  },
);

test.serial('network alone with the identity of deploy/ beside another kubelet', async (t) => {
  const { run, dirs, outside: host } = cluster.node;
  await cluster.keelson.stop();
  await kubectl('delete', 'clusterrole,clusterrolebinding', 'keelson-network');
  await kubectl('-n', 'kube-system', 'delete', 'serviceaccount', 'keelson-network');
  const networkKubeconfig = join(run.path, 'network.kubeconfig');
  const program = join((await exec(join(repositoryRoot, 'script/control-plane'), [])).trim(), 'kubectl');
  await exec(join(repositoryRoot, 'script/network-kubeconfig'), ['-o', networkKubeconfig], {
    netns: host,
    env: { ...process.env, KUBECTL: program, KUBECONFIG: cluster.cluster.admin.kubeconfig, HOME: run.path },
  });
  await kubectl('apply', '-f', join(repositoryRoot, 'deploy/network-policy.yaml'));
  const { kubeconfig } = await cluster.cluster.nodeIdentity(cluster.nodeName);
  const config = stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: cluster.cluster.caFile } },
  });
  const start = async (roles: string, run: string): Promise<Keelson> => {
    await cluster.start({
      cluster: { kubeconfig, networkKubeconfig },
      dirs: { ...dirs, run },
      logFile: join(cluster.node.run.path, `${roles}.log`),
      config,
      args: ['--roles', roles],
    });
    daemons.push(cluster.keelson);
    return cluster.keelson;
  };
  const kubelet = await start('kubelet', join(run.path, 'kubelet-run'));
  const network = await start('network', dirs.run);
  await network.waitFor('policies are enforced', isEnforced);
  await apply(denyIngress, webPod('alone'));
  const alone = await traffic.placeOf(await shop.waitForReady('alone'));
  await holds(
    t,
    'closed',
    [
      flow(client, alone, 8080, false),
      flow(client, web, 8080, false),
      flow(node, alone, 8080, true),
      flow(client, far, 8080, false),
    ].slice(0, 3),
  );
  t.true(((await policies()).drops ?? []).some(({ packets }) => packets > 0));
  await kubectl('-n', 'shop', 'delete', 'networkpolicy', '--all');
  await holds(t, 'open', [flow(client, alone, 8080, true)]);
  await kubectl('-n', 'shop', 'delete', 'pod', 'alone');
  for (const daemon of [kubelet, network]) {
    t.is(await daemon.stop(), 0);
    t.notRegex(daemon.logs(), /forbidden.*networkpolicies/);
  }
  // Without a proxy the numbers are with the kubelet's.
  const both = await start('kubelet,network', dirs.run);
  await both.waitFor('policies are enforced', isEnforced);
  let answer = '';
  await eventually(
    () => `the kubelet serves the numbers: ${answer}`,
    async () => {
      const { object } = await cluster.cluster.request('GET', `/api/v1/nodes/${cluster.nodeName}/proxy/metrics`);
      answer = typeof object === 'string' ? object : JSON.stringify(object);
      return /^keelson_network_policy_enforced 1$/m.test(answer);
    },
  );
});
