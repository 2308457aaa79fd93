/**
 * deploy/kube-proxy.yaml on a real control plane: Keelson's proxy as a DaemonSet in kube-proxy's place, with the ConfigMap and
 * the rights that kubeadm gives kube-proxy, on a node whose own daemon has no proxy role.
 * Layer: test (integration, root).
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { parseAllDocuments, stringify } from 'yaml';
import { busyboxImage } from '../images/build.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { kubernetesServiceIp } from '../support/control-plane-flags.ts';
import { eventually, execResult, repositoryRoot } from '../support/exec.ts';
import { buildKeelsonImage, keelsonImage } from '../support/keelson-image.ts';

const pods = '/api/v1/namespaces/kube-system/pods';
let it: ClusterNode;

test.before(async () => {
  it = await startClusterNode({ keelson: { args: ['--roles', 'kubelet,network'] } });
  // kubectl logs and exec come with a certificate.
  await it.keelson.stop();
  const config = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: it.cluster.caFile } },
  };
  await it.start({ config: stringify(config) });
  await it.node.exec('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  await it.node.containerd.ctr('images', 'import', ...howToUnpack(), await buildKeelsonImage(it.node.run.path));
  await it.waitForReady();
});
test.after.always(() => it?.end());

/** As test/support/containerd.ts does it. */
const howToUnpack = (): string[] => (it.node.containerd.version.startsWith('1.') ? [] : ['--local']);

/** What `kubeadm init` leaves for kube-proxy (cmd/kubeadm/app/phases/addons/proxy), with our control plane's address. */
async function applyKubeadmAddon(mode: string): Promise<void> {
  const config = {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    bindAddress: '0.0.0.0',
    bindAddressHardFail: false,
    clientConnection: {
      acceptContentTypes: '',
      burst: 0,
      contentType: '',
      kubeconfig: '/var/lib/kube-proxy/kubeconfig.conf',
      qps: 0,
    },
    clusterCIDR: '10.244.0.0/16',
    configSyncPeriod: '0s',
    conntrack: { maxPerCore: null, min: null, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null },
    detectLocal: { bridgeInterface: '', interfaceNamePrefix: '' },
    detectLocalMode: '',
    enableProfiling: false,
    healthzBindAddress: '',
    hostnameOverride: '',
    iptables: {
      localhostNodePorts: null,
      masqueradeAll: false,
      masqueradeBit: null,
      minSyncPeriod: '0s',
      syncPeriod: '0s',
    },
    ipvs: {
      excludeCIDRs: null,
      minSyncPeriod: '0s',
      scheduler: '',
      strictARP: false,
      syncPeriod: '0s',
      tcpFinTimeout: '0s',
      tcpTimeout: '0s',
      udpTimeout: '0s',
    },
    logging: {
      flushFrequency: 0,
      options: { json: { infoBufferSize: '0' }, text: { infoBufferSize: '0' } },
      verbosity: 0,
    },
    metricsBindAddress: '',
    mode,
    nftables: { masqueradeAll: false, masqueradeBit: null, minSyncPeriod: '0s', syncPeriod: '0s' },
    nodePortAddresses: null,
    oomScoreAdj: null,
    portRange: '',
    showHiddenMetricsForVersion: '',
    winkernel: {
      enableDSR: false,
      forwardHealthCheckVip: false,
      networkName: '',
      rootHnsEndpointName: '',
      sourceVip: '',
    },
  };
  const account = '/var/run/secrets/kubernetes.io/serviceaccount';
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { cluster: { 'certificate-authority': `${account}/ca.crt`, server: it.cluster.server }, name: 'default' },
    ],
    contexts: [{ context: { cluster: 'default', namespace: 'default', user: 'default' }, name: 'default' }],
    'current-context': 'default',
    users: [{ name: 'default', user: { tokenFile: `${account}/token` } }],
  };
  await it.cluster.apply(
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'kube-proxy', namespace: 'kube-system' } },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'kube-proxy', namespace: 'kube-system', labels: { app: 'kube-proxy' } },
      data: { 'config.conf': stringify(config), 'kubeconfig.conf': stringify(kubeconfig) },
    },
  );
}

/** The file as it is, but for what its reader is told to change, and for the machine’s own folders. */
function manifestFile(): string {
  const documents = parseAllDocuments(readFileSync(join(repositoryRoot, 'deploy/kube-proxy.yaml'), 'utf8')).map(
    (document) => document.toJS(),
  );
  for (const { kind, spec } of documents) {
    if (kind !== 'DaemonSet') continue;
    const { containers, volumes } = spec.template.spec;
    containers[0].image = keelsonImage;
    for (const { hostPath } of volumes)
      if (hostPath !== undefined) hostPath.path = join(it.node.run.path, hostPath.path);
  }
  // Where every machine has its /run.
  mkdirSync(join(it.node.run.path, 'run'), { recursive: true });
  const file = join(it.node.run.path, 'kube-proxy.yaml');
  writeFileSync(file, documents.map((document) => stringify(document)).join('---\n'));
  return file;
}

// biome-ignore lint/suspicious/noExplicitAny: whatever the API server said.
async function proxyPod(): Promise<any> {
  const { object } = await it.cluster.request('GET', `${pods}?labelSelector=k8s-app%3Dkeelson-proxy`);
  return object.items?.[0];
}

const waitUntilReady = (otherThan = ''): Promise<string> =>
  eventually(
    'the pod of the DaemonSet is ready',
    async () => {
      const pod = await proxyPod();
      const isReady = pod?.status.conditions?.some(
        ({ type, status }: { type: string; status: string }) => type === 'Ready' && status === 'True',
      );
      return isReady === true && pod.metadata.name !== otherThan ? (pod.metadata.name as string) : undefined;
    },
    180_000,
    500,
  );

/** The API server through its own Service. */
async function throughService(): Promise<string> {
  const args = ['-s', '--max-time', '5', '--cacert', it.cluster.caFile, '-o', '/dev/null', '-w', '%{http_code}'];
  const url = `https://${kubernetesServiceIp}/version`;
  return (await execResult('curl', [...args, url], { netns: it.node.netns })).stdout;
}
const proxyMode = async (): Promise<string> =>
  (await execResult('curl', ['-s', '127.0.0.1:10249/proxyMode'], { netns: it.node.netns })).stdout;

test.serial('in kube-proxy’s place: Services are answered, for the node and for pods', async (t) => {
  t.timeout(300_000);
  t.is(await throughService(), '000', 'nobody serves before');
  await applyKubeadmAddon('');
  await it.cluster.kubectl('apply', '-f', manifestFile());
  const name = await waitUntilReady();
  t.is(await throughService(), '200');
  t.is(await proxyMode(), 'nftables');
  const log = await it.cluster.kubectl('-n', 'kube-system', 'logs', name);
  t.notRegex(log, /forbidden|"level":(?:50|"error")/i, log);
  const status = await it.cluster.kubectl('-n', 'kube-system', 'exec', name, '--', 'keelson', 'status');
  t.regex(status, /^Services: 1, 1 endpoints, in the kernel$/m);
  const { spec, status: podStatus } = await proxyPod();
  t.is(podStatus.podIP, it.node.nodeIp);
  t.is(spec.nodeName, it.nodeName);

  const labels = { app: 'web' };
  const command = ['sh', '-c', 'echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp'];
  const containers = [{ name: 'main', image: busyboxImage, command }];
  await it.cluster.apply(
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web', namespace: 'default', labels },
      spec: { nodeName: it.nodeName, terminationGracePeriodSeconds: 1, containers },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'default' },
      spec: { selector: labels, ports: [{ port: 8080, targetPort: 80 }] },
    },
  );
  await it.cluster.kubectl('wait', '--for=condition=Ready', 'pod/web', '--timeout=60s');
  const { object } = await it.cluster.request('GET', '/api/v1/namespaces/default/services/web');
  const url = `http://${object.spec.clusterIP}:8080/`;
  const fromNode = () => execResult('curl', ['-s', '--max-time', '5', url], { netns: it.node.netns });
  await eventually('the node is answered', async () => (await fromNode()).stdout === 'hello\n');
  // Not by wget, which looks for a resolver even for an address.
  const ask = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${object.spec.clusterIP} 8080`;
  const fromPod = await it.cluster.kubectl('exec', 'web', '--', 'sh', '-c', ask);
  t.true(fromPod.endsWith('hello\n'), `by itself, as it happens: ${fromPod}`);
});

test.serial('a new pod of it, in another mode by the ConfigMap: traffic goes on, and the old rules go', async (t) => {
  t.timeout(300_000);
  const old = (await proxyPod()).metadata.name;
  await applyKubeadmAddon('iptables');
  await it.cluster.kubectl('-n', 'kube-system', 'delete', 'pod', old, '--wait=true');
  t.is(await throughService(), '200', 'also while none runs');
  await waitUntilReady(old);
  t.is(await proxyMode(), 'iptables');
  await eventually('the table is gone', async () => !(await tables()).includes('keelson-proxy'));
  t.is(await throughService(), '200');
  t.regex(await it.node.exec('iptables-save'), /^:KUBE-SERVICES/m);
});

const tables = (): Promise<string> => it.node.exec('/usr/sbin/nft', 'list', 'tables');
