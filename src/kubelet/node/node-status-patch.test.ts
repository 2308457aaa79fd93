/**
 * Patches are judged by what an API server makes of them: applied to the old status they must give the new one.
 */
import test from 'ava';
import fc from 'fast-check';
import type { NodeAddress, NodeCondition, NodeStatus } from '../../api/node.ts';
import { applyStrategicMerge } from './fake-strategic-merge.ts';
import { healthyFacts } from './node-facts.fake.ts';
import { nodeStatus } from './node-status.ts';
import { changeBeyondHeartbeats, isReportDue, neverReported, nodeStatusPatch, reported } from './node-status-patch.ts';

const now = Date.UTC(2026, 10, 21);

function apply(from: NodeStatus, to: NodeStatus): NodeStatus {
  const patch = nodeStatusPatch(from, to);
  if (patch === undefined) return from;
  const travelled: object = JSON.parse(JSON.stringify({ status: patch }));
  return (applyStrategicMerge({ status: from }, travelled) as { status: NodeStatus }).status;
}

/** Absent and empty are one; resources and conditions in any order. */
function normal(status: NodeStatus): unknown {
  const conditions = [...(status.conditions ?? [])].sort((a, b) => (a.type < b.type ? -1 : 1));
  return clean({ ...status, conditions });
}

function clean(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(clean);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value)
    .map(([key, entry]) => [key, clean(entry)] as const)
    .filter(
      ([, entry]) => entry !== undefined && !(typeof entry === 'object' && Object.keys(entry as object).length === 0),
    );
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

// Names that every object inherits are good names of resources; one that starts with `_` is not.
const word = fc.constantFrom('a', 'b', 'c', '1', '2Gi', 'constructor', 'toString');
const resources = fc.dictionary(word, word, { maxKeys: 4 });
const address: fc.Arbitrary<NodeAddress> = fc.record({
  type: fc.constantFrom('InternalIP', 'Hostname', 'ExternalIP'),
  address: fc.constantFrom('192.0.2.1', '192.0.2.2', '2001:db8::1', 'node-a'),
});
const condition: fc.Arbitrary<NodeCondition> = fc.record({
  type: fc.constantFrom('Ready', 'DiskPressure', 'MemoryPressure', 'NetworkUnavailable'),
  status: fc.constantFrom('True', 'False', 'Unknown'),
  lastHeartbeatTime: fc.constantFrom('t1', 't2', 't3'),
  lastTransitionTime: fc.constantFrom('t1', 't2'),
  reason: word,
  message: word,
});
const image = fc.record({ names: fc.array(word, { maxLength: 3 }), sizeBytes: fc.nat(3) });
const status: fc.Arbitrary<NodeStatus> = fc.record(
  {
    capacity: resources,
    allocatable: resources,
    conditions: fc.uniqueArray(condition, { selector: ({ type }) => type, maxLength: 4 }),
    // An API server stores no empty list.
    addresses: fc.array(address, { minLength: 1, maxLength: 4 }),
    daemonEndpoints: fc.record({ kubeletEndpoint: fc.record({ Port: fc.constantFrom(0, 10250) }) }),
    images: fc.array(image, { maxLength: 3 }),
    volumesInUse: fc.array(word, { maxLength: 3 }),
    features: fc.record({ supplementalGroupsPolicy: fc.boolean() }, { requiredKeys: [] }),
    declaredFeatures: fc.array(word, { maxLength: 2 }),
  },
  { requiredKeys: [] },
);

/** The node never takes a condition away. */
const withConditionsOf = (from: NodeStatus, to: NodeStatus): NodeStatus => {
  const kept = (from.conditions ?? []).filter(({ type }) => !to.conditions?.some((other) => other.type === type));
  return { ...to, conditions: [...kept, ...(to.conditions ?? [])] };
};

test('a patch makes the old status into the new one', (t) => {
  fc.assert(
    fc.property(status, status, (from, wanted) => {
      const to = withConditionsOf(from, wanted);
      t.deepEqual(normal(apply(from, to)), normal(to));
    }),
    { numRuns: 2000 },
  );
});

test('no difference, no patch; and a patch applied leaves none', (t) => {
  fc.assert(
    fc.property(status, status, (from, wanted) => {
      t.is(nodeStatusPatch(from, structuredClone(from)), undefined);
      const to = withConditionsOf(from, wanted);
      t.is(nodeStatusPatch(apply(from, to), to), undefined);
    }),
    { numRuns: 2000 },
  );
});

test('a heartbeat alone is no change, anything else is', (t) => {
  const before = nodeStatus(healthyFacts(now), {}, now).status;
  const later = now + 10_000;
  const same = nodeStatus(healthyFacts(later), before, later).status;
  t.is(changeBeyondHeartbeats(before, same), undefined);
  t.not(nodeStatusPatch(before, same), undefined);
  const { machine } = healthyFacts(later);
  for (const bend of [
    { images: [] },
    { machine: { ...machine, memoryBytes: 1 } },
    { pressure: { MemoryPressure: true, DiskPressure: false, PIDPressure: false } },
    { kubeletPort: 1 },
    { volumesInUse: ['kubernetes.io/csi/a^b'] },
  ]) {
    const changed = nodeStatus(healthyFacts(later, bend), before, later).status;
    t.not(changeBeyondHeartbeats(before, changed), undefined, JSON.stringify(bend));
  }
});

test('two InternalIPs: merged by type they would be mixed up, so the list is replaced', (t) => {
  const two = (a: string, b: string): NodeStatus => ({
    addresses: [
      { type: 'InternalIP', address: a },
      { type: 'InternalIP', address: b },
    ],
  });
  const [from, to] = [two('192.0.2.1', '2001:db8::1'), two('192.0.2.2', '2001:db8::2')];
  const naive = applyStrategicMerge({ status: from }, { status: to }) as { status: NodeStatus };
  t.notDeepEqual(naive.status.addresses, to.addresses);
  t.deepEqual(apply(from, to), to);
  t.deepEqual(nodeStatusPatch({}, to), to, 'no directive where there is no list');
});

test('only the condition that changed is sent', (t) => {
  const before = nodeStatus(healthyFacts(now), {}, now).status;
  const pressure = { MemoryPressure: true, DiskPressure: false, PIDPressure: false };
  const after = nodeStatus(healthyFacts(now, { pressure }), before, now).status;
  t.deepEqual(nodeStatusPatch(before, after), { conditions: [after.conditions?.[0]] });
});

test('reports: at first, after the frequency, spread after a change', (t) => {
  const frequency = 300_000;
  t.true(isReportDue(neverReported, 0, frequency));
  const spread = reported(neverReported, 0, frequency, false, 0);
  t.false(isReportDue(spread, 149_999, frequency));
  t.true(isReportDue(spread, 150_000, frequency));
  const steady = reported(spread, 150_000, frequency, false, 0);
  t.false(isReportDue(steady, 449_999, frequency));
  t.true(isReportDue(steady, 450_000, frequency));
  t.is(reported(steady, 0, frequency, true, 1).delayMs, 150_000);
});
