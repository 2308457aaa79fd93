/**
 * Network namespaces that stand for machines: a node, and optionally a host outside that it reaches over a cable (veth).
 * Layer: test. Addresses repeat in every run, since namespaces do not see each other; names come from the run.
 */
import { exec } from './exec.ts';
import type { RunDir } from './run-dir.ts';

export interface TestNetwork {
  /** The node's namespace, as `ip netns` names it. */
  netns: string;
  /** The namespace at the other end of the uplink. */
  outside: string;
  /** The node's address on its uplink `up0`; the default route goes to `outsideIp`. */
  nodeIp: string;
  outsideIp: string;
}

export const nodeIp = '198.51.100.2'; // TEST-NET-2, RFC 5737
export const outsideIp = '198.51.100.1';

/** Makes a namespace with `lo` up, removed together with the run. */
export async function createNetns(run: RunDir, suffix = ''): Promise<string> {
  const name = `kt-${run.id}${suffix}`;
  run.ownNetns(name);
  await exec('ip', ['netns', 'add', name]);
  // Link-local addresses count at once instead of a second later: a census sees the same before and after.
  await exec('sysctl', ['-qw', 'net.ipv6.conf.default.accept_dad=0'], { netns: name });
  await exec('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  return name;
}

/** A node and a host outside that has no route to any pod network, as the world has none. */
export async function createTestNetwork(run: RunDir): Promise<TestNetwork> {
  const netns = await createNetns(run);
  const outside = await createNetns(run, '-out');
  await exec('ip', ['-n', netns, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', outside]);
  await exec('ip', ['-n', netns, 'addr', 'add', `${nodeIp}/24`, 'dev', 'up0']);
  await exec('ip', ['-n', outside, 'addr', 'add', `${outsideIp}/24`, 'dev', 'up0']);
  await exec('ip', ['-n', netns, 'link', 'set', 'up0', 'up']);
  await exec('ip', ['-n', outside, 'link', 'set', 'up0', 'up']);
  await exec('ip', ['-n', netns, 'route', 'add', 'default', 'via', outsideIp]);
  return { netns, outside, nodeIp, outsideIp };
}
