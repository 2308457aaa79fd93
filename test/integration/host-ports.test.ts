/**
 * hostPorts and bandwidth from a pod's manifest to the wire, as containerd hands them on: the capabilities of the conflist,
 * not what a test thinks that a runtime sends.
 * Layer: test (integration, root). The same pod serves every test here, in order.
 */
import test from 'ava';
import type { PodReport } from '../../src/agent/status-report.ts';
import { container, type Daemon, type Manifest, podManifest, startDaemon } from '../support/daemon.ts';
import { eventually, exec } from '../support/exec.ts';

let daemon: Daemon;
let pod: PodReport;

const serve = 'mkdir -p /www; hostname > /www/index.html; exec httpd -f -h /www -p 0.0.0.0:80';
const ports = [
  { containerPort: 80, hostPort: 8085 },
  { containerPort: 53, hostPort: 8085, protocol: 'UDP' },
];
const web = (annotations: Manifest): Manifest =>
  podManifest('web', { containers: [container('main', ['sh', '-c', serve], { ports })] }, { annotations });
const get = (netns: string, ip: string): Promise<string> =>
  exec('curl', ['-sf', '-m', '5', `http://${ip}:8085/`], { netns }).then((text) => text.trim());

test.before(async () => {
  daemon = await startDaemon({});
});
test.after.always(() => daemon?.end());

test.serial('a pod is reached by a port of its node, with the bandwidth that its annotations say', async (t) => {
  daemon.write('web.yaml', web({ 'kubernetes.io/ingress-bandwidth': '80M', 'kubernetes.io/egress-bandwidth': '40M' }));
  [pod] = (await daemon.waitForReady('web')) as [PodReport];
  const { netns, nodeIp } = daemon.node;
  await eventually('it serves', () => get(netns, nodeIp).catch(() => undefined));
  t.regex(await get(netns, nodeIp), /^web-/);
  t.regex(await get(netns, '127.0.0.1'), /^web-/);
  const buckets = JSON.parse(await exec('/usr/sbin/tc', ['-j', 'qdisc', 'show'], { netns })) as {
    kind: string;
    dev: string;
    options: { rate: number };
  }[];
  const rates = buckets.filter(({ kind }) => kind === 'tbf').map(({ dev, options }) => [dev.slice(0, 2), options.rate]);
  t.deepEqual(rates.sort(), [
    ['ki', 5_000_000],
    ['kl', 10_000_000],
  ]);
  const rules = await exec('/usr/sbin/nft', ['list', 'table', 'ip', 'keelson-hostports'], { netns });
  t.regex(rules, new RegExp(`udp . 8085 : ${pod.status.podIP} . 53`));
});

test.serial('it is reached while no daemon runs, and after a kill -9 and a restart', async (t) => {
  const { netns, nodeIp } = daemon.node;
  await daemon.kill9();
  t.regex(await get(netns, nodeIp), /^web-/);
  await daemon.start();
  t.regex(await get(netns, nodeIp), /^web-/);
});

test.serial('when the pod is gone nothing of it is left', async (t) => {
  const { netns, nodeIp } = daemon.node;
  daemon.remove('web.yaml');
  await eventually('the port is free', async () => {
    const rules = await exec('/usr/sbin/nft', ['list', 'table', 'ip', 'keelson-hostports'], { netns });
    return !rules.includes('8085');
  });
  await t.throwsAsync(get(netns, nodeIp));
  t.notRegex(await exec('ip', ['-o', 'link'], { netns }), /\bki[0-9a-f]{13}/);
});
