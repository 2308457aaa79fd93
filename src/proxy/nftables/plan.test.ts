/**
 * Plans against the fake kernel: what a change touches, and that any sequence of changes ends where a plan from scratch
 * does.
 */
import test from 'ava';
import fc from 'fast-check';
import { FakeNftables } from '../../linux/fake-nftables.ts';
import { describe } from '../../linux/nftables/describe.ts';
import { elementCount, type NftablesOperation } from '../../linux/nftables/types.ts';
import { here, type RandomEvent, randomEvents, serviceEvents } from '../fake-events.ts';
import { feed } from '../feed.ts';
import { aService, aSlice } from '../services/fake-objects.ts';
import { ServiceTracker } from '../services/service-tracker.ts';
import { trafficOfPods } from '../services/traffic-options.ts';
import { plainElements, plainStructure, plannedElements } from './fake-plain-dump.ts';
import { tableRef } from './layout.ts';
import { indexOf, type PlanOptions, planDelta, planInitial, planReplacement } from './plan.ts';

const withoutPods: PlanOptions = trafficOfPods([]);
const withPods: PlanOptions = trafficOfPods(['10.244.0.0/16', 'fd00:4::/32']);
const ip4 = { family: 'ip', name: 'keelson-proxy' } as const;

async function kernelOf(...batches: NftablesOperation[][]) {
  const nftables = await new FakeNftables().open();
  for (const batch of batches) await nftables.apply(batch);
  return nftables;
}

async function setOf(nftables: Awaited<ReturnType<typeof kernelOf>>, name: string): Promise<string[]> {
  return plainElements(await nftables.dump(ip4))[name] ?? [];
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
  const index = indexOf(tracker.model);
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: ['10.244.1.1', '10.244.1.9', '10.244.1.3'] }));
  const operations = planDelta(tracker.flush().delta, index);
  t.deepEqual(elementLines(operations), ['elementsDelete endpoints 1', 'elementsAdd endpoints 1']);
  t.deepEqual(planDelta(tracker.flush().delta, index), []);
});

test('another number of slots moves the key between sets in the same batch', async (t) => {
  const tracker = webTracker();
  const index = indexOf(tracker.model);
  const nftables = await kernelOf(planInitial(tracker.model, withoutPods));
  t.deepEqual(await setOf(nftables, 'services-4'), ['10.96.0.1 . tcp . 80']);
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
    'elementsAdd services-2 1',
    'elementsDelete endpoints 1',
    'elementsDelete services-4 1',
  ]);
  await nftables.apply(operations);
  t.deepEqual(plainElements(await nftables.dump(ip4)), plannedElements(planInitial(tracker.model, withoutPods)));
});

test('a Service without endpoints is refused, one without local ones dropped', async (t) => {
  const tracker = webTracker([]);
  const local = { clusterIP: '10.96.0.2', clusterIPs: ['10.96.0.2'], ipFamilies: ['IPv4' as const] };
  tracker.serviceSet(aService('near', { ...local, internalTrafficPolicy: 'Local' }));
  tracker.sliceSet(aSlice('near-1', 'near', { endpoints: [{ addresses: ['10.244.9.1'], nodeName: 'node-b' }] }));
  tracker.flush();
  const nftables = await kernelOf(planInitial(tracker.model, withoutPods));
  t.deepEqual(await setOf(nftables, 'no-endpoints'), ['10.96.0.1 . tcp . 80']);
  t.deepEqual(await setOf(nftables, 'no-local-endpoints'), ['10.96.0.2 . tcp . 80']);
});

test('a load-balancer IP with source ranges is open to them, and to itself where the node may send', async (t) => {
  const tracker = new ServiceTracker({ family: 'IPv4', nodeName: here, nodeIps: ['198.51.100.9'] });
  const status = { loadBalancer: { ingress: [{ ip: '192.0.2.7' }] } };
  tracker.serviceSet(
    aService('lb', { ...lb, loadBalancerSourceRanges: ['198.51.100.0/24', '198.51.100.64/26'], status }),
  );
  tracker.sliceSet(aSlice('lb-1', 'lb', { endpoints: ['10.244.1.1'] }));
  tracker.flush();
  const kernel = await kernelOf(planInitial(tracker.model, withPods));
  t.deepEqual(await setOf(kernel, 'restricted-services'), ['192.0.2.7 . tcp . 80']);
  t.deepEqual(await setOf(kernel, 'special-services'), ['192.0.2.7 . tcp . 80']);
  t.deepEqual(await setOf(kernel, 'source-ranges'), [
    '192.0.2.7 . tcp . 80 . 192.0.2.7',
    '192.0.2.7 . tcp . 80 . 198.51.100.0',
  ]);
  t.deepEqual(await setOf(kernel, 'masqueraded'), ['192.0.2.7']);
});

const lb = { type: 'LoadBalancer' as const, clusterIP: '10.96.0.1' };

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
  t.deepEqual(await setOf(without, 'masqueraded'), ['192.0.2.1']);
  t.deepEqual(await setOf(known, 'masqueraded'), ['192.0.2.1']);
  t.deepEqual(await setOf(known, 'cluster-ips'), ['10.96.0.1']);
  t.deepEqual(await setOf(known, 'masqueraded-tcp-ports'), ['30080']);
  t.deepEqual(await setOf(known, 'node-port-endpoints'), ['tcp . 30080 . 0 : 10.244.1.1 . 8080']);
  t.deepEqual(await setOf(known, 'hairpin'), ['10.244.1.1 . 10.244.1.1']);
  const rules = planInitial(tracker.model, withPods).map((operation) => describe(operation));
  t.true(
    rules.some((rule) => rule.includes('masquerading') && rule.includes('return')),
    rules.join('\n'),
  );
  const masqueradesClusterIPs = (options: PlanOptions) =>
    planInitial(tracker.model, options).some((operation) =>
      describe(operation).endsWith('cluster-ip-masquerading masquerade'),
    );
  t.true(masqueradesClusterIPs(withPods));
  t.false(masqueradesClusterIPs(withoutPods));
});

for (const family of ['IPv4', 'IPv6'] as const) {
  for (const options of [withoutPods, withPods]) {
    test(`random events end where a plan from scratch does: ${family}, ${JSON.stringify(options.localTraffic)}`, async (t) => {
      let moved = 0;
      const run = async (events: readonly RandomEvent[]): Promise<void> => {
        const tracker = new ServiceTracker({ family, nodeName: here });
        const index = indexOf(tracker.model);
        const nftables = await kernelOf(planInitial(tracker.model, options));
        for (const [at, event] of [...events, { event: 'flush' as const }].entries()) {
          if (event.event !== 'flush') {
            feed(tracker, serviceEvents(family, event, at + 1));
            continue;
          }
          const operations = planDelta(tracker.flush().delta, index);
          if (operations.some((o) => o.op === 'elementsDelete' && o.set.includes('s-'))) moved++;
          await nftables.apply(operations);
          const elements = plainElements(await nftables.dump(tableRef(family)));
          t.deepEqual(elements, plannedElements(planInitial(tracker.model, options)));
        }
        const scratch = await kernelOf(planReplacement(tracker.model, options));
        const [ours, theirs] = [await nftables.dump(tableRef(family)), await scratch.dump(tableRef(family))];
        t.is(plainStructure(ours), plainStructure(theirs));
        t.deepEqual(plainElements(ours), plainElements(theirs));
      };
      await fc.assert(
        fc.asyncProperty(fc.array(randomEvents(family), { minLength: 20, maxLength: 60, size: 'max' }), run),
        { numRuns: 15 },
      );
      t.true(moved > 10, String(moved));
    });
  }
}
