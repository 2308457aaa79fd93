import { join } from 'node:path';
import test from 'ava';
import { parseKubeconfig } from '../../src/config/kubeconfig.ts';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { eventually, exec, repositoryRoot } from '../support/exec.ts';
import { createRunDir } from '../support/run-dir.ts';

// deploy/ and script/network-kubeconfig as an administrator uses them, at a real API server with real controllers.

const run = createRunDir();
const deploy = (file: string): string => join(repositoryRoot, 'deploy', file);
let cluster: ControlPlane;

test.before(async () => {
  cluster = await startControlPlane({ run });
  // The lab gives the account rights of its own; here they must come from deploy/.
  await cluster.kubectl('delete', 'clusterrole,clusterrolebinding', 'keelson-network');
  await cluster.kubectl('-n', 'kube-system', 'delete', 'serviceaccount', 'keelson-network');
});
test.after.always('nothing is left', async () => {
  await cluster?.stop();
  await run.remove();
});

async function networkKubeconfig(kubectl: string): Promise<string> {
  const options = { env: { ...process.env, KUBECTL: kubectl, KUBECONFIG: cluster.admin.kubeconfig, TMPDIR: run.path } };
  return exec(join(repositoryRoot, 'script/network-kubeconfig'), [], options);
}

const paths = {
  services: '/api/v1/services',
  nodes: '/api/v1/nodes',
  pods: '/api/v1/pods',
  secrets: '/api/v1/namespaces/kube-system/secrets',
  networkpolicies: '/apis/networking.k8s.io/v1/networkpolicies',
};

test.serial(
  'script/network-kubeconfig, with an old and a current kubectl: one identity, which reads and no more',
  async (t) => {
    const bin = (await exec(join(repositoryRoot, 'script/control-plane'), [])).trim();
    const text = await networkKubeconfig(join(bin, 'kubectl'));
    const { servers, token } = parseKubeconfig(text, '/x');
    t.deepEqual(servers, [cluster.server]);
    const current = (
      await exec(join(repositoryRoot, 'script/control-plane'), ['--kubectl'], { timeoutMs: 300_000 })
    ).trim();
    t.is(await networkKubeconfig(current), text, 'run again, it is the same');

    const as = { kubeconfig: '', token: token !== undefined && 'data' in token ? token.data : '' };
    const get = async (path: string): Promise<number> => (await cluster.request('GET', path, undefined, { as })).code;
    t.is(await get(paths.services), 200);
    t.is(await get(paths.nodes), 200);
    const discovery = (await cluster.request('GET', '/apis/discovery.k8s.io')).object.preferredVersion.groupVersion;
    t.is(await get(`/apis/${discovery}/endpointslices`), 200);
    for (const path of [paths.pods, paths.secrets, paths.networkpolicies]) t.is(await get(path), 403, path);
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-x' } };
    t.is((await cluster.request('POST', paths.nodes, node, { as })).code, 403);

    await cluster.kubectl('apply', '-f', deploy('network-policy.yaml'));
    await eventually('the second role counts', async () => (await get(paths.networkpolicies)) === 200);
    t.is(await get(paths.pods), 200);

    await cluster.kubectl('-n', 'kube-system', 'delete', 'secret', 'keelson-network-token');
    await eventually('deleting the Secret revokes the token', async () => (await get(paths.services)) === 401);
  },
);

test.serial('system-nodes.yaml lets the credential of a node read what it could not', async (t) => {
  const as = await cluster.nodeIdentity('node-a');
  const discovery = (await cluster.request('GET', '/apis/discovery.k8s.io')).object.preferredVersion.groupVersion;
  const get = async (path: string): Promise<number> => (await cluster.request('GET', path, undefined, { as })).code;
  const slices = `/apis/${discovery}/endpointslices`;
  t.is(await get(slices), 403);
  await cluster.kubectl('apply', '-f', deploy('system-nodes.yaml'));
  await eventually('the role counts', async () => (await get(slices)) === 200);
  t.is(await get(paths.nodes), 200);
  t.is(await get(paths.services), 200);
  t.is(await get(paths.networkpolicies), 403);
});

/** As kubeadm makes kube-proxy's (a node selector), and as flannel's manifest has its own (an affinity). */
const daemonSet = (name: string, placement: object): object => ({
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name, namespace: 'default' },
  spec: {
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: {
        hostNetwork: true,
        tolerations: [{ operator: 'Exists' }],
        containers: [{ name: 'main', image: 'registry.invalid/main:1' }],
        ...placement,
      },
    },
  },
});
const linux = { matchExpressions: [{ key: 'kubernetes.io/os', operator: 'In', values: ['linux'] }] };
const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [linux] } } };

test.serial('the patch takes both DaemonSets off labelled nodes, and only off those', async (t) => {
  for (const [name, more] of [
    ['stock', {}],
    ['keelson', { 'keelson.dev/node': '' }],
  ] as const) {
    const labels = { 'kubernetes.io/os': 'linux', ...more };
    await cluster.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels } });
  }
  await cluster.apply(
    daemonSet('kube-proxy', { nodeSelector: { 'kubernetes.io/os': 'linux' } }),
    daemonSet('kube-flannel-ds', { affinity }),
  );
  /** Of each DaemonSet: the nodes that its pods are for. */
  const placed = async (): Promise<string> => {
    const { items } = JSON.parse(await cluster.kubectl('get', 'pods', '-n', 'default', '-o', 'json'));
    return items
      .filter(({ metadata }: { metadata: { deletionTimestamp?: string } }) => metadata.deletionTimestamp === undefined)
      .map((pod: { metadata: { labels: { app: string } }; spec: object }) => {
        const node = /"metadata.name","operator":"In","values":\["([^"]+)"\]/.exec(JSON.stringify(pod.spec))?.[1];
        return `${pod.metadata.labels.app} on ${node}`;
      })
      .toSorted()
      .join(', ');
  };
  /** Of both: how many nodes they are to run on, once the controller has seen the last change. */
  const wanted = async (): Promise<number[]> => {
    const { items } = JSON.parse(await cluster.kubectl('get', 'daemonsets', '-n', 'default', '-o', 'json'));
    return items.map((set: { metadata: { generation: number }; status: Record<string, number> }) =>
      set.status.observedGeneration === set.metadata.generation ? set.status.desiredNumberScheduled : -1,
    );
  };
  await eventually('both are for every node', async () => (await wanted()).join() === '2,2');
  for (const name of ['kube-proxy', 'kube-flannel-ds']) {
    const patch = ['--patch-file', deploy('not-on-keelson-nodes.yaml')];
    const { code, stderr } = await cluster.kubectlResult(['-n', 'default', 'patch', 'daemonset', name, ...patch]);
    t.is(code, 0, stderr);
  }
  await eventually('both are for one node less', async () => (await wanted()).join() === '1,1');
  await eventually('both are off the labelled node', async () => {
    // No kubelet is there to end the pods.
    const args = ['delete', 'pods', '-n', 'default', '--all', '--grace-period=0', '--force', '--wait=false'];
    await cluster.kubectlResult(args);
    return (await placed()) === 'kube-flannel-ds on stock, kube-proxy on stock';
  });

  const undo = JSON.stringify([{ op: 'remove', path: '/spec/template/spec/affinity' }]);
  await cluster.kubectl('-n', 'default', 'patch', 'daemonset', 'kube-proxy', '--type', 'json', '-p', undo);
  await eventually('kube-proxy is for every node again', async () => (await wanted()).join() === '1,2');
  t.pass();
});
