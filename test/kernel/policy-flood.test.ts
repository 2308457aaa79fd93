/**
 * A flood of forbidden attempts while everything around them changes: updates of policies, pods that come and go, a daemon
 * that is killed and started again, a table that somebody deletes a chain of. Not one may pass; allowed ones go on.
 * Layer: test.
 */

import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { projectNetworkPolicy } from '../../src/api/project-network-policy.ts';
import { fakePod } from '../../src/network/policy/fake-policies.ts';
import type { PolicyEvent } from '../../src/network/policy/policy-source.ts';
import { repositoryRoot, spawnIn } from '../support/exec.ts';
import { createPolicyLab, type PolicyLab } from '../support/policy-lab.ts';
import { endWith } from '../support/policy-node.ts';
import { Daemon } from './pod-network-node.ts';

const pods = [
  ['10.244.1.2', 'fd00:244:1::2'],
  ['10.244.1.3', 'fd00:244:1::3'],
];
const podOf = (name: string, index: number, labels: Record<string, string>): PolicyEvent => ({
  event: 'podSet',
  pod: fakePod(`default/${name}`, pods[index] ?? [], { labels }),
});
const policy = (name: string, spec: object): PolicyEvent => ({
  event: 'policySet',
  policy: projectNetworkPolicy({ metadata: { namespace: 'default', name }, spec }),
});
const client = { matchLabels: { app: 'client' } };
const base: PolicyEvent[] = [
  { event: 'namespaceSet', namespace: { name: 'default', labels: {} } },
  podOf('server', 0, { app: 'server' }),
  podOf('client', 1, { app: 'client' }),
  policy('allow-client', {
    podSelector: { matchLabels: { app: 'server' } },
    ingress: [{ from: [{ podSelector: client }], ports: [{ port: 80 }] }],
  }),
];
const forbidden = { protocol: 'TCP', from: '10.244.1.3', to: '10.244.1.2', port: 81 } as const;
const stranger = { protocol: 'UDP', from: '203.0.113.9', to: '10.244.1.2', port: 80 } as const;
const allowed = { protocol: 'TCP', from: '10.244.1.3', to: '10.244.1.2', port: 80 } as const;
const families = {
  IPv4: { forbidden, stranger, allowed },
  IPv6: {
    forbidden: { ...forbidden, from: 'fd00:244:1::3', to: 'fd00:244:1::2' },
    stranger: { ...stranger, from: '2001:db8:113::9', to: 'fd00:244:1::2' },
    allowed: { ...allowed, from: 'fd00:244:1::3', to: 'fd00:244:1::2' },
  },
} as const;

async function startDaemon(t: ExecutionContext, lab: PolicyLab, events: readonly PolicyEvent[]): Promise<Daemon> {
  const script = join(repositoryRoot, 'test/support/policy-daemon.ts');
  const child = spawnIn(lab.netns.node, process.execPath, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const daemon = new Daemon(child);
  t.teardown(() => daemon.end('SIGKILL'));
  await daemon.answer();
  await daemon.ask(`events ${JSON.stringify(events)}`);
  await daemon.ask('sync');
  return daemon;
}

for (const [family, { forbidden, stranger, allowed }] of Object.entries(families)) {
  test(`nothing forbidden passes while policies change, and what is allowed goes on, ${family}`, async (t) => {
    const lab = endWith(t, await createPolicyLab({ pods }));
    const daemon = await startDaemon(t, lab, base);
    t.deepEqual(await lab.pass([forbidden, stranger, allowed]), [false, false, true]);
    const stop = lab.flood(forbidden, 20);
    for (let round = 0; round < 60; round++) {
      // Other rules, other lists of policies, other sets: never one that allows it.
      const events: PolicyEvent[] = [
        policy('allow-client', {
          podSelector: { matchLabels: { app: 'server' } },
          ingress: [{ from: [{ podSelector: round % 2 ? client : {} }], ports: [{ port: 80 + 1000 * (round % 3) }] }],
        }),
        round % 2
          ? policy(`more-${round % 7}`, {
              podSelector: {},
              ingress: [{ from: [{ ipBlock: { cidr: `203.0.${round}.0/24` } }] }],
            })
          : { event: 'policyDeleted', key: `default/more-${(round + 3) % 7}` },
        {
          event: 'podSet',
          pod: fakePod('default/client', pods[1] ?? [], { labels: { app: 'client', round: String(round) } }),
        },
      ];
      await daemon.ask(`events ${JSON.stringify(events)}`);
    }
    t.is(await stop(), 0);
    await daemon.ask(`events ${JSON.stringify(base)}`);
    t.deepEqual(await lab.pass([forbidden, stranger, allowed]), [false, false, true]);
  });

  test(`nothing forbidden passes while the daemon is killed and started again, ${family}`, async (t) => {
    const lab = endWith(t, await createPolicyLab({ pods }));
    let daemon = await startDaemon(t, lab, base);
    const stop = lab.flood(forbidden, 5);
    for (let round = 0; round < 3; round++) {
      await daemon.end('SIGKILL');
      // Meanwhile the policy has changed.
      const changed = policy('allow-client', {
        podSelector: { matchLabels: { app: 'server' } },
        ingress: [
          { ports: [{ port: 8000 + round, endPort: 9000 }] },
          { from: [{ podSelector: client }], ports: [{ port: 80 }] },
        ],
      });
      daemon = await startDaemon(t, lab, [...base, changed]);
    }
    t.is(await stop(), 0);
    t.deepEqual(await lab.pass([forbidden, allowed, { ...stranger, protocol: 'TCP', port: 8500 }]), [
      false,
      true,
      true,
    ]);
  });
}

test('the flood would be seen', async (t) => {
  const lab = endWith(t, await createPolicyLab({ pods }));
  const stop = lab.flood(forbidden, 5);
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.true((await stop()) > 50);
});

test('a pod that CNI just gave its address is isolated over a kill before the API server knows the address', async (t) => {
  const lab = endWith(t, await createPolicyLab({ pods }));
  const unknown: PolicyEvent[] = base.map((event) =>
    event.event === 'podSet' && event.pod.name === 'server'
      ? { event: 'podSet', pod: { ...event.pod, ips: [] } }
      : event,
  );
  const first = await startDaemon(t, lab, unknown);
  t.deepEqual(await lab.pass([forbidden]), [true], 'nobody knows the address');
  const pod = { namespace: 'default', name: 'server', uid: 'uid-server', ips: ['10.244.1.2'] };
  t.deepEqual(await first.ask(`admit ${JSON.stringify(pod)}`), {});
  t.deepEqual(await lab.pass([forbidden, allowed]), [false, true]);
  const late = { ...pod, name: 'nobody', uid: 'other', ips: ['10.244.1.99'] };
  t.regex(
    (await first.ask<{ failed: string }>(`admit ${JSON.stringify(late)}`)).failed,
    /pod default\/nobody: cannot be isolated/,
  );
  await first.end('SIGKILL');
  const stop = lab.flood(forbidden, 5);
  await startDaemon(t, lab, unknown);
  t.is(await stop(), 0);
  t.deepEqual(await lab.pass([forbidden, allowed]), [false, true]);
});
