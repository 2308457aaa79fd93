/**
 * Keelson's nodes among flannel's: a peer made by hand with ip(8) and bridge(8) alone, as flannel makes it from a node's
 * annotations (pkg/backend/vxlan/vxlan_network.go, pkg/backend/route_network.go), that knows of the Keelson node nothing
 * but what Keelson writes into its own annotations.
 * Layer: test.
 */
import test from 'ava';
import { flannelAnnotation, flannelAnnotations, parseFlannel } from '../../src/network/overlay/flannel.ts';
import { vtepMac } from '../../src/network/overlay/vtep.ts';
import { eventually, exec } from '../support/exec.ts';
import { addressOf, type Backend, Cluster, captured, get, type Member, tell } from './overlay-cluster.ts';

const number = 9;
const flannelMac = '6a:11:22:33:44:55';

interface FlannelNode {
  netns: string;
  pod: string;
  podIP: string;
}

/** Link, bridge and pod of a flannel node; `bridge` and `host-local` give it .1 and the first free one. */
async function flannelNode(cluster: Cluster, backend: 'vxlan' | 'host-gw'): Promise<FlannelNode> {
  const netns = await cluster.stranger(number);
  const pod = await cluster.strangerPod(number);
  const ip = (...args: string[]): Promise<string> => exec('ip', ['-n', netns, ...args]);
  await exec('sysctl', ['-qw', 'net.ipv4.ip_forward=1'], { netns });
  if (backend === 'vxlan') {
    await ip(
      'link',
      'add',
      'flannel.1',
      'address',
      flannelMac,
      'mtu',
      '1450',
      'type',
      'vxlan',
      'id',
      '1',
      'dev',
      'eth0',
      'local',
      addressOf(number),
      'dstport',
      '8472',
      'nolearning',
    );
    await ip('addr', 'add', `10.244.${number}.0/32`, 'dev', 'flannel.1');
    await ip('link', 'set', 'flannel.1', 'up');
  }
  await ip('link', 'add', 'cni0', 'type', 'bridge');
  await ip('addr', 'add', `10.244.${number}.1/24`, 'dev', 'cni0');
  await ip('link', 'set', 'cni0', 'up');
  await ip('link', 'add', 'veth0', 'mtu', '1450', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod);
  await ip('link', 'set', 'veth0', 'up', 'master', 'cni0');
  const podIP = `10.244.${number}.2`;
  await exec('ip', ['-n', pod, 'addr', 'add', `${podIP}/24`, 'dev', 'eth0']);
  await exec('ip', ['-n', pod, 'link', 'set', 'eth0', 'mtu', '1450', 'up']);
  await exec('ip', ['-n', pod, 'route', 'add', 'default', 'via', `10.244.${number}.1`]);
  await cluster.serveIn(pod, podIP, 80);
  return { netns, pod, podIP };
}

/** What flannel does when it sees a node's annotations and podCIDR. */
async function learn({ netns }: FlannelNode, annotations: Record<string, string>, podCIDR: string): Promise<void> {
  const ip = (...args: string[]): Promise<string> => exec('ip', ['-n', netns, ...args]);
  const publicIP = annotations['flannel.alpha.coreos.com/public-ip'] ?? '';
  if (annotations['flannel.alpha.coreos.com/kube-subnet-manager'] !== 'true') throw new Error('flannel passes it over');
  const first = podCIDR.replace(/\/24$/, '');
  if (annotations['flannel.alpha.coreos.com/backend-type'] === 'host-gw') {
    await ip('route', 'add', podCIDR, 'via', publicIP, 'dev', 'eth0');
    return;
  }
  const data = JSON.parse(annotations['flannel.alpha.coreos.com/backend-data'] ?? '') as {
    VNI: number;
    VtepMAC: string;
  };
  if (data.VNI !== 1) throw new Error('another VNI');
  await ip('neigh', 'replace', first, 'lladdr', data.VtepMAC, 'dev', 'flannel.1', 'nud', 'permanent');
  await exec('bridge', [
    '-n',
    netns,
    'fdb',
    'replace',
    data.VtepMAC,
    'dev',
    'flannel.1',
    'dst',
    publicIP,
    'self',
    'permanent',
  ]);
  await ip('route', 'replace', podCIDR, 'via', first, 'dev', 'flannel.1', 'onlink');
}

const annotationsOf = (member: Member, backend: 'vxlan' | 'host-gw'): Record<string, string> =>
  flannelAnnotations({ backend, vni: 1, mac: vtepMac(member.name), address: member.peer.address ?? '' }) ?? {};

/** The Node of flannel's, as the API server would tell it. */
const peerOf = (backend: string, more: Record<string, string> = {}) => ({
  name: 'flannel-node',
  createdAt: '2026-01-01T00:00:30Z',
  podCIDR: `10.244.${number}.0/24`,
  address: addressOf(number),
  flannel: parseFlannel({
    [flannelAnnotation.managed]: 'true',
    [flannelAnnotation.backendType]: backend,
    [flannelAnnotation.backendData]: backend === 'vxlan' ? `{"VNI":1,"VtepMAC":"${flannelMac}"}` : 'null',
    [flannelAnnotation.publicIP]: addressOf(number),
    ...more,
  }),
});

for (const backend of ['vxlan', 'host-gw'] as const) {
  test(`${backend}: pods of flannel’s node and of ours meet with their own addresses, both ways`, async (t) => {
    const options: Partial<Backend> = { backend };
    const cluster = await Cluster.start(t, 2, options);
    const flannel = await flannelNode(cluster, backend);
    for (const member of cluster.members) {
      await learn(flannel, annotationsOf(member, backend), member.peer.podCIDR ?? '');
      await tell(member, [peerOf(backend)]);
    }
    for (const member of cluster.members) {
      const { pod, name } = member;
      const there = () => get(pod.netns, flannel.podIP, 80, 1);
      await eventually(`${name} to flannel`, async () => (await there()) === pod.ip, 10_000, 50);
      t.is(await get(flannel.pod, pod.ip), flannel.podIP, `flannel to ${name}`);
      // The node itself asks, too: with the address of its end of the VXLAN, which flannel's node answers through it.
      t.regex(
        await get(member.node.network.netns, flannel.podIP),
        backend === 'vxlan' ? /^10\.244\.\d\.0$/ : /^192\.0\.2\./,
      );
      t.regex(await get(flannel.netns, pod.ip), backend === 'vxlan' ? /^10\.244\.9\.0$/ : /^192\.0\.2\.19$/);
      const { encapsulated, plain } = await captured(member);
      t.true(backend === 'vxlan' ? encapsulated > 0 && plain === 0 : plain > 0 && encapsulated === 0);
    }
  });
}

test('a flannel node that goes another way is named, and one whose address changes is followed', async (t) => {
  const cluster = await Cluster.start(t, 1);
  const [member] = cluster.members;
  if (member === undefined) return t.fail();
  const flannel = await flannelNode(cluster, 'vxlan');
  await learn(flannel, annotationsOf(member, 'vxlan'), member.peer.podCIDR ?? '');
  const unreached = async (): Promise<string> => JSON.stringify((await member.node.status()).overlay?.unreached);
  for (const [told, message] of [
    [peerOf('wireguard'), /backend-type .*wireguard.*this node has vxlan/],
    [peerOf('vxlan', { [flannelAnnotation.backendData]: `{"VNI":4096,"VtepMAC":"${flannelMac}"}` }), /VNI 4096/],
    [peerOf('vxlan', { [flannelAnnotation.backendData]: '{"VNI":1,"VtepMAC":"01:00:5e:00:00:01"}' }), /MAC address/],
    [peerOf('vxlan', { [flannelAnnotation.publicIP]: addressOf(1) }), /overlaps address 192\.0\.2\.11 of this node/],
  ] as const) {
    await tell(member, [told]);
    await eventually(String(message), async () => message.test(await unreached()));
  }
  await tell(member, [peerOf('vxlan')]);
  await eventually('it is reached', async () => (await get(member.pod.netns, flannel.podIP, 80, 1)) === member.pod.ip);
  t.is(await unreached(), '[]');
  // flannel makes its link anew at every start: with another MAC address, unless it read its own annotations.
  await exec('ip', ['-n', flannel.netns, 'link', 'set', 'flannel.1', 'address', '6a:99:99:99:99:99']);
  // The kernel has forgotten the neighbours of that link.
  await learn(flannel, annotationsOf(member, 'vxlan'), member.peer.podCIDR ?? '');
  await tell(member, [peerOf('vxlan', { [flannelAnnotation.backendData]: '{"VNI":1,"VtepMAC":"6a:99:99:99:99:99"}' })]);
  await eventually(
    'it is reached again',
    async () => (await get(member.pod.netns, flannel.podIP, 80, 1)) === member.pod.ip,
  );
  t.notRegex(await exec('bridge', ['-n', member.node.network.netns, 'fdb']), new RegExp(flannelMac));
  t.notRegex(await exec('ip', ['-n', member.node.network.netns, 'neigh']), new RegExp(flannelMac));
});
