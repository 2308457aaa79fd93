/**
 * The MTU of a node's uplink changes while pods talk: the link of the VXLAN and new pods follow at once, and pods of before
 * go on with packets of full size, since the host tells them what has become too large. Real packets, no fragment on the wire.
 * Layer: test.
 */
import test from 'ava';
import { eventually, exec, execResult } from '../support/exec.ts';
import { Cluster, captured, type Families, get, ipv4Only, type Member, meet } from './overlay-cluster.ts';
import type { Pod } from './pod-network-node.ts';

const run = (member: Member, command: string, ...args: string[]): Promise<string> =>
  exec(command, args, { netns: member.node.network.netns });

const following = (overheadBytes: number): Families => ({
  ...ipv4Only,
  followUplink: { overheadBytes, nodeFamilies: [4] },
});

async function mtuOf(netns: string, link: string): Promise<number | undefined> {
  const { stdout } = await execResult('ip', ['-j', 'link', 'show', link], { netns });
  return (JSON.parse(stdout || '[]') as { mtu: number }[])[0]?.mtu;
}

const vxlanIs = (member: Member, mtu: number) =>
  eventually(`the VXLAN of ${member.name} has MTU ${mtu}`, async () => {
    return (await mtuOf(member.node.network.netns, 'keelson-vxlan')) === mtu;
  });

/** Bytes of a large answer that arrived. */
async function transfer(from: Pod, to: Pod): Promise<number> {
  const args = ['-sS', '--max-time', '10', '--noproxy', '*', `http://${to.ip}/big`];
  return (await exec('curl', args, { netns: from.netns })).length;
}

for (const backend of ['vxlan', 'host-gw'] as const) {
  const overheadBytes = backend === 'vxlan' ? 50 : 0;
  test(`${backend}: a smaller and a larger uplink, with pods of before and after`, async (t) => {
    const cluster = await Cluster.start(t, 2, { backend }, undefined, following(overheadBytes));
    const [one, two] = [cluster.member(1), cluster.member(2)];
    await meet(t, cluster.members);
    const setMtu = async (mtu: number): Promise<void> => {
      for (const { node } of cluster.members)
        await exec('ip', ['-n', node.network.netns, 'link', 'set', 'eth0', 'mtu', String(mtu)]);
    };
    t.is(await mtuOf(one.pod.netns, 'eth0'), 1500 - overheadBytes);
    t.is(await transfer(one.pod, two.pod), 2e6);

    await setMtu(1300);
    const small = 1300 - overheadBytes;
    if (backend === 'vxlan') for (const member of cluster.members) await vxlanIs(member, small);
    // Asked in turn, since a host-gw node has no link that shows it.
    const young = await eventually('a new pod has the new MTU', async () => {
      const pod = await one.node.addPod();
      if ((await mtuOf(pod.netns, 'eth0')) === small) return pod;
      await one.node.deletePod(pod);
      return undefined;
    });
    await cluster.serveIn(young.netns, young.ip, 80);
    t.is(await mtuOf(one.pod.netns, 'eth0'), 1500 - overheadBytes, 'a pod keeps what it has');
    for (const [from, to] of [
      [one.pod, two.pod],
      [two.pod, one.pod],
      [young, two.pod],
      [two.pod, young],
    ] as const)
      t.is(await transfer(from, to), 2e6);
    // Who sends more than passes is told once, and remembers.
    const route = await exec('ip', ['route', 'get', one.pod.ip], { netns: two.pod.netns });
    t.regex(route, new RegExp(`mtu ${small}\\b`));
    for (const member of cluster.members) t.is((await captured(member)).fragments, 0);

    await setMtu(1600);
    if (backend === 'vxlan') for (const member of cluster.members) await vxlanIs(member, 1600 - overheadBytes);
    const large = await eventually('a new pod has the large MTU', async () => {
      const pod = await two.node.addPod();
      if ((await mtuOf(pod.netns, 'eth0')) === 1600 - overheadBytes) return pod;
      await two.node.deletePod(pod);
      return undefined;
    });
    await cluster.serveIn(large.netns, large.ip, 80);
    t.is(await transfer(young, large), 2e6);
    t.is(await transfer(large, young), 2e6);
    for (const member of cluster.members) t.is((await captured(member)).fragments, 0);
  });
}

test('the default route moves to a link of another MTU; while there is none the last one counts', async (t) => {
  const cluster = await Cluster.start(t, 1, {}, undefined, following(50));
  const one = cluster.member(1);
  const { netns } = one.node.network;
  await exec('ip', ['-n', netns, 'link', 'add', 'eth1', 'mtu', '1400', 'type', 'veth', 'peer', 'name', 'far1']);
  for (const link of ['eth1', 'far1']) await exec('ip', ['-n', netns, 'link', 'set', link, 'up']);
  await run(one, 'ip', 'addr', 'add', '198.51.100.2/24', 'dev', 'eth1');
  await run(one, 'ip', 'route', 'replace', 'default', 'via', '198.51.100.1');
  await vxlanIs(one, 1350);
  await run(one, 'ip', 'route', 'del', 'default');
  await run(one, 'ip', 'link', 'set', 'eth0', 'mtu', '1280');
  await run(one, 'ip', 'route', 'add', 'default', 'via', '192.0.2.1');
  await vxlanIs(one, 1230);
  // A daemon that was away meanwhile takes over what it finds.
  one.node.listSandboxes([one.pod]);
  await one.node.daemon?.end('SIGKILL');
  await run(one, 'ip', 'link', 'set', 'eth0', 'mtu', '1480');
  await one.node.start();
  await vxlanIs(one, 1430);
  t.is(await get(netns, one.pod.ip), '10.244.1.1');
});
