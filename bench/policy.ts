/**
 * NetworkPolicies on a real kernel: told -> in the kernel for changes of policies and of other nodes' pods, with POLICIES
 * policies and PODS remote pods known; memory; and what 100 policies on a pod cost its traffic, beside none.
 * Usage: sudo script/bench policy   (POLICIES=1000 PODS=10000 LOCAL=100 CHANGES=300 ROUNDS=5)
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { projectNetworkPolicy } from '../src/api/project-network-policy.ts';
import { fakePod } from '../src/network/policy/fake-policies.ts';
import type { PolicyEvent } from '../src/network/policy/policy-source.ts';
import { exec, spawnIn } from '../test/support/exec.ts';
import { createPolicyLab, type PolicyLab } from '../test/support/policy-lab.ts';
import { startPolicyNode } from '../test/support/policy-node.ts';
import { median, percentile, printRows } from './figures.ts';

const number = (name: string, value: number): number => Number(process.env[name] ?? value);
const policies = number('POLICIES', 1000);
const remotePods = number('PODS', 10_000);
const localPods = number('LOCAL', 100);
const changes = number('CHANGES', 300);
const rounds = number('ROUNDS', 5);
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
    (globalThis as { gc?: () => void }).gc?.();
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

async function traffic(lab: PolicyLab): Promise<void> {
  const program = '/tmp/keelson-policy-traffic';
  await exec('gcc', ['-O2', '-o', program, join(import.meta.dirname, 'policy-traffic.c')]);
  const [server = '', client = ''] = lab.netns.pods;
  const child = spawnIn(server, program, ['serve', '8080'], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(child.stdout ?? child, 'data');
    const run = async (kind: string, count: number): Promise<number> =>
      Number(await exec(program, [kind, '10.244.1.2', '8080', String(count)], { netns: client }));
    const pods: PolicyEvent[] = [
      { event: 'namespaceSet', namespace: { name: 'a', labels: {} } },
      { event: 'podSet', pod: fakePod('a/server', '10.244.1.2', { labels: { app: 'server' } }) },
      { event: 'podSet', pod: fakePod('a/client', '10.244.1.3', { labels: { app: 'client' } }) },
    ];
    const node = await startPolicyNode(lab.node, pods);
    // The last of them allows it, and each is asked before.
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
    const none = hundred.map(
      (event): PolicyEvent => ({
        event: 'policyDeleted',
        key: event.event === 'policySet' ? `a/${event.policy.name}` : '',
      }),
    );
    const figures = {
      with: { rate: [] as number[], stream: [] as number[] },
      without: { rate: [] as number[], stream: [] as number[] },
    };
    for (let round = 0; round < rounds; round++)
      for (const which of ['without', 'with'] as const) {
        await node.tell(...(which === 'with' ? hundred : none));
        figures[which].rate.push(await run('rate', 5000));
        figures[which].stream.push(await run('stream', 4000));
      }
    printRows('100 policies on both pods, in both directions, beside none', '100', 'none', [
      { what: 'connections', ours: median(figures.with.rate), theirs: median(figures.without.rate), unit: '/s' },
      { what: 'one stream', ours: median(figures.with.stream), theirs: median(figures.without.stream), unit: 'MiB/s' },
    ]);
    await node.stop();
  } finally {
    child.kill('SIGKILL');
  }
}

const lab = await createPolicyLab({ pods: [['10.244.1.2'], ['10.244.1.3']] });
try {
  await changeLatency(lab);
  await exec('/usr/sbin/nft', ['delete', 'table', 'inet', 'keelson-policy'], { netns: lab.netns.node });
  await traffic(lab);
} finally {
  await lab.remove();
}
