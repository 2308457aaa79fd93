/**
 * NetworkPolicies on a real kernel: told -> in the kernel for changes of policies and of other nodes' pods, with POLICIES
 * policies and PODS remote pods known; memory; and what 100 policies on a pod cost its traffic, beside none.
 * Usage: sudo script/bench policy   (POLICIES=1000 PODS=10000 LOCAL=100 CHANGES=300 ROUNDS=21)
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { projectNetworkPolicy } from '../src/api/project-network-policy.ts';
import { collectGarbage } from '../src/base/collect-garbage.ts';
import { fakePod } from '../src/network/policy/fake-policies.ts';
import type { PolicyEvent } from '../src/network/policy/policy-source.ts';
import { exec, spawnIn } from '../test/support/exec.ts';
import { createPolicyLab, type PolicyLab } from '../test/support/policy-lab.ts';
import { startPolicyNode } from '../test/support/policy-node.ts';
import { median, percentile, printRows, type Row } from './figures.ts';

const number = (name: string, value: number): number => Number(process.env[name] ?? value);
const policies = number('POLICIES', 1000);
const remotePods = number('PODS', 10_000);
const localPods = number('LOCAL', 100);
const changes = number('CHANGES', 300);
const rounds = number('ROUNDS', 21);
const namespaces = 50;

const policyOf = (index: number, port: number): PolicyEvent => ({
  event: 'policySet',
  policy: projectNetworkPolicy({
    metadata: { namespace: `ns-${index % namespaces}`, name: `p-${index}` },
    spec: {
      podSelector: { matchLabels: { app: `app-${index % 10}` } },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: [{ podSelector: { matchLabels: { app: `app-${(index + 1) % 10}` } } }], ports: [{ port }] }],
      egress: [
        { to: [{ namespaceSelector: { matchLabels: { team: `t-${index % 5}` } } }], ports: [{ port: 443 }] },
        { to: [{ ipBlock: { cidr: '192.0.2.0/24' } }] },
      ],
    },
  }),
});
const remoteIp = (index: number): string => `10.${100 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
const remotePod = (index: number, ip: string): PolicyEvent => ({
  event: 'podSet',
  pod: fakePod(`ns-${index % namespaces}/r-${index}`, ip, {
    labels: { app: `app-${(index >> 3) % 10}` },
    nodeName: 'other',
  }),
});

async function changesOf(what: string, ask: (round: number) => Promise<void>): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < changes; round++) {
    const start = performance.now();
    await ask(round);
    times.push(performance.now() - start);
  }
  console.log(`${what}: p50 ${median(times).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms`);
}

async function changeLatency(lab: PolicyLab): Promise<void> {
  const rss = (): number => {
    collectGarbage();
    return process.memoryUsage.rss() / 2 ** 20;
  };
  const before = rss();
  const events: PolicyEvent[] = [];
  for (let index = 0; index < namespaces; index++)
    events.push({ event: 'namespaceSet', namespace: { name: `ns-${index}`, labels: { team: `t-${index % 5}` } } });
  for (let index = 0; index < remotePods; index++) events.push(remotePod(index, remoteIp(index)));
  for (let index = 0; index < policies; index++) events.push(policyOf(index, 80));
  for (let index = 0; index < localPods; index++)
    events.push({
      event: 'podSet',
      pod: fakePod(`ns-${index % namespaces}/l-${index}`, `10.244.9.${index + 1}`, {
        labels: { app: `app-${index % 10}` },
      }),
    });
  const start = performance.now();
  const node = await startPolicyNode(lab.node, events);
  console.log(`\n${policies} policies, ${remotePods} pods of other nodes, ${localPods} of this one`);
  console.log(
    `first table: ${(performance.now() - start).toFixed(0)} ms; ${JSON.stringify(node.enforcement.status())}`,
  );
  events.length = 0;
  console.log(`RSS ${rss().toFixed(0)} MiB, ${before.toFixed(0)} before`);
  // In use: of a namespace and label that pods here have.
  await changesOf('a policy in use gets another port', (round) => node.tell(policyOf(0, 1000 + round)));
  await changesOf('a policy comes, then goes', (round) =>
    node.tell(round % 2 ? { event: 'policyDeleted', key: 'ns-0/p-100000' } : policyOf(100_000, 80)),
  );
  await changesOf('a pod of another node gets another address', (round) =>
    node.tell(remotePod(round % 1000, `10.200.${round >> 8}.${round & 255}`)),
  );
  await changesOf('a policy that no pod here has', (round) =>
    node.tell({
      event: 'policySet',
      policy: projectNetworkPolicy({
        metadata: { namespace: 'ns-1', name: 'elsewhere' },
        spec: { podSelector: { matchLabels: { none: String(round) } } },
      }),
    }),
  );
  await node.stop();
}

/** 100 that the pods have in common: the last of them allows, and each is asked before. */
const hundred = Array.from(
  { length: 100 },
  (_, index): PolicyEvent => ({
    event: 'policySet',
    policy: projectNetworkPolicy({
      metadata: { namespace: 'a', name: `p-${String(index).padStart(3, '0')}` },
      spec: {
        podSelector: {},
        policyTypes: ['Ingress', 'Egress'],
        ...Object.fromEntries(
          [
            ['ingress', 'from'],
            ['egress', 'to'],
          ].map(([direction = '', peers = '']) => [
            direction,
            [
              {
                [peers]: [{ podSelector: { matchLabels: index === 99 ? {} : { app: `x-${index}` } } }],
                ports: [{ port: 8080 }],
              },
            ],
          ]),
        ),
      },
    }),
  }),
);
const none = Array.from(
  { length: 100 },
  (_, index): PolicyEvent => ({ event: 'policyDeleted', key: `a/p-${String(index).padStart(3, '0')}` }),
);

interface Measured {
  /** A second. */
  rate: number;
  /** Microseconds of processor time each. */
  cost: number;
}

/**
 * Rounds of both states, one right after the other and in turn first, so that what else the machine does meets both alike; the
 * ratio of each round is taken, and their median and middle half are told.
 */
async function traffic(lab: PolicyLab): Promise<void> {
  const program = '/tmp/keelson-policy-traffic';
  await exec('gcc', ['-O2', '-o', program, join(import.meta.dirname, 'policy-traffic.c')]);
  const [server = '', client = ''] = lab.netns.pods;
  const child = spawnIn(server, program, ['serve', '8080'], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(child.stdout ?? child, 'data');
    const run = async (kind: string, count: number): Promise<Measured> => {
      const output = await exec(program, [kind, '10.244.1.2', '8080', String(count)], { netns: client });
      const [rate = 0, seconds = 0] = output.split(' ').map(Number);
      return { rate, cost: (seconds * 1e6) / count };
    };
    const node = await startPolicyNode(lab.node, [
      { event: 'namespaceSet', namespace: { name: 'a', labels: {} } },
      { event: 'podSet', pod: fakePod('a/server', '10.244.1.2', { labels: { app: 'server' } }) },
      { event: 'podSet', pod: fakePod('a/client', '10.244.1.3', { labels: { app: 'client' } }) },
    ]);
    const kinds = [
      { kind: 'rate', what: 'connection', count: 2000 },
      { kind: 'stream', what: 'MiB of one stream', count: 500 },
    ];
    const measured = kinds.map(() => ({ with: [] as Measured[], without: [] as Measured[] }));
    for (const { kind, count } of kinds) await run(kind, count);
    for (let round = 0; round < rounds; round++)
      for (const which of (['without', 'with'] as const).toSorted(() => (round % 2 ? -1 : 1))) {
        await node.tell(...(which === 'with' ? hundred : none));
        for (const [index, { kind, count }] of kinds.entries()) measured[index]?.[which].push(await run(kind, count));
      }
    const rows = kinds.flatMap(({ what }, index): Row[] => {
      const { with: loaded = [], without: bare = [] } = measured[index] ?? {};
      const row = (name: string, unit: string, value: (one: Measured) => number): Row => ({
        what: `${name}; ratios of ${rounds} rounds: ${spread(loaded.map((one, at) => value(one) / value(bare[at] ?? one)))}`,
        ours: median(loaded.map(value)),
        theirs: median(bare.map(value)),
        unit,
      });
      return [
        row(`processor time a ${what}`, 'us', ({ cost }) => cost),
        row(`${what}, a second`, '/s', ({ rate }) => rate),
      ];
    });
    printRows('100 policies on both pods, in both directions, beside none', '100', 'none', rows);
    await node.stop();
  } finally {
    child.kill('SIGKILL');
  }
}

/** Median, and between which the middle half lies. */
const spread = (ratios: readonly number[]): string =>
  `${median(ratios).toFixed(2)} (${percentile(ratios, 0.25).toFixed(2)} to ${percentile(ratios, 0.75).toFixed(2)})`;

const lab = await createPolicyLab({ pods: [['10.244.1.2'], ['10.244.1.3']] });
try {
  await changeLatency(lab);
  await exec('/usr/sbin/nft', ['delete', 'table', 'inet', 'keelson-policy'], { netns: lab.netns.node });
  await traffic(lab);
} finally {
  await lab.remove();
}
