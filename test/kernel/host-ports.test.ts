/**
 * hostPorts on the real kernel: who reaches a pod by a port of its node, who does not, and what is left afterwards.
 * Layer: test.
 */
import test from 'ava';
import { eventually, exec } from '../support/exec.ts';
import type { Node, Pod } from './pod-network-node.ts';
import { ask, get, ruleset, serveTcp, serveUdp, startedNode } from './started-node.ts';

const ports = (...portMappings: object[]): object => ({ runtimeConfig: { portMappings } });
const web = (hostPort: number, more: object = {}): object => ({
  hostPort,
  containerPort: 80,
  protocol: 'tcp',
  hostIP: '',
  ...more,
});

test('a port of the node leads to the pod: from outside, the node, its loopback, other pods and the pod itself', async (t) => {
  const node = await startedNode(t);
  const { netns, outside, nodeIp, outsideIp } = node.network;
  const pod = await node.addPod(ports(web(8080)));
  const other = await node.addPod();
  await serveTcp(t, pod.netns, '0.0.0.0', 80);
  t.is(await get(outside, nodeIp, 8080), outsideIp, 'the address of the client is kept');
  t.is(await get(other.netns, nodeIp, 8080), other.ip);
  t.is(await get(netns, nodeIp, 8080), nodeIp);
  t.is(await get(netns, '127.0.0.1', 8080), nodeIp);
  t.is(await get(netns, '127.9.9.9', 8080), nodeIp);
  t.is(await get(pod.netns, nodeIp, 8080), nodeIp, 'hairpin');
  t.is(await get(other.netns, '10.244.7.1', 8080), other.ip, 'the gateway is an address of the node');
  // Others than the node's are nobody's business.
  t.regex(await get(other.netns, outsideIp, 8080), /curl/);
  t.regex(await get(outside, nodeIp, 8081), /curl/);
  t.is((await node.status()).hostPorts, 1);

  await node.deletePod(pod);
  t.regex(await get(outside, nodeIp, 8080), /curl/);
  t.notRegex(ruleset(netns), /8080/);
  t.is((await node.status()).hostPorts, undefined);
});

test('a pod does not get to the loopback address of the node, nor sends in its name', async (t) => {
  const node = await startedNode(t);
  const { netns, nodeIp } = node.network;
  const pod = await node.addPod(ports(web(8080)));
  await serveUdp(t, netns, 5000, 'node');
  // What only a privileged pod can do.
  await exec('sysctl', ['-qw', 'net.ipv4.conf.all.route_localnet=1'], { netns: pod.netns });
  await exec('ip', ['-n', pod.netns, 'addr', 'flush', 'dev', 'lo']);
  await exec('ip', ['-n', pod.netns, 'route', 'add', '127.0.0.0/8', 'via', '10.244.7.1', 'src', pod.ip]);
  t.is(await ask(pod.netns, nodeIp, 5000), `node ${pod.ip}`, 'by its address it does');
  const links = await node.podLinks();
  t.is(await exec('sysctl', ['-n', `net.ipv4.conf.${links[0]}.route_localnet`], { netns }), '1\n');
  t.is(await ask(pod.netns, '127.0.0.1', 5000), '');
  // It did come, and was dropped there.
  const guard = await exec('/usr/sbin/nft', ['list', 'chain', 'ip', 'keelson-hostports', 'guard'], { netns });
  t.regex(guard, /ip daddr 127\.0\.0\.0\/8 counter packets [1-9]\d* bytes \d+ drop/);
});

test('hostIP and protocol narrow it; the same port of another address or protocol is another pod’s', async (t) => {
  const node = await startedNode(t);
  const { netns, outside, nodeIp, outsideIp } = node.network;
  await exec('ip', ['-n', netns, 'addr', 'add', '198.51.100.3/24', 'dev', 'up0']);
  const a = await node.addPod(ports(web(8080, { hostIP: nodeIp })));
  const b = await node.addPod(ports(web(8080, { hostIP: '198.51.100.3' })));
  const c = await node.addPod(ports(web(8080, { protocol: 'udp', containerPort: 53 })));
  const loop = await node.addPod(ports(web(8090, { hostIP: '127.0.0.1' })));
  // An address that is not the node's draws nobody's traffic.
  const foreign = await node.addPod(ports(web(8070, { hostIP: outsideIp })));
  await serveTcp(t, outside, outsideIp, 8070);
  for (const pod of [a, b, loop, foreign]) await serveTcp(t, pod.netns, pod.ip, 80);
  await serveUdp(t, c.netns, 53, 'c');
  t.is(await get(outside, nodeIp, 8080), outsideIp);
  t.is(await get(outside, '198.51.100.3', 8080), outsideIp);
  t.is(await get(a.netns, '198.51.100.3', 8080), a.ip);
  t.regex(await get(netns, '127.0.0.1', 8080), /curl/);
  t.is(await ask(outside, nodeIp, 8080), `c ${outsideIp}`);
  t.is(await get(netns, '127.0.0.1', 8090), nodeIp);
  t.regex(await get(outside, nodeIp, 8090), /curl/);
  t.is(await get(a.netns, outsideIp, 8070), nodeIp, 'it got out');
});

test('a port that is taken is refused by name, and the pod leaves nothing', async (t) => {
  const node = await startedNode(t);
  const first = await node.addPod(ports(web(8080)));
  const before = await node.census();
  const refusal = async (conf: object): Promise<unknown> =>
    node.addPod(conf).then(
      () => undefined,
      (error: Error) => error.message,
    );
  t.regex(
    String(await refusal(ports(web(9000), web(8080)))),
    /"code":103.*hostPort 8080\/tcp: is taken by pod default\/pod-0/,
  );
  t.regex(String(await refusal(ports(web(8080, { hostIP: '127.0.0.1' })))), /127.0.0.1:8080\/tcp: is taken/);
  t.regex(String(await refusal(ports(web(70_000)))), /"code":7.*hostPort 70000 is no port/);
  t.regex(String(await refusal(ports(web(1, { protocol: 'icmp' })))), /"code":7.*icmp/);
  t.regex(String(await refusal(ports(web(1, { hostIP: 'fd00::1' })))), /"code":7.*no IPv6 address/);
  t.is(await node.census(), before);
  await node.deletePod(first);
  await t.notThrowsAsync(node.addPod(ports(web(8080))));
});

test('UDP: who asked before and who goes on asking gets to the pod that is there now', async (t) => {
  const node = await startedNode(t);
  const { outside, nodeIp, outsideIp } = node.network;
  const dns = ports(web(5353, { protocol: 'udp', containerPort: 53 }));
  const again = (): Promise<string> => ask(outside, nodeIp, 5353, 40_000);
  t.is(await again(), '', 'nobody is there yet');
  const pods: Pod[] = [];
  for (const name of ['a', 'b']) {
    const pod = await node.addPod(dns);
    await serveUdp(t, pod.netns, 53, name);
    t.is(await again(), `${name} ${outsideIp}`);
    await node.deletePod(pod);
    pods.push(pod);
  }
  t.is(await again(), '');
});

const counted = async (node: Node): Promise<string> => ruleset(node.network.netns);

test('kill -9 and a restart: the ports stay, nothing is rewritten, the holder is known; a vanished pod’s ports go', async (t) => {
  const node = await startedNode(t);
  const { outside, nodeIp, outsideIp } = node.network;
  const [a, b] = [await node.addPod(ports(web(8080))), await node.addPod(ports(web(8081)))];
  await serveTcp(t, a.netns, a.ip, 80);
  node.listSandboxes([a]);
  const before = await counted(node);
  await node.daemon?.end('SIGKILL');
  t.is(await get(outside, nodeIp, 8080), outsideIp, 'with no daemon');
  await node.start();
  t.is(await get(outside, nodeIp, 8080), outsideIp);
  await eventually('the sandbox that the runtime does not know goes', async () => {
    await node.daemon?.ask('reconcile');
    return !(await counted(node)).includes('8081');
  });
  t.is((await counted(node)).replaceAll(/\s/g, '').includes('8080'), before.includes('8080'));
  await t.throwsAsync(node.addPod(ports(web(8080))), { message: /is taken by container/ });
  await t.notThrowsAsync(node.addPod(ports(web(8081))));
  t.truthy(b);
  // The namespace ends without a DEL.
  await node.daemon?.end('SIGKILL');
  await exec('ip', ['netns', 'pids', a.netns]).then(async (pids) => {
    for (const pid of pids.split('\n').filter((text) => text !== '')) process.kill(Number(pid), 'SIGKILL');
  });
  await exec('ip', ['netns', 'del', a.netns]);
  await eventually('its link is gone', async () => (await node.podLinks()).length === 1);
  await node.start();
  t.false((await counted(node)).includes('8080'));
});

test('the ruleset can be listed, as JSON too, and loaded again', async (t) => {
  const node = await startedNode(t);
  const { netns } = node.network;
  await node.addPod(ports(web(8080), web(8081, { hostIP: '198.51.100.2', protocol: 'sctp' })));
  const text = ruleset(netns);
  t.regex(text, /tcp . 8080 : 10\.244\.7\.2 . 80/);
  t.regex(text, /198\.51\.100\.2 . sctp . 8081 : 10\.244\.7\.2 . 80/);
  t.notThrows(() => JSON.parse(ruleset(netns, '-j')));
  await exec('/usr/sbin/nft', ['-c', '-f', '-'], { netns, input: `flush ruleset\n${text}` });
  await exec('/usr/sbin/nft', ['flush', 'ruleset'], { netns });
  await eventually('it is back', () => ruleset(netns).includes('tcp . 8080'));
  const { removed, failed } = await node.daemon!.end('SIGTERM').then(() => node.cleanup());
  t.deepEqual(failed, []);
  t.true(removed.includes('nft table ip keelson-hostports'));
  t.is(ruleset(netns), '');
});
