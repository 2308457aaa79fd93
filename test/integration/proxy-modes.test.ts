/**
 * The modes of the proxy role in a running daemon, on a real control plane and with real traffic: what a change of the mode
 * leaves (nothing), what a kill leaves (everything), and what a machine without the mode's means is told.
 * Layer: test (integration, root). No container runtime: endpoints are servers on a host outside.
 */
import type { ChildProcess } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { stringify } from 'yaml';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { eventually, exec, execResult, spawnIn } from '../support/exec.ts';
import { type Keelson, startKeelson } from '../support/keelson.ts';
import { createTestNetwork, type TestNetwork } from '../support/netns.ts';
import { createRunDir, type RunDir } from '../support/run-dir.ts';

const hostname = 'proxy-modes';
/** On the host outside, beside its own: each has a server that says its name. */
const backends = { a: '198.51.100.11', b: '198.51.100.12' } as const;
type Backend = keyof typeof backends;
const backendPort = 8080;

let run: RunDir;
let network: TestNetwork;
let cluster: ControlPlane;
let identities: { kubeconfig: string; networkKubeconfig: string };
let daemon: Keelson | undefined;
const servers: ChildProcess[] = [];
/** Of the Service `web`, and of `health`, whose healthCheckNodePort it is. */
const found = { clusterIP: '', nodePort: 0, healthPort: 0 };

test.before(async () => {
  run = createRunDir();
  network = await createTestNetwork(run);
  const { outside, outsideIp } = network;
  // As every node of a cluster has it; the proxy alone leaves it to others.
  await runs('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  for (const [name, address] of Object.entries(backends)) {
    await exec('ip', ['-n', outside, 'addr', 'add', `${address}/24`, 'dev', 'up0']);
    const serve = `require('node:http').createServer((_, answer) => answer.end('${name}')).listen(${backendPort}, '${address}')`;
    servers.push(spawnIn(outside, process.execPath, ['-e', serve], { stdio: 'ignore' }));
  }
  cluster = await startControlPlane({ run, netns: outside, address: outsideIp });
  const { kubeconfig } = await cluster.nodeIdentity(hostname);
  identities = { kubeconfig, networkKubeconfig: (await cluster.networkIdentity()).kubeconfig };
  const ports = [{ port: 80, targetPort: backendPort }];
  await cluster.apply(
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'default' },
      spec: { type: 'NodePort', ports },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'health', namespace: 'default' },
      spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports },
    },
  );
  await setEndpoints('a', 'b');
  const spec = async (name: string) =>
    (await cluster.request('GET', `/api/v1/namespaces/default/services/${name}`)).object.spec;
  const web = await spec('web');
  found.clusterIP = web.clusterIP;
  found.nodePort = web.ports[0].nodePort;
  found.healthPort = (await spec('health')).healthCheckNodePort;
});
test.afterEach.always(async () => {
  if (daemon?.exit() === undefined) await daemon?.stop();
  daemon = undefined;
});
test.after.always(async () => {
  for (const server of servers) server.kill('SIGKILL');
  await cluster?.stop();
  await run?.remove();
});

/** What the controller makes slices of. */
const setEndpoints = (...names: Backend[]): Promise<void> =>
  cluster.apply({
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name: 'web', namespace: 'default' },
    subsets: [{ addresses: names.map((name) => ({ ip: backends[name] })), ports: [{ port: backendPort }] }],
  });

async function start(mode: string): Promise<Keelson> {
  const file = join(run.path, 'kube-proxy.yaml');
  writeFileSync(
    file,
    stringify({ apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration', mode }),
  );
  daemon = await startKeelson({
    cluster: identities,
    dirs: {
      manifests: join(run.path, 'manifests'),
      root: join(run.path, 'root'),
      podLogs: join(run.path, 'pods'),
      run: join(run.path, 'run'),
    },
    endpoint: 'unix:///run/no-runtime.sock',
    cniConfDir: join(run.path, 'cni.d'),
    cniBinDir: join(run.path, 'cni'),
    netns: network.netns,
    hostname,
    logFile: join(run.path, 'keelson.log'),
    args: ['--roles', 'proxy', '--proxy-config', file],
  });
  return daemon;
}

const runs = (command: string, ...args: string[]): Promise<string> => exec(command, args, { netns: network.netns });

/** What the server says, or what curl says of it: `exit 7` is a refusal, 28 silence. */
async function ask(address: string, from = network.netns): Promise<string> {
  const { code, stdout } = await execResult('curl', ['-s', '--noproxy', '*', '--max-time', '3', address], {
    netns: from,
  });
  return code === 0 ? stdout : `exit ${code}`;
}

/** Which backends answer 20 questions. */
async function answersOf(address: string, from?: string): Promise<string[]> {
  const answers = new Set<string>();
  for (let question = 0; question < 20; question++) answers.add(await ask(address, from));
  return [...answers].sort();
}

const web = (): string => `${found.clusterIP}:80`;
const servedBy = (...names: Backend[]): Promise<unknown> =>
  eventually(
    () => `answers of ${names}\n${daemon?.logs().split('\n').slice(-15).join('\n')}`,
    async () => String(await answersOf(web())) === String(names),
    60_000,
  );

/** Rules without counters and dates. */
const rules = async (): Promise<string> =>
  (await runs('/usr/sbin/iptables-save')).replaceAll(/^#.*\n/gm, '').replaceAll(/ \[\d+:\d+\]/g, '');
const tables = async (): Promise<string> => runs('/usr/sbin/nft', 'list', 'tables');
const kubeChains = async (): Promise<string[]> =>
  [...(await rules()).matchAll(/^:(KUBE-\S+)/gm)].map(([, name = '']) => name);

async function metrics(): Promise<Map<string, number>> {
  const text = await ask('127.0.0.1:10249/metrics');
  return new Map([...text.matchAll(/^([a-z]\S*) (\S+)$/gm)].map(([, series = '', value]) => [series, Number(value)]));
}

test.serial('iptables: traffic, changes, health checks, what tools and people are shown', async (t) => {
  const { netns, nodeIp, outside } = network;
  const keelson = await start('iptables');
  await servedBy('a', 'b');
  t.is(await ask('127.0.0.1:10249/proxyMode'), 'iptables');
  const nodePort = `${nodeIp}:${found.nodePort}`;
  t.deepEqual(await answersOf(nodePort, outside), ['a', 'b'], 'a node port, from outside');
  t.deepEqual(await answersOf(`127.0.0.1:${found.nodePort}`), ['a', 'b'], 'a node port on loopback');
  const chains = await kubeChains();
  for (const name of ['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-FORWARD', 'KUBE-PROXY-CANARY'])
    t.true(chains.includes(name), name);
  t.is(await tables().then((text) => text.includes('keelson-proxy')), false);

  // A host that closes everything lets load balancers ask all the same.
  await exec('iptables', ['-A', 'INPUT', '-i', 'up0', '-p', 'tcp', '--syn', '-j', 'DROP'], { netns });
  const health = await ask(`${nodeIp}:${found.healthPort}`, outside);
  t.deepEqual(JSON.parse(health), {
    service: { namespace: 'default', name: 'health' },
    localEndpoints: 0,
    serviceProxyHealthy: true,
  });
  await exec('iptables', ['-D', 'INPUT', '-i', 'up0', '-p', 'tcp', '--syn', '-j', 'DROP'], { netns });

  const before = await metrics();
  const of = (name: string, labels = ''): number => before.get(`kubeproxy_${name}${labels}`) ?? Number.NaN;
  t.true(of('sync_proxy_rules_iptables_total', '{table="nat",ip_family="IPv4"}') > 10);
  t.true(of('sync_proxy_rules_iptables_total', '{table="filter",ip_family="IPv4"}') > 3);
  t.is(of('sync_proxy_rules_iptables_restore_failures_total', '{ip_family="IPv4"}'), 0);
  t.is(of('sync_proxy_rules_iptables_partial_restore_failures_total', '{ip_family="IPv4"}'), 0);
  t.is(of('sync_proxy_rules_nftables_sync_failures_total', '{ip_family="IPv4"}'), Number.NaN);
  // Counted by the kernel, where it can.
  const counts = await rules().then((text) => text.includes('--nfacct-name'));
  t.is(of('iptables_localhost_nodeports_accepted_packets_total'), counts ? 20 : 0);
  t.is(of('iptables_ct_state_invalid_dropped_packets_total'), 0);

  await setEndpoints('b');
  await servedBy('b');
  const after = await metrics();
  t.true((after.get('kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"}') ?? 0) > 0);
  const isLess = (series: string): boolean => (after.get(series) ?? 0) < (before.get(series) ?? 0);
  t.true(isLess('kubeproxy_sync_proxy_rules_iptables_total{table="nat",ip_family="IPv4"}'), 'fewer rules');
  t.deepEqual(await answersOf(nodePort, outside), ['b']);
  await cluster.kubectl('delete', 'endpoints', 'web');
  await eventually('nobody serves', async () => (await ask(web())) === 'exit 7');
  await setEndpoints('a', 'b');
  await servedBy('a', 'b');

  const { stdout, code } = await keelson.command('status');
  t.is(code, 0);
  t.regex(stdout, /^Services: \d+, \d+ endpoints, in the kernel$/m);
  t.is((await keelson.status()).proxy.mode, 'iptables');
  t.notRegex(keelson.logs(), /"level":(?:50|"error")/);
});

test.serial('iptables: killed and started again, nothing changes', async (t) => {
  const first = await start('iptables');
  await servedBy('a', 'b');
  await first.waitFor('the rules stand', ({ proxy }) => proxy?.healthy === true);
  const before = await rules();
  await first.kill9();
  t.deepEqual(await answersOf(web()), ['a', 'b'], 'served without a daemon');
  await setEndpoints('a');
  const second = await start('iptables');
  await servedBy('a');
  await setEndpoints('a', 'b');
  await servedBy('a', 'b');
  await second.kill9();
  // The order of shared lines and of the statistic’s numbers is not part of it.
  const lines = (text: string): string[] => text.split('\n').sort();
  t.deepEqual(lines(await rules()), lines(before));
  const third = await start('iptables');
  await third.waitFor('the rules stand', ({ proxy }) => proxy?.healthy === true);
  await servedBy('a', 'b');
  t.deepEqual(lines(await rules()), lines(before));
});

test.serial('from iptables to nftables and back: each takes away what the other left', async (t) => {
  const first = await start('iptables');
  await servedBy('a', 'b');
  t.is(await first.stop(), 0);
  await runs('iptables', '-t', 'nat', '-N', 'FOREIGN');
  const second = await start('nftables');
  await second.waitFor('the rules stand', ({ proxy }) => proxy?.healthy === true);
  await eventually('the chains are gone', async () => (await kubeChains()).every((name) => name === 'KUBE-FIREWALL'));
  t.regex(await rules(), /^:FOREIGN/m);
  t.is(await ask('127.0.0.1:10249/proxyMode'), 'nftables');
  t.regex(await tables(), /^table ip keelson-proxy$/m);
  await servedBy('a', 'b');
  t.is(await second.stop(), 0);
  const third = await start('iptables');
  await third.waitFor('the rules stand', ({ proxy }) => proxy?.healthy === true);
  await eventually('the table is gone', async () => !(await tables()).includes('keelson-proxy'));
  await servedBy('a', 'b');
  t.true((await kubeChains()).includes('KUBE-SERVICES'));
});

test.serial('keelson proxy cleanup refuses while it runs, then removes all', async (t) => {
  const keelson = await start('iptables');
  await servedBy('a', 'b');
  const refused = await keelson.command('proxy', 'cleanup');
  t.not(refused.code, 0);
  t.regex(refused.stderr, /the daemon is running/);
  await keelson.stop();
  const { code, stdout, stderr } = await keelson.command('proxy', 'cleanup');
  t.is(code, 0, stderr);
  t.regex(stdout, /^removed \d+ chains of iptables-nft IPv4$/m);
  t.deepEqual(await kubeChains(), ['KUBE-FIREWALL'], 'which is the kubelet’s');
  t.is(await ask(web()).then((answer) => /^exit/.test(answer)), true);
  const again = await keelson.command('proxy', 'cleanup');
  t.deepEqual([again.code, again.stdout], [0, 'Nothing of a Service proxy is left here.\n']);
});

test.serial('ipvs: served, or one line that says what the kernel lacks and what to do', async (t) => {
  const keelson = await start('ipvs');
  if (existsSync('/proc/net/ip_vs')) {
    await servedBy('a', 'b');
    t.is(await ask('127.0.0.1:10249/proxyMode'), 'ipvs');
    return;
  }
  const line = 'mode ipvs: the kernel has no IPVS (ip_vs) (load the modules ip_vs and dummy, or set mode: nftables';
  const { waiting } = await keelson.waitFor('the refusal is told', ({ waiting: roles }) =>
    roles.some(({ reason }) => reason.startsWith('mode ipvs')),
  );
  t.true(waiting[0]?.reason.startsWith(line), waiting[0]?.reason);
  const { stdout } = await keelson.command('status');
  t.true(stdout.includes(`proxy: NOT STARTED: ${line}`), stdout);
  const code = await runs('curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', '127.0.0.1:10256/healthz');
  t.is(code, '503');
  // Tried again meanwhile, and not told again.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  t.is(keelson.logs().split('role not started').length, 2);
  t.notRegex(await tables(), /keelson/);
});
