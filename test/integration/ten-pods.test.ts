/**
 * Ten pods from manifests on one node: addresses, HTTP between any two and with the node, names, logs; then no trace.
 * Layer: test (integration, root). The same pods serve every test here, in order.
 */
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import type { PodReport } from '../../src/agent/status-report.ts';
import type { Census } from '../support/census.ts';
import { container, type Daemon, podManifest, startDaemon } from '../support/daemon.ts';
import { eventually, exec, spawnIn } from '../support/exec.ts';

const count = 10;
const names = Array.from({ length: count }, (_, index) => `web-${index}`);
const hostPodPort = 8081;
const hostPort = 8082;
/** Debian's static busybox crashes on `wget -T`. */
const wget = 'timeout 5 wget -qO-';

/** Says its name at `/`, and at `/cgi-bin/who` its name and whom it sees. */
const server = (port: number): string => `
echo "serving as $(hostname)"; echo "to standard error" >&2
mkdir -p /www/cgi-bin
hostname > /www/index.html
printf '#!/bin/sh\\necho; echo "$(hostname) $REMOTE_ADDR"\\n' > /www/cgi-bin/who
chmod +x /www/cgi-bin/who
exec httpd -f -h /www -p 0.0.0.0:${port}`;

let daemon: Daemon;
let before: Census;
let pods: PodReport[];
let hostPod: PodReport;

const ipOf = (pod: PodReport): string => pod.status.podIP ?? '';

test.before(async () => {
  daemon = await startDaemon({
    keelson: (node) => {
      const resolvConf = join(node.run.path, 'resolv.conf');
      writeFileSync(resolvConf, 'nameserver 192.0.2.53\nsearch keelson.test example.test\noptions ndots:3 timeout:1\n');
      return {
        config: `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nresolvConf: ${resolvConf}\n`,
      };
    },
  });
  before = await daemon.warmCensus();
});
test.after.always(() => daemon?.end());

test.serial('ten pods run, each with an address of its own', async (t) => {
  for (const name of names) {
    daemon.write(`${name}.yaml`, podManifest(name, { containers: [container('main', ['sh', '-c', server(80)])] }));
  }
  daemon.write(
    'host.yaml',
    podManifest('host', { hostNetwork: true, containers: [container('main', ['sh', '-c', server(hostPodPort)])] }),
  );
  pods = await daemon.waitForReady(...names);
  [hostPod] = (await daemon.waitForReady('host')) as [PodReport];
  const ips = pods.map(ipOf);
  t.is(new Set(ips).size, count, ips.join(' '));
  for (const ip of ips) t.regex(ip, /^10\.244\.0\.\d+$/);
  t.is(hostPod.status.podIP, daemon.node.nodeIp);
  const status = await daemon.status();
  t.is(status.network.allocated, count);
  for (const pod of pods) {
    t.is(pod.status.phase, 'Running');
    t.is(pod.restarts, 0);
    t.deepEqual(pod.status.podIPs, [{ ip: ipOf(pod) }]);
    for (const { type, status: value } of pod.status.conditions) t.is(value, 'True', `${pod.name}: ${type}`);
    t.true((await daemon.output(pod, 'ip -4 address show dev eth0')).includes(`inet ${ipOf(pod)}/32`));
  }
  // A container runs a moment before what it runs listens.
  for (const pod of [...pods, hostPod]) {
    const port = pod === hostPod ? hostPodPort : 80;
    await eventually(`${pod.name} serves`, () =>
      daemon.node.exec('curl', '-sf', '-m', '5', `http://${ipOf(pod)}:${port}/`).catch(() => undefined),
    );
  }
});

/** What each pod is told by each other pod. The list of whom it could not reach must be empty. */
async function reachAll(from: PodReport): Promise<string[]> {
  const others = pods.filter(({ uid }) => uid !== from.uid);
  const command = others.map((pod) => `${wget} http://${ipOf(pod)}/cgi-bin/who || echo "no answer"`).join('\n');
  const answers = (await daemon.output(from, command)).split('\n');
  return others.flatMap((pod, index) =>
    answers[index] === `${pod.name} ${ipOf(from)}` ? [] : [`${from.name} to ${pod.name}: ${answers[index]}`],
  );
}

for (const callsIptables of ['0', '1'] as const) {
  test.serial(`HTTP between any two, with bridge-nf-call-iptables ${callsIptables}`, async (t) => {
    // A kernel without bridge-netfilter has no such switch, and behaves as with 0.
    if (existsSync('/proc/sys/net/bridge/bridge-nf-call-iptables')) {
      await daemon.node.exec('sysctl', '-qw', `net.bridge.bridge-nf-call-iptables=${callsIptables}`);
    }
    for (const from of pods) t.deepEqual(await reachAll(from), []);
  });
}

test.serial('traffic between two pods of the node is routed', async (t) => {
  const [a, b] = pods as [PodReport, PodReport];
  const ping = (ttl: number) => daemon.exec(a, `ping -c 1 -W 2 -t ${ttl} ${ipOf(b)}`);
  t.is((await ping(2)).code, 0);
  t.not((await ping(1)).code, 0, 'one hop is not enough, since the node is one');
  const links = JSON.parse(await daemon.node.exec('ip', '-j', '-d', 'link')) as { linkinfo?: { info_kind?: string } }[];
  t.false(links.some(({ linkinfo }) => linkinfo?.info_kind === 'bridge'));
});

test.serial('pods and node reach each other; a hostNetwork pod is the node', async (t) => {
  const { node } = daemon;
  const site = join(node.run.path, 'site');
  mkdirSync(site);
  writeFileSync(join(site, 'index.html'), 'the node itself\n');
  const httpd = spawnIn(node.netns, 'busybox', ['httpd', '-f', '-p', String(hostPort), '-h', site], {
    stdio: 'ignore',
  });
  t.teardown(() => httpd.kill('SIGKILL'));
  await eventually('the node serves', () =>
    node.exec('curl', '-sf', `http://${node.nodeIp}:${hostPort}/`).catch(() => undefined),
  );
  for (const pod of pods) {
    t.is((await node.exec('curl', '-sf', '-m', '5', `http://${ipOf(pod)}/`)).trim(), pod.name);
  }
  const [pod] = pods as [PodReport];
  t.is(await daemon.output(pod, `${wget} http://${node.nodeIp}:${hostPort}/`), 'the node itself');
  t.is(
    await daemon.output(pod, `${wget} http://${node.nodeIp}:${hostPodPort}/cgi-bin/who`),
    `${hostname()} ${ipOf(pod)}`,
  );
  t.is(await daemon.output(hostPod, `${wget} http://${ipOf(pod)}/`), pod.name);
  t.is(await daemon.output(hostPod, `${wget} http://127.0.0.1:${hostPodPort}/`), hostname());
});

test.serial('a host outside sees the address of the node', async (t) => {
  const { node } = daemon;
  const script = `require('node:http').createServer((request, response) => response.end(request.socket.remoteAddress))
    .listen(8000, '0.0.0.0', () => console.log('listening'))`;
  const outside = spawnIn(node.outside, process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => outside.kill('SIGKILL'));
  await once(outside.stdout!, 'data');
  for (const pod of pods) {
    t.is(await daemon.output(pod, `${wget} http://${node.outsideIp}:8000/`), node.nodeIp);
  }
  // It has no route to the pods: whatever reaches it must have carried the node's address.
  t.is((await exec('ip', ['route', 'show', '10.244.0.0/16'], { netns: node.outside })).trim(), '');
});

test.serial('names: hostname, hosts, resolv.conf', async (t) => {
  for (const pod of pods) {
    const text = await daemon.output(pod, 'hostname; echo ---; cat /etc/hosts; echo ---; cat /etc/resolv.conf');
    const [name, hosts = '', resolvConf = ''] = text.split('\n---\n');
    t.is(name, pod.name);
    t.true(hosts.split('\n').includes(`${ipOf(pod)}\t${pod.name}`), hosts);
    t.true(hosts.split('\n').includes('127.0.0.1\tlocalhost'), hosts);
    t.deepEqual(resolvConf.trim().split('\n').sort(), [
      'nameserver 192.0.2.53',
      'options ndots:3 timeout:1',
      'search keelson.test example.test',
    ]);
  }
  t.regex(await daemon.output(hostPod, 'cat /etc/hosts'), /localhost/);
});

test.serial('logs are in CRI layout, and linked flat', (t) => {
  const links = join(dirname(daemon.node.dirs.podLogs), 'containers');
  t.is(readdirSync(links).length, count + 1);
  for (const pod of pods) {
    const id = pod.status.containerStatuses?.[0]?.containerID?.split('//')[1];
    const target = join(daemon.logDir(pod), 'main', '0.log');
    t.is(readlinkSync(join(links, `${pod.name}_default_main-${id}.log`)), target);
    const lines = daemon.log(pod, 'main').trimEnd().split('\n');
    const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)$/;
    const parsed = lines.map((line) => line.split(' '));
    for (const [stamp = ''] of parsed) t.regex(stamp, time);
    // Two streams come over two pipes: their order is nobody's promise.
    t.deepEqual(parsed.map((line) => line.slice(1).join(' ')).sort(), [
      'stderr F to standard error',
      `stdout F serving as ${pod.name}`,
    ]);
  }
});

test.serial('when their manifests are gone, no trace of them is left', async (t) => {
  for (const name of [...names, 'host']) daemon.remove(`${name}.yaml`);
  await daemon.waitForNoPods();
  t.is((await daemon.status()).network.allocated, 0);
  t.deepEqual(await daemon.difference(before), []);
  t.is(await daemon.stop(), 0);
});
