/**
 * A node for tests of network policies: pods of the node in namespaces of their own, and one namespace that stands for the
 * rest of the world, pods of other nodes too, whose packets may have any source.
 * Layer: test. Knows packets, not policies.
 *
 *   world ── up0 ── node ── veth-0.. ── pods of the node
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { exec, spawnIn } from './exec.ts';
import { createNetns } from './netns.ts';
import { createRunDir } from './run-dir.ts';

export type FlowProtocol = 'TCP' | 'UDP' | 'SCTP';

export interface Flow {
  protocol: FlowProtocol;
  from: string;
  /** May be the address of a Service. */
  to: string;
  port: number;
  /** How the packet looks, where not plain: as policy-peer.c calls it. `f`: fragments. */
  shape?: PacketShape;
}

/** `f` of both families, the others of IPv6. */
export type PacketShape = 'f' | 'd' | 'h' | 'a' | 's';

export interface PolicyLabOptions {
  /** Addresses of each pod of the node. */
  pods: readonly (readonly string[])[];
  /** `address port/protocol` of Services, and where their packets go. */
  services?: readonly { ip: string; port: number; protocol: FlowProtocol; to: string; toPort: number }[];
}

export interface PolicyLab {
  /** Path of the node's namespace. */
  node: string;
  netns: { node: string; world: string; pods: readonly string[] };
  /** For each, whether its first packet arrived anywhere. All are under way at once. */
  pass(flows: readonly Flow[]): Promise<boolean[]>;
  /** Sends `perMs` first packets each millisecond until the returned function is called, which says how many arrived. */
  flood(flow: Flow, perMs: number): () => Promise<number>;
  remove(): Promise<void>;
}

/** How long nothing must arrive for all to count as arrived. */
const quietMs = 120;

class Peer {
  readonly #child: ChildProcess;
  readonly #marks: (() => void)[] = [];
  onArrival: (id: number) => void = () => undefined;

  constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new Error('no output');
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === '.') this.#marks.shift()?.();
      else if (line !== 'ready') this.onArrival(Number(line));
    });
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Resolves when all that was written before is done. */
  mark(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#marks.push(resolve);
    this.write('.\n');
    return promise;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }
}

export const worldIp = '198.51.100.1';
export const nodeIps = { 4: '198.51.100.2', 6: '2001:db8:100::2' } as const;

export async function createPolicyLab({ pods, services = [] }: PolicyLabOptions): Promise<PolicyLab> {
  const run = createRunDir();
  const peers: Peer[] = [];
  try {
    const program = join(run.path, 'policy-peer');
    await exec('gcc', ['-O2', '-Wall', '-o', program, join(import.meta.dirname, 'policy-peer.c')]);
    const node = await createNetns(run, '-node');
    const world = await createNetns(run, '-world');
    const settings = [
      'net.ipv4.ip_forward=1',
      'net.ipv6.conf.all.forwarding=1',
      'net.ipv4.conf.all.rp_filter=0',
      'net.ipv4.conf.default.rp_filter=0',
    ];
    await exec('sysctl', ['-qw', ...settings], { netns: node });
    const ip = (netns: string, ...args: string[]): Promise<string> => exec('ip', ['-n', netns, ...args]);
    /** Neighbours are known from the start: a lost solicitation would cost a second. */
    const wire = async (link: string, name: string, netns: string, number: number): Promise<[string, string]> => {
      const [here, there] = [`02:00:00:00:00:${hexByte(number)}`, `02:00:00:00:01:${hexByte(number)}`];
      await ip(
        node,
        'link',
        'add',
        link,
        'address',
        here,
        'type',
        'veth',
        'peer',
        'name',
        name,
        'address',
        there,
        'netns',
        netns,
      );
      return [here, there];
    };
    const known = (netns: string, link: string, address: string, mac: string): Promise<string> =>
      ip(netns, 'neigh', 'replace', address, 'lladdr', mac, 'nud', 'permanent', 'dev', link);
    const [nodeMac, worldMac] = await wire('up0', 'up0', world, 255);
    for (const [netns, v4, v6] of [
      [node, nodeIps[4], nodeIps[6]],
      [world, worldIp, '2001:db8:100::1'],
    ] as const) {
      await ip(netns, 'addr', 'add', `${v4}/24`, 'dev', 'up0');
      await ip(netns, 'addr', 'add', `${v6}/64`, 'dev', 'up0', 'nodad');
      await ip(netns, 'link', 'set', 'up0', 'up');
      for (const gateway of netns === node ? [worldIp, '2001:db8:100::1'] : [nodeIps[4], nodeIps[6]]) {
        await known(netns, 'up0', gateway, netns === node ? worldMac : nodeMac);
        await ip(netns, 'route', 'add', 'default', 'via', gateway);
      }
    }
    const podNetns: string[] = [];
    const ownerOf = new Map<string, string>();
    for (const [index, addresses] of pods.entries()) {
      const netns = await createNetns(run, `-pod-${index}`);
      podNetns.push(netns);
      const link = `veth-${index}`;
      const [hostMac, podMac] = await wire(link, 'eth0', netns, index);
      await ip(node, 'addr', 'add', '169.254.1.1/32', 'dev', link, 'scope', 'link');
      await ip(node, 'addr', 'add', 'fe80::1/64', 'dev', link, 'nodad');
      await ip(node, 'link', 'set', link, 'up');
      await ip(netns, 'link', 'set', 'eth0', 'up');
      for (const gateway of ['169.254.1.1', 'fe80::1']) await known(netns, 'eth0', gateway, hostMac);
      await ip(netns, 'route', 'add', '169.254.1.1', 'dev', 'eth0');
      await ip(netns, 'route', 'add', 'default', 'via', '169.254.1.1', 'dev', 'eth0');
      await ip(netns, '-6', 'route', 'add', 'default', 'via', 'fe80::1', 'dev', 'eth0');
      for (const address of addresses) {
        ownerOf.set(address, netns);
        const bits = address.includes(':') ? ['128', 'nodad'] : ['32'];
        await ip(netns, 'addr', 'add', `${address}/${bits[0]}`, 'dev', 'eth0', ...bits.slice(1));
        await ip(node, 'route', 'add', `${address}/${bits[0]}`, 'dev', link);
        await known(node, link, address, podMac);
      }
    }
    await exec('/usr/sbin/nft', ['-f', '-'], { netns: node, input: dnatRules(services) });

    const byNetns = new Map<string, Peer>();
    for (const [netns, link] of [[world, 'up0'], ...podNetns.map((name) => [name, 'eth0'])] as [string, string][]) {
      const child = spawnIn(netns, program, [link], { stdio: ['pipe', 'pipe', 'inherit'] });
      const peer = new Peer(child);
      peers.push(peer);
      byNetns.set(netns, peer);
      await peer.mark();
    }
    const peerOf = (address: string): Peer => {
      const peer = byNetns.get(ownerOf.get(address) ?? world);
      if (peer === undefined) throw new Error(address);
      return peer;
    };
    let nextPort = 10_000;
    let nextId = 1;
    const arrived = new Set<number>();
    let lastArrival = 0;
    const listen = (): void => {
      for (const peer of peers)
        peer.onArrival = (id) => {
          lastArrival = performance.now();
          arrived.add(id);
        };
    };
    listen();
    const quiet = async (): Promise<void> => {
      lastArrival = performance.now();
      while (performance.now() - lastArrival < quietMs) await sleep(20);
    };
    const once_ = async (flows: readonly Flow[]): Promise<boolean[]> => {
      const ids = flows.map(({ protocol, from, to, port, shape }) => {
        const id = nextId++;
        // Conntrack has seen no port before.
        nextPort = nextPort >= 60_000 ? 10_000 : nextPort + 1;
        const kind = `${protocol.toLowerCase()}${shape === undefined ? '' : `+${shape}`}`;
        peerOf(from).write(`${id} ${kind} ${from} ${to} ${nextPort} ${port}\n`);
        return id;
      });
      await Promise.all(peers.map((peer) => peer.mark()));
      await quiet();
      return ids.map((id) => arrived.has(id));
    };
    return {
      node: `/run/netns/${node}`,
      netns: { node, world, pods: podNetns },
      pass: once_,
      flood({ protocol, from, to, port }, perMs) {
        const id = nextId++;
        let count = 0;
        for (const peer of peers)
          peer.onArrival = (arrival) => {
            lastArrival = performance.now();
            if (arrival === id) count++;
          };
        peerOf(from).write(`${id} ${protocol.toLowerCase()} ${from} ${to} 1000 ${port}\ngo ${perMs}\n`);
        return async () => {
          peerOf(from).write('stop\n');
          await Promise.all(peers.map((peer) => peer.mark()));
          await quiet();
          listen();
          return count;
        };
      },
      async remove() {
        await Promise.all(peers.map((peer) => peer.end()));
        await run.remove();
      },
    };
  } catch (error) {
    await Promise.all(peers.map((peer) => peer.end()));
    await run.remove();
    throw error;
  }
}

const hexByte = (number: number): string => number.toString(16).padStart(2, '0');

/** What a service proxy would do, said by hand. */
function dnatRules(services: NonNullable<PolicyLabOptions['services']>): string {
  const rules = services.map(({ ip, port, protocol, to, toPort }) => {
    const [family, target] = ip.includes(':') ? ['ip6', `[${to}]:${toPort}`] : ['ip', `${to}:${toPort}`];
    return `${family} daddr ${ip} ${protocol.toLowerCase()} dport ${port} dnat ${family} to ${target}`;
  });
  return `table inet lab { chain prerouting { type nat hook prerouting priority -100\n${rules.join('\n')}\n }\n}\n`;
}
