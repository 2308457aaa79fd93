/**
 * The stage of the Service cases: a node with two pods, a pod of another node and a client outside, in both address
 * families, each in a network namespace, with servers for TCP, UDP and SCTP.
 * Layer: test. Knows addresses and packets; what the node's rules are is up to the test.
 *
 *   out (client, router) ── node ── pod-1, pod-2 (links veth-1, veth-2)
 *    └── pod-b of node-b
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Protocol } from '../../src/api/core.ts';
import type { IpFamily } from '../../src/api/service.ts';
import { exec, spawnIn } from './exec.ts';
import { createNetns } from './netns.ts';
import { createRunDir, type RunDir } from './run-dir.ts';

export type Place = 'pod-1' | 'pod-2' | 'pod-b' | 'node' | 'out';

export interface StageAddresses {
  family: IpFamily;
  ip: Readonly<Record<Place, string>>;
  /** Second addresses: of the client, and of the node (not the one that others know it by). */
  out2: string;
  node2: string;
  /** Networks of pods, Services and external addresses. */
  pods: string;
  services: string;
  cluster(index: number): string;
  external(index: number): string;
}

export const stageAddresses: Readonly<Record<IpFamily, StageAddresses>> = {
  IPv4: {
    family: 'IPv4',
    ip: {
      'pod-1': '10.244.1.2',
      'pod-2': '10.244.1.3',
      'pod-b': '10.244.2.2',
      node: '198.51.100.2',
      out: '198.51.100.1',
    },
    out2: '198.51.100.77',
    node2: '192.0.2.50',
    pods: '10.244.0.0/16',
    services: '10.96.0.0/16',
    cluster: (index) => `10.96.0.${index}`,
    external: (index) => `203.0.113.${index}`,
  },
  IPv6: {
    family: 'IPv6',
    ip: {
      'pod-1': 'fd00:244:1::2',
      'pod-2': 'fd00:244:1::3',
      'pod-b': 'fd00:244:2::2',
      node: '2001:db8:100::2',
      out: '2001:db8:100::1',
    },
    out2: '2001:db8:100::77',
    node2: '2001:db8:50::50',
    pods: 'fd00:244::/32',
    services: 'fd00:96::/64',
    cluster: (index) => `fd00:96::${index}`,
    external: (index) => `2001:db8:113::${index}`,
  },
};
const externalNetworks: Readonly<Record<IpFamily, string>> = { IPv4: '203.0.113.0/24', IPv6: '2001:db8:113::/64' };

/** What every pod serves. */
export const stagePorts: readonly number[] = [8080, 9090];

export interface StageQuestion {
  protocol: Protocol;
  /** Of the client, where it has several addresses. */
  source?: string;
  ip: string;
  port: number;
  timeoutMs: number;
}

/** The server's address and the client as it sees it, or the name of an error. */
export type StageAnswer = { server: string; client: string } | { error: string };

export interface ServiceStage {
  /** Path of the node's namespace. */
  node: string;
  /** One after the other, in this order. */
  ask(from: Place, questions: readonly StageQuestion[]): Promise<StageAnswer[]>;
  /** Runs a command on the node. */
  onNode(command: string, ...args: string[]): Promise<string>;
  remove(): Promise<void>;
}

export async function createServiceStage(): Promise<ServiceStage> {
  const run = createRunDir();
  try {
    return await build(run);
  } catch (error) {
    await run.remove();
    throw error;
  }
}

async function build(run: RunDir): Promise<ServiceStage> {
  const program = join(run.path, 'service-peer');
  await exec('gcc', ['-O2', '-Wall', '-o', program, join(import.meta.dirname, 'service-peer.c')]);
  const names = new Map<Place, string>();
  for (const place of ['node', 'out', 'pod-1', 'pod-2', 'pod-b'] as const)
    names.set(place, await createNetns(run, `-${place}`));
  const netns = (place: Place): string => names.get(place) ?? place;
  const ip = (place: Place, ...args: string[]): Promise<string> => exec('ip', ['-n', netns(place), ...args]);
  for (const place of ['node', 'out'] as const)
    for (const setting of [
      'ipv4.ip_forward=1',
      'ipv6.conf.all.forwarding=1',
      // Every refusal must be told: redirects and refusals share the kernel's limit of ICMP errors.
      'ipv4.icmp_ratemask=0',
      'ipv6.icmp.ratelimit=0',
      'ipv4.conf.all.send_redirects=0',
      'ipv4.conf.default.send_redirects=0',
    ])
      await exec('sysctl', ['-qw', `net.${setting}`], { netns: netns(place) });
  await ip('node', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', netns('out'));
  for (const place of ['node', 'out'] as const) await ip(place, 'link', 'set', 'up0', 'up');
  for (const [router, place, link] of [
    ['node', 'pod-1', 'veth-1'],
    ['node', 'pod-2', 'veth-2'],
    ['out', 'pod-b', 'veth-b'],
  ] as const) {
    await ip(router, 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns(place));
    await ip(router, 'link', 'set', link, 'up');
    await ip(place, 'link', 'set', 'eth0', 'up');
    await ip(router, 'address', 'add', 'fe80::1/64', 'dev', link);
    await ip(router, 'address', 'add', '169.254.1.1/32', 'dev', link, 'scope', 'link');
  }
  for (const { family, ip: of, out2, node2, services, pods } of Object.values(stageAddresses)) {
    const [bits, whole, gateway] = family === 'IPv4' ? ['24', '32', '169.254.1.1'] : ['64', '128', 'fe80::1'];
    await ip('node', 'address', 'add', `${of.node}/${bits}`, 'dev', 'up0');
    await ip('out', 'address', 'add', `${of.out}/${bits}`, 'dev', 'up0');
    // Deprecated: never chosen unless asked for.
    await ip(
      'out',
      'address',
      'add',
      `${out2}/${bits}`,
      'dev',
      'up0',
      ...(family === 'IPv6' ? ['preferred_lft', '0'] : []),
    );
    await ip('node', 'address', 'add', `${node2}/${whole}`, 'dev', 'lo');
    await ip('node', 'route', 'add', 'default', 'via', of.out);
    for (const [router, place, link] of [
      ['node', 'pod-1', 'veth-1'],
      ['node', 'pod-2', 'veth-2'],
      ['out', 'pod-b', 'veth-b'],
    ] as const) {
      await ip(place, 'address', 'add', `${of[place]}/${whole}`, 'dev', 'eth0');
      await ip(
        place,
        'route',
        'add',
        'default',
        'via',
        gateway,
        'dev',
        'eth0',
        ...(family === 'IPv4' ? ['onlink'] : []),
      );
      await ip(router, 'route', 'add', `${of[place]}/${whole}`, 'dev', link, 'src', of[router]);
    }
    for (const prefix of [pods, services, externalNetworks[family], `${node2}/${whole}`])
      await ip('out', 'route', 'add', prefix, 'via', of.node);
  }
  // What the node sends on untranslated would come back by the route to Services.
  const rules = (['IPv4', 'IPv6'] as const)
    .map((family) => {
      const word = family === 'IPv4' ? 'ip' : 'ip6';
      return `iifname up0 ${word} daddr { ${stageAddresses[family].services}, ${externalNetworks[family]} } drop\n`;
    })
    .join('');
  await exec('/usr/sbin/nft', ['-f', '-'], {
    netns: netns('out'),
    input: `table inet foreign {\nchain prerouting {\n type filter hook prerouting priority 0\n${rules} }\n}`,
  });

  const servers: ChildProcess[] = [];
  /** No port twice: what conntrack knows of an earlier question would answer for the rules. */
  let nextPort = 10_000;
  for (const place of ['pod-1', 'pod-2', 'pod-b'] as const) {
    const args = ['serve', ...stagePorts.map(String)];
    const child = spawnIn(netns(place), program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    servers.push(child);
    if (child.stdout !== null) await once(child.stdout, 'data');
  }
  return {
    node: `/run/netns/${netns('node')}`,
    onNode: (command, ...args) => exec(command, args, { netns: netns('node') }),
    async ask(from, questions) {
      const input = questions
        .map(
          ({ protocol, source = '-', ip: to, port, timeoutMs }) =>
            `${protocol.toLowerCase()} ${source} ${to} ${port} ${timeoutMs}\n`,
        )
        .join('');
      const firstPort = nextPort;
      nextPort += questions.length;
      const output = await exec(program, ['ask', String(firstPort)], { netns: netns(from), input });
      return output
        .trim()
        .split('\n')
        .map((line) => {
          const [first = '', client] = line.split(' ');
          return client === undefined ? { error: first } : { server: first, client };
        });
    },
    async remove() {
      for (const child of servers) child.kill('SIGKILL');
      await run.remove();
    },
  };
}
