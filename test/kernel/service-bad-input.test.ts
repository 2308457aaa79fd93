/**
 * Objects that are wrong, huge, late or at the edge of what is allowed: what they say cannot be served, and the kernel goes
 * on serving everybody else.
 */
import test from 'ava';
import type { EndpointSlice } from '../../src/api/discovery.ts';
import type { Service, ServicePort } from '../../src/api/service.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import {
  type Answer,
  createServiceLab,
  nodeIp,
  nodeIps,
  type ServiceLab,
  type Source,
} from '../support/service-lab.ts';
import { ServiceNode } from '../support/service-node.ts';

let lab: ServiceLab;
let node: ServiceNode;

test.before(async () => {
  lab = await createServiceLab('drop');
  node = await ServiceNode.start(lab.node);
  await set(service('good', '10.96.0.1', { ports: [{ port: 80, nodePort: 30080 }] }), slice('good', ['10.244.1.3']));
});

test.after.always(async () => {
  node?.close();
  await lab?.remove();
});

/** What is wrong with one must not be seen at another, nor in the table. */
test.afterEach.always(async (t) => {
  const answers = await ask('10.96.0.1', 80);
  const atNodePort = await ask(nodeIp, 30080, 'out');
  t.deepEqual([...answers, ...atNodePort], ['10.244.1.3:8080', '10.244.1.3:8080']);
  t.deepEqual(node.ownDifference(await node.dump()), []);
});

function service(name: string, clusterIP: string, fields: Partial<Parameters<typeof aService>[1]> = {}): Service {
  return aService(name, { type: 'NodePort', clusterIP, clusterIPs: [clusterIP], ipFamilies: ['IPv4'], ...fields });
}

const slice = (name: string, addresses: readonly string[], version = 1): EndpointSlice =>
  aSlice(`${name}-1`, name, {
    endpoints: addresses.map((address) => ({ addresses: [address], nodeName: 'node-a' })),
    meta: { resourceVersion: String(version), labels: { 'kubernetes.io/service-name': name } },
  });

const set = (...objects: (Service | EndpointSlice)[]): Promise<void> =>
  node.change(
    objects.map((object) => ('spec' in object ? { type: 'serviceSet', object } : { type: 'sliceSet', object })),
  );

const textOf = (answer: Answer): string => ('error' in answer ? answer.error : answer.endpoint);

/** The distinct answers, sorted. */
async function ask(ip: string, port: number, source: Source = 'pod-1', times = 1, timeoutMs = 5000): Promise<string[]> {
  const question = { protocol: 'TCP' as const, ip, port, timeoutMs };
  const answers = await lab.ask(
    source,
    Array.from({ length: times }, () => question),
  );
  return [...new Set(answers.map(textOf))].sort();
}

test.serial('a Service without ports, or with impossible ones, serves what is left of it', async (t) => {
  const impossible: unknown[] = [
    { name: 'zero', port: 0 },
    { name: 'large', port: 65_536 },
    { name: 'text', port: '80' },
    { name: 'fraction', port: 80.5 },
    { name: 'protocol', port: 81, protocol: 'ICMP' },
    { name: 'nodePort', port: 82, nodePort: 99_999 },
  ];
  await set(service('no-ports', '10.96.0.2', { ports: [] }), slice('no-ports', ['10.244.1.70']));
  const ports = [...impossible, { name: 'good', port: 80 }] as ServicePort[];
  await set(
    service('odd', '10.96.0.3', { ports }),
    aSlice('odd-1', 'odd', { endpoints: ['10.244.1.70'], ports: [{ name: 'good', port: 8081 }] }),
  );
  t.deepEqual(await ask('10.96.0.3', 80), ['10.244.1.70:8081']);
  for (const port of [81, 82]) t.deepEqual(await ask('10.96.0.3', port), ['ECONNREFUSED']);
  t.deepEqual(await ask('10.96.0.2', 80, 'pod-1', 1, 200), ['ETIMEDOUT']);
  t.deepEqual(
    node.tracker
      .reports()
      .map(({ code }) => code)
      .sort(),
    ['SERVICE_PORT_INVALID', 'SERVICE_WITHOUT_PORTS'],
  );
});

test.serial('of two Services with one node port the older has it, until it goes', async (t) => {
  const aged = (name: string, ip: string, year: number): Service =>
    service(name, ip, {
      ports: [{ port: 80, nodePort: 30099 }],
      meta: { creationTimestamp: `${year}-01-01T00:00:00Z` },
    });
  await set(aged('young', '10.96.0.4', 2026), slice('young', ['10.244.1.70']));
  t.deepEqual(await ask(nodeIp, 30099, 'out'), ['10.244.1.70:8080']);
  await set(aged('old', '10.96.0.5', 2025), slice('old', ['10.244.1.71']));
  t.deepEqual(await ask(nodeIp, 30099, 'out', 10), ['10.244.1.71:8080']);
  t.deepEqual(await ask('10.96.0.4', 80), ['10.244.1.70:8080'], 'its cluster IP is its own');
  await node.change([{ type: 'serviceDeleted', object: { namespace: 'default', name: 'old', uid: 'uid-old' } }]);
  t.deepEqual(await ask(nodeIp, 30099, 'out', 10), ['10.244.1.70:8080']);
});

test.serial('addresses that are malformed, of the other family or no destination are left out', async (t) => {
  const bad = [
    '',
    '10.244.1',
    '10.244.1.300',
    'fd00::1',
    '::ffff:10.244.1.70',
    '127.0.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '169.254.1.1',
    'localhost',
    '10.244.1.70/32',
    ' 10.244.1.70',
    'x'.repeat(10_000),
  ];
  for (const [index, ip] of bad.entries())
    await set(service(`bad-${index}`, ip), slice(`bad-${index}`, ['10.244.1.70']));
  await set(
    service('mixed', '10.96.0.6', { externalIPs: [...bad, '203.0.113.6'] }),
    slice('mixed', [...bad, '10.244.1.70']),
  );
  t.deepEqual(await ask('10.96.0.6', 80, 'pod-1', 20), ['10.244.1.70:8080']);
  t.deepEqual(await ask('203.0.113.6', 80, 'out', 20), ['10.244.1.70:8080']);
});

test.serial('10,000 endpoints: all can be reached, and a change costs what it touches', async (t) => {
  const address = (index: number): string => `10.244.${64 + (index >> 8)}.${index & 255}`;
  const part = (number: number, from: number, to: number, version: number): EndpointSlice =>
    aSlice(`huge-${number}`, 'huge', {
      endpoints: Array.from({ length: to - from }, (_, index) => ({
        addresses: [address(from + index)],
        nodeName: 'node-a',
      })),
      meta: { resourceVersion: String(version), labels: { 'kubernetes.io/service-name': 'huge' } },
    });
  const parts = Array.from({ length: 10 }, (_, number) => part(number, number * 1000, (number + 1) * 1000, 1));
  await set(service('huge', '10.96.0.7'), ...parts);
  const seen = await ask('10.96.0.7', 80, 'pod-1', 4000);
  const every = new Set(Array.from({ length: 10_000 }, (_, index) => `${address(index)}:8080`));
  t.deepEqual(
    seen.filter((answer) => !every.has(answer)),
    [],
  );
  // 4,000 draws of 10,000 give some 3,300 distinct ones; far fewer would mean that parts are never chosen.
  t.true(seen.length > 3000, String(seen.length));

  const sent: unknown[] = [];
  await set(part(3, 3001, 4001, 2));
  sent.push(node.sent);
  // Still as many: 4000 is in two slices now, and one place of it is taken by nobody.
  await set(part(3, 3000, 3999, 3));
  sent.push(node.sent);
  await set(part(3, 3000, 4000, 4));
  sent.push(node.sent);
  t.log(JSON.stringify(sent));
  for (const { elements, others } of sent as { elements: number; others: number }[])
    t.true(elements < 20 && others === 0);
  const gone = (await ask('10.96.0.7', 80, 'pod-1', 2000)).filter((answer) => !every.has(answer));
  t.deepEqual(gone, []);
  await node.change([{ type: 'serviceDeleted', object: { namespace: 'default', name: 'huge', uid: 'uid-huge' } }]);
});

test.serial('repeated and late events change nothing', async (t) => {
  const versioned = (version: number, ports: ServicePort[]): Service =>
    service('late', '10.96.0.8', { ports, meta: { resourceVersion: String(version) } });
  const now = [versioned(20, [{ port: 80 }]), slice('late', ['10.244.1.70'], 20)] as const;
  await set(...now);
  await set(...now);
  t.deepEqual(node.sent, { elements: 0, others: 0 });
  await set(versioned(10, [{ port: 81 }]), slice('late', ['10.244.1.71'], 10));
  t.deepEqual(node.sent, { elements: 0, others: 0 });
  const old = { namespace: 'default', uid: 'uid-of-the-one-before' };
  await node.change([
    { type: 'serviceDeleted', object: { ...old, name: 'late' } },
    { type: 'sliceDeleted', object: { ...old, name: 'late-1' } },
    { type: 'sliceDeleted', object: { ...old, name: 'never-seen' } },
  ]);
  t.deepEqual(await ask('10.96.0.8', 80, 'pod-1', 20), ['10.244.1.70:8080']);
});

test.serial('names of maximal length are names like others', async (t) => {
  const [namespace, name, portName] = ['n'.repeat(63), 's'.repeat(63), 'p'.repeat(63)];
  const sliceName = `${'l'.repeat(62)}.`.repeat(4).slice(0, 253);
  const meta = { namespace, name, uid: 'u'.repeat(36) };
  const long = service(name, '10.96.0.9', { ports: [{ name: portName, port: 80 }], meta });
  const labels = { 'kubernetes.io/service-name': name };
  const ports = [{ name: portName, port: 8080 }];
  await set(
    long,
    aSlice(sliceName, name, { endpoints: ['10.244.1.70'], ports, meta: { namespace, name: sliceName, labels } }),
  );
  t.deepEqual(await ask('10.96.0.9', 80), ['10.244.1.70:8080']);
  await node.change([{ type: 'sliceDeleted', object: { namespace, name: sliceName, uid: `uid-${sliceName}` } }]);
  t.deepEqual(await ask('10.96.0.9', 80), ['ECONNREFUSED']);
});

test.serial('late events about what the proxy is not to serve change nothing either', async (t) => {
  const at = (version: number, type: 'ClusterIP' | 'ExternalName'): Service =>
    service('ignored', '10.96.0.10', { type, meta: { resourceVersion: String(version) } });
  await set(at(20, 'ClusterIP'), slice('ignored', ['10.244.1.70'], 20));
  await set(at(10, 'ExternalName'));
  t.deepEqual(await ask('10.96.0.10', 80, 'pod-1', 1, 300), ['10.244.1.70:8080']);
});

test.serial('a pod of another node reaches endpoints of a third through a node port', async (t) => {
  await set(service('far', '10.96.0.11', { ports: [{ port: 80, nodePort: 30111 }] }), slice('far', ['10.244.3.1']));
  const [answer] = await lab.ask('pod-b', [{ protocol: 'TCP', ip: nodeIp, port: 30111, timeoutMs: 500 }]);
  // Else the endpoint answers the pod itself, which has asked somebody else.
  t.true(answer !== undefined && 'client' in answer && nodeIps.includes(answer.client));
});
