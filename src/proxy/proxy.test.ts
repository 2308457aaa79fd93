/**
 * The role over the fake kernel: what is loaded at start and after a restart, what becomes of failures, of other people's
 * hands, and of being stopped in the middle.
 */
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { IpFamily } from '../api/service.ts';
import { FakeClock, settle } from '../base/fake-clock.ts';
import { FakeNftables } from '../linux/fake-nftables.ts';
import { NftablesError } from '../linux/nftables/edge.ts';
import type { NftablesOperation } from '../linux/nftables/types.ts';
import { type Logger, silentLogger } from '../observe/logger.ts';
import { cleanupProxy } from './cleanup.ts';
import { here, type RandomEvent, randomEvents, serviceEvents } from './fake-events.ts';
import { FakeSource } from './fake-source.ts';
import { feed } from './feed.ts';
import { type PlainElements, plainElements, plainStructure, plannedElements } from './nftables/fake-plain-dump.ts';
import { tableRef } from './nftables/layout.ts';
import { planInitial } from './nftables/plan.ts';
import type { DataplaneLimits } from './nftables/service-dataplane.ts';
import { suites } from './nftables/suites.ts';
import { type ProxyRole, startProxy } from './proxy.ts';
import type { ServiceEvent, ServiceSource } from './service-source.ts';
import type { ConntrackCleanup } from './services/dataplane.ts';
import { aService, aSlice, type ServiceFields } from './services/fake-objects.ts';
import { ServiceTracker } from './services/service-tracker.ts';
import { trafficOfPods } from './services/traffic-options.ts';

const podCIDRs = ['10.244.0.0/16', 'fd00:4::/32'];
const everythingIsLarge: DataplaneLimits = { listedElements: 0, watchedElements: 0 };

const service = (name: string, ip: string, fields: Partial<ServiceFields> = {}): ServiceEvent => ({
  event: 'serviceSet',
  service: aService(name, { clusterIP: ip, clusterIPs: [ip], ipFamilies: ['IPv4'], ...fields }),
});
const endpoints = (name: string, ...addresses: string[]): ServiceEvent => ({
  event: 'sliceSet',
  slice: aSlice(`${name}-1`, name, { endpoints: addresses }),
});
const web = (...addresses: string[]): ServiceEvent[] => [service('web', '10.96.0.1'), endpoints('web', ...addresses)];

interface Line {
  level: string;
  fields: Record<string, unknown>;
  message: string;
}

/** A node's kernel, clock and log; roles come and go on it. */
class Node {
  readonly kernel = new FakeNftables();
  readonly clock = new FakeClock();
  readonly lines: Line[] = [];
  handing = false;
  /** What the observer was told, without durations. */
  readonly observed: string[] = [];
  readonly forgotten: { family: IpFamily; cleanups: readonly ConntrackCleanup[] }[] = [];
  #log(level: string): (fields: object, message: string) => void {
    return (fields, message) => this.lines.push({ level, fields: { ...fields }, message });
  }
  readonly log: Logger = {
    ...silentLogger,
    info: this.#log('info'),
    warn: this.#log('warn'),
    error: this.#log('error'),
    child: () => this.log,
  };

  start(
    source: ServiceSource,
    {
      families = ['IPv4'],
      limits,
      signal = new AbortController().signal,
    }: { families?: IpFamily[]; limits?: DataplaneLimits; signal?: AbortSignal } = {},
  ): Promise<ProxyRole> {
    return startProxy(
      { nodeName: here, families, ...trafficOfPods(podCIDRs), ...(limits === undefined ? {} : { limits }) },
      {
        source,
        nftablesOpener: this.kernel,
        forgetFlows: async (family, cleanups) => {
          this.forgotten.push({ family, cleanups });
        },
        observer: {
          taken: () => this.observed.push('taken'),
          applied: () => this.observed.push('applied'),
          synced: (_, __, kind) => this.observed.push(kind),
          failed: () => this.observed.push('failed'),
        },
        clock: this.clock,
        log: this.log,
      },
      signal,
    );
  }

  /** As another program, at once. */
  hand(...operations: NftablesOperation[]): void {
    this.handing = true;
    this.kernel.commit(operations, {}, 1);
    this.handing = false;
  }

  dump(family: IpFamily = 'IPv4'): { structure: string | undefined; elements: PlainElements } {
    const dump = this.kernel.dumpTable(tableRef(family), {});
    return { structure: plainStructure(dump), elements: plainElements(dump) };
  }

  elements(set: string): string[] {
    return this.dump().elements[set] ?? [];
  }

  logged(level: string): string[] {
    return this.lines.filter((line) => line.level === level).map(({ message }) => message);
  }
}

/** What a plan from scratch makes of the events. */
function scratch(events: readonly ServiceEvent[], family: IpFamily = 'IPv4') {
  const tracker = new ServiceTracker({ family, nodeName: here });
  feed(tracker, events);
  tracker.flush();
  const plan = planInitial(tracker.model, trafficOfPods(podCIDRs));
  const kernel = new FakeNftables();
  kernel.commit(plan, {}, 1);
  return { structure: plainStructure(kernel.dumpTable(tableRef(family), {})), elements: plannedElements(plan) };
}

const foreignElement: NftablesOperation = {
  op: 'elementsAdd',
  family: 'ip',
  table: 'keelson-proxy',
  set: 'services',
  elements: [{ key: Uint8Array.of(10, 96, 9, 9, 6, 0, 0, 0, 0, 80, 0, 0) }],
};
const deleteTable: NftablesOperation = { op: 'tableDelete', table: { family: 'ip', name: 'keelson-proxy' } };
/** Endpoint 0 of 10.96.0.1:80. */
const deleteElement: NftablesOperation = {
  op: 'elementsDelete',
  family: 'ip',
  table: 'keelson-proxy',
  set: 'endpoints',
  elements: [{ key: Uint8Array.of(10, 96, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0, 0, 0, 0, 0) }],
};

const twoFamilies: ServiceEvent[] = [
  ...web('10.244.0.1'),
  service('six', 'fd00:1::1', { ipFamilies: ['IPv6'] }),
  { event: 'sliceSet', slice: aSlice('six-1', 'six', { addressType: 'IPv6', endpoints: ['fd00:4::1'] }) },
];

test('all objects are loaded before it is ready, changes follow in order, both families', async (t) => {
  const node = new Node();
  const source = new FakeSource(twoFamilies);
  const role = await node.start(source, { families: ['IPv4', 'IPv6'] });
  t.deepEqual(node.dump(), scratch(twoFamilies));
  t.deepEqual(node.dump('IPv6'), scratch(twoFamilies, 'IPv6'));
  t.is(node.kernel.applied.length, 2, 'one batch for each family');
  source.tell(endpoints('web', '10.244.0.2'));
  source.tell(endpoints('web', '10.244.0.3', '10.244.0.2'));
  await settle();
  t.deepEqual(node.elements('endpoints').length, 2);
  t.is(node.kernel.applied.length, 3, 'what is told in one turn is one batch');
  const { services, frontends, healthy, pending, lastSyncAt, lastError, serviceList } = role.status();
  t.deepEqual(
    { services, frontends, healthy, pending, lastError },
    { services: 2, frontends: 2, healthy: true, pending: false, lastError: undefined },
  );
  t.is(lastSyncAt, node.clock.now());
  t.deepEqual(
    serviceList.map(({ name, type, clusterIPs, ports, endpoints: count }) => [name, type, clusterIPs, ports, count]),
    [
      ['six', 'ClusterIP', ['fd00:1::1'], ['80/TCP'], 1],
      ['web', 'ClusterIP', ['10.96.0.1'], ['80/TCP'], 2],
    ],
  );
  await role.stop();
  t.is(node.kernel.openSockets, 0);
  t.not(node.dump().structure, undefined, 'the table stays');
});

test('a restart changes nothing when nothing changed, and only the difference otherwise', async (t) => {
  const node = new Node();
  await (await node.start(new FakeSource(web('10.244.0.1', '10.244.0.2', '10.244.0.3')))).stop();
  const { generation } = node.kernel;
  await (await node.start(new FakeSource(web('10.244.0.3', '10.244.0.1', '10.244.0.2')))).stop();
  t.is(node.kernel.generation, generation);
  const next = [...web('10.244.0.3', '10.244.0.9', '10.244.0.1'), service('none', '10.96.0.2')];
  await (await node.start(new FakeSource(next))).stop();
  t.is(node.kernel.generation, generation + 1);
  const last = node.kernel.applied.at(-1) ?? [];
  t.true(
    last.every(({ op }) => op.startsWith('elements')),
    last.map(({ op }) => op).join(),
  );
  t.deepEqual(node.elements('endpoints').length, 3);
});

test('the predecessor works on until the source has told all, and when the kernel refuses', async (t) => {
  const node = new Node();
  await (await node.start(new FakeSource(web('10.244.0.1')))).stop();
  const before = node.dump();
  let ready = (): void => undefined;
  const slow: ServiceSource = {
    start: (listener) =>
      new Promise((resolve) => {
        ready = () => {
          listener(web('10.244.0.2'));
          resolve();
        };
      }),
  };
  const starting = node.start(slow);
  await node.clock.advance(60_000);
  t.deepEqual(node.dump(), before);
  node.kernel.intercept = () => new NftablesError(1, 'NFT_MSG_NEWSETELEM', 'batch', undefined, undefined);
  ready();
  const role = await starting;
  t.deepEqual(node.dump(), before);
  t.false(role.status().healthy);
  t.true(role.status().pending);
  t.regex(role.status().lastError ?? '', /EPERM/);
  await node.clock.advance(30_000);
  t.is(node.logged('error').length, 1, 'once, not for each attempt');
  const told = node.lines.find(({ level }) => level === 'error')?.fields.fix;
  t.regex(String(told), /^see `nft list table ip6? keelson-proxy` and/, 'what to look at, of this mode');
  node.kernel.intercept = undefined;
  await node.clock.advance(10_000);
  t.deepEqual(node.dump(), scratch(web('10.244.0.2')));
  t.true(role.status().healthy);
  await role.stop();
});

test('a table of another schema, or one too large to list, is replaced in one batch', async (t) => {
  const node = new Node();
  node.hand({
    op: 'tableAdd',
    table: { family: 'ip', name: 'keelson-proxy', comment: 'keelson-proxy schema 1' },
  });
  const role = await node.start(new FakeSource(web('10.244.0.1')));
  t.is(node.kernel.applied.length, 2);
  t.deepEqual(node.dump(), scratch(web('10.244.0.1')));
  await role.stop();
  await (await node.start(new FakeSource(web('10.244.0.1')), { limits: everythingIsLarge })).stop();
  t.is(node.kernel.applied.length, 3);
  t.is(node.kernel.applied.at(-1)?.[1]?.op, 'tableDelete');
  t.deepEqual(node.dump(), scratch(web('10.244.0.1')));
});

for (const [size, limits] of [
  ['small', undefined],
  ['large', everythingIsLarge],
] as const) {
  test(`other hands are repaired at once, and their own tables left alone: ${size} table`, async (t) => {
    const node = new Node();
    const events = web('10.244.0.1', '10.244.0.2');
    const role = await node.start(new FakeSource(events), limits === undefined ? {} : { limits });
    const wanted = scratch(events);
    for (const hurt of [deleteElement, foreignElement, deleteTable]) {
      node.hand(hurt, { op: 'tableAdd', table: { family: 'ip', name: `other ${hurt.op}` } });
      await settle();
      t.deepEqual(node.dump(), wanted, hurt.op);
      await node.clock.advance(60_000);
    }
    t.is(node.kernel.tables.size, 4);
    t.is(role.status().repairs, 3);
    t.is(node.logged('warn').length, 3);
    const { generation } = node.kernel;
    node.hand({ op: 'tableAdd', table: { family: 'ip', name: 'unrelated' } });
    await node.clock.advance(3_600_000);
    t.is(node.kernel.generation, generation + 1, 'audits that find nothing do nothing');
    await role.stop();
    t.is(node.kernel.openSockets, 0);
  });
}

test('a change that meets damage nobody told of ends where it should, with the next ones', async (t) => {
  const node = new Node();
  const source = new FakeSource(web('10.244.0.1'));
  const role = await node.start(source);
  // As if it had been deleted a moment before, and the notification not read yet.
  let refused = 0;
  node.kernel.intercept = () => {
    if (refused++ > 0) return undefined;
    source.tell(service('late', '10.96.0.2'));
    return new NftablesError(2, 'NFT_MSG_DELSETELEM', 'batch', undefined, undefined);
  };
  source.tell(endpoints('web', '10.244.0.7'));
  await settle();
  t.deepEqual(node.dump(), scratch([...web('10.244.0.7'), service('late', '10.96.0.2')]));
  t.true(role.status().healthy);
  t.is(node.logged('error').length, 1);
  await role.stop();
});

test('what others do during a batch that nobody listens to is found after it', async (t) => {
  const node = new Node();
  const source = new FakeSource(web('10.244.0.1', '10.244.0.2'));
  const role = await node.start(source, { limits: { listedElements: 1000, watchedElements: 0 } });
  const inTheMiddle = (...operations: NftablesOperation[]): void => {
    node.kernel.intercept = () => {
      if (node.handing) return undefined;
      node.kernel.intercept = undefined;
      node.hand(...operations);
      return undefined;
    };
  };
  inTheMiddle(deleteElement);
  source.tell(service('late', '10.96.0.2'));
  await settle();
  t.deepEqual(node.dump(), scratch([...web('10.244.0.1', '10.244.0.2'), service('late', '10.96.0.2')]));
  t.is(role.status().repairs, 1);
  await node.clock.advance(60_000);
  // While the repair itself is under way.
  inTheMiddle(foreignElement);
  node.hand(deleteElement);
  await settle();
  t.deepEqual(node.dump(), scratch([...web('10.244.0.1', '10.244.0.2'), service('late', '10.96.0.2')]));
  t.is(role.status().repairs, 2);
  await role.stop();
});

test('somebody who damages the table again and again is answered ever more slowly', async (t) => {
  const node = new Node();
  const role = await node.start(new FakeSource(web('10.244.0.1')));
  let fights = 0;
  const other = await node.kernel.open();
  const stop = await other.subscribe((notification) => {
    if (notification.event !== 'transaction' || notification.own) return;
    fights++;
    void other.apply([deleteElement]);
  });
  await other.apply([deleteElement]);
  await node.clock.advance(60_000);
  t.true(fights > 5 && fights < 30, String(fights));
  stop();
  await node.clock.advance(20_000);
  t.deepEqual(node.dump(), scratch(web('10.244.0.1')));
  other.close();
  await role.stop();
});

test('lost notifications, and an audit, find what nobody told', async (t) => {
  const node = new Node();
  const role = await node.start(new FakeSource(web('10.244.0.1')));
  const silently = (change: () => void): void => {
    change();
    t.is(node.elements('endpoints').length, 0);
  };
  const table = node.kernel.tables.get('ip keelson-proxy');
  silently(() => table?.elementsDelete('endpoints', 'elements' in deleteElement ? deleteElement.elements : []));
  node.kernel.overrun();
  await settle();
  t.is(node.elements('endpoints').length, 1);
  await node.clock.advance(60_000);
  silently(() => table?.elementsDelete('endpoints', 'elements' in deleteElement ? deleteElement.elements : []));
  await node.clock.advance(10 * 60_000);
  t.is(node.elements('endpoints').length, 1);
  await role.stop();
});

test('events during a batch and in a storm are few batches, and memory of them is what they end in', async (t) => {
  const node = new Node();
  const source = new FakeSource(web('10.244.0.1'));
  const role = await node.start(source);
  const before = node.kernel.applied.length;
  for (let round = 0; round < 2000; round++) {
    source.tell(endpoints('web', `10.244.${(round >> 7) & 127}.${1 + (round & 127)}`));
    if (round % 20 === 0) await settle();
  }
  await node.clock.advance(10);
  const batches = node.kernel.applied.length - before;
  t.true(batches >= 100 && batches <= 202, String(batches));
  t.deepEqual(node.elements('endpoints'), ['10.96.0.1 . tcp . 80 . 0 : 10.244.15.80 . 8080']);
  await role.stop();
});

test('who counts hears of each batch: taken, then in the kernel or refused', async (t) => {
  const node = new Node();
  const source = new FakeSource(web('10.244.0.2'));
  const role = await node.start(source);
  t.deepEqual(node.observed.splice(0), ['taken', 'applied', 'full']);
  source.tell(endpoints('web', '10.244.0.3'));
  await settle();
  t.deepEqual(node.observed.splice(0), ['taken', 'applied', 'partial']);
  // Nothing to write: what was taken is there all the same.
  source.tell(service('web', '10.96.0.1', { meta: { resourceVersion: '7' } }));
  await settle();
  t.deepEqual(node.observed.splice(0), ['taken', 'applied']);
  node.kernel.intercept = () => new Error('refused');
  source.tell(endpoints('web', '10.244.0.4'));
  await settle();
  t.deepEqual(node.observed.slice(0, 2), ['taken', 'failed']);
  t.false(node.observed.includes('applied'));
  node.kernel.intercept = undefined;
  await node.clock.advance(60_000);
  t.deepEqual(node.observed.slice(-3), ['taken', 'applied', 'full']);
  await role.stop();
});

test('another zone is a change like any other', async (t) => {
  const node = new Node();
  const hinted = (address: string, zone: string) => ({ addresses: [address], hints: { forZones: [{ name: zone }] } });
  const slice = aSlice('web-1', 'web', { endpoints: [hinted('10.244.0.2', 'a'), hinted('10.244.0.3', 'b')] });
  const source = new FakeSource([service('web', '10.96.0.1'), { event: 'sliceSet', slice }]);
  const role = await node.start(source);
  t.is(role.status().endpoints, 2, 'no zone: hints do not count');
  role.setZone('b');
  await settle();
  t.is(role.status().endpoints, 1);
  t.true(role.status().healthy);
  await role.stop();
});

test('UDP flows are forgotten after the change is in the kernel, and not before', async (t) => {
  const node = new Node();
  const dns = (...addresses: string[]): ServiceEvent => ({
    event: 'sliceSet',
    slice: aSlice('dns-1', 'dns', {
      endpoints: addresses,
      ports: [{ name: '', port: 53, protocol: 'UDP' }],
    }),
  });
  const udp = service('dns', '10.96.0.2', { ports: [{ port: 53, protocol: 'UDP' }] });
  const source = new FakeSource([udp, dns('10.244.0.1', '10.244.0.2')]);
  const role = await node.start(source);
  t.is(node.forgotten.length, 1, 'at start all but those to serving endpoints');
  t.is(node.forgotten[0]?.cleanups[0]?.remove, undefined);
  // The change, the difference, the replacement.
  let refusals = 3;
  node.kernel.intercept = () =>
    refusals-- > 0 ? new NftablesError(12, 'NFT_MSG_NEWSETELEM', 'batch', undefined, undefined) : undefined;
  source.tell(dns('10.244.0.2'));
  await settle();
  t.is(node.elements('endpoints').length, 2);
  t.is(node.forgotten.length, 1);
  await node.clock.advance(1000);
  t.is(node.elements('endpoints').length, 1);
  t.deepEqual(node.forgotten[1], {
    family: 'IPv4',
    cleanups: [{ ip: '10.96.0.2', port: 53, remove: [0x0af40001 * 65536 + 53], keep: [0x0af40002 * 65536 + 53] }],
  });
  await role.stop();
});

test('what is wrong with objects is told once, with its code and the fix, and not for each family', async (t) => {
  const node = new Node();
  const wrong = service('wrong', '10.96.0.1', { ipFamilies: null, ports: [{ port: 0 }] });
  const source = new FakeSource([wrong]);
  const role = await node.start(source, { families: ['IPv4', 'IPv6'] });
  const codes = node.lines.filter(({ level }) => level === 'warn').map(({ fields }) => fields.code);
  t.deepEqual(codes.toSorted(), ['SERVICE_PORT_INVALID', 'SERVICE_WITHOUT_PORTS']);
  t.is(role.status().reportCount, 2);
  t.truthy(node.lines.find(({ level }) => level === 'warn')?.fields.fix);
  source.tell(wrong);
  await settle();
  t.is(node.logged('warn').length, 2);
  source.tell(...Array.from({ length: 300 }, (_, i) => service(`w${i}`, '10.96.0.1', { ports: [{ port: 0 }] })));
  await settle();
  t.is(node.logged('warn').length, 2 + 101, 'a hundred lines and a count');
  t.is(role.status(50).reports.length, 50);
  t.is(role.status(50).reportCount, 602);
  await role.stop();
});

test('a status of very many Services is cut, and counts them', async (t) => {
  const node = new Node();
  const events = Array.from({ length: 300 }, (_, i) =>
    service(`s${i}`, `10.96.1.${1 + (i % 250)}`, { ports: [{ port: 80 + Math.floor(i / 250), nodePort: 30000 + i }] }),
  );
  const role = await node.start(new FakeSource(events));
  const { services, frontends, serviceList } = role.status(10);
  t.deepEqual([services, frontends, serviceList.length], [300, 600, 10]);
  t.deepEqual(serviceList[0]?.ports, ['80:30000/TCP']);
  t.is(serviceList[0]?.type, 'NodePort');
  await role.stop();
});

test('stopped in the middle: nothing goes on, nothing is left open, the table is whole', async (t) => {
  for (const turns of [0, 1, 2, 3, 5, 8, 13]) {
    const node = new Node();
    const controller = new AbortController();
    const source = new FakeSource(twoFamilies);
    const starting = node.start(source, { families: ['IPv4', 'IPv6'], signal: controller.signal });
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    controller.abort();
    await starting.then(
      (role) => role.stop(),
      (error) => t.is(error, controller.signal.reason),
    );
    await settle();
    t.is(node.kernel.openSockets, 0, `after ${turns}`);
    const { generation } = node.kernel;
    source.tell(endpoints('web', '10.244.0.9'));
    await node.clock.advance(3_600_000);
    t.is(node.kernel.generation, generation);
  }
});

test('a source that fails, or an nf_tables that does not open, is an error', async (t) => {
  const node = new Node();
  const failing: ServiceSource = { start: () => Promise.reject(new Error('forbidden')) };
  await t.throwsAsync(node.start(failing), { message: 'forbidden' });
  t.is(node.kernel.openSockets, 0);
  await t.throwsAsync(node.start(new FakeSource(), { signal: AbortSignal.abort() }), { name: 'AbortError' });
});

test('cleanup takes both tables and only those, and goes on after a failure', async (t) => {
  const node = new Node();
  node.hand({ op: 'tableAdd', table: { family: 'ip', name: 'other' } });
  await (await node.start(new FakeSource(twoFamilies), { families: ['IPv4', 'IPv6'] })).stop();
  node.kernel.intercept = ([first]) =>
    first?.op === 'tableDelete' && first.table.family === 'ip' ? new Error('refused') : undefined;
  t.deepEqual(await cleanupProxy(node.kernel), {
    removed: ['nf_tables table ip6 keelson-proxy'],
    failed: ['nf_tables table ip keelson-proxy: refused'],
  });
  node.kernel.intercept = undefined;
  t.deepEqual(await cleanupProxy(node.kernel), { removed: ['nf_tables table ip keelson-proxy'], failed: [] });
  t.deepEqual(await cleanupProxy(node.kernel), { removed: [], failed: [] });
  t.deepEqual([...node.kernel.tables.keys()], ['ip other']);
  t.is(node.kernel.openSockets, 0);
});

type Happening =
  | RandomEvent
  | { event: 'restart' | 'deleteTable' | 'overrun' | 'refuse' | 'foreignElement' }
  | { event: 'deleteElement' | 'flushSet' | 'flushChain'; which: number };

const happenings = (family: IpFamily): fc.Arbitrary<Happening> =>
  fc.oneof(
    { weight: 12, arbitrary: randomEvents(family) },
    {
      weight: 2,
      arbitrary: fc.record({
        event: fc.constantFrom('restart' as const, 'deleteTable' as const, 'overrun' as const, 'refuse' as const),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        event: fc.constantFrom('deleteElement' as const, 'flushSet' as const, 'flushChain' as const),
        which: fc.nat(1000),
      }),
    },
  );

/** @returns whether anything was damaged */
function damage(node: Node, family: IpFamily, happening: Happening): boolean {
  const { family: tableFamily, name } = tableRef(family);
  const table = node.kernel.tables.get(`${tableFamily} ${name}`);
  if (table === undefined || !('which' in happening)) return false;
  const at = { family: tableFamily, table: name };
  if (happening.event === 'flushChain') {
    const chains = [...table.chains.keys()];
    node.hand({ op: 'ruleFlush', ...at, chain: chains[happening.which % chains.length] ?? '' });
    return true;
  }
  const sets = [...table.sets.values()].filter(({ elements }) => elements.size > 0);
  const found = sets[happening.which % sets.length];
  if (found === undefined) return false;
  const set = found.set.name;
  const elements = [...found.elements.values()].slice(0, 1);
  node.hand(
    happening.event === 'flushSet'
      ? { op: 'setFlush', ...at, set }
      : { op: 'elementsDelete', ...at, set, elements: elements.map(({ key }) => ({ key })) },
  );
  return true;
}

/** Every object as it is after the events, as a source tells it at start. */
class World {
  readonly #objects = new Map<string, ServiceEvent>();
  take(events: readonly ServiceEvent[]): void {
    for (const event of events) {
      if (event.event === 'serviceSet') this.#objects.set(`service ${event.service.metadata.name}`, event);
      else if (event.event === 'sliceSet') this.#objects.set(`slice ${event.slice.metadata.name}`, event);
      else if (event.event === 'serviceDeleted') this.#objects.delete(`service ${event.service.name}`);
      else if (event.event === 'sliceDeleted') this.#objects.delete(`slice ${event.slice.name}`);
      else this.#objects.set('cidrs', event);
    }
  }
  events(): ServiceEvent[] {
    return [...this.#objects.values()];
  }
}

async function playAll(t: ExecutionContext, family: IpFamily, all: readonly Happening[], limits?: DataplaneLimits) {
  const node = new Node();
  const world = new World();
  const begin = async () => {
    const source = new FakeSource(world.events());
    const role = await node.start(source, { families: [family], ...(limits === undefined ? {} : { limits }) });
    return { source, role };
  };
  let { source, role } = await begin();
  let damages = 0;
  for (const [at, happening] of [...all, { event: 'flush' as const }].entries()) {
    switch (happening.event) {
      case 'flush':
        await node.clock.advance(30_000);
        t.deepEqual(withoutIndexes(node.dump(family)), withoutIndexes(scratch(world.events(), family)));
        t.true(role.status().healthy);
        break;
      case 'restart':
        await role.stop();
        ({ source, role } = await begin());
        break;
      case 'deleteTable': {
        const table = tableRef(family);
        node.hand({ op: 'tableAdd', table }, { op: 'tableDelete', table });
        break;
      }
      case 'overrun':
        node.kernel.overrun();
        break;
      case 'refuse': {
        let refusals = 3;
        node.kernel.intercept = () => (!node.handing && refusals-- > 0 ? new Error('refused') : undefined);
        break;
      }
      case 'service':
      case 'slice':
      case 'cidrs':
      case 'delete': {
        const events = serviceEvents(family, happening, at + 1);
        world.take(events);
        source.tell(...events);
        if (at % 3 === 0) await settle();
        break;
      }
      default:
        // A large table's elements are not looked at for what happened during a batch that nobody listened to.
        if (limits !== undefined) await settle();
        if (damage(node, family, happening)) damages++;
    }
  }
  await role.stop();
  t.is(node.kernel.openSockets, 0);
  return damages;
}

/**
 * Which endpoint has which index depends on what was before: of each destination, indexes and endpoints are compared, not
 * who has which.
 */
function withoutIndexes({ structure, elements }: ReturnType<Node['dump']>): ReturnType<Node['dump']> {
  const apart = suites
    .map((suite) => suite.endpoints)
    .flatMap((set): [string, string[]][] => {
      const parts = (elements[set] ?? []).map((line) => /^(.*) \. (\d+) : (.*)$/.exec(line) ?? []);
      return [
        [set, parts.map(([, key, index]) => `${key} ${index}`).sort()],
        [`${set} where`, parts.map(([, key, , endpoint]) => `${key} ${endpoint}`).sort()],
      ];
    });
  return { structure, elements: { ...elements, ...Object.fromEntries(apart) } };
}

for (const [family, limits] of [
  ['IPv4', undefined],
  ['IPv6', undefined],
  ['IPv4', everythingIsLarge],
] as const) {
  const size = limits === undefined ? 'small' : 'large';
  test(`random events, damage, refusals and restarts end where a plan from scratch does: ${family}, ${size}`, async (t) => {
    let damages = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(happenings(family), { minLength: 20, maxLength: 60, size: 'max' }), async (all) => {
        damages += await playAll(t, family, all, limits);
      }),
      { numRuns: 12 },
    );
    t.true(damages > 20, String(damages));
  });
}
