/**
 * A node with pods, pods of other nodes and a client outside, each in a network namespace, with servers that say who they
 * are and whom they see, and clients that ask thousands of times a second.
 * Layer: test. Knows addresses and packets; what the node's rules are is up to the test.
 *
 *   out (client, router) ── node ── pod-1 10.244.1.2, pod-2 10.244.1.3, farm 10.244.1.64/26 and 10.244.64.0/18
 *    └── pod-b 10.244.2.2 of node-b, and farm-c 10.244.3.0/24 of node-c
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { exec, spawnIn } from './exec.ts';
import { createNetns } from './netns.ts';
import { createRunDir, type RunDir } from './run-dir.ts';

/** Where connections start. Those of a pod and of a pod of another node have an address of the cluster's pods. */
export type Source = 'pod-1' | 'pod-2' | 'pod-b' | 'node' | 'out';
export type Place = Source | 'farm' | 'farm-c';

export const podPrefix = '10.244.0.0/16';
export const servicePrefix = '10.96.0.0/16';
export const externalPrefix = '203.0.113.0/24'; // TEST-NET-3, RFC 5737
export const nodeIp = '198.51.100.2';
/** Every address that the node may lend to a connection. */
export const nodeIps: readonly string[] = [nodeIp, '10.244.1.1'];
export const sourceIps: Readonly<Record<Source, string>> = {
  'pod-1': '10.244.1.2',
  'pod-2': '10.244.1.3',
  'pod-b': '10.244.2.2',
  node: nodeIp,
  out: '198.51.100.1',
};
/** What every pod serves, over TCP and UDP. */
export const serverPorts: readonly number[] = [8080, 8081, 9090];

/** The namespaces behind the node, and behind the router, with what routes there. */
const onNode: Partial<Record<Place, string[]>> = {
  'pod-1': ['10.244.1.2/32'],
  'pod-2': ['10.244.1.3/32'],
  farm: ['10.244.1.64/26', '10.244.64.0/18'],
};
const elsewhere: Partial<Record<Place, string[]>> = { 'pod-b': ['10.244.2.2/32'], 'farm-c': ['10.244.3.0/24'] };

export interface Question {
  protocol: 'TCP' | 'UDP';
  ip: string;
  port: number;
  /** 5000 unless given. */
  timeoutMs?: number;
}

/** `endpoint` (address:port) and the client as the server sees it, or the name of an error; and how often it was asked. */
export type Answer = ({ endpoint: string; client: string } | { error: string }) & { sent: number };

export interface ServiceLab {
  /** Path of the node's namespace, and of one that is empty but for what a test puts there. */
  node: string;
  scratch: string;
  /** The name of a place's namespace, for what a test runs there itself. */
  netns(place: Place): string;
  /** Asks all at once (128 at a time) and answers in the same order. */
  ask(source: Source, questions: readonly Question[]): Promise<Answer[]>;
  /** Packets for Service addresses that left the node as they came. */
  unNated(): Promise<number>;
  remove(): Promise<void>;
}

/**
 * @param unserved what a foreign table does to packets for Service addresses that nobody translated, beside counting them:
 * `drop` also sees to it that conntrack does not remember the flow; `send` lets them go, as they would on a real node.
 */
export async function createServiceLab(unserved: 'drop' | 'send'): Promise<ServiceLab> {
  const run = createRunDir();
  try {
    return await build(run, unserved);
  } catch (error) {
    await run.remove();
    throw error;
  }
}

async function build(run: RunDir, unserved: 'drop' | 'send'): Promise<ServiceLab> {
  const program = join(run.path, 'service-traffic');
  await exec('gcc', ['-O2', '-Wall', '-o', program, join(import.meta.dirname, 'service-traffic.c')]);
  const names = new Map<string, string>();
  for (const place of ['node', 'out', ...Object.keys(onNode), ...Object.keys(elsewhere), 'scratch'])
    names.set(place, await createNetns(run, `-${place}`));
  const netns = (place: string): string => names.get(place) ?? place;
  const ip = (place: string, ...args: string[]): Promise<string> => exec('ip', ['-n', netns(place), ...args]);
  const sysctl = (place: string, text: string): Promise<string> =>
    exec('sysctl', ['-qw', `net.${text}`], { netns: netns(place) });
  // Redirects and refusals share the kernel's limit of ICMP errors: here every packet must be told.
  const settings = ['ip_forward=1', 'icmp_ratemask=0', 'conf.all.send_redirects=0', 'conf.default.send_redirects=0'];
  for (const place of ['node', 'out']) for (const setting of settings) await sysctl(place, `ipv4.${setting}`);
  // Seconds: longer than a client waits to ask again, and over before it takes a source port again.
  for (const timeout of ['udp_timeout', 'udp_timeout_stream'])
    await sysctl('node', `netfilter.nf_conntrack_${timeout}=3`);

  await ip('node', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', netns('out'));
  for (const [place, address] of [
    ['node', nodeIp],
    ['out', sourceIps.out],
  ] as const) {
    await ip(place, 'address', 'add', `${address}/24`, 'dev', 'up0');
    await ip(place, 'link', 'set', 'up0', 'up');
  }
  await ip('node', 'address', 'add', '10.244.1.1/32', 'dev', 'lo', 'scope', 'link');
  await ip('node', 'route', 'add', 'default', 'via', sourceIps.out);
  for (const prefix of ['10.244.1.0/24', servicePrefix, externalPrefix])
    await ip('out', 'route', 'add', prefix, 'via', nodeIp);
  for (const [router, gateway, places] of [
    ['node', '10.244.1.1', onNode],
    ['out', sourceIps.out, elsewhere],
  ] as const) {
    for (const [index, [place, prefixes]] of Object.entries(places).entries()) {
      await ip(router, 'link', 'add', `pod${index}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns(place));
      await ip(router, 'link', 'set', `pod${index}`, 'up');
      await ip(place, 'link', 'set', 'eth0', 'up');
      for (const prefix of prefixes) {
        const link = ['dev', `pod${index}`, 'src', gateway];
        if (prefix.endsWith('/32')) {
          await ip(place, 'address', 'add', prefix, 'dev', 'eth0');
          await ip(router, 'route', 'add', prefix, ...link);
          continue;
        }
        // Every address of the prefix, behind one of them: 10,000 neighbours are more than the kernel's table holds.
        const [first = ''] = (prefixes[0] ?? '').split('/');
        await ip(place, 'route', 'add', 'local', prefix, 'dev', 'lo');
        await ip(router, 'route', 'replace', `${first}/32`, ...link);
        await ip(router, 'route', 'add', prefix, 'via', first, ...link);
      }
      await ip(place, 'route', 'add', 'default', 'via', gateway, 'dev', 'eth0', 'onlink');
    }
  }
  const nft = (place: string, rules: string): Promise<string> =>
    exec('/usr/sbin/nft', ['-f', '-'], { netns: netns(place), input: rules });
  await nft(
    'node',
    unserved === 'drop' ? countingTable(['forward', 'output'], 'drop') : countingTable(['postrouting'], 'accept'),
  );
  if (unserved === 'send') await nft('node', slowTable());
  // Else they would come back by the route to Services.
  await nft(
    'out',
    `table ip foreign {\nchain prerouting {\n type filter hook prerouting priority 0\n iifname up0 ip daddr { ${servicePrefix}, ${externalPrefix} } drop\n }\n}`,
  );

  const children: ChildProcess[] = [];
  const start = (place: string, args: readonly string[], stdin: 'pipe' | 'ignore'): ChildProcess => {
    const child = spawnIn(netns(place), program, args, { stdio: [stdin, 'pipe', 'inherit'] });
    // Else nothing of the test itself, which makes the changes, would run while thousands ask.
    if (child.pid !== undefined) setPriority(child.pid, 10);
    children.push(child);
    return child;
  };
  for (const place of [...Object.keys(onNode), ...Object.keys(elsewhere)]) {
    const { stdout } = start(place, ['serve', ...serverPorts.map(String)], 'ignore');
    if (stdout !== null) await once(stdout, 'data');
  }
  const clients = new Map<Source, Client>();
  for (const source of ['pod-1', 'pod-2', 'pod-b', 'node', 'out'] as const)
    clients.set(source, new Client(start(source, ['ask', '128'], 'pipe')));
  return {
    node: `/run/netns/${netns('node')}`,
    scratch: `/run/netns/${netns('scratch')}`,
    netns,
    ask: (source, questions) => clients.get(source)?.ask(questions) ?? Promise.reject(new Error(source)),
    unNated: async () =>
      countersOf(await exec('/usr/sbin/nft', ['-j', 'list', 'table', 'ip', 'foreign'], { netns: netns('node') })),
    async remove() {
      for (const child of children) child.kill('SIGKILL');
      await run.remove();
    },
  };
}

/** A table that counts packets for Service addresses behind all NAT. */
function countingTable(hooks: readonly string[], verdict: 'drop' | 'accept'): string {
  const rule = `ip daddr { ${servicePrefix}, ${externalPrefix} } counter ${verdict}`;
  const chains = hooks.map((hook) => `chain ${hook} {\n type filter hook ${hook} priority 300\n ${rule}\n }\n`);
  return `table ip foreign {\n${chains.join('')}}`;
}

/** Other people's rules between DNAT and our filters: a packet is longer on its way, and meets a change there. */
function slowTable(): string {
  const rules = '  meta mark 0x7fffffff drop\n'.repeat(500);
  const chains = ['input', 'forward', 'output'].map(
    (hook) => `chain ${hook} {\n type filter hook ${hook} priority -20\n${rules} }\n`,
  );
  return `table ip slow {\n${chains.join('')}}`;
}

function countersOf(listing: string): number {
  let packets = 0;
  JSON.parse(listing, (key, value) => {
    if (key === 'packets') packets += value;
    return value;
  });
  return packets;
}

/** One process that asks from one namespace. */
class Client {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #next = 1;

  constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new Error('no output to read');
    createInterface({ input: child.stdout }).on('line', (line) => this.#answer(line));
  }

  ask(questions: readonly Question[]): Promise<Answer[]> {
    const lines: string[] = [];
    const answers = questions.map(({ protocol, ip, port, timeoutMs = 5000 }) => {
      const id = this.#next++;
      lines.push(`${id} ${protocol.toLowerCase()} - ${ip} ${port} ${timeoutMs}\n`);
      return new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    });
    this.#child.stdin?.write(lines.join(''));
    return Promise.all(answers);
  }

  #answer(line: string): void {
    const [id = '', count = '', text = '', client] = line.split(' ');
    const sent = Number(count);
    this.#waiting.get(Number(id))?.(client === undefined ? { error: text, sent } : { endpoint: text, client, sent });
    this.#waiting.delete(Number(id));
  }
}
