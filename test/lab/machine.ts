/**
 * Looks at a guest for what a node leaves on its machine.
 * Layer: test (lab).
 */
import type { Guest } from './lab.ts';
import { same } from './same.ts';

/** What a pod network and a proxy leave in the kernel is gone. */
export async function cleanNetwork(guest: Guest): Promise<void> {
  const links = (await guest.must('ls /sys/class/net'))
    .split('\n')
    .filter((name) => name !== '' && name !== 'bonding_masters');
  same(links.sort(), ['eth0', 'lo'], 'links');
  same((await guest.must('nft list tables')).includes('keelson'), false, 'nft tables of ours');
  same((await guest.must('iptables-save 2>/dev/null')).includes('KEELSON'), false, 'iptables chains of ours');
  same((await guest.must('ip route show proto 75')).trim(), '', 'routes');
  same((await guest.must('ip -4 address show dev lo')).includes('10.244.'), false, 'addresses of lo');
  same(
    (await guest.must("find /sys/fs/cgroup -name 'kubepods*' -o -name 'cri-containerd*'")).trim(),
    '',
    'control groups',
  );
  same(
    (await guest.run('ls /run/netns /var/run/netns 2>/dev/null | grep cni')).stdout.trim(),
    '',
    'network namespaces',
  );
  same((await guest.run('ls /etc/cni/net.d/10-keelson.conflist /usr/lib/cni/keelson')).stdout.trim(), '', 'CNI files');
}
