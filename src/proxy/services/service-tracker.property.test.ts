/**
 * Random events against a reference that computes the dataplane from scratch, in the plainest way, from the raw objects.
 * The reference shares no code with the product: texts and sets only. After every flush the previous model plus the
 * delta must be the model, the model must mean what the reference says, and no element may be touched without need.
 */
import test from 'ava';
import fc from 'fast-check';
import type { Endpoint, EndpointSlice } from '../../api/discovery.ts';
import type { IpFamily, Service } from '../../api/service.ts';
import { formatEndpoint } from './address.ts';
import type { Change, ConntrackCleanup, DataplaneDelta, DataplaneModel, Frontend, Group } from './dataplane.ts';
import { ServiceTracker } from './service-tracker.ts';

const here = 'node-a';
const zone = 'z1';

interface World {
  services: Map<string, Service>;
  slices: Map<string, EndpointSlice>;
  zone: string;
}

/* ---- the reference ---- */

interface Meaning {
  frontends: Map<string, string>;
  hairpin: Set<string>;
  /** `service port policy` -> its endpoints, sorted. */
  lists: Map<string, string[]>;
  /** For UDP destinations: who has it, and what serves. */
  udp: Map<string, { owner: string; serving: Set<string> }>;
}

interface Known {
  ready: boolean;
  serving: boolean;
  terminating: boolean;
  local: boolean;
  nodes: string[];
  zones: string[];
}

const score = (known: Known, zone: string): number[] => [
  known.terminating ? 0 : 1,
  known.ready ? 1 : 0,
  known.serving ? 1 : 0,
  known.local ? 1 : 0,
  known.nodes.length > 0 ? 1 : 0,
  known.nodes.includes(here) ? 1 : 0,
  known.zones.length > 0 ? 1 : 0,
  known.zones.includes(zone) ? 1 : 0,
];

const better = (a: Known, b: Known, zone: string): boolean => score(a, zone).join('') > score(b, zone).join('');

function isGoodIp(text: string, family: IpFamily): boolean {
  return family === 'IPv4' ? /^(10|192)(\.\d+){3}$/.test(text) : /^fd00:\d::/.test(text);
}

const join = (ip: string, port: number): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

function reference({ services, slices, zone }: World, family: IpFamily): Meaning {
  const meaning: Meaning = { frontends: new Map(), hairpin: new Set(), lists: new Map(), udp: new Map() };
  const byAge = [...services.entries()].sort(([a, x], [b, y]) => {
    const [s, t] = [x.metadata.creationTimestamp ?? '9999', y.metadata.creationTimestamp ?? '9999'];
    return s === t ? (a < b ? -1 : 1) : s < t ? -1 : 1;
  });
  for (const [key, { metadata, spec, status }] of byAge) {
    if (metadata.labels?.['service.kubernetes.io/service-proxy-name'] !== undefined) continue;
    if (spec.clusterIP === 'None' || spec.type === 'ExternalName') continue;
    const clusterIp = (spec.clusterIPs ?? [])[(spec.ipFamilies ?? []).indexOf(family)];
    if (clusterIp === undefined || !isGoodIp(clusterIp, family)) continue;
    const external = (spec.externalIPs ?? []).filter((ip) => isGoodIp(ip, family));
    const balancers = (status?.loadBalancer?.ingress ?? [])
      .filter(({ ipMode }) => ipMode !== 'Proxy')
      .map(({ ip }) => ip ?? '')
      .filter((ip) => isGoodIp(ip, family));
    const seen = new Set<string>();
    for (const port of spec.ports ?? []) {
      const protocol = port.protocol ?? 'TCP';
      const name = port.name ?? '';
      if (seen.has(`${protocol} ${name}`) || port.port > 65535) continue;
      seen.add(`${protocol} ${name}`);
      const all = new Map<string, Known>();
      for (const slice of slices.values()) {
        const labels = slice.metadata.labels ?? {};
        if (slice.addressType !== family || labels['service.kubernetes.io/headless'] !== undefined) continue;
        if (`${slice.metadata.namespace}/${labels['kubernetes.io/service-name']}` !== key) continue;
        for (const target of slice.ports ?? []) {
          if ((target.name ?? '') !== name || (target.protocol ?? 'TCP') !== protocol || !target.port) continue;
          for (const endpoint of slice.endpoints ?? []) {
            const ip = endpoint.addresses[0] ?? '';
            if (!isGoodIp(ip, family)) continue;
            const known: Known = {
              ready: endpoint.conditions?.ready ?? true,
              serving: endpoint.conditions?.serving ?? true,
              terminating: endpoint.conditions?.terminating ?? false,
              local: endpoint.nodeName === here,
              nodes: (endpoint.hints?.forNodes ?? []).map((node) => node.name),
              zones: (endpoint.hints?.forZones ?? []).map((hint) => hint.name),
            };
            const text = join(ip, target.port);
            const other = all.get(text);
            if (other === undefined || better(known, other, zone)) all.set(text, known);
          }
        }
      }
      const pick = (accept: (known: Known) => boolean): string[] =>
        [...all]
          .filter(([, known]) => accept(known))
          .map(([text]) => text)
          .sort();
      const ready = [...all.values()].filter((known) => known.ready);
      let fits = (_: Known): boolean => true;
      if (ready.length > 0 && ready.every(({ nodes }) => nodes.length > 0) && ready.some((k) => k.nodes.includes(here)))
        fits = (known) => known.nodes.includes(here);
      else if (ready.length > 0 && ready.every((k) => k.zones.length > 0) && ready.some((k) => k.zones.includes(zone)))
        fits = (known) => known.zones.includes(zone);
      let cluster = pick((known) => known.ready && fits(known));
      if (cluster.length === 0) cluster = pick((known) => known.serving && known.terminating);
      let local = pick((known) => known.local && known.ready);
      if (local.length === 0) local = pick((known) => known.local && known.serving && known.terminating);
      const isOpen = Boolean(port.nodePort) || external.length > 0 || balancers.length > 0;
      const internalLocal = spec.internalTrafficPolicy === 'Local';
      const serviceOpen = ['NodePort', 'LoadBalancer'].includes(spec.type ?? '') || (spec.externalIPs ?? []).length > 0;
      const externalLocal = spec.externalTrafficPolicy === 'Local' && serviceOpen;
      if (internalLocal && !isOpen) cluster = [];
      if (!internalLocal && !(externalLocal && isOpen)) local = [];
      const somewhere = pick((known) => known.ready || (known.serving && known.terminating)).length > 0;
      // A client is tied to an address.
      const portOf = (text: string): number => Number(text.slice(text.lastIndexOf(':') + 1));
      const ipOf = (text: string): string => text.slice(0, text.lastIndexOf(':'));
      const once = (list: string[]): string[] =>
        list.filter((text) => !list.some((other) => ipOf(other) === ipOf(text) && portOf(other) < portOf(text)));
      // Whichever of its ports clients are tied to.
      for (const text of [...cluster, ...local])
        if (all.get(text)?.local) meaning.hairpin.add(text.slice(0, text.lastIndexOf(':')).replace(/[[\]]/g, ''));
      if (spec.sessionAffinity === 'ClientIP') [cluster, local] = [once(cluster), once(local)];
      if (cluster.length > 0) meaning.lists.set(`${key} ${protocol} ${name} cluster`, cluster);
      if (local.length > 0) meaning.lists.set(`${key} ${protocol} ${name} local`, local);
      const serving = new Set(pick((known) => known.serving));
      const affinity = spec.sessionAffinity === 'ClientIP' ? 10800 : 0;
      const claim = (kind: string, ip: string): void => {
        const at = kind === 'nodePort' ? `${port.nodePort}/${protocol}` : `${join(ip, port.port)}/${protocol}`;
        if (meaning.frontends.has(at)) return;
        const useLocal = kind === 'clusterIP' ? internalLocal : externalLocal;
        const list = useLocal ? local : cluster;
        const words = list.length > 0 ? `to ${list} affinity ${affinity}` : somewhere ? 'drop' : 'reject';
        const near = kind !== 'clusterIP' && useLocal ? ` near ${cluster}` : '';
        const masquerade = kind !== 'clusterIP' && !useLocal ? ' masquerade' : '';
        meaning.frontends.set(at, `${kind} ${words}${near}${masquerade} for ${key} ${name}`);
        if (protocol === 'UDP') meaning.udp.set(at, { owner: `${key} ${name}`, serving });
      };
      claim('clusterIP', clusterIp);
      for (const ip of balancers) claim('loadBalancer', ip);
      for (const ip of external) claim('externalIP', ip);
      if (port.nodePort) claim('nodePort', '');
    }
  }
  return meaning;
}

function referenceCleanups(before: Meaning, after: Meaning): string[] {
  const lines: string[] = [];
  for (const [at, { owner, serving }] of after.udp) {
    const old = before.udp.get(at);
    if (serving.size === 0 && old?.owner !== owner) continue;
    const keep = [...serving].sort().join();
    if (old === undefined || old.owner !== owner || old.serving.size === 0) {
      if (serving.size > 0) lines.push(`${at} all but ${keep}`);
    } else {
      const gone = [...old.serving].filter((endpoint) => !serving.has(endpoint)).sort();
      if (gone.length > 0) lines.push(`${at} ${gone.join()} keep ${keep}`);
    }
  }
  return lines.sort();
}

/* ---- the product's model in the reference's words ---- */

interface Held {
  groups: Map<number, Group>;
  services: Map<string, Frontend>;
  nodePorts: Map<string, Frontend>;
  hairpin: Set<string>;
}

function frontendsOf(held: Held): Map<string, string> {
  const frontends = new Map<string, string>();
  const listOf = (id: number, size: number): string[] => {
    const group = held.groups.get(id);
    if (group === undefined || group.endpoints.length !== size) throw new Error(`group ${id} of ${size} is not there`);
    return group.endpoints.map(formatEndpoint).sort();
  };
  for (const [at, frontend] of [...held.services, ...held.nodePorts]) {
    const { kind, action, group, size, clusterGroup, clusterSize, service, portName } = frontend;
    const list = action === 'balance' ? listOf(group, size) : [];
    const affinity = held.groups.get(group)?.affinitySeconds ?? 0;
    const words = action === 'balance' ? `to ${list} affinity ${affinity}` : action;
    const isNear = kind !== 'clusterIP' && !frontend.masquerade;
    const near = isNear ? ` near ${clusterGroup === 0 ? '' : listOf(clusterGroup, clusterSize)}` : '';
    frontends.set(at, `${kind} ${words}${near}${frontend.masquerade ? ' masquerade' : ''} for ${service} ${portName}`);
  }
  return frontends;
}

function applyChange<Key, Value>(map: Map<Key, Value>, key: Key, { before, after }: Change<Value>): void {
  if (before === undefined && after === undefined) throw new Error('a change from nothing to nothing');
  if (map.get(key) !== before) throw new Error(`before is not what ${String(key)} was`);
  if (after === undefined) map.delete(key);
  else map.set(key, after);
}

function applyDelta(held: Held, delta: DataplaneDelta): void {
  for (const change of delta.groups) {
    const before = change.before?.endpoints ?? [];
    const after = change.after?.endpoints ?? [];
    const shared = Math.min(before.length, after.length);
    const differing = [...Array(shared).keys()].filter((index) => before[index] !== after[index]);
    if (differing.join() !== [...change.replaced].join()) throw new Error('replaced does not list what differs');
    // The least that must change: the places of endpoints that are gone.
    const needed = [...Array(shared).keys()].filter((index) => !after.includes(before[index]!));
    if (differing.join() !== needed.join()) throw new Error('an element was touched without need');
    applyChange(held.groups, change.id, change);
  }
  for (const change of delta.services) applyChange(held.services, change.key, change);
  for (const change of delta.nodePorts) applyChange(held.nodePorts, change.key, change);
  for (const ip of delta.hairpin.removed)
    if (!held.hairpin.delete(ip)) throw new Error(`removed ${ip}, which was not there`);
  for (const ip of delta.hairpin.added) {
    if (held.hairpin.has(ip)) throw new Error(`added ${ip} twice`);
    held.hairpin.add(ip);
  }
}

function cleanupLine({ ip, port, remove, keep }: ConntrackCleanup): string {
  const at = `${ip === '' ? port : join(ip, port)}/UDP`;
  const kept = keep.map(formatEndpoint).sort().join();
  return remove === undefined
    ? `${at} all but ${kept}`
    : `${at} ${remove.map(formatEndpoint).sort().join()} keep ${kept}`;
}

const copyOf = (model: DataplaneModel): Held => ({
  groups: new Map(model.groups),
  services: new Map(model.services),
  nodePorts: new Map(model.nodePorts),
  hairpin: new Set(model.hairpin),
});

const byKey = <Value>(map: ReadonlyMap<string, Value>): [string, Value][] =>
  [...map].sort(([a], [b]) => (a < b ? -1 : 1));

const inOrder = (held: Held) => ({
  groups: [...held.groups].sort(([a], [b]) => a - b),
  services: byKey(held.services),
  nodePorts: byKey(held.nodePorts),
  hairpin: [...held.hairpin].sort(),
});

/* ---- random objects ---- */

const maybe = <Value>(arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.option(arbitrary, { nil: undefined });

function eventsOf(family: IpFamily) {
  const ipOf = (kind: number, host: number): string =>
    family === 'IPv4' ? `10.0.${kind}.${host}` : `fd00:${kind}::${host.toString(16)}`;
  const ip = (kind: number, hosts: number): fc.Arbitrary<string> =>
    fc.integer({ min: 1, max: hosts }).map((host) => ipOf(kind, host));
  const wrong = fc.constantFrom(
    '300.1.1.1',
    'fd00:::1',
    family === 'IPv4' ? 'fd00::9' : '10.0.0.9',
    '127.0.0.1',
    '::1',
  );
  const protocol = fc.constantFrom('TCP' as const, 'UDP' as const, 'SCTP' as const, undefined);
  const service = fc.record({
    name: fc.constantFrom('s1', 's2', 's3'),
    created: fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z', undefined),
    type: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer', 'NodePort', 'ExternalName') as fc.Arbitrary<
      Service['spec']['type']
    >,
    clusterIP: fc.oneof({ weight: 12, arbitrary: ip(1, 4) }, { weight: 1, arbitrary: fc.constant('None') }, wrong),
    labels: fc.oneof(
      { weight: 12, arbitrary: fc.constant(undefined) },
      fc.constant({ 'service.kubernetes.io/service-proxy-name': 'other' }),
    ),
    externalIPs: fc.array(fc.oneof({ weight: 6, arbitrary: ip(2, 2) }, wrong), { maxLength: 2 }),
    ingress: fc.array(
      fc.record({ ip: ip(3, 2), ipMode: fc.constantFrom('VIP' as const, 'Proxy' as const, undefined) }),
      {
        maxLength: 2,
      },
    ),
    internalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const, undefined, undefined),
    externalTrafficPolicy: fc.constantFrom('Cluster' as const, 'Local' as const, undefined),
    sessionAffinity: fc.constantFrom('None' as const, 'ClientIP' as const, undefined),
    ports: fc.array(
      fc.record({
        name: fc.constantFrom('', 'http', 'dns'),
        protocol,
        port: fc.constantFrom(53, 80, 70000),
        nodePort: fc.constantFrom(0, 30001, 30002, undefined),
      }),
      { maxLength: 3 },
    ),
  });
  const endpoint = fc
    .record({
      address: fc.oneof({ weight: 15, arbitrary: ip(9, 7) }, wrong),
      ready: maybe(fc.boolean()),
      serving: maybe(fc.boolean()),
      terminating: maybe(fc.boolean()),
      nodeName: fc.constantFrom(here, 'node-b', undefined),
      forZones: fc.constantFrom(undefined, zone, 'z2'),
      forNodes: fc.constantFrom(undefined, undefined, here, 'node-b'),
    })
    .map(
      ({ address, ready, serving, terminating, nodeName, forZones, forNodes }): Endpoint => ({
        addresses: [address],
        conditions: { ready: ready ?? null, serving: serving ?? null, terminating: terminating ?? null },
        ...(nodeName === undefined ? {} : { nodeName }),
        hints: {
          forZones: forZones === undefined ? null : [{ name: forZones }],
          forNodes: forNodes === undefined ? null : [{ name: forNodes }],
        },
      }),
    );
  const slice = fc.record({
    name: fc.constantFrom('e1', 'e2', 'e3', 'e4'),
    service: fc.constantFrom('s1', 's2', 's3'),
    headless: fc.integer({ min: 0, max: 11 }).map((value) => value === 0),
    endpoints: fc.array(endpoint, { maxLength: 6 }),
    ports: fc.array(
      fc.record({ name: fc.constantFrom('', 'http', 'dns'), protocol, port: fc.constantFrom(8053, 8080, null) }),
      { maxLength: 3 },
    ),
  });
  return fc.oneof(
    { weight: 4, arbitrary: fc.record({ event: fc.constant('service' as const), service }) },
    { weight: 6, arbitrary: fc.record({ event: fc.constant('slice' as const), slice }) },
    // One endpoint comes, goes or changes in a slice that is there: the common case.
    {
      weight: 6,
      arbitrary: fc.record({ event: fc.constant('edit' as const), at: fc.nat(9), endpoint: maybe(endpoint) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ event: fc.constant('deleteService' as const), name: fc.constantFrom('s1', 's2', 's3') }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        event: fc.constant('deleteSlice' as const),
        name: fc.constantFrom('e1', 'e2', 'e3', 'e4'),
      }),
    },
    { weight: 1, arbitrary: fc.record({ event: fc.constant('repeat' as const), at: fc.nat(9) }) },
    { weight: 1, arbitrary: fc.record({ event: fc.constant('zone' as const), zone: fc.constantFrom(zone, 'z2', '') }) },
    { weight: 6, arbitrary: fc.record({ event: fc.constant('flush' as const) }) },
  );
}

type WorldEvent = ReturnType<typeof eventsOf> extends fc.Arbitrary<infer Event> ? Event : never;

for (const family of ['IPv4', 'IPv6'] as const) {
  test(`random events, ${family}: deltas add up to what the reference says, touching the least`, (t) => {
    let flushes = 0;
    const run = (events: readonly WorldEvent[]): void => {
      const tracker = new ServiceTracker({ family, nodeName: here, zone });
      const world: World = { services: new Map(), slices: new Map(), zone };
      const held = copyOf(tracker.model);
      let meaning = reference(world, family);
      let version = 1;
      const setSlice = (slice: EndpointSlice): void => {
        world.slices.set(slice.metadata.name, slice);
        tracker.sliceSet(slice);
      };
      for (const event of events) {
        version++;
        const meta = (name: string) => ({ name, namespace: 'default', uid: name, resourceVersion: String(version) });
        if (event.event === 'service') {
          const { name, created, labels, ingress, clusterIP, type, ...spec } = event.service;
          const service: Service = {
            metadata: {
              ...meta(name),
              ...(created === undefined ? {} : { creationTimestamp: created }),
              ...(labels === undefined ? {} : { labels }),
            },
            spec: JSON.parse(
              JSON.stringify({ ...spec, type, clusterIP, clusterIPs: [clusterIP], ipFamilies: [family] }),
            ),
            status: { loadBalancer: { ingress: JSON.parse(JSON.stringify(ingress)) } },
          };
          world.services.set(`default/${name}`, service);
          tracker.serviceSet(service);
        } else if (event.event === 'slice') {
          const { name, service, headless, endpoints, ports } = event.slice;
          const labels: Record<string, string> = { 'kubernetes.io/service-name': service };
          if (headless) labels['service.kubernetes.io/headless'] = '';
          setSlice({
            metadata: { ...meta(name), labels },
            addressType: family,
            endpoints,
            ports: JSON.parse(JSON.stringify(ports)),
          });
        } else if (event.event === 'edit') {
          const slice = [...world.slices.values()][event.at];
          if (slice === undefined) continue;
          const endpoints = [...(slice.endpoints ?? [])];
          endpoints.splice(Number(event.at) % (endpoints.length + 1), 1, ...(event.endpoint ? [event.endpoint] : []));
          setSlice({ ...slice, metadata: { ...slice.metadata, resourceVersion: String(version) }, endpoints });
        } else if (event.event === 'deleteService') {
          world.services.delete(`default/${event.name}`);
          tracker.serviceDeleted({ namespace: 'default', name: event.name });
        } else if (event.event === 'deleteSlice') {
          world.slices.delete(event.name);
          tracker.sliceDeleted({ namespace: 'default', name: event.name });
        } else if (event.event === 'zone') {
          world.zone = event.zone;
          tracker.setZone(event.zone);
        } else if (event.event === 'repeat') {
          const slice = [...world.slices.values()][event.at];
          if (slice !== undefined) tracker.sliceSet(slice);
          const service = [...world.services.values()][event.at];
          if (service !== undefined) tracker.serviceSet(service, 'list');
        } else {
          flushes++;
          const { delta } = tracker.flush();
          applyDelta(held, delta);
          t.deepEqual(inOrder(held), inOrder(copyOf(tracker.model)));
          const expected = reference(world, family);
          t.deepEqual(byKey(frontendsOf(held)), byKey(expected.frontends));
          t.deepEqual([...held.hairpin].sort(), [...expected.hairpin].sort());
          const lists = [...held.groups.values()].map(({ endpoints }) => endpoints.map(formatEndpoint).sort().join());
          t.deepEqual(lists.sort(), [...expected.lists.values()].map((list) => list.join()).sort());
          t.deepEqual(delta.conntrack.map(cleanupLine).sort(), referenceCleanups(meaning, expected));
          meaning = expected;
        }
      }
    };
    const events = fc.array(eventsOf(family), { minLength: 30, maxLength: 120, size: 'max' });
    fc.assert(fc.property(events, run), { numRuns: 250 });
    t.true(flushes > 1000, String(flushes));
  });
}
