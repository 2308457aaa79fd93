/**
 * Plans against the fake kernel: what a change touches, and that any sequence of changes ends where a plan from scratch
 * does.
 */
import test from 'ava';
import fc from 'fast-check';
import type { IpFamily } from '../../api/service.ts';
import { FakeNftables } from '../../linux/fake-nftables.ts';
import { describe } from '../../linux/nftables/describe.ts';
import { formatFields } from '../../linux/nftables/fields.ts';
import { elementCount, isPacked, type NftablesOperation, type TableDump } from '../../linux/nftables/types.ts';
import { aService, aSlice } from '../services/fake-objects.ts';
import { ServiceTracker } from '../services/service-tracker.ts';
import { layoutOf } from './layout.ts';
import { indexOf, type PlanOptions, planDelta, planInitial, planReplacement } from './plan.ts';
import { ServiceDataplane } from './service-dataplane.ts';

const here = 'node-a';
const withoutPods: PlanOptions = { podCIDRs: [] };
const withPods: PlanOptions = { podCIDRs: ['10.244.0.0/16', 'fd00:4::/32'] };
const ip4 = { family: 'ip', name: 'keelson-proxy' } as const;

/** Order in sets and of chains is the kernel's affair, and so are handles. */
function plain(dump: TableDump | undefined): unknown {
  if (dump === undefined) return undefined;
  const sets = dump.sets.map(({ set, elements }) => {
    if (elements === undefined || !isPacked(elements)) return { set, elements: [] };
    const { count, keyBytes, keys, dataBytes, data } = elements;
    const data_ = Array.isArray(set.data) ? set.data : [];
    const lines = Array.from({ length: count }, (_, i) => {
      const to = formatFields(data_, data.subarray(i * dataBytes, (i + 1) * dataBytes));
      return `${formatFields(set.key, keys.subarray(i * keyBytes, (i + 1) * keyBytes))} : ${to}`;
    });
    return { set, elements: lines.sort() };
  });
  const rules: Record<string, unknown[]> = {};
  for (const { handle: _, chain, ...rule } of dump.rules) rules[chain] = [...(rules[chain] ?? []), rule];
  return {
    table: dump.table,
    chains: dump.chains.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    sets: sets.toSorted((a, b) => (a.set.name < b.set.name ? -1 : 1)),
    rules,
  };
}

async function kernelOf(...batches: NftablesOperation[][]) {
  const nftables = await new FakeNftables().open();
  for (const batch of batches) await nftables.apply(batch);
  return nftables;
}

async function setOf(nftables: Awaited<ReturnType<typeof kernelOf>>, name: string): Promise<string[]> {
  const dump = plain(await nftables.dump(ip4)) as { sets: { set: { name: string }; elements: string[] }[] };
  return dump.sets.find(({ set }) => set.name === name)?.elements ?? [];
}

const elementLines = (operations: readonly NftablesOperation[]): string[] =>
  operations.map((operation) =>
    'elements' in operation ? `${operation.op} ${operation.set} ${elementCount(operation.elements)}` : operation.op,
  );

function webTracker(endpoints = ['10.244.1.1', '10.244.1.2', '10.244.1.3']): ServiceTracker {
  const tracker = new ServiceTracker({ family: 'IPv4', nodeName: here });
  tracker.serviceSet(aService('web', { clusterIP: '10.96.0.1', clusterIPs: ['10.96.0.1'], ipFamilies: ['IPv4'] }));
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints }));
  tracker.flush();
  return tracker;
}

test('one endpoint replaced is one element deleted and added', (t) => {
  const tracker = webTracker();
  const index = indexOf(tracker.model, withoutPods);
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: ['10.244.1.1', '10.244.1.9', '10.244.1.3'] }));
  const operations = planDelta(tracker.flush().delta, index);
  t.deepEqual(elementLines(operations), ['elementsDelete endpoints 1', 'elementsAdd endpoints 1']);
  t.deepEqual(planDelta(tracker.flush().delta, index), []);
});

test('another number of endpoints moves the key between sets in the same batch', async (t) => {
  const tracker = webTracker();
  const index = indexOf(tracker.model, withoutPods);
  const nftables = await kernelOf(planInitial(tracker.model, withoutPods));
  t.deepEqual(await setOf(nftables, 'n-3'), ['10.96.0.1 . tcp . 80 : 0x']);
  t.is((await setOf(nftables, 'endpoints'))[1], '10.96.0.1 . tcp . 80 . 1 : 10.244.1.2 . 8080');
  // A second Service of the size, so that its chains stay.
  const spec = { clusterIP: '10.96.0.2', clusterIPs: ['10.96.0.2'], ipFamilies: ['IPv4' as const] };
  for (const [name, count] of [
    ['a', 2],
    ['b', 3],
  ] as const) {
    tracker.serviceSet(aService(name, { ...spec, clusterIP: `10.96.1.${count}`, clusterIPs: [`10.96.1.${count}`] }));
    const endpoints = ['10.244.2.1', '10.244.2.2', '10.244.2.3'].slice(0, count);
    tracker.sliceSet(aSlice(`${name}-1`, name, { endpoints }));
  }
  await nftables.apply(planDelta(tracker.flush().delta, index));
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: ['10.244.1.1', '10.244.1.2'] }));
  const operations = planDelta(tracker.flush().delta, index);
  t.deepEqual(elementLines(operations).toSorted(), [
    'elementsAdd n-2 1',
    'elementsDelete endpoints 1',
    'elementsDelete n-3 1',
  ]);
  await nftables.apply(operations);
  t.deepEqual(
    plain(await nftables.dump(ip4)),
    plain(await (await kernelOf(planInitial(tracker.model, withoutPods))).dump(ip4)),
  );
});

test('a Service without endpoints is refused, one without local ones dropped', async (t) => {
  const tracker = webTracker([]);
  const local = { clusterIP: '10.96.0.2', clusterIPs: ['10.96.0.2'], ipFamilies: ['IPv4' as const] };
  tracker.serviceSet(aService('near', { ...local, internalTrafficPolicy: 'Local' }));
  tracker.sliceSet(aSlice('near-1', 'near', { endpoints: [{ addresses: ['10.244.9.1'], nodeName: 'node-b' }] }));
  tracker.flush();
  const nftables = await kernelOf(planInitial(tracker.model, withoutPods));
  t.deepEqual(await setOf(nftables, 'no-endpoints'), ['10.96.0.1 . tcp . 80 : 0x']);
  t.deepEqual(await setOf(nftables, 'no-local-endpoints'), ['10.96.0.2 . tcp . 80 : 0x']);
});

test('who is masqueraded: external traffic, and traffic to cluster IPs when the prefixes of the pods are known', async (t) => {
  const tracker = new ServiceTracker({ family: 'IPv4', nodeName: here });
  tracker.serviceSet(
    aService('web', {
      type: 'NodePort',
      clusterIP: '10.96.0.1',
      clusterIPs: ['10.96.0.1'],
      ipFamilies: ['IPv4'],
      externalIPs: ['192.0.2.1'],
      ports: [{ port: 80, nodePort: 30080 }],
    }),
  );
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: [{ addresses: ['10.244.1.1'], nodeName: here }] }));
  tracker.flush();
  const without = await kernelOf(planInitial(tracker.model, withoutPods));
  const known = await kernelOf(planInitial(tracker.model, withPods));
  t.deepEqual(await setOf(without, 'masqueraded'), ['192.0.2.1 : 0x']);
  t.deepEqual(await setOf(known, 'masqueraded'), ['10.96.0.1 : 0x', '192.0.2.1 : 0x']);
  t.deepEqual(await setOf(known, 'masqueraded-tcp-ports'), ['30080 : 0x']);
  t.deepEqual(await setOf(known, 'node-port-endpoints'), ['tcp . 30080 . 0 : 10.244.1.1 . 8080']);
  t.deepEqual(await setOf(known, 'hairpin'), ['10.244.1.1 . 10.244.1.1 : 0x']);
  const rules = planInitial(tracker.model, withPods).map((operation) => describe(operation));
  t.true(
    rules.some((rule) => rule.includes('masquerading') && rule.includes('return')),
    rules.join('\n'),
  );
  t.false(planInitial(tracker.model, withoutPods).some((operation) => describe(operation).endsWith('return')));
});

test('a refused batch leaves the dataplane unloaded until it is replaced', async (t) => {
  const tracker = webTracker();
  const fake = new FakeNftables();
  const dataplane = new ServiceDataplane(await fake.open(), withPods);
  t.false(await dataplane.change(tracker.flush().delta));
  await dataplane.replace(tracker.model);
  const change = (address: string) => {
    tracker.sliceSet(aSlice('web-1', 'web', { endpoints: [address] }));
    return tracker.flush().delta;
  };
  fake.intercept = () => new Error('refused');
  await t.throwsAsync(dataplane.change(change('10.244.1.7')), { message: 'refused' });
  t.false(dataplane.isLoaded);
  fake.intercept = undefined;
  t.false(await dataplane.change(change('10.244.1.8')));
  await dataplane.replace(tracker.model);
  t.true(await dataplane.change(change('10.244.1.9')));
  const expected = await kernelOf(planInitial(tracker.model, withPods));
  t.deepEqual(plain(await (await fake.open()).dump(ip4)), plain(await expected.dump(ip4)));
});

interface Addresses {
  cluster: string[];
  external: string[];
  pods: string[];
}
const addresses: Record<IpFamily, Addresses> = {
  IPv4: {
    cluster: ['10.96.0.1', '10.96.0.2', '10.96.0.3'],
    external: ['192.0.2.1', '192.0.2.2'],
    pods: ['10.244.0.1', '10.244.0.2', '10.244.0.3', '10.244.0.4', '10.244.0.5'],
  },
  IPv6: {
    cluster: ['fd00:1::1', 'fd00:1::2', 'fd00:1::3'],
    external: ['fd00:2::1', 'fd00:2::2'],
    pods: ['fd00:4::1', 'fd00:4::2', 'fd00:4::3', 'fd00:4::4', 'fd00:4::5'],
  },
};

const eventsOf = (family: IpFamily) => {
  const { cluster, external, pods } = addresses[family];
  const name = fc.constantFrom('s1', 's2', 's3');
  const policy = fc.constantFrom('Cluster' as const, 'Local' as const);
  const protocol = fc.constantFrom('TCP' as const, 'UDP' as const);
  const port = fc.record({
    name: fc.constantFrom('http', 'dns'),
    protocol,
    port: fc.constantFrom(53, 80),
    nodePort: fc.constantFrom(30053, 30080),
  });
  return fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        event: fc.constant('service' as const),
        name,
        type: fc.constantFrom('ClusterIP' as const, 'NodePort' as const),
        ip: fc.constantFrom(...cluster),
        externalIPs: fc.uniqueArray(fc.constantFrom(...external), { maxLength: 2 }),
        internalTrafficPolicy: policy,
        externalTrafficPolicy: policy,
        ports: fc.uniqueArray(port, { minLength: 1, maxLength: 2, selector: (p) => p.name }),
      }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        event: fc.constant('slice' as const),
        service: name,
        second: fc.boolean(),
        endpoints: fc.array(fc.record({ ip: fc.constantFrom(...pods), local: fc.boolean(), ready: fc.boolean() }), {
          maxLength: 5,
        }),
        protocol,
      }),
    },
    { weight: 1, arbitrary: fc.record({ event: fc.constant('delete' as const), name }) },
    { weight: 6, arbitrary: fc.record({ event: fc.constant('flush' as const) }) },
  );
};
type TrackerEvent = ReturnType<typeof eventsOf> extends fc.Arbitrary<infer Event> ? Event : never;

function play(tracker: ServiceTracker, family: IpFamily, event: TrackerEvent, version: number): void {
  const meta = { resourceVersion: String(version) };
  if (event.event === 'service') {
    const { name, ip, ports, event: _, ...spec } = event;
    const served = ports.map(({ nodePort, ...port }) => (spec.type === 'NodePort' ? { ...port, nodePort } : port));
    tracker.serviceSet(
      aService(name, { ...spec, clusterIP: ip, clusterIPs: [ip], ipFamilies: [family], ports: served, meta }),
    );
  } else if (event.event === 'slice') {
    const { service, second, endpoints, protocol } = event;
    tracker.sliceSet(
      aSlice(`${service}-${second}`, service, {
        meta: { ...meta, labels: { 'kubernetes.io/service-name': service } },
        addressType: family,
        endpoints: endpoints.map(({ ip, local, ready }) => ({
          addresses: [ip],
          nodeName: local ? here : 'node-b',
          conditions: { ready },
        })),
        ports: ['http', 'dns'].map((name) => ({ name, protocol, port: 8080 })),
      }),
    );
  } else if (event.event === 'delete') tracker.serviceDeleted({ namespace: 'default', name: event.name });
}

for (const family of ['IPv4', 'IPv6'] as const) {
  for (const options of [withoutPods, withPods]) {
    test(`random events end where a plan from scratch does: ${family}, pods ${options.podCIDRs}`, async (t) => {
      let moved = 0;
      const { family: tableFamily, table } = layoutOf(family).table;
      const run = async (events: readonly TrackerEvent[]): Promise<void> => {
        const tracker = new ServiceTracker({ family, nodeName: here });
        const index = indexOf(tracker.model, options);
        const nftables = await kernelOf(planInitial(tracker.model, options));
        for (const [at, event] of [...events, { event: 'flush' as const }].entries()) {
          if (event.event !== 'flush') {
            play(tracker, family, event, at + 1);
            continue;
          }
          const operations = planDelta(tracker.flush().delta, index);
          if (operations.some(({ op }) => op === 'setDelete')) moved++;
          await nftables.apply(operations);
          const scratch = await kernelOf(planReplacement(tracker.model, options));
          const ref = { family: tableFamily, name: table };
          t.deepEqual(plain(await nftables.dump(ref)), plain(await scratch.dump(ref)));
        }
      };
      await fc.assert(
        fc.asyncProperty(fc.array(eventsOf(family), { minLength: 20, maxLength: 60, size: 'max' }), run),
        { numRuns: 25 },
      );
      t.true(moved > 20, String(moved));
    });
  }
}
