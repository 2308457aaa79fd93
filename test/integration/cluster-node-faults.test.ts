/**
 * What is wrong with a node is named where the people of its cluster look: in a condition of the Node or in an event. A VNI
 * that is taken, a podCIDR or an address that somebody has, certificates that nobody approves, a start that fails.
 * Layer: test (integration, root). One node, the tests run in order; the log is compared along the way.
 */
import test from 'ava';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { type ApiObject, condition } from '../support/cluster-pods.ts';
import { eventually, execResult } from '../support/exec.ts';
import { type KeelsonOptions, keelsonArguments, keelsonBinary } from '../support/keelson.ts';

let on: ClusterNode;
let nodePath: string;
let identities: NonNullable<KeelsonOptions['cluster']>;

test.before(async () => {
  on = await startClusterNode({ images: ['pause', 'busybox'] });
  nodePath = `/api/v1/nodes/${on.nodeName}`;
  const [node, network] = await Promise.all([on.cluster.nodeIdentity(on.nodeName), on.cluster.networkIdentity()]);
  identities = { kubeconfig: node.kubeconfig, networkKubeconfig: network.kubeconfig };
});
test.after.always(() => on?.end());

const conditionOf = (node: ApiObject, wanted: string): ApiObject =>
  node.status?.conditions?.find(({ type }: { type: string }) => type === wanted);

async function events(reason: string): Promise<{ message: string; type: string; count: number }[]> {
  const selector = `fieldSelector=involvedObject.kind=Node,involvedObject.name=${on.nodeName},reason=${reason}`;
  return (await on.cluster.request('GET', `/api/v1/namespaces/default/events?${selector}`)).object.items;
}

const waitForEvent = (reason: string, message: RegExp): Promise<{ message: string; type: string; count: number }> =>
  eventually(
    () => `event ${reason} ${message}\n${on.keelson.logs().split('\n').slice(-15).join('\n')}`,
    async () => (await events(reason)).find((event) => message.test(event.message)),
    90_000,
    200,
  );

const waitForNetwork = (status: 'True' | 'False', reason: string): Promise<ApiObject> =>
  on.waitFor(
    `NetworkUnavailable ${status} ${reason}`,
    nodePath,
    (node) => {
      const found = conditionOf(node, 'NetworkUnavailable');
      return found?.status === status && found.reason === reason ? found : undefined;
    },
    90_000,
  );

test.serial('the overlay is up: NetworkUnavailable is False', async (t) => {
  await on.waitForReady();
  const found = await waitForNetwork('False', 'OverlayIsUp');
  t.regex(found.message, /vxlan/);
});

test.serial('a VNI that somebody has: NetworkUnavailable and an event, until it is free', async (t) => {
  await on.keelson.stop();
  const { node } = on;
  await node.exec('ip', 'link', 'delete', 'keelson-vxlan');
  await node.exec('ip', 'link', 'add', 'foreign9', 'type', 'vxlan', 'id', '1', 'dstport', '8472', 'local', node.nodeIp);
  await on.start();
  const down = await waitForNetwork('True', 'OverlayIsDown');
  t.regex(down.message, /VNI 1 on port 8472 is taken by link foreign9/);
  const event = await waitForEvent('NetworkUnavailable', /taken by link foreign9/);
  t.is(event.type, 'Warning');
  t.regex(on.keelson.logs(), /VNI 1 on port 8472 is taken by link foreign9/);
  await on.waitFor(
    'the controller keeps pods away',
    nodePath,
    ({ spec }) =>
      spec.taints?.some(({ key }: { key: string }) => key === 'node.kubernetes.io/network-unavailable') || undefined,
  );

  await node.exec('ip', 'link', 'delete', 'foreign9');
  const up = await waitForNetwork('False', 'OverlayIsUp');
  t.not(up.lastTransitionTime, undefined);
  t.is((await events('NetworkUnavailable')).filter(({ message }) => message.includes('foreign9')).length, 1);
});

test.serial('another node that has this node’s address', async (t) => {
  const twin = `twin-${on.node.run.id}`;
  await on.cluster.request('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: twin } });
  await on.cluster.request('PATCH', `/api/v1/nodes/${twin}/status`, {
    status: { addresses: [{ type: 'InternalIP', address: on.node.nodeIp }] },
  });
  // Whoever is younger is the one that is wrong: this node registers again, a second later at least.
  const before = await on.get(nodePath);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await on.cluster.request('DELETE', nodePath);
  await on.waitFor('the Node anew', nodePath, ({ metadata }) => metadata.uid !== before.metadata.uid || undefined);
  const event = await waitForEvent('PodNetworkFault', new RegExp(`of node ${twin}, which is older`));
  t.true(event.message.includes(on.node.nodeIp));
  t.true(on.keelson.logs().includes(event.message));
  // What one peer says keeps no pods away.
  await waitForNetwork('False', 'OverlayIsUp');
  await on.cluster.request('DELETE', `/api/v1/nodes/${twin}`);
});

test.serial('a podCIDR that the host uses', async (t) => {
  await on.keelson.stop();
  await on.start({ podCidr: '198.51.100.0/25' });
  const found = await waitForNetwork('True', 'PodNetworkNotStarted');
  t.regex(found.message, /198\.51\.100\.0\/25: overlaps address 198\.51\.100\.\d+/);
  await waitForEvent('NetworkUnavailable', /198\.51\.100\.0\/25: overlaps/);
  await on.keelson.stop();
});

const approve = (name: string): Promise<unknown> => on.cluster.kubectl('certificate', 'approve', name);

test.serial('certificates that nobody approves, then one denied: events say how; metrics count', async (t) => {
  const config = JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: on.cluster.caFile } },
    serverTLSBootstrap: true,
    rotateCertificates: true,
  });
  await on.start({ config });
  const requestIn = (message: string): string => /kubectl certificate approve (csr-\w+)/.exec(message)?.[1] ?? '';
  const client = await waitForEvent('CertificateRequestPending', /^client certificate .*waits for approval/);
  const serving = await waitForEvent('CertificateRequestPending', /^serving certificate .*waits for approval/);
  t.regex(on.keelson.logs(), /the certificate request still waits for approval/);
  await on.cluster.kubectl('certificate', 'deny', requestIn(serving.message));
  const denied = await waitForEvent('CertificateRequestDenied', /^serving certificate .*was denied: KubectlDeny/);
  t.true(denied.message.includes(requestIn(serving.message)));
  await approve(requestIn(client.message));
  await eventually('the next serving certificate', async () => {
    const { object } = await on.cluster.request('GET', '/apis/certificates.k8s.io/v1/certificatesigningrequests');
    const waiting = object.items.filter(({ status }: ApiObject) => status?.conditions === undefined);
    for (const { metadata } of waiting) await approve(metadata.name);
    const { certificates } = await on.keelson.status();
    return certificates?.serving?.valid === true && certificates.client?.trouble === undefined;
  });
  const { object: text } = await on.cluster.request('GET', `${nodePath}/proxy/metrics`);
  const metrics = String(text);
  t.regex(metrics, /^kubelet_certificate_manager_client_ttl_seconds \d+$/m);
  t.regex(metrics, /^kubelet_certificate_manager_server_ttl_seconds \d+$/m);
  t.regex(metrics, /^kubelet_server_expiration_renew_errors [1-9]\d*$/m);
  t.regex(metrics, /^kubelet_certificate_manager_client_expiration_renew_errors 0$/m);
  t.regex(metrics, /^kubelet_certificate_manager_server_rotation_seconds_count 0$/m);
  await on.keelson.stop();
});

/** The daemon as systemd starts it: it ends by itself. */
const failing = (config: string): ReturnType<typeof execResult> => {
  const { node } = on;
  const { endpoint, cniConfDir, cniBinDir } = node.containerd;
  const options: KeelsonOptions = {
    dirs: node.dirs,
    endpoint,
    cniConfDir,
    cniBinDir,
    netns: node.netns,
    hostname: on.nodeName,
    cluster: identities,
    args: ['--config', config],
    logFile: '/dev/null',
  };
  return execResult(keelsonBinary, keelsonArguments(options), { netns: node.netns });
};

test.serial('a configuration that cannot be used: an event of the Node, one for all restarts', async (t) => {
  for (let n = 0; n < 3; n++) {
    const { code, stderr } = await failing('/nowhere/config.yaml');
    t.is(code, 1);
    t.regex(stderr, /^keelson: \/nowhere\/config\.yaml: cannot be read .*\[CONFIG_FILE\]\n$/);
  }
  const found = (await events('NodeAgentNotStarted')).filter(({ message }) => message.includes('/nowhere/config.yaml'));
  t.is(found.length, 1);
  t.is(found[0]?.type, 'Warning');
  t.regex(found[0]?.message ?? '', /^Keelson cannot start: .*cannot be read .*\[CONFIG_FILE\]$/);
});

test.serial('after all that the node is as it was', async (t) => {
  await on.start();
  await on.waitForReady();
  t.is(condition(await on.get(nodePath), 'Ready'), 'True');
  await waitForNetwork('False', 'OverlayIsUp');
});
