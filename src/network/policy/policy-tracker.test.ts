/** Objects to the table: what is in it, and that every change leads to what a start from nothing makes. */
import test from 'ava';
import fc from 'fast-check';
import type { Labels } from '../../api/network-policy.ts';
import { FakeNftables } from '../../linux/fake-nftables.ts';
import { describe } from '../../linux/nftables/describe.ts';
import { planTableDifference } from '../../linux/nftables/table-difference.ts';
import { elementCount, type NftablesOperation } from '../../linux/nftables/types.ts';
import { claimsOf } from './adopted.ts';
import { fakePod, fakePolicy } from './fake-policies.ts';
import { phasesOf } from './phases.ts';
import { PolicyTracker } from './policy-tracker.ts';
import { policyTable } from './table.ts';

const lines = (operations: readonly NftablesOperation[]): string[] => operations.map((one) => describe(one));

test('a pod that no policy selects is only in the set of itself', (t) => {
  const tracker = new PolicyTracker('node-a');
  tracker.setPod(fakePod('default/web', '10.244.1.2'));
  tracker.setPod(fakePod('default/far', '10.244.2.2', { nodeName: 'node-b' }));
  tracker.takeStep();
  const elements = tracker.plan().filter(({ op }) => op === 'elementsAdd');
  t.deepEqual(
    lines(elements).map((line) => line.replace(/\s+/g, ' ')),
    ['add element inet keelson-policy self-4 { 0x0af401020af40102 comment "uid-web" : accept }'],
  );
});

test('an isolated pod is led to a chain that asks its policies, counts and drops', (t) => {
  const tracker = new PolicyTracker('node-a');
  tracker.takeStep();
  tracker.setPod(fakePod('default/web', '10.244.1.2', { labels: { app: 'web' } }));
  tracker.setPod(fakePod('default/client', '10.244.2.2', { labels: { app: 'client' }, nodeName: 'node-b' }));
  tracker.setPolicy(
    fakePolicy('default/allow', {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'client' } } }], ports: [{ port: 80 }] }],
    }),
  );
  t.deepEqual(
    lines(tracker.takeStep()).map((line) => line.replaceAll(/-[0-9a-f]{20}/g, '-HASH')),
    [
      'add set inet keelson-policy peers-HASH-4 { type ipv4_addr; comment "pods app=client of default"; }',
      'add set inet keelson-policy peers-HASH-6 { type ipv6_addr; comment "pods app=client of default"; }',
      'add set inet keelson-policy ports-HASH { typeof meta l4proto . th dport; comment "80/TCP"; }',
      'add chain inet keelson-policy ingress-policy-HASH { comment "default/allow"; }',
      'add chain inet keelson-policy ingress-pods-HASH { comment "default/allow"; }',
      'add element inet keelson-policy peers-HASH-4 { 0x0af40202 }',
      'add element inet keelson-policy ports-HASH { 0x0600000000500000 }',
      'flush chain inet keelson-policy ingress-policy-HASH',
      'add rule inet keelson-policy ingress-policy-HASH meta nfproto 0x02 ip saddr @peers-HASH-4 meta l4proto . th dport @ports-HASH accept comment "ingress[0]"',
      'add rule inet keelson-policy ingress-policy-HASH meta nfproto 0x0a ip6 saddr @peers-HASH-6 meta l4proto . th dport @ports-HASH accept comment "ingress[0]"',
      'flush chain inet keelson-policy ingress-pods-HASH',
      'add rule inet keelson-policy ingress-pods-HASH jump ingress-policy-HASH',
      'add rule inet keelson-policy ingress-pods-HASH counter drop',
      'add element inet keelson-policy self-4 { 0x0af401020af40102 comment "uid-web" : accept }',
      'add element inet keelson-policy ingress-4 { 0x0af40102 : goto ingress-pods-HASH }',
    ],
  );
  t.deepEqual(tracker.takeStep(), [], 'said once');
  tracker.setPod(fakePod('default/client', '10.244.2.9', { labels: { app: 'client' }, nodeName: 'node-b' }));
  const moved = lines(tracker.takeStep()).map((line) => line.replace(/peers-\w+/, 'peers'));
  t.deepEqual(moved, [
    'delete element inet keelson-policy peers-4 { 0x0af40202 }',
    'add element inet keelson-policy peers-4 { 0x0af40209 }',
  ]);
  tracker.deletePolicy('default/allow');
  tracker.takeStep();
  t.like(tracker.counts, { sets: 0, elements: 0, policiesInUse: 0, isolated: { ingress: 0, egress: 0 } });
});

test('memory and sets are those that pods of this node use', (t) => {
  const tracker = new PolicyTracker('node-a');
  for (let index = 0; index < 100; index++) {
    tracker.setPod(fakePod(`ns-${index}/p`, `10.2.0.${index}`, { nodeName: 'node-b', uid: `u${index}` }));
    tracker.setPolicy(fakePolicy(`ns-${index}/p`, { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }));
  }
  tracker.takeStep();
  t.like(tracker.counts, { policies: 100, policiesInUse: 0, sets: 0, localPods: 0 });
  tracker.setPod(fakePod('ns-1/q', '10.1.0.1'));
  tracker.takeStep();
  t.like(tracker.counts, { policiesInUse: 1, sets: 2, localPods: 1, isolated: { ingress: 1, egress: 0 } });
});

test('an address belongs to whom CNI gave it, whatever a status still says', (t) => {
  const tracker = new PolicyTracker('node-a');
  tracker.takeStep();
  tracker.setPolicy(fakePolicy('default/deny', { podSelector: { matchLabels: { deny: 'yes' } } }));
  tracker.setPod(fakePod('default/old', '10.244.1.2', { labels: { deny: 'yes' } }));
  tracker.takeStep();
  t.is(tracker.uidOf('10.244.1.2'), 'uid-old');
  tracker.setPod(fakePod('default/new', [], {}));
  tracker.claim({ uid: 'uid-new', key: 'default/new', ips: ['10.244.1.2'] });
  tracker.takeStep();
  t.is(tracker.uidOf('10.244.1.2'), 'uid-new');
  t.is(tracker.counts.isolated.ingress, 0);
  tracker.setPod(fakePod('default/old', '10.244.1.2', { labels: { deny: 'yes', other: 'label' } }));
  tracker.takeStep();
  t.is(tracker.uidOf('10.244.1.2'), 'uid-new');
  tracker.deletePod('default/new');
  tracker.release('10.244.1.2');
  tracker.takeStep();
  t.is(tracker.uidOf('10.244.1.2'), 'uid-old', 'nobody else has it now');
});

test('a pod that was deleted by force stays isolated until its link is gone', (t) => {
  const tracker = new PolicyTracker('node-a');
  tracker.setPolicy(fakePolicy('default/deny', { podSelector: {} }));
  tracker.setPod(fakePod('default/web', []));
  tracker.claim({ uid: 'uid-web', key: 'default/web', ips: ['10.244.1.2'] });
  tracker.takeStep();
  tracker.deletePod('default/web');
  tracker.takeStep();
  t.is(tracker.counts.isolated.ingress, 1);
  tracker.setPolicy(fakePolicy('default/deny', { podSelector: { matchLabels: { other: 'yes' } } }));
  tracker.takeStep();
  t.is(tracker.counts.isolated.ingress, 0, 'policies go on to apply to it');
  tracker.release('10.244.1.2');
  tracker.takeStep();
  t.like(tracker.counts, { localPods: 0, elements: 0, sets: 0 });
});

test('a predecessor’s table tells whose the addresses are, and keeps those isolated that nobody knows', async (t) => {
  const kernel = new FakeNftables();
  const socket = await kernel.open();
  const before = new PolicyTracker('node-a');
  before.setPolicy(fakePolicy('default/deny', { podSelector: {}, policyTypes: ['Egress'] }));
  before.setPod(fakePod('default/web', []));
  before.setPod(fakePod('other/free', ['10.244.1.3', 'fd00::3']));
  before.claim({ uid: 'uid-web', key: 'default/web', ips: ['10.244.1.2'] });
  before.takeStep();
  await socket.apply(before.plan());
  const dump = await socket.dump(policyTable);
  const claims = claimsOf(dump);
  t.deepEqual(claims, [
    { uid: 'uid-web', ips: ['10.244.1.2'], isolated: ['egress'] },
    { uid: 'uid-free', ips: ['10.244.1.3', 'fd00::3'], isolated: [] },
  ]);
  const after = new PolicyTracker('node-a');
  for (const claim of claims) after.claim(claim);
  after.takeStep();
  t.like(after.counts, { localPods: 2, isolated: { ingress: 0, egress: 1 } });
  after.setPolicy(fakePolicy('default/deny', { podSelector: {}, policyTypes: ['Egress'] }));
  after.setPod(fakePod('default/web', []));
  after.setPod(fakePod('other/free', ['10.244.1.3', 'fd00::3']));
  after.takeStep();
  t.deepEqual(planTableDifference(dump, after.plan()), []);
  t.deepEqual(claimsOf(undefined), []);
  t.deepEqual(claimsOf(dump && { ...dump, table: { ...dump.table, comment: 'another' } }), []);
});

/* ---- any order of changes ---- */

const words = ['a', 'b'] as const;
const labels = fc.dictionary(fc.constantFrom('x', 'y'), fc.constantFrom(...words), { maxKeys: 2 });
const expression = fc.oneof(
  fc.record({ key: fc.constantFrom('x', 'y'), operator: fc.constantFrom('In', 'NotIn'), values: fc.constant(['a']) }),
  fc.record({ key: fc.constantFrom('x', 'y'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
);
const anySelector = fc.record({ matchLabels: labels, matchExpressions: fc.array(expression, { maxLength: 1 }) });
const peer = fc.oneof(
  fc.record({ podSelector: anySelector }),
  fc.record({ podSelector: anySelector, namespaceSelector: anySelector }),
  fc.record({ namespaceSelector: anySelector }),
  fc.record({
    ipBlock: fc.constantFrom(
      { cidr: '10.0.0.0/8', except: ['10.0.1.0/24'] },
      { cidr: '0.0.0.0/0' },
      { cidr: 'fd00::/16' },
      { cidr: 'bad' },
    ),
  }),
);
const port = fc.constantFrom<object>(
  { port: 80 },
  { port: 'http' },
  { port: 80, endPort: 90, protocol: 'UDP' },
  { protocol: 'SCTP' },
  { port: 'dns', protocol: 'UDP' },
);
const rule = (side: 'from' | 'to') =>
  fc.record({ [side]: fc.array(peer, { maxLength: 2 }), ports: fc.array(port, { maxLength: 2 }) });
const spec = fc.record({
  podSelector: anySelector,
  policyTypes: fc.subarray(['Ingress', 'Egress']),
  ingress: fc.array(rule('from'), { maxLength: 2 }),
  egress: fc.array(rule('to'), { maxLength: 2 }),
});
const namespaceName = fc.constantFrom('n1', 'n2');
const podName = fc.constantFrom('p1', 'p2', 'p3');
const ip = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.1.1', 'fd00::1');
const ports = fc.subarray([
  { name: 'http', protocol: 'TCP', port: 80 },
  { name: 'http', protocol: 'TCP', port: 8080 },
  { name: 'dns', protocol: 'UDP', port: 53 },
] as const);

type Change = (tracker: PolicyTracker) => void;
const change: fc.Arbitrary<Change> = fc.oneof(
  fc
    .tuple(
      namespaceName,
      podName,
      fc.uniqueArray(ip, { maxLength: 2 }),
      labels,
      ports,
      fc.constantFrom('node-a', 'node-b'),
      fc.constantFrom('', '-2'),
    )
    .map(
      ([namespace, name, ips, of, named, nodeName, generation]): Change =>
        (tracker) => {
          const uid = `${namespace}-${name}${generation}`;
          tracker.setPod(fakePod(`${namespace}/${name}`, ips, { labels: of as Labels, ports: named, nodeName, uid }));
        },
    ),
  fc.tuple(namespaceName, podName).map(
    ([namespace, name]): Change =>
      (tracker) =>
        tracker.deletePod(`${namespace}/${name}`),
  ),
  fc.tuple(namespaceName, fc.option(labels, { nil: undefined })).map(
    ([name, of]): Change =>
      (tracker) =>
        tracker.setNamespace(name, of as Labels),
  ),
  fc.tuple(namespaceName, podName, spec).map(
    ([namespace, name, of]): Change =>
      (tracker) =>
        tracker.setPolicy(fakePolicy(`${namespace}/${name}`, of)),
  ),
  fc.tuple(namespaceName, podName).map(
    ([namespace, name]): Change =>
      (tracker) =>
        tracker.deletePolicy(`${namespace}/${name}`),
  ),
  fc.tuple(namespaceName, podName, fc.uniqueArray(ip, { minLength: 1, maxLength: 2 })).map(
    ([namespace, name, ips]): Change =>
      (tracker) =>
        tracker.claim({ uid: `${namespace}-${name}`, ips }),
  ),
  ip.map(
    (one): Change =>
      (tracker) =>
        tracker.release(one),
  ),
);

test('property: steps, each in its phases, lead to the table that a plan from nothing makes; nothing stays behind', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(change, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 12 }),
      async (batches) => {
        const kernel = new FakeNftables();
        const socket = await kernel.open();
        const tracker = new PolicyTracker('node-a');
        tracker.takeStep();
        await socket.apply(tracker.plan());
        for (const batch of batches) {
          for (const one of batch) one(tracker);
          for (const phase of phasesOf(tracker.takeStep())) await socket.apply(phase);
          const difference = planTableDifference(await socket.dump(policyTable), tracker.plan());
          t.deepEqual(lines(difference), []);
        }
        for (const namespace of ['n1', 'n2'])
          for (const name of ['p1', 'p2', 'p3']) {
            tracker.deletePod(`${namespace}/${name}`);
            tracker.deletePolicy(`${namespace}/${name}`);
          }
        for (const one of ['10.0.0.1', '10.0.0.2', '10.0.1.1', 'fd00::1']) tracker.release(one);
        for (const phase of phasesOf(tracker.takeStep())) await socket.apply(phase);
        const dump = await socket.dump(policyTable);
        t.is(dump?.sets.length, 6);
        t.is(dump?.chains.length, 2);
        t.true(dump?.sets.every(({ elements }) => elements !== undefined && elementCount(elements) === 0));
        t.like(tracker.counts, { localPods: 0, sets: 0, policies: 0, pods: 0 });
      },
    ),
    { numRuns: 150 },
  );
});
