/**
 * Bandwidth of pods on the real kernel: what `tc` says was made, that packets pass it both ways, and that nothing stays.
 * How fast it is in the end is bench's; no test asserts a time.
 * Layer: test.
 */
import test from 'ava';
import { eventually, exec } from '../support/exec.ts';
import type { Node } from './pod-network-node.ts';
import { get, serveTcp, startedNode } from './started-node.ts';

interface Qdisc {
  kind: string;
  dev: string;
  packets?: number;
  options?: { rate?: number; burst?: number };
}

const limited = {
  runtimeConfig: { bandwidth: { ingressRate: 80_000_000, ingressBurst: 4294967295, egressRate: 8_000_000 } },
};

async function qdiscs(node: Node): Promise<Qdisc[]> {
  const text = await exec('/usr/sbin/tc', ['-s', '-j', 'qdisc', 'show'], { netns: node.network.netns });
  return (JSON.parse(text) as Qdisc[]).filter(({ kind }) => ['tbf', 'ingress'].includes(kind));
}

const shapers = async (node: Node): Promise<number> =>
  (JSON.parse(await node.ip('-j', 'link', 'show', 'type', 'ifb')) as object[]).filter((link) => 'ifname' in link)
    .length;

test('a token bucket to the pod, and one from it by way of a link of its own', async (t) => {
  const node = await startedNode(t);
  const { netns, nodeIp } = node.network;
  const pod = await node.addPod(limited);
  const other = await node.addPod();
  const [link] = (await node.podLinks()).filter((name) => name !== undefined);
  t.truthy(link);
  const made = await qdiscs(node);
  t.deepEqual(made.map(({ kind, dev, options }) => [kind, dev.slice(0, 2), options?.rate, options?.burst]).sort(), [
    ['ingress', 'kl', undefined, undefined],
    ['tbf', 'ki', 1_000_000, 100_000],
    ['tbf', 'kl', 10_000_000, 1_000_000],
  ]);
  await serveTcp(t, pod.netns, pod.ip, 80);
  await serveTcp(t, netns, '0.0.0.0', 8080);
  t.is(await get(other.netns, pod.ip, 80), other.ip);
  t.is(await get(netns, pod.ip, 80), '10.244.7.1');
  t.regex(await get(pod.netns, nodeIp, 8080), new RegExp(pod.ip), 'what came back from the link came in by the pod’s');
  for (const { kind, packets } of await qdiscs(node)) if (kind === 'tbf') t.true((packets ?? 0) > 0);
  await node.deletePod(pod);
  t.deepEqual(await qdiscs(node), []);
  t.is(await shapers(node), 0);
});

test('kill -9, restarts and namespaces that vanish leave no link behind', async (t) => {
  const node = await startedNode(t);
  const pods = [await node.addPod(limited), await node.addPod(limited), await node.addPod(limited)];
  node.listSandboxes(pods);
  t.is(await shapers(node), 3);
  await exec('ip', ['netns', 'del', pods[0]!.netns]);
  await eventually('the first went with its pod', async () => (await shapers(node)) === 2);
  await node.daemon?.end('SIGKILL');
  await exec('ip', ['netns', 'del', pods[1]!.netns]);
  await eventually('its pod link is gone', async () => (await node.podLinks()).length === 1);
  t.is(await shapers(node), 2);
  // One that a kill left half-made, and one of somebody else.
  await node.ip('link', 'add', 'ki0123456789abc', 'type', 'ifb');
  await node.ip('link', 'add', 'ifb-foreign', 'type', 'ifb');
  await node.start();
  t.is(await shapers(node), 2, 'the one of the pod that is there, and the foreign one');
  await node.deletePod(pods[2]!);
  t.is(await shapers(node), 1);
  await node.addPod(limited);
  await node.daemon?.end('SIGKILL');
  const { failed } = await node.cleanup();
  t.deepEqual(failed, []);
  t.is(await shapers(node), 1);
});

test('bandwidth that cannot be had is refused by name', async (t) => {
  const node = await startedNode(t);
  const before = await node.census();
  for (const bandwidth of [{ ingressRate: -1 }, { egressRate: '1M' }, 7])
    await t.throwsAsync(node.addPod({ runtimeConfig: { bandwidth } }), {
      message: /"code":7.*runtimeConfig.bandwidth/,
    });
  t.is(await node.census(), before);
});
