/**
 * Roles of a node in a real cluster, alone and side by side; the ports that others ask; a start without an API server; and
 * that the identities of docs/cluster.md have every right that they use. Layer: test (integration, root).
 * One node, one control plane; each test starts daemons of its own. The API server's audit log is the witness.
 */
import type { ChildProcess } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { stringify } from 'yaml';
import type { StatusReport } from '../../src/agent/status-report.ts';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { kubernetesServiceIp } from '../support/control-plane-flags.ts';
import { podManifest } from '../support/daemon.ts';
import { type ExecResult, eventually, exec, execResult, repositoryRoot, spawnIn } from '../support/exec.ts';
import { type Keelson, type KeelsonOptions, keelsonBinary } from '../support/keelson.ts';
import { createTestNode, type TestNode } from '../support/node.ts';

const nft = '/usr/sbin/nft';
/** The account of deploy/network.yaml. */
const networkUser = 'system:serviceaccount:kube-system:keelson-network';

let node: TestNode;
let cluster: ControlPlane;
let nodeName: string;
let kubeconfigs: { kubeconfig: string; networkKubeconfig: string };
let auditLog: string;
let daemons: Keelson[] = [];

test.before(async () => {
  node = await createTestNode();
  const { run, outside, outsideIp } = node;
  nodeName = `node-${run.id}`;
  auditLog = join(run.path, 'audit.log');
  const policy = join(run.path, 'audit.yaml');
  writeFileSync(policy, stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules: [{ level: 'Metadata' }] }));
  const apiServer = [`--audit-policy-file=${policy}`, `--audit-log-path=${auditLog}`];
  cluster = await startControlPlane({ run, netns: outside, address: outsideIp, flags: { apiServer } });
  // The lab's account has more rights; here they must be those that deploy/ gives.
  await cluster.kubectl('delete', 'clusterrole,clusterrolebinding', 'keelson-network');
  await cluster.kubectl('-n', 'kube-system', 'delete', 'serviceaccount', 'keelson-network');
  const networkKubeconfig = join(run.path, 'network.kubeconfig');
  const kubectl = join((await exec(join(repositoryRoot, 'script/control-plane'), [])).trim(), 'kubectl');
  await exec(join(repositoryRoot, 'script/network-kubeconfig'), ['-o', networkKubeconfig], {
    netns: outside,
    env: { ...process.env, KUBECTL: kubectl, KUBECONFIG: cluster.admin.kubeconfig, HOME: run.path },
  });
  await cluster.kubectl('apply', '-f', join(repositoryRoot, 'deploy/network-policy.yaml'));
  const { kubeconfig } = await cluster.nodeIdentity(nodeName);
  kubeconfigs = { kubeconfig, networkKubeconfig };
});
test.afterEach.always(async () => {
  for (const daemon of daemons) if (daemon.exit() === undefined) await daemon.stop();
  daemons = [];
  // Stopped daemons leave their tables; the next test must not live on them.
  await node.exec(nft, 'flush ruleset');
});
test.after.always(async () => {
  await cluster?.stop();
  await node?.stop();
});

/** A daemon with a log of its own; `name` is for the files of one that runs beside another. */
async function start(roles: string, options: Partial<KeelsonOptions> = {}, name = 'keelson'): Promise<Keelson> {
  const { run, dirs } = node;
  const daemon = await node.startKeelson({
    cluster: kubeconfigs,
    dirs: { ...dirs, run: join(run.path, name, 'run') },
    logFile: join(run.path, `${name}-${roles}.log`),
    ...options,
    args: ['--roles', roles, ...(options.args ?? [])],
  });
  daemons.push(daemon);
  return daemon;
}

/** An answer as the node sees it; code 0 when nobody listens. */
async function ask(url: string, ...flags: string[]): Promise<{ code: number; body: string }> {
  const args = ['-s', '--max-time', '5', '-w', '\n%{http_code}', ...flags, url];
  const { stdout } = await execResult('curl', args, { netns: node.netns });
  const end = stdout.lastIndexOf('\n');
  return { code: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}
const codeOf = async (port: number, path: string): Promise<number> => (await ask(`127.0.0.1:${port}${path}`)).code;
const answers = (port: number, path: string, code: number): Promise<unknown> =>
  eventually(`${port}${path} answers ${code}`, async () => (await codeOf(port, path)) === code);

const tables = (): Promise<string> => node.exec(nft, 'list tables');

/** The API server through its own Service, which its own controller makes. */
const throughService = async (): Promise<number> =>
  (await ask(`https://${kubernetesServiceIp}/version`, '--cacert', cluster.caFile)).code;

/** Of the text exposition format; throws for a line that is none. */
function readMetrics(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text
    .split('\n')
    .filter((candidate) => candidate !== '' && !/^# (?:HELP|TYPE) \w+ ./.test(candidate))) {
    const [, name = '', value] = /^(\w+)(?:\{(?:\w+="[^"]*",?)*\})? (\S+)$/.exec(line) ?? [];
    if (value === undefined || Number.isNaN(Number(value))) throw new Error(`no sample: ${line}`);
    samples.set(name, Number(value));
  }
  return samples;
}

/** A pod of the API server for this node, past the scheduler; resolves with its address. */
async function podAddress(name: string): Promise<string> {
  const pod = podManifest(name, { nodeName });
  await cluster.apply({ ...pod, metadata: { name, namespace: 'default' } });
  const tail = (): string => daemons.map((daemon) => daemon.logs().split('\n').slice(-8).join('\n')).join('\n--\n');
  const { status } = await eventually(
    () => `pod ${name} is ready\n${tail()}`,
    async () => {
      const { object } = await cluster.request('GET', `/api/v1/namespaces/default/pods/${name}`);
      const ready = object.status.conditions?.find(({ type }: { type: string }) => type === 'Ready');
      return ready?.status === 'True' && object;
    },
    60_000,
    200,
  );
  return status.podIP;
}

/** An API server that starts answers before it has read the rights, in 1.20 even when /readyz is ok. This does not count. */
const notReady = { from: '9', to: '9' };
const countsAt = (time: string): boolean => time < notReady.from || time > notReady.to;

/** What a pod uses may be read from some moments after it was bound until some moments before it is gone. */
const ofPods: ReadonlySet<string> = new Set(['configmaps', 'secrets', 'serviceaccounts']);

/** Nothing was refused, as far as the daemon noticed. */
function nothingForbidden(t: ExecutionContext, daemon: Keelson): void {
  const lines = daemon.logs().split('\n').filter(countsAt);
  t.deepEqual(
    lines.filter((line) => /forbidden|unauthorized/i.test(line) && !line.includes('no relationship found')),
    [],
  );
}

test.serial('proxy alone: Services without a runtime and without a Node, and its ports', async (t) => {
  const hostname = 'proxy-only';
  const daemon = await start('proxy', { endpoint: 'unix:///run/no-runtime.sock', hostname });
  await answers(10256, '/healthz', 200);
  t.is(await throughService(), 200);
  t.regex(await tables(), /^table ip keelson-proxy$/m);
  t.is((await cluster.request('GET', `/api/v1/nodes/${hostname}`)).code, 404);
  t.is(await codeOf(10248, '/healthz'), 0, 'this port is the kubelet role’s');

  const healthy = JSON.parse((await ask('127.0.0.1:10256/healthz')).body);
  t.like(healthy, { nodeEligible: true, healthy: true, status: 'healthy' });
  t.deepEqual(Object.keys(healthy), ['lastUpdated', 'currentTime', 'nodeEligible', 'healthy', 'status']);
  t.is(await codeOf(10256, '/metrics'), 404);
  t.is((await ask(`${node.nodeIp}:10256/healthz`)).code, 200, 'load balancers ask from outside');
  t.is((await ask(`${node.nodeIp}:10249/metrics`)).code, 0, 'metrics are not for outside');
  t.deepEqual(await ask('127.0.0.1:10249/proxyMode'), { code: 200, body: 'nftables' });
  const samples = readMetrics((await ask('127.0.0.1:10249/metrics')).body);
  for (const name of [
    'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'process_start_time_seconds',
    'process_open_fds',
  ])
    t.true((samples.get(name) ?? 0) > 0, name);
  t.is(samples.get('keelson_proxy_services'), 1);
  t.is(samples.get('kubeproxy_sync_proxy_rules_endpoint_changes_pending'), 0);
  const configz = JSON.parse((await ask('127.0.0.1:10249/configz')).body)['kubeproxy.config.k8s.io'];
  t.like(configz, { kind: 'KubeProxyConfiguration', mode: 'nftables', clusterCIDR: '10.244.0.0/16' });

  // The cluster autoscaler is about to take the machine away.
  const taint = { key: 'ToBeDeletedByClusterAutoscaler', value: '1', effect: 'NoSchedule' };
  await cluster.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: hostname }, spec: { taints: [taint] } });
  await answers(10256, '/healthz', 503);
  t.like(JSON.parse((await ask('127.0.0.1:10256/healthz')).body), { nodeEligible: false, healthy: false });
  t.is(await codeOf(10256, '/livez'), 200);
  t.is(await throughService(), 200, 'what runs goes on');
  await cluster.kubectl('taint', 'node', hostname, 'ToBeDeletedByClusterAutoscaler-');
  await answers(10256, '/healthz', 200);
  await cluster.kubectl('delete', 'node', hostname);

  const { stdout, stderr, code } = await daemon.command('status');
  t.is(code, 0, stderr);
  t.regex(stdout, /^Services: 1, 1 endpoints, in the kernel$/m);
  t.notRegex(stdout, /Runtime|API server|NOT STARTED/);
  t.is(await daemon.stop(), 0);
  t.is(await throughService(), 200, 'and goes on without the daemon');
  nothingForbidden(t, daemon);
});

test.serial(
  'started while the API server is away: manifests run, the ports answer, status says what waits',
  async (t) => {
    const manifests = join(node.run.path, 'static-pods');
    mkdirSync(manifests);
    // As kubeadm's own: without the pod network, which has no addresses yet.
    writeFileSync(join(manifests, 'early.yaml'), stringify(podManifest('early', { hostNetwork: true })));
    await cluster.apiServer.end('SIGKILL');
    const daemon = await start('kubelet,proxy,network', { args: ['--pod-manifest-path', manifests] });
    await answers(10248, '/healthz', 200);
    t.is((await ask('127.0.0.1:10248/healthz')).body, 'ok');
    const offline = await daemon.waitFor('the manifest’s pod runs', ({ pods }) => pods[0]?.ready === 1);
    const [before] = offline.pods;
    t.is(before?.name, `early-${nodeName}`);
    t.like(offline, { node: { registered: false } });
    t.deepEqual(offline.waiting.map(({ role }) => role).sort(), ['network', 'proxy']);
    const { stdout } = await daemon.command('status');
    t.regex(stdout, /^API server: Node NOT REGISTERED/m);
    t.regex(stdout, /^network: NOT STARTED: waits for the API server/m);
    t.regex(stdout, /^proxy: NOT STARTED: \S/m);
    t.is(await codeOf(10256, '/healthz'), 503);
    t.is(await codeOf(10256, '/livez'), 503);
    t.is(await codeOf(10249, '/healthz'), 200);
    readMetrics((await ask('127.0.0.1:10249/metrics')).body);

    notReady.from = new Date().toISOString();
    cluster.apiServer.start();
    await cluster.waitForReady();
    const path = `/api/v1/namespaces/default/pods/early-${nodeName}`;
    const mirror = await eventually('the mirror pod is ready', async () => {
      const { object } = await cluster.request('GET', path);
      return object.status?.containerStatuses?.[0]?.ready === true && object;
    });
    t.is(mirror.status.containerStatuses[0].restartCount, 0);
    t.is(
      mirror.status.containerStatuses[0].containerID,
      before?.status.containerStatuses?.[0]?.containerID,
      'it was not disturbed',
    );
    const { waiting } = await daemon.waitFor('all roles stand', (status) => status.waiting.length === 0);
    t.deepEqual(waiting, []);
    notReady.to = new Date().toISOString();
    await answers(10256, '/healthz', 200);
    t.is(await throughService(), 200);
    await daemon.waitFor('the Node is Ready', (status) => status.node?.ready === 'Ready');
    const { object } = await cluster.request('GET', `/api/v1/nodes/${nodeName}`);
    t.is(object.metadata.labels['keelson.dev/node'], '');
    nothingForbidden(t, daemon);
  },
);

test.serial(
  'started before the container runtime: Services work, status and doctor say what waits; then all of it',
  async (t) => {
    await cluster.kubectl('delete', 'node', nodeName, '--ignore-not-found');
    const socket = join(node.run.path, 'late.sock');
    const endpoint = `unix://${socket}`;
    const daemon = await start('kubelet,proxy,network', { endpoint }, 'late');
    await answers(10248, '/healthz', 200);
    await answers(10256, '/healthz', 200);
    t.is(await throughService(), 200);
    const early: StatusReport = await daemon.waitFor('the proxy stands', ({ waiting }) => waiting.length === 2);
    t.deepEqual(early.waiting.map(({ role }) => role).sort(), ['kubelet', 'network']);
    for (const { reason } of early.waiting)
      t.regex(reason, /^waits for the container runtime: .*late\.sock: no such socket/);
    t.is(early.node, undefined);
    t.is(early.runtime, undefined);
    const { stdout } = await daemon.command('status');
    t.regex(stdout, /^kubelet: NOT STARTED: waits for the container runtime: \S/m);
    t.regex(stdout, /^Services: \d+, \d+ endpoints, in the kernel$/m);
    const flags = ['--hostname-override', nodeName, '--container-runtime-endpoint', endpoint];
    const doctor = await daemon.command('doctor', '--kubeconfig', kubeconfigs.kubeconfig, ...flags);
    t.is(doctor.code, 1);
    t.regex(doctor.stdout, /^fail +container runtime .*no such socket/m);
    t.regex(doctor.stdout, /^warn +daemon +runs, but kubelet is not started: waits for the container runtime/m);
    t.is((await cluster.request('GET', `/api/v1/nodes/${nodeName}`)).code, 404, 'not registered before');
    t.is(
      daemon
        .logs()
        .split('\n')
        .filter((line) => line.includes('role not started')).length,
      1,
      'said once',
    );

    symlinkSync(node.containerd.endpoint.replace('unix://', ''), socket);
    await daemon.waitFor('all roles stand', (status) => status.waiting.length === 0);
    await daemon.waitFor('the Node is Ready', (status) => status.node?.ready === 'Ready');
    t.regex(await podAddress('late'), /^10\.244\./);
    await cluster.kubectl('delete', 'pod', 'late', '--wait=true');
    nothingForbidden(t, daemon);
  },
);

test.serial('a Node made anew with another podCIDR: new pods get it, the old keep theirs until they end', async (t) => {
  const daemon = await start('kubelet,proxy,network', {}, 'anew');
  const old = await podAddress('old');
  const { network: before }: StatusReport = await daemon.waitFor('the network stands', ({ network }) => !!network);
  await cluster.kubectl('delete', 'node', nodeName);
  const { network: after }: StatusReport = await daemon.waitFor(
    'another podCIDR is used',
    ({ network, waiting }) => network !== undefined && network.podCIDR !== before?.podCIDR && waiting.length === 0,
  );
  t.deepEqual(after?.former, [{ podCIDR: before?.podCIDR ?? '', pods: 1 }]);
  t.regex(
    (await daemon.command('status')).stdout,
    /^1 pod has an address of the former pod network 10\.244\..*delete it/m,
  );
  const fresh = await podAddress('fresh');
  t.is(fresh.split('.').slice(0, 3).join('.'), after?.podCIDR.split('.').slice(0, 3).join('.'));
  for (const address of [old, fresh]) {
    const { code } = await execResult('curl', ['-s', '--max-time', '5', `${address}:1`], { netns: node.netns });
    t.is(code, 7, 'refused by the pod, not lost on the way');
  }
  const { object } = await cluster.request('GET', '/api/v1/namespaces/default/pods/old');
  t.is(object.status.containerStatuses[0].restartCount, 0);
  await cluster.kubectl('delete', 'pod', 'old', '--wait=true');
  await daemon.waitFor('nothing of the former one is left', ({ network }) => network !== undefined && !network.former);
  t.notRegex(await node.exec('ip', 'route'), new RegExp(before?.podCIDR.replaceAll('.', '\\.') ?? ''));
  t.notRegex(await node.exec('ip', 'address', 'show', 'dev', 'lo'), new RegExp(`inet ${before?.gateway}/32`));
  await cluster.kubectl('delete', 'pod', 'fresh', '--wait=true');
  nothingForbidden(t, daemon);
});

test.serial('kubelet and network without proxy: pods have addresses, Services are somebody else’s', async (t) => {
  const daemon = await start('kubelet,network');
  t.regex(await podAddress('both'), /^10\.244\./);
  const found = await tables();
  t.notRegex(found, /keelson-proxy/);
  t.regex(found, /keelson-network/);
  for (const port of [10256, 10249]) t.is(await codeOf(port, '/healthz'), 0);
  t.is(await codeOf(10248, '/healthz'), 200);
  const report: StatusReport = await daemon.status();
  t.is(report.proxy, undefined);
  nothingForbidden(t, daemon);
});

test.serial('network alone beside another kubelet: it gives that one’s pods their addresses', async (t) => {
  const network = await start('network', {}, 'network');
  const kubelet = await start('kubelet', {}, 'kubelet');
  const address = await podAddress('apart');
  t.regex(address, /^10\.244\./);
  const { code } = await execResult('curl', ['-s', '--max-time', '5', `${address}:1`], { netns: node.netns });
  t.is(code, 7, 'refused by the pod, not lost on the way');
  const { object } = await cluster.request('GET', '/api/v1/namespaces/default/pods/both');
  t.is(object.status.containerStatuses[0].restartCount, 0, 'a pod of the daemon before goes on');
  const report = await network.status();
  t.deepEqual(report.pods, []);
  t.is(report.network.allocated, 2);
  const other: StatusReport = await kubelet.status();
  t.is(other.network, undefined);
  await cluster.kubectl('delete', 'pod', 'both', 'apart', '--wait=true');
  await network.waitFor('the addresses are free', (status) => status.network.allocated === 0);
  for (const daemon of [network, kubelet]) nothingForbidden(t, daemon);
});

test.serial('kube-proxy and flannel on the same node: the log names them', async (t) => {
  const program = join(node.run.path, 'kube-proxy');
  copyFileSync('/bin/sleep', program);
  await exec('chmod', ['+x', program]);
  const fake: ChildProcess = spawnIn(node.netns, program, ['600'], { stdio: 'ignore' });
  t.teardown(() => fake.kill('SIGKILL'));
  // That of the daemons before, which has the VNI.
  await node.exec('ip', 'link', 'delete', 'keelson-vxlan');
  await node.exec('ip', 'link', 'add', 'flannel.1', 'type', 'vxlan', 'id', '1', 'dstport', '8472', 'dev', 'up0');
  const daemon = await start('proxy,network');
  await answers(10256, '/healthz', 200);
  const lines = daemon.logs().split('\n');
  const proxyLine = lines.find((line) => line.includes('they will fight')) ?? '';
  t.regex(proxyLine, /"?error"?/);
  t.regex(proxyLine, new RegExp(`kube-proxy.*process ${fake.pid}`));
  const flannelLine = lines.find((line) => line.includes('has left traces')) ?? '';
  t.regex(flannelLine, /flannel.*link flannel\.1/);

  const second = await start('proxy', {}, 'second');
  await eventually('a second one ends, since the ports are taken', () => second.exit() !== undefined);
  t.is(second.exit(), 1);
  t.regex(second.logs(), /0\.0\.0\.0:10256: cannot listen.*\[HTTP_LISTEN\]/);
  t.is(await throughService(), 200, 'and the first goes on');

  const faults = async (): Promise<string> => {
    const { network }: StatusReport = await daemon.status();
    return network?.overlay?.faults.join() ?? 'not told';
  };
  t.regex(await faults(), /VNI 1 on port 8472 is taken by link flannel\.1/);
  await node.exec('ip', 'link', 'delete', 'flannel.1');
  await eventually('the VXLAN of our own', async () => (await faults()) === '');
  t.is(await daemon.stop(), 0);
});

test.serial('doctor asks the API server what each identity may', async (t) => {
  const { kubeconfig, networkKubeconfig } = kubeconfigs;
  const flags = ['--hostname-override', nodeName, '--run-dir', node.dirs.run];
  const doctor = (roles: string, ...more: string[]): Promise<ExecResult> =>
    execResult(keelsonBinary, ['doctor', '--kubeconfig', kubeconfig, '--roles', roles, ...flags, ...more], {
      netns: node.netns,
    });
  const good = await doctor('proxy,network,kubelet', '--network-kubeconfig', networkKubeconfig);
  t.regex(good.stdout, /^ok +--kubeconfig .*: v\S+ answers at https:/m);
  t.regex(good.stdout, new RegExp(`^ok +node identity +Node ${nodeName} exists, and is its own$`, 'm'));
  t.regex(good.stdout, /^ok +network identity +may read services, endpointslices, nodes, its Node$/m);
  const proxyOnly = await doctor('proxy', '--network-kubeconfig', networkKubeconfig);
  t.is(proxyOnly.code, 0, proxyOnly.stdout);
  t.notRegex(proxyOnly.stdout, /container runtime|swap|CNI directories|node identity/);
  const lacking = await doctor('proxy');
  t.is(lacking.code, 1);
  t.regex(
    lacking.stdout,
    /^fail +network identity +may not list endpointslices, watch endpointslices.* -> make it with/m,
  );
  const { kubeconfig: foreign } = await cluster.nodeIdentity('another');
  t.regex(
    (await doctor('kubelet', '--kubeconfig', foreign)).stdout,
    new RegExp(`^fail +node identity +may not create Node ${nodeName}: .* -> .*must be system:node:${nodeName} `, 'm'),
  );
});

test.serial('each identity uses the rights that docs/cluster.md says, and is refused none', (t) => {
  const events = readFileSync(auditLog, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
    .filter(({ userAgent, stage }) => /^keelson\/\d/.test(userAgent) && stage === 'ResponseComplete');
  const uses = (user: string): string[] => {
    const found = events
      .filter((event) => event.user.username === user && event.objectRef !== undefined)
      .map(
        ({ verb, objectRef: { resource, subresource } }) =>
          `${verb} ${resource}${subresource ? `/${subresource}` : ''}`,
      );
    return [...new Set<string>(found)].sort();
  };
  // Asked when an API server that starts refuses a list: everybody may.
  t.deepEqual(
    uses(networkUser).filter((use) => use !== 'create selfsubjectaccessreviews'),
    [
      'list endpointslices',
      'list namespaces',
      'list networkpolicies',
      'list nodes',
      'list pods',
      'list services',
      'watch endpointslices',
      'watch namespaces',
      'watch networkpolicies',
      'watch nodes',
      'watch pods',
      'watch services',
    ],
  );
  // Events that come again within the run are patched, and need not come.
  t.deepEqual(
    uses(`system:node:${nodeName}`).filter((use) => use !== 'patch events'),
    [
      'create csinodes',
      'create events',
      'create leases',
      'create nodes',
      'create pods',
      'create serviceaccounts/token',
      'delete pods',
      'get csinodes',
      'get leases',
      'get nodes',
      'list configmaps',
      'list nodes',
      'list pods',
      'list services',
      'patch nodes/status',
      'patch pods/status',
      'update leases',
      'watch configmaps',
      'watch nodes',
      'watch pods',
      'watch services',
    ],
  );
  const refused = events.filter(
    ({ responseStatus, objectRef, requestReceivedTimestamp }) =>
      [401, 403].includes(responseStatus?.code) &&
      countsAt(requestReceivedTimestamp) &&
      !ofPods.has(objectRef?.resource),
  );
  t.deepEqual(
    refused.map(({ user, verb, objectRef }) => `${user.username} ${verb} ${objectRef?.resource}`),
    [],
  );
});
