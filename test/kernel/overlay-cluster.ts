/**
 * A cluster of nodes on one wire for overlay.test.ts: each a network namespace with the pod network's daemon, all of them
 * with a link to a bridge in a namespace of its own. Counts what passes the wire encapsulated, and what as it is.
 * Layer: test.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import type { PeerNode } from '../../src/network/overlay/peer.ts';
import type { PodNetworkOptions } from '../../src/network/pod-network.ts';
import { eventually, exec, execResult, spawnIn } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import { createRunDir, type RunDir } from '../support/run-dir.ts';
import { Node, type Pod } from './pod-network-node.ts';

export type Backend = NonNullable<PodNetworkOptions['overlay']>;

/** Of a node's namespace, before its daemon starts. */
export type Prepare = (netns: string) => Promise<unknown>;

export const vxlan = { backend: 'vxlan', directRouting: false, vni: 1, port: 8472 } as const;
export const podMtu = 1450;

export interface Member {
  node: Node;
  name: string;
  number: number;
  pod: Pod;
  /** As others hear of its pods of the first family. */
  peer: PeerNode;
  /** Of every family. */
  peers: readonly PeerNode[];
}

export const addressOf = (number: number): string => `192.0.2.${10 + number}`;
export const addressOf6 = (number: number): string => `fd00:db8::${10 + number}`;
export const podCIDR6 = (number: number): string => `fd00:244:0:${number}::/64`;

/** What the nodes of a cluster have: pods of one family or both, and addresses of one or both between them. */
export interface Families {
  pods: readonly (4 | 6)[];
  nodes: readonly (4 | 6)[];
  mtu: number;
  followUplink?: PodNetworkOptions['followUplink'];
}

export const ipv4Only: Families = { pods: [4], nodes: [4], mtu: podMtu };

export class Cluster {
  readonly members: Member[] = [];
  readonly #t: ExecutionContext;
  readonly #run: RunDir = createRunDir();
  readonly #servers: ChildProcess[] = [];
  readonly #families: Families;
  #wire = '';

  constructor(t: ExecutionContext, families: Families = ipv4Only) {
    this.#t = t;
    this.#families = families;
    t.teardown(() => this.#remove());
  }

  static async start(
    t: ExecutionContext,
    size: number,
    backend: Partial<Backend> = {},
    prepare: Prepare = async () => undefined,
    families: Families = ipv4Only,
  ): Promise<Cluster> {
    const cluster = new Cluster(t, families);
    cluster.#wire = await createNetns(cluster.#run, '-wire');
    await exec('ip', ['-n', cluster.#wire, 'link', 'add', 'br0', 'up', 'type', 'bridge']);
    for (let number = 1; number <= size; number++) await cluster.add(number, backend, prepare);
    return cluster;
  }

  /** A node that knows every other one, and whom every other one knows. */
  async add(number: number, backend: Partial<Backend> = {}, prepare: Prepare = async () => undefined): Promise<Member> {
    const run = createRunDir();
    const netns = await createNetns(run);
    await this.#plug(netns, number);
    await prepare(netns);
    const name = `node-${number}`;
    const { pods, nodes, mtu, followUplink } = this.#families;
    const podCIDRs = pods.map((family) => (family === 4 ? `10.244.${number}.0/24` : podCIDR6(number)));
    const nodeIPs = nodes.map((family) => (family === 4 ? addressOf(number) : addressOf6(number)));
    const node = new Node(
      run,
      { netns, outside: '', nodeIp: addressOf(number), outsideIp: '' },
      {
        podCIDRs,
        mtu,
        ...(followUplink && { followUplink }),
        overlay: { ...vxlan, nodeName: name, nodeIPs, ...backend },
      },
    );
    const peers = podCIDRs.map((podCIDR) => {
      const isSix = podCIDR.includes(':');
      const address = nodeIPs.find((ip) => ip.includes(':') === isSix) ?? nodeIPs[0];
      return { name, podCIDR, address, createdAt: `2026-01-01T00:00:${10 + number}Z` };
    });
    const [peer] = peers;
    if (peer === undefined) throw new Error('no pod network');
    const member: Member = { node, name, number, peer, peers, pod: undefined as unknown as Pod };
    this.members.push(member);
    const first = await node.start();
    if (!first.ready) throw new Error(JSON.stringify(first));
    await exec('/usr/sbin/nft', ['-f', '-'], { netns, input: captureTable });
    member.pod = await node.addPod();
    for (const ip of member.pod.ips) await this.#serve(member.pod.netns, ip, 80);
    await tell(
      member,
      this.members.flatMap((other) => other.peers),
    );
    for (const other of this.members) if (other !== member) await tell(other, peers);
    return member;
  }

  /** A namespace on the wire, with the address of a node and no Keelson. */
  async stranger(number: number): Promise<string> {
    const netns = await createNetns(this.#run, `-n${number}`);
    await this.#plug(netns, number);
    return netns;
  }

  /** A namespace that stands for a pod of such a node. */
  strangerPod(number: number): Promise<string> {
    return createNetns(this.#run, `-q${number}`);
  }

  async #plug(netns: string, number: number): Promise<void> {
    const ip = (...args: string[]): Promise<string> => exec('ip', ['-n', netns, ...args]);
    const port = `p${number}`;
    await ip('link', 'add', 'eth0', 'mtu', '1500', 'type', 'veth', 'peer', 'name', port, 'netns', this.#wire);
    await exec('ip', ['-n', this.#wire, 'link', 'set', port, 'up', 'master', 'br0']);
    const { nodes } = this.#families;
    if (nodes.includes(4)) await ip('addr', 'add', `${addressOf(number)}/24`, 'dev', 'eth0');
    if (nodes.includes(6)) await ip('addr', 'add', `${addressOf6(number)}/64`, 'dev', 'eth0', 'nodad');
    await ip('link', 'set', 'eth0', 'up');
    if (nodes.includes(4)) await ip('route', 'add', 'default', 'via', '192.0.2.1');
    if (nodes.includes(6)) await ip('route', 'add', 'default', 'via', 'fd00:db8::1', 'dev', 'eth0');
  }

  member(number: number): Member {
    const found = this.members.find((member) => member.number === number);
    if (!found) throw new Error(`no node ${number}`);
    return found;
  }

  /** An HTTP server that answers with the address that it sees. */
  async #serve(netns: string, ip: string, port: number): Promise<void> {
    const program = `require('node:http').createServer((q, r) => r.end(q.url === '/big' ? 'x'.repeat(2e6) : q.socket.remoteAddress)).listen(${port}, '${ip}', () => console.log('up'))`;
    const child = spawnIn(netns, process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#servers.push(child);
    if (child.stdout) await once(child.stdout, 'data');
  }

  serveIn(netns: string, ip: string, port: number): Promise<void> {
    return this.#serve(netns, ip, port);
  }

  serveOn(member: Member, port: number): Promise<void> {
    return this.#serve(member.node.network.netns, '0.0.0.0', port);
  }

  async #remove(): Promise<void> {
    for (const child of this.#servers) child.kill('SIGKILL');
    for (const { node } of this.members) {
      await node.daemon?.end('SIGKILL');
      if (!this.#t.passed && existsSync(node.logFile)) this.#t.log(readFileSync(node.logFile, 'utf8').slice(-2500));
      await node.run.remove();
    }
    await this.#run.remove();
  }
}

/** Nodes that came or changed, and names of those that went. */
export const tell = (member: Member, changes: readonly (PeerNode | string)[]): Promise<unknown> =>
  member.node.daemon?.ask(`peers ${JSON.stringify(changes)}`) ?? Promise.reject(new Error('no daemon'));

/** What the server at the address says of the client, or that it is not reached. */
export async function get(netns: string, ip: string, port = 80, seconds = 5): Promise<string> {
  const url = `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/`;
  const args = ['-sS', '--max-time', String(seconds), '--noproxy', '*', url];
  const { code, stdout } = await execResult('curl', args, { netns });
  return code === 0 ? stdout : `curl ${code}`;
}

/** Every pod asks every other: each must see the other's own address. */
export async function meet(t: ExecutionContext, members: readonly Member[], what = ''): Promise<void> {
  for (const from of members) {
    for (const to of members) {
      if (from === to) continue;
      for (const [at, ip] of to.pod.ips.entries()) {
        const say = () => get(from.pod.netns, ip, 80, 1);
        const right = async (): Promise<boolean> => (await say()) === from.pod.ips[at];
        await eventually(`${from.name} to ${to.name} at ${ip} ${what}`, right, 10_000, 20);
      }
    }
  }
  t.pass();
}

const captureTable = `table inet capture {
  chain in {
    type filter hook prerouting priority -450
    iifname eth0 ip frag-off & 0x3fff != 0 counter comment "fragments"
    iifname eth0 udp dport { 8472, 4789 } counter comment "encapsulated"
    iifname eth0 ip saddr 10.244.0.0/16 counter comment "plain"
    iifname eth0 exthdr frag exists counter comment "fragments"
    iifname eth0 ip6 saddr fd00:244::/32 counter comment "plain"
  }
}
`;

/** Packets that came over the wire to the node. */
export async function captured(member: Member): Promise<{ encapsulated: number; plain: number; fragments: number }> {
  const args = ['-j', 'list', 'table', 'inet', 'capture'];
  const listing = JSON.parse(await exec('/usr/sbin/nft', args, { netns: member.node.network.netns })) as {
    nftables: { rule?: { comment: string; expr: { counter?: { packets: number } }[] } }[];
  };
  const count = (comment: string): number =>
    listing.nftables
      .flatMap(({ rule }) => (rule?.comment === comment ? rule.expr : []))
      .reduce((sum, { counter }) => sum + (counter?.packets ?? 0), 0);
  return { encapsulated: count('encapsulated'), plain: count('plain'), fragments: count('fragments') };
}
