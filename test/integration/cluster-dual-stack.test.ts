/**
 * A cluster with pods and Services of both families: addresses in the Node and in pods as the API has them, Services over
 * both, probes to IPv6, restarts. Other nodes of such a cluster are test/kernel/overlay-dual-stack.test.ts'.
 * Layer: test (integration, root). One node, the tests run in order.
 */
import test from 'ava';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import {
  type ApiObject,
  type ClusterPods,
  clusterPods,
  condition,
  fetchFrom,
  service,
} from '../support/cluster-pods.ts';
import { clusterCidr6 } from '../support/control-plane-flags.ts';
import { container, type Manifest } from '../support/daemon.ts';
import { eventually, exec } from '../support/exec.ts';
import { nodeIp } from '../support/netns.ts';

const nodeIp6 = 'fd00:db8::2';
const args = (nodeIps: string): string[] => ['--node-ip', nodeIps, '--cluster-cidr', `10.244.0.0/16,${clusterCidr6}`];

let on: ClusterNode;
let pods: ClusterPods;
let nodePath: string;

test.before(async () => {
  on = await startClusterNode({
    images: ['pause', 'busybox'],
    controlPlane: { dualStack: true },
    keelson: { args: args(`${nodeIp},${nodeIp6}`) },
  });
  const { netns, outside } = on.node;
  await exec('ip', ['-n', netns, 'addr', 'add', `${nodeIp6}/64`, 'dev', 'up0', 'nodad']);
  await exec('ip', ['-n', outside, 'addr', 'add', 'fd00:db8::1/64', 'dev', 'up0', 'nodad']);
  await exec('ip', ['-n', netns, 'route', 'add', 'default', 'via', 'fd00:db8::1', 'dev', 'up0']);
  nodePath = `/api/v1/nodes/${on.nodeName}`;
  pods = clusterPods(on);
  await on.waitForReady(120_000);
});
test.after.always(() => on?.end());

const podIPs = (pod: ApiObject): string[] => pod.status.podIPs.map(({ ip }: { ip: string }) => ip);

/** Serves its name at an address of the pod alone, by default at all of them. */
const web = (name: string, address = ''): Manifest => {
  const fieldRef = { fieldPath: 'status.podIP' };
  const podIPsOf = { fieldPath: 'status.podIPs' };
  const script = `mkdir /www; echo ${name} > /www/index.html; exec httpd -f -h /www -p ${address}8080`;
  return {
    terminationGracePeriodSeconds: 0,
    containers: [
      container('web', ['sh', '-c', script], {
        env: [
          { name: 'POD_IP', valueFrom: { fieldRef } },
          { name: 'POD_IPS', valueFrom: { fieldRef: podIPsOf } },
          { name: 'HOST_IP', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
        ],
        readinessProbe: { httpGet: { port: 8080, path: '/' }, periodSeconds: 1 },
      }),
    ],
  };
};
const url = (ip: string, port: number): string => `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/`;
const answers = (ip: string, port: number, name: string): Promise<unknown> =>
  eventually(`${name} answers at ${ip}`, async () => (await fetchFrom(on, url(ip, port))) === name, 30_000, 100);
/** A pod asks: busybox' nc takes either family. */
const asks = async (pod: ApiObject, ip: string, port: number): Promise<string> => {
  const request = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc ${ip} ${port} | tail -n 1`;
  return (await pods.exec(pod, request)).stdout.trim();
};

test.serial('the Node has addresses and pod networks of both families, and its network is up', async (t) => {
  const node = await on.waitFor('the Node has two pod networks, and its network is up', nodePath, (object) =>
    condition(object, 'NetworkUnavailable') === 'False' ? object : undefined,
  );
  t.is(node.spec.podCIDRs.length, 2);
  t.regex(node.spec.podCIDRs[0], /^10\.244\.\d+\.0\/24$/);
  t.regex(node.spec.podCIDRs[1], /^fd00:244:.*\/64$/);
  const internal = node.status.addresses.filter(({ type }: { type: string }) => type === 'InternalIP');
  t.deepEqual(
    internal.map(({ address }: { address: string }) => address),
    [nodeIp, nodeIp6],
  );
  const status = await on.keelson.command('status');
  t.regex(status.stdout, /Other nodes \(IPv4, vxlan\): none reached/);
  t.regex(status.stdout, /Other nodes \(IPv6, vxlan\): none reached/);
  const links = await on.node.exec('ip', '-d', 'link');
  t.regex(links, /keelson-vxlan6:.*\n.*\n\s+vxlan id 1 local fd00:db8::2/);
});

test.serial(
  'a pod has an address of each: in its status, its environment, its hosts file, and for who asks',
  async (t) => {
    await pods.createPod('a', web('a'), { labels: { app: 'web' } });
    const [pod] = await pods.waitForReady('a');
    const ips = podIPs(pod);
    t.is(ips.length, 2);
    t.regex(ips[0] ?? '', /^10\.244\./);
    t.regex(ips[1] ?? '', /^fd00:244:/);
    t.is(pod.status.podIP, ips[0]);
    t.is(pod.status.hostIP, nodeIp);
    for (const ip of ips) await answers(ip, 8080, 'a');
    t.is((await pods.exec(pod, 'echo $POD_IPS $HOST_IP')).stdout.trim(), `${ips.join()} ${nodeIp}`);
    const hosts = (await pods.exec(pod, 'cat /etc/hosts')).stdout;
    for (const ip of ips) t.true(hosts.includes(`${ip}\ta`), hosts);
  },
);

test.serial(
  'Services: one over both families, one of IPv6 alone; from the node and from a pod, itself included',
  async (t) => {
    await pods.create(service('both', { app: 'web' }, { ipFamilyPolicy: 'RequireDualStack' }));
    await pods.create(service('six', { app: 'web' }, { ipFamilies: ['IPv6'], ipFamilyPolicy: 'SingleStack' }));
    await pods.createPod('client', web('client'));
    const [client] = await pods.waitForReady('client');
    const [server] = await pods.waitForReady('a');
    const [dual, six] = [
      await on.get('/api/v1/namespaces/default/services/both'),
      await on.get('/api/v1/namespaces/default/services/six'),
    ];
    t.is(dual.spec.clusterIPs.length, 2);
    t.regex(six.spec.clusterIP, /^fd00:96:/);
    for (const ip of [...dual.spec.clusterIPs, six.spec.clusterIP]) {
      await answers(ip, 80, 'a');
      t.is(await asks(client, ip, 80), 'a', ip);
      t.is(await asks(server, ip, 80), 'a', `hairpin ${ip}`);
    }
  },
);

test.serial('a pod of the host’s network has the node’s addresses', async (t) => {
  await pods.createPod('host', { hostNetwork: true });
  const [pod] = await pods.waitForReady('host');
  t.deepEqual(podIPs(pod), [nodeIp, nodeIp6]);
});

test.serial('kill -9: pods keep their addresses, and Services answer over both families', async (t) => {
  const before = podIPs(await pods.get('a'));
  await on.keelson.kill9();
  await on.start();
  await on.keelson.waitFor('the network is there', ({ network }) => network !== undefined);
  t.deepEqual(podIPs(await pods.get('a')), before);
  const dual = await on.get('/api/v1/namespaces/default/services/both');
  for (const ip of [...before.map((ip) => [ip, 8080] as const), ...dual.spec.clusterIPs.map((ip: string) => [ip, 80])])
    await answers(ip[0], ip[1], 'a');
});

test.serial('IPv6 first: the Node’s and pods’ first address is of IPv6, and probes go there', async (t) => {
  await on.keelson.stop();
  await on.start({ args: args(`${nodeIp6},${nodeIp}`) });
  await on.waitFor(
    'the Node has its IPv6 address first',
    nodePath,
    ({ status }) =>
      status.addresses.find(({ type }: { type: string }) => type === 'InternalIP')?.address === nodeIp6 || undefined,
  );
  // It listens at its IPv6 address alone: a probe to the other one would never pass.
  await pods.createPod('six', web('six', '[$POD_IP]:'));
  const [pod] = await pods.waitForReady('six');
  t.regex(pod.status.podIP, /^fd00:244:/);
  t.is(pod.status.hostIP, nodeIp6);
  t.is(podIPs(pod).length, 2);
  await answers(pod.status.podIP, 8080, 'six');
});

const routesTo = async (prefix: string): Promise<string> =>
  (await on.node.exec('ip', prefix.includes(':') ? '-6' : '-4', 'route', 'show', prefix)).trim();

test.serial(
  'Nodes that come: a way for each family that they have; one that takes what is another’s is named',
  async (t) => {
    const add = async (name: string, podCIDRs: string[], addresses: string[]): Promise<void> => {
      const metadata = { name: `${name}-${on.node.run.id}` };
      const spec = { podCIDR: podCIDRs[0], podCIDRs };
      const created = await on.cluster.request('POST', '/api/v1/nodes', {
        apiVersion: 'v1',
        kind: 'Node',
        metadata,
        spec,
      });
      t.is(created.code, 201, JSON.stringify(created.object));
      const status = { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) };
      // The API server merges addresses by their type: replaced as a whole, as nodes do it.
      await on.cluster.request(
        'PATCH',
        `/api/v1/nodes/${metadata.name}/status`,
        { status },
        { contentType: 'application/merge-patch+json' },
      );
    };
    await add('two', ['10.244.200.0/24', 'fd00:244:0:c8::/64'], ['198.51.100.3', 'fd00:db8::3']);
    await add('lone', ['fd00:244:0:c9::/64'], ['fd00:db8::4']);
    await add('old', ['10.244.202.0/24', 'fd00:244:0:ca::/64'], ['198.51.100.5']);
    await add('thief', ['10.244.203.0/24', 'fd00:244:0:c8::/64'], ['198.51.100.6', 'fd00:db8::6']);
    const reached = async (prefix: string, way: RegExp): Promise<void> => {
      await eventually(`a way to ${prefix}`, async () => way.test(await routesTo(prefix)), 30_000, 100);
    };
    await reached('10.244.200.0/24', /dev keelson-vxlan proto 75/);
    await reached('fd00:244:0:c8::/64', /via fe80::\S+ dev keelson-vxlan6 proto 75/);
    await reached('fd00:244:0:c9::/64', /dev keelson-vxlan6/);
    await reached('10.244.202.0/24', /dev keelson-vxlan proto/);
    await reached('10.244.203.0/24', /dev keelson-vxlan proto/);
    t.is(await routesTo('fd00:244:0:ca::/64'), '');
    const { stdout } = await on.keelson.command('status');
    t.regex(stdout, /Other nodes \(IPv4, vxlan\): 3 by VXLAN/);
    t.regex(stdout, /Other nodes \(IPv6, vxlan\): 2 by VXLAN/);
    t.regex(
      stdout,
      /NOT REACHED: node old-\S+: it is reached by IPv4 \(198\.51\.100\.5\), and this node sends by IPv6/,
    );
    t.regex(stdout, /NOT REACHED: node (thief|two)-\S+: podCIDR fd00:244:0:c8::\/64 overlaps/);
    t.is(condition(await on.get(nodePath), 'NetworkUnavailable'), 'False');
    for (const name of ['two', 'lone', 'old', 'thief'])
      await on.cluster.request('DELETE', `/api/v1/nodes/${name}-${on.node.run.id}`);
    await eventually('their ways are gone', async () => (await routesTo('fd00:244:0:c9::/64')) === '', 30_000, 100);
  },
);

test.serial('a node of IPv6 alone: its pods have that address and no other', async (t) => {
  for (const name of ['a', 'client', 'host', 'six']) await pods.remove(name, true);
  await pods.waitForNoPods();
  await on.keelson.stop();
  await on.start({ args: args(nodeIp6), podCidr: 'fd00:244:0:99::/64' });
  await pods.createPod('alone', web('alone'), { labels: { app: 'web' } });
  const [pod] = await pods.waitForReady('alone');
  t.deepEqual(podIPs(pod), [pod.status.podIP]);
  t.regex(pod.status.podIP, /^fd00:244:0:99:/);
  t.deepEqual(pod.status.hostIP, nodeIp6);
  await answers(pod.status.podIP, 8080, 'alone');
  const six = await on.get('/api/v1/namespaces/default/services/six');
  await answers(six.spec.clusterIP, 80, 'alone');
  t.notRegex(await on.node.exec('ip', 'link'), /keelson-vxlan:/);
  t.true((await pods.exec(pod, 'cat /etc/hosts')).stdout.includes(`${pod.status.podIP}\talone`));
  await pods.remove('alone', true);
});

test.serial('pods end, and nothing of either family is left', async (t) => {
  await pods.waitForNoPods();
  const lines = async (): Promise<string[]> =>
    [
      ...(await on.node.exec('ip', 'route', 'show', 'proto', '75')).split('\n'),
      ...(await on.node.exec('ip', '-6', 'route', 'show', 'proto', '75')).split('\n'),
    ].filter((line) => / dev kl/.test(line));
  await eventually('no route to a pod is left', async () => (await lines()).length === 0, 30_000, 100);
  t.notRegex(on.keelson.logs(), /"level":"(fatal)"/);
});
