/**
 * A node joins a cluster with a bootstrap token, as `kubeadm join` of the current releases does it: its files, flags and waits
 * replayed step by step against a real control plane that approves and signs. Then what may go wrong on the way, renewal, and
 * the serving certificate.
 * Layer: test (integration, root). One machine; each test joins it under another name, one after the other.
 */
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import test from 'ava';
import { parse, stringify } from 'yaml';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { podManifest } from '../support/daemon.ts';
import { eventually, exec } from '../support/exec.ts';
import { createToken, type JoiningNode, joiningNode, kubeadmBindings } from '../support/joining-node.ts';
import { createTestNode, type TestNode } from '../support/node.ts';

let node: TestNode;
let cluster: ControlPlane;
const joined: JoiningNode[] = [];

test.before(async () => {
  node = await createTestNode({ images: ['pause', 'busybox'] });
  cluster = await startControlPlane({
    run: node.run,
    netns: node.outside,
    address: node.outsideIp,
    // Dated back by five minutes, they are valid for 90 seconds, and renewed after 90 at most (1.20).
    flags: { controllerManager: ['--cluster-signing-duration=390s'] },
  });
  await cluster.apply(...Object.values(kubeadmBindings));
});
test.afterEach.always(async () => {
  for (const joining of joined.splice(0)) if (joining.exit() === undefined) await joining.kill9();
});
test.after.always(async () => {
  await cluster?.stop();
  await node?.stop();
});

function joining(name: string): JoiningNode {
  const made = joiningNode(node, cluster, `${name}-${node.run.id}`);
  joined.push(made);
  return made;
}

const logHas = (on: JoiningNode, pattern: RegExp, timeoutMs = 60_000): Promise<true> =>
  eventually(
    () => `the log has ${pattern}:\n${on.log().split('\n').slice(-15).join('\n')}`,
    () => pattern.test(on.log()) || undefined,
    timeoutMs,
  );

// biome-ignore lint/suspicious/noExplicitAny: whatever the API server said.
const nodeObject = async (name: string): Promise<any> => {
  const { code, object } = await cluster.request('GET', `/api/v1/nodes/${name}`);
  return code === 200 ? object : undefined;
};

const isReady = async (name: string): Promise<boolean> =>
  (await nodeObject(name))?.status?.conditions?.some(
    ({ type, status }: { type: string; status: string }) => type === 'Ready' && status === 'True',
  ) === true;

/** Below 1.27 the approvers want one more. */
const usages = (purpose: string): string[] => [
  'digital signature',
  purpose,
  ...(Number(cluster.version.split('.')[1]) < 27 ? ['key encipherment'] : []),
];

const certificateOf = (on: JoiningNode): X509Certificate => new X509Certificate(readFileSync(on.files.current));

test.serial('join as kubeadm does: files, healthz, kubelet.conf, certificate, Ready; then renewal', async (t) => {
  const on = joining('join');
  const token = await createToken(cluster);
  const network = await cluster.networkIdentity();
  // Phase preflight: the current kubeadm runs this and reads the version.
  t.regex(await exec('bin/keelson', ['kubelet', '--version']), /^Kubernetes v1\.36\.\d+\n$/);
  for (const file of [on.files.kubeconfig, on.files.bootstrapKubeconfig]) t.false(existsSync(file));
  // Phase kubelet-start.
  on.writeFiles(token);
  const roles = ['--roles=kubelet,proxy,network', `--network-kubeconfig=${network.kubeconfig}`];
  const { cniConfDir, cniBinDir } = node.containerd;
  const extra = [
    ...roles,
    '--cluster-cidr=10.244.0.0/16',
    `--cni-conf-dir=${cniConfDir}`,
    `--cni-bin-dir=${cniBinDir}`,
  ];
  on.start(extra);
  await on.waitForHealthz();
  // Phase kubelet-wait-bootstrap, which then removes the bootstrap file.
  await on.waitForKubeconfig();
  await eventually('the Node is Ready', () => isReady(on.name), 90_000);

  // What it left is what the kubelet leaves.
  const conf = parse(readFileSync(on.files.kubeconfig, 'utf8'));
  t.is(statSync(on.files.kubeconfig).mode & 0o777, 0o600);
  t.is(conf['current-context'], 'default-context');
  t.deepEqual(conf.contexts, [
    { name: 'default-context', context: { cluster: 'default-cluster', namespace: 'default', user: 'default-auth' } },
  ]);
  t.is(conf.clusters[0].name, 'default-cluster');
  t.is(conf.clusters[0].cluster.server, cluster.server);
  t.deepEqual(conf.users, [
    { name: 'default-auth', user: { 'client-certificate': on.files.current, 'client-key': on.files.current } },
  ]);
  const file = readlinkSync(on.files.current);
  t.regex(basename(file), /^kubelet-client-\d{4}(-\d{2}){5}\.pem$/);
  t.is(statSync(file).mode & 0o777, 0o600);
  t.regex(readFileSync(file, 'utf8'), /^-----BEGIN CERTIFICATE-----[\s\S]*-----BEGIN PRIVATE KEY-----/);
  t.is(certificateOf(on).subject, `O=system:nodes\nCN=system:node:${on.name}`);
  const [request] = await on.requests();
  t.is(request.metadata.generateName, 'csr-');
  t.like(request.spec, {
    signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
    usages: usages('client auth'),
    username: `system:bootstrap:${token.split('.')[0]}`,
  });

  // Renewed with the certificate itself, the bootstrap file being gone, while the daemon runs on.
  const { serialNumber: first, validToDate } = certificateOf(on);
  await eventually('the certificate was renewed', () => certificateOf(on).serialNumber !== first, 400_000, 500);
  const second = certificateOf(on).serialNumber;
  await eventually('and once more', () => certificateOf(on).serialNumber !== second, 400_000, 500);
  t.is((await on.requests()).at(-1).spec.username, `system:node:${on.name}`);
  // What is used by then is not the first one any more.
  await eventually('the first certificate has expired', () => Date.now() > validToDate.getTime(), 150_000, 1000);
  const lease = `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${on.name}`;
  const renewTime = async (): Promise<string> => (await cluster.request('GET', lease)).object.spec.renewTime;
  const seen = await renewTime();
  await eventually('the Lease is renewed', async () => (await renewTime()) !== seen, 60_000, 500);
  t.true(await isReady(on.name));
  t.is(on.exit(), undefined);
  const { certificates, node: registered } = await on.status();
  t.like(certificates, { client: { valid: true } });
  t.like(registered, { registered: true, ready: 'Ready' });

  // A restart: no bootstrap file, and no new request before one is due.
  const before = (await on.requests()).length;
  await on.stop();
  on.start(extra);
  await on.waitForHealthz();
  await eventually('the Node is registered again', async () => (await on.status()).node?.registered === true, 60_000);
  t.true((await on.requests()).length <= before + 1);
});

test.serial(
  'nobody approves: healthz and static pods are there, the request outlives kill -9, and approval ends it',
  async (t) => {
    const on = joining('pending');
    await cluster.kubectl('delete', 'clusterrolebinding', kubeadmBindingName('approveNew'));
    t.teardown(() => cluster.apply(kubeadmBindings.approveNew));
    on.writeFiles(await createToken(cluster));
    const pod = { ...podManifest('static'), spec: { ...(podManifest('static').spec as object), hostNetwork: true } };
    writeFileSync(join(on.files.manifests, 'pod.yaml'), stringify(pod));
    on.start();
    await on.waitForHealthz();
    const pending = await eventually('a request', async () => (await on.requests())[0], 60_000);
    const says = await eventually(
      () => `status says what it waits for\n${on.log()}`,
      async () => {
        const trouble = (await on.status().catch(() => undefined))?.certificates?.client?.trouble;
        return trouble?.includes(`kubectl certificate approve ${pending.metadata.name}`) ? trouble : undefined;
      },
      60_000,
    );
    t.regex(says, /waits for approval/);
    await eventually(
      () => `the static pod runs\n${on.log()}`,
      async () => (await on.status()).pods.some(({ summary }) => summary === 'Running'),
      90_000,
    );
    const podUid = (await on.status()).pods[0]?.uid;
    t.false(existsSync(on.files.current));
    t.true(existsSync(on.files.kubeconfig), 'written before any certificate');
    t.is(await nodeObject(on.name), undefined);

    await on.kill9();
    on.start();
    await on.waitForHealthz();
    await logHas(on, /was asked for before the restart/);
    t.is((await on.requests()).length, 1, 'the same request');
    await eventually('the same pod', async () => (await on.status()).pods?.[0]?.uid === podUid, 60_000);
    await cluster.kubectl('certificate', 'approve', pending.metadata.name);
    await on.waitForKubeconfig();
    await eventually('the Node', () => nodeObject(on.name), 60_000);
    t.is((await on.requests())[0].metadata.uid, pending.metadata.uid);
    t.false(existsSync(join(on.files.pki, 'kubelet-client-pending.json')));
  },
);

const kubeadmBindingName = (key: keyof typeof kubeadmBindings): string =>
  (kubeadmBindings[key] as { metadata: { name: string } }).metadata.name;

test.serial('a request that is denied is named with its reason, and another follows', async (t) => {
  const on = joining('denied');
  await cluster.kubectl('delete', 'clusterrolebinding', kubeadmBindingName('approveNew'));
  t.teardown(() => cluster.apply(kubeadmBindings.approveNew));
  on.writeFiles(await createToken(cluster));
  on.start();
  const first = await eventually('a request', async () => (await on.requests())[0], 60_000);
  await cluster.kubectl('certificate', 'deny', first.metadata.name);
  await logHas(on, new RegExp(`CertificateSigningRequest ${first.metadata.name}: was denied: KubectlDeny`));
  const second = await eventually(
    'another request',
    async () => (await on.requests()).find(({ metadata }) => metadata.uid !== first.metadata.uid),
    60_000,
  );
  t.not(second.spec.request, first.spec.request, 'with another key');
  await cluster.kubectl('certificate', 'approve', second.metadata.name);
  await on.waitForKubeconfig();
});

test.serial('a wrong token is named; healthz is 200 all the same; a good one helps after a restart', async (t) => {
  const on = joining('token');
  on.writeFiles('abcdef.0123456789abcdef');
  on.start();
  await on.waitForHealthz();
  await logHas(on, /bootstrap kubeconfig .*: the API server does not know its token: it is wrong or has expired/);
  t.is(await on.healthz(), 200);
  const { certificates } = await eventually(
    'status',
    async () => {
      const status = await on.status().catch(() => undefined);
      return status?.certificates === undefined ? undefined : status;
    },
    60_000,
  );
  t.regex(certificates?.client?.trouble ?? '', /kubeadm token create/);
  await on.stop();
  on.writeFiles(await createToken(cluster));
  on.start();
  await on.waitForKubeconfig();
});

test.serial('neither a certificate nor a bootstrap kubeconfig: one line says how to join again', async (t) => {
  const on = joining('neither');
  on.writeFiles('abcdef.0123456789abcdef');
  await exec('rm', [on.files.bootstrapKubeconfig]);
  on.start();
  await eventually('it has ended', () => on.exit() !== undefined, 60_000);
  t.is(on.exit(), 1);
  const [line, ...more] = on
    .log()
    .split('\n')
    .filter((text) => text.startsWith('keelson: '));
  t.regex(
    line ?? '',
    /bootstrap-kubelet\.conf: there is no valid certificate .*kubeadm token create.*\[BOOTSTRAP_MISSING\]/,
  );
  t.deepEqual(more, []);
});

test.serial(
  'serverTLSBootstrap: no serving certificate until somebody approves, then one with the addresses',
  async (t) => {
    const on = joining('serving');
    on.writeFiles(await createToken(cluster), { serverTLSBootstrap: true });
    on.start();
    await on.waitForKubeconfig();
    const serving = await eventually(
      () => `a serving request\n${on.log()}`,
      async () => (await on.requests()).find(({ spec }) => spec.signerName === 'kubernetes.io/kubelet-serving'),
      60_000,
    );
    t.deepEqual(serving.spec.usages, usages('server auth'));
    t.is(serving.spec.username, `system:node:${on.name}`);
    const shown = async (): Promise<X509Certificate | undefined> => {
      const text = await node
        .exec('sh', '-c', `openssl s_client -connect ${node.nodeIp}:10250 </dev/null 2>/dev/null || true`)
        .catch(() => '');
      return text.includes('-----BEGIN CERTIFICATE') ? new X509Certificate(text) : undefined;
    };
    t.is(await shown(), undefined);
    await cluster.kubectl('certificate', 'approve', serving.metadata.name);
    const certificate = await eventually('a serving certificate', shown, 60_000);
    t.is(certificate.subject, `O=system:nodes\nCN=system:node:${on.name}`);
    t.is(certificate.checkIP(node.nodeIp), node.nodeIp);
    t.is(certificate.checkHost(on.name), on.name);
    t.regex(
      basename(readlinkSync(join(on.files.pki, 'kubelet-server-current.pem'))),
      /^kubelet-server-\d{4}(-\d{2}){5}\.pem$/,
    );
  },
);
