/** What is taken over from a table, damaged ones included. */
import test from 'ava';
import { FakeNftables } from '../../linux/fake-nftables.ts';
import type { NftablesOperation, TableDump } from '../../linux/nftables/types.ts';
import { aService, aSlice } from '../services/fake-objects.ts';
import { ServiceTracker } from '../services/service-tracker.ts';
import { trafficOfPods } from '../services/traffic-options.ts';
import { adoptedFrom, estimatedElements } from './adopted.ts';
import { layoutOf, tableRef } from './layout.ts';
import { planInitial } from './plan.ts';
import { slotsFor, slotsOfSet } from './suites.ts';

const layout = layoutOf('IPv4');

function tracked(endpoints: string[], adopted?: ReturnType<typeof adoptedFrom>): ServiceTracker {
  const tracker = new ServiceTracker({ family: 'IPv4', nodeName: '', ...(adopted === undefined ? {} : { adopted }) });
  tracker.serviceSet(
    aService('web', {
      type: 'NodePort',
      clusterIP: '10.96.0.1',
      clusterIPs: ['10.96.0.1'],
      ipFamilies: ['IPv4'],
      ports: [{ port: 80, nodePort: 30080 }],
    }),
  );
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints }));
  tracker.flush();
  return tracker;
}

async function dumpOf(...batches: NftablesOperation[][]): Promise<TableDump> {
  const nftables = await new FakeNftables().open();
  for (const batch of batches) await nftables.apply(batch);
  const dump = await nftables.dump(tableRef('IPv4'));
  if (dump === undefined) throw new Error('no table');
  return dump;
}

const endpointKey = (index: number, protocol = 6): Uint8Array =>
  Uint8Array.of(10, 96, 0, 1, protocol, 0, 0, 0, 0, 80, 0, 0, index & 255, (index >> 8) & 255, 0, (index >>> 24) & 255);

test('endpoints keep their index whatever order they come in after a restart', async (t) => {
  const before = tracked(['10.244.0.3', '10.244.0.1', '10.244.0.2']);
  const dump = await dumpOf(planInitial(before.model, trafficOfPods([])));
  const adopted = adoptedFrom(dump, layout);
  const after = tracked(['10.244.0.1', '10.244.0.2', '10.244.0.3'], adopted);
  const [was] = before.model.groups.values();
  const [is] = after.model.groups.values();
  t.deepEqual(is?.endpoints, was?.endpoints);
  t.is(after.model.groups.size, 1, 'cluster IP and node port share what was adopted for one of them');
  t.deepEqual([...adopted.frontends.keys()].toSorted(), ['10.96.0.1:80/TCP', '30080/TCP']);
});

test('what is damaged is left out: holes, indexes out of all bounds, unknown protocols', async (t) => {
  const data = Uint8Array.of(10, 244, 0, 9, 0x1f, 0x90, 0, 0);
  const at = { family: 'ip', table: 'keelson-proxy', set: 'endpoints' } as const;
  const dump = await dumpOf(planInitial(tracked(['10.244.0.1', '10.244.0.2', '10.244.0.3']).model, trafficOfPods([])), [
    { op: 'elementsDelete', ...at, elements: [{ key: endpointKey(1) }] },
    { op: 'elementsAdd', ...at, elements: [{ key: endpointKey(0xff000001), data }] },
    { op: 'elementsAdd', ...at, elements: [{ key: endpointKey(0, 99), data }] },
  ]);
  const { groups, frontends } = adoptedFrom(dump, layout);
  const group = groups.get(frontends.get('10.96.0.1:80/TCP')?.group ?? 0);
  // Address * 65536 + port; 0 where nothing usable was.
  t.deepEqual(group, [0x0af40001 * 65536 + 8080, 0, 0x0af40003 * 65536 + 8080]);
  t.is(frontends.size, 2);
  const dumpOfOthers = { ...dump, sets: dump.sets.map((set) => ({ ...set, elements: [] })) };
  t.is(adoptedFrom(dumpOfOthers, layout).groups.size, 0);
});

test('slots are the power of two that holds all endpoints, and sets tell them', (t) => {
  const slots = [1, 2, 3, 4, 5, 8, 9, 1000, 65536, 100_000].map(slotsFor);
  t.deepEqual(slots, [1, 2, 4, 4, 8, 8, 16, 1024, 65536, 65536]);
  t.is(slotsOfSet('services-16'), 16);
  t.is(slotsOfSet('node-ports-1'), 1);
  for (const name of ['services', 'services-', 'services-0', 'services-70000', 'n-4', 'x-services-4'])
    t.is(slotsOfSet(name), undefined, name);
});

test('the estimate of a dump is of the order of its elements', async (t) => {
  const dump = await dumpOf(planInitial(tracked(['10.244.0.1', '10.244.0.2', '10.244.0.3']).model, trafficOfPods([])));
  // Two frontends with two keys and three endpoints each.
  t.is(estimatedElements(dump), 10);
});
