/**
 * A node whose machine gets another address while it runs, as from DHCP: the Node says it, the VXLAN moves to it, pods of
 * before and new ones work, and the connections to the API server come back. Layer: test (integration, root).
 */
import test from 'ava';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { podManifest } from '../support/daemon.ts';
import { eventually, execResult } from '../support/exec.ts';

const newAddress = '198.51.100.77';
let node: ClusterNode;

test.before(async () => {
  node = await startClusterNode();
  await node.waitForReady();
});
test.after.always(() => node?.end());

async function podAddress(name: string): Promise<{ podIP: string; hostIP: string }> {
  const { nodeName, cluster } = node;
  const pod = podManifest(name, { nodeName });
  await cluster.apply({ ...pod, metadata: { name, namespace: 'default' } });
  return node.waitFor(
    `pod ${name} is ready`,
    `/api/v1/namespaces/default/pods/${name}`,
    ({ status }) =>
      status.conditions?.some(
        ({ type, status: is }: { type: string; status: string }) => type === 'Ready' && is === 'True',
      ) && status,
    120_000,
  );
}

/** Undefined while there is no link: another local address takes another link. */
const vxlanLocal = async (): Promise<string | undefined> => {
  const show = ['-j', '-d', 'link', 'show', 'keelson-vxlan'];
  const { code, stdout } = await execResult('ip', show, { netns: node.node.netns });
  if (code !== 0) return undefined;
  const [link] = JSON.parse(stdout) as { linkinfo: { info_data: { local?: string } } }[];
  return link?.linkinfo.info_data.local;
};

test('another address of the machine: Node, VXLAN and pods follow', async (t) => {
  const { netns, nodeIp, outsideIp, exec } = node.node;
  const before = await podAddress('before');
  t.is(before.hostIP, nodeIp);
  t.is(await vxlanLocal(), nodeIp);

  await exec('ip', 'address', 'del', `${nodeIp}/24`, 'dev', 'up0');
  await exec('ip', 'address', 'add', `${newAddress}/24`, 'dev', 'up0');
  await exec('ip', 'route', 'replace', 'default', 'via', outsideIp);

  await node.waitFor(
    'the Node has the new address',
    `/api/v1/nodes/${node.nodeName}`,
    ({ status }) =>
      status.addresses.some(
        ({ type, address }: { type: string; address: string }) => type === 'InternalIP' && address === newAddress,
      ) || undefined,
    120_000,
  );
  await eventually('the VXLAN has the new address', async () => (await vxlanLocal()) === newAddress);
  const after = await podAddress('after');
  t.is(after.hostIP, newAddress);
  for (const { podIP } of [before, after]) {
    const { code } = await execResult('curl', ['-s', '--max-time', '5', `${podIP}:1`], { netns });
    t.is(code, 7, 'refused by the pod, not lost on the way');
  }
  await node.waitForReady();
  t.regex((await node.keelson.command('status')).stdout, new RegExp(`^Node \\S+ \\(${newAddress}\\)`));
});
