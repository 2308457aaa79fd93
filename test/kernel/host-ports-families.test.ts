/**
 * hostPorts of pods with addresses of both families, and each protocol of them, on the real kernel: who reaches the pod, with
 * which address, and what is left. SCTP is an INIT and its answer where the kernel has no sockets of it (service-peer.c).
 * Layer: test.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { eventually, exec, spawnIn } from '../support/exec.ts';
import type { Node, Pod } from './pod-network-node.ts';
import { podCIDR } from './pod-network-node.ts';
import { ruleset, startedNode } from './started-node.ts';

const podCIDRs = [podCIDR, 'fd00:244:7::/64'];
const nodeIps = { 4: '198.51.100.2', 6: '2001:db8:51::2' } as const;
const outsideIps = { 4: '198.51.100.1', 6: '2001:db8:51::1' } as const;
const protocols = ['tcp', 'udp', 'sctp'] as const;
const families = [4, 6] as const;
type Protocol = (typeof protocols)[number];

interface Lab {
  node: Node;
  /** Answers at port 80 of every address of the namespace. */
  serve(netns: string): Promise<void>;
  /** `SERVER CLIENT` as the server sees both, or the name of an error; one for each question. @param from source port */
  ask(
    netns: string,
    questions: readonly (readonly [Protocol, ip: string, port: number])[],
    from?: number,
  ): Promise<string[]>;
}

async function setUp(t: ExecutionContext): Promise<Lab> {
  const node = await startedNode(t, { podCIDRs });
  const { netns, outside } = node.network;
  for (const [name, ip] of [
    [netns, nodeIps[6]],
    [outside, outsideIps[6]],
  ] as const)
    await exec('ip', ['-n', name, 'addr', 'add', `${ip}/64`, 'dev', 'up0', 'nodad']);
  const program = join(node.run.path, 'service-peer');
  await exec('gcc', ['-O2', '-o', program, join(import.meta.dirname, '../support/service-peer.c')]);
  // Conntrack has seen none of them before.
  let port = 10_000;
  return {
    node,
    async serve(where) {
      const child = spawnIn(where, program, ['serve', '80'], { stdio: ['ignore', 'pipe', 'inherit'] });
      t.teardown(() => child.kill('SIGKILL'));
      if (child.stdout) await once(child.stdout, 'data');
    },
    async ask(where, questions, from) {
      const input = questions.map(([protocol, ip, to]) => `${protocol} - ${ip} ${to} 1500\n`).join('');
      const first = String(from ?? port);
      port += questions.length;
      return (await exec(program, ['ask', first], { netns: where, input })).trimEnd().split('\n');
    },
  };
}

const ports = (...mappings: { hostPort: number; protocol: Protocol; hostIP?: string }[]): object => ({
  runtimeConfig: { portMappings: mappings.map((mapping) => ({ containerPort: 80, hostIP: '', ...mapping })) },
});
const everyProtocol = (hostPort: number, more: { hostIP?: string } = {}) =>
  protocols.map((protocol) => ({ hostPort, protocol, ...more }));
const ipOf = ({ ips }: Pod, family: 4 | 6): string => ips[family === 4 ? 0 : 1] ?? '';
const errors = (answers: readonly string[]): boolean[] => answers.map((answer) => /^E[A-Z]+$/.test(answer));
const nothing = protocols.map(() => true);

test('each protocol of each family is reached from outside, other pods, the node and the pod itself', async (t) => {
  const { node, serve, ask } = await setUp(t);
  const { netns, outside } = node.network;
  const pod = await node.addPod(ports(...everyProtocol(8080)));
  const other = await node.addPod();
  await serve(pod.netns);
  for (const family of families) {
    const questions = protocols.map((protocol) => [protocol, nodeIps[family], 8080] as const);
    const all = (client: string): string[] => protocols.map(() => `${ipOf(pod, family)} ${client}`);
    t.deepEqual(await ask(outside, questions), all(outsideIps[family]), 'the address of the client is kept');
    t.deepEqual(await ask(other.netns, questions), all(ipOf(other, family)));
    const [own] = await ask(netns, questions);
    t.is(own?.split(' ')[0], ipOf(pod, family), 'from the node');
    t.is((await ask(pod.netns, questions.slice(0, 1)))[0]?.split(' ')[0], ipOf(pod, family), 'hairpin');
    t.deepEqual(
      errors(
        await ask(
          outside,
          protocols.map((protocol) => [protocol, nodeIps[family], 8081] as const),
        ),
      ),
      nothing,
    );
  }
  t.is((await node.status()).hostPorts, 6);
  // What IPv6 has no setting for (route_localnet): documented.
  t.deepEqual(errors(await ask(netns, [['tcp', '::1', 8080]])), [true]);

  await node.deletePod(pod);
  for (const family of families)
    t.deepEqual(
      errors(
        await ask(
          outside,
          protocols.map((protocol) => [protocol, nodeIps[family], 8080] as const),
        ),
      ),
      nothing,
    );
  t.notRegex(ruleset(netns), /8080/);
});

test('a hostIP narrows it to its family and address; :: and 0.0.0.0 mean all of theirs', async (t) => {
  const { node, serve, ask } = await setUp(t);
  const { netns, outside } = node.network;
  await exec('ip', ['-n', netns, 'addr', 'add', '2001:db8:51::3/64', 'dev', 'up0', 'nodad']);
  const six = await node.addPod(
    ports(...everyProtocol(8080, { hostIP: nodeIps[6] }), { hostPort: 8090, protocol: 'tcp', hostIP: '::' }),
  );
  const four = await node.addPod(ports({ hostPort: 8090, protocol: 'tcp', hostIP: '0.0.0.0' }));
  const third = await node.addPod(ports(...everyProtocol(8080, { hostIP: '2001:DB8:51:0::3' })));
  for (const pod of [six, four, third]) await serve(pod.netns);
  const at = (ip: string): readonly (readonly [Protocol, string, number])[] =>
    protocols.map((protocol) => [protocol, ip, 8080] as const);
  t.deepEqual(
    await ask(outside, at(nodeIps[6])),
    protocols.map(() => `${ipOf(six, 6)} ${outsideIps[6]}`),
  );
  t.deepEqual(
    await ask(outside, at('2001:db8:51::3')),
    protocols.map(() => `${ipOf(third, 6)} ${outsideIps[6]}`),
  );
  t.deepEqual(errors(await ask(outside, at(nodeIps[4]))), nothing);
  t.deepEqual(
    await ask(outside, [
      ['tcp', nodeIps[6], 8090],
      ['tcp', nodeIps[4], 8090],
    ]),
    [`${ipOf(six, 6)} ${outsideIps[6]}`, `${ipOf(four, 4)} ${outsideIps[4]}`],
    'one port, two pods, each of one family',
  );
  await t.throwsAsync(node.addPod(ports({ hostPort: 8090, protocol: 'tcp' })), { message: /8090\/tcp: is taken/ });
  await t.throwsAsync(node.addPod(ports({ hostPort: 8080, protocol: 'sctp', hostIP: nodeIps[6] })), {
    message: /hostPort \[2001:db8:51::2\]:8080\/sctp: is taken by pod default\/pod-0/,
  });
});

test('kill -9 and a restart: the ports of both families stay; an IPv4 network has no table of the other', async (t) => {
  const { node, serve, ask } = await setUp(t);
  const { netns, outside } = node.network;
  const pod = await node.addPod(ports(...everyProtocol(8080)));
  await serve(pod.netns);
  node.listSandboxes([pod]);
  const questions = families.map((family) => ['sctp', nodeIps[family], 8080] as const);
  const wanted = families.map((family) => `${ipOf(pod, family)} ${outsideIps[family]}`);
  t.deepEqual(await ask(outside, questions), wanted);
  const before = ruleset(netns);
  await node.daemon?.end('SIGKILL');
  t.deepEqual(await ask(outside, questions), wanted, 'with no daemon');
  await node.start();
  t.deepEqual(await ask(outside, questions), wanted);
  t.is(ruleset(netns), before);
  t.regex(before, /table ip6 keelson-hostports/);
  await exec('/usr/sbin/nft', ['flush', 'ruleset'], { netns });
  await eventually('both are back', () => ruleset(netns).match(/sctp . 8080/g)?.length === 2);
  t.deepEqual(await ask(outside, questions), wanted);

  const plain = await startedNode(t);
  t.notRegex(ruleset(plain.network.netns), /ip6 keelson-hostports/);
});

test('UDP over IPv6: who asked before and goes on asking gets to the pod that is there now', async (t) => {
  const { node, serve, ask } = await setUp(t);
  const { outside } = node.network;
  const again = (): Promise<string[]> => ask(outside, [['udp', nodeIps[6], 5353]], 40_000);
  t.deepEqual(errors(await again()), [true], 'nobody is there yet');
  for (let round = 0; round < 2; round++) {
    const pod = await node.addPod(ports({ hostPort: 5353, protocol: 'udp' }));
    await serve(pod.netns);
    t.deepEqual(await again(), [`${ipOf(pod, 6)} ${outsideIps[6]}`]);
    await node.deletePod(pod);
  }
  t.deepEqual(errors(await again()), [true]);
});
