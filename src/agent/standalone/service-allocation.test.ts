/** Cluster IPs and node ports of a folder's Services. */
import test from 'ava';
import type { Service, ServiceSpec } from '../../api/service.ts';
import { formatIpv4, parseIpv4 } from '../../config/ip.ts';
import { parsePodCidr } from '../../config/pod-cidr.ts';
import { addressPool, allocateServices, emptyAllocation } from './service-allocation.ts';

const network = (text: string) => {
  const result = parsePodCidr(text);
  if ('message' in result) throw new Error(result.message);
  return result.network;
};
const wide = network('10.96.0.0/16');

const service = (name: string, spec: Partial<ServiceSpec> = {}): [string, Service] => [
  `default/${name}`,
  {
    metadata: { name, namespace: 'default' },
    spec: { type: 'ClusterIP', ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 80, nodePort: 0 }], ...spec },
  },
];
const port = (number: number, protocol: 'TCP' | 'UDP' = 'TCP', nodePort = 0) => ({
  name: `${protocol}-${number}`.toLowerCase(),
  protocol,
  port: number,
  nodePort,
});
const give = (documents: [string, Service][], before = emptyAllocation, cidr = wide) =>
  allocateServices(new Map(documents), cidr, before);
const lines = ({ problems }: ReturnType<typeof give>) =>
  problems.map(({ service: name, code, field, message, fix }) => `${code} ${name}: ${field}: ${message} (${fix})`);

test('the bands of a range are those of the API server', (t) => {
  const shown = (text: string) => {
    const { first, dynamicFirst, last } = addressPool(network(text));
    return [first, dynamicFirst, last].map(formatIpv4);
  };
  t.deepEqual(shown('10.96.0.0/16'), ['10.96.0.1', '10.96.1.1', '10.96.255.254']);
  t.deepEqual(shown('10.0.0.0/24'), ['10.0.0.1', '10.0.0.17', '10.0.0.254']);
  t.deepEqual(shown('10.0.0.0/20'), ['10.0.0.1', '10.0.1.1', '10.0.15.254']);
  t.deepEqual(shown('10.0.0.0/28'), ['10.0.0.1', '10.0.0.1', '10.0.0.14']);
  t.deepEqual(shown('10.0.0.0/30'), ['10.0.0.1', '10.0.0.1', '10.0.0.2']);
  t.deepEqual(shown('10.0.0.0/27'), ['10.0.0.1', '10.0.0.17', '10.0.0.30']);
});

test('an address is given once, kept, and set in both fields; headless Services have none', (t) => {
  const first = give([service('web'), service('head', { clusterIP: 'None', clusterIPs: ['None'] })]);
  const spec = first.services.get('default/web')?.spec;
  const address = parseIpv4(spec?.clusterIP ?? '') ?? 0;
  t.true(address >= (parseIpv4('10.96.1.1') ?? 0) && address <= (parseIpv4('10.96.255.254') ?? 0));
  t.deepEqual(spec?.clusterIPs, [spec?.clusterIP]);
  t.is(spec?.ports?.[0]?.nodePort, 0);
  t.is(first.services.get('default/head')?.spec.clusterIP, 'None');
  const second = give([service('api'), service('web')], first.allocation);
  t.is(second.services.get('default/web')?.spec.clusterIP, spec?.clusterIP);
  t.deepEqual(lines(second), []);
});

test('an address asked for by hand is its asker’s, and a given one makes way', (t) => {
  const first = give([service('web')]);
  const address = first.services.get('default/web')?.spec.clusterIP ?? '';
  const second = give([service('web'), service('fixed', { clusterIP: address })], first.allocation);
  t.is(second.services.get('default/fixed')?.spec.clusterIP, address);
  const moved = second.services.get('default/web')?.spec.clusterIP;
  t.not(moved, address);
  t.is(
    give([service('fixed', { clusterIP: address }), service('web')]).services.get('default/web')?.spec.clusterIP,
    moved,
  );
});

test('addresses out of range, asked for twice, or used up: the Service is not served and one line says why', (t) => {
  const bad = give([
    service('out', { clusterIP: '192.0.2.7' }),
    service('net', { clusterIP: '10.96.0.0' }),
    service('broadcast', { clusterIP: '10.96.255.255' }),
    service('a', { clusterIP: '10.96.0.10' }),
    service('b', { clusterIP: '10.96.0.10' }),
  ]);
  t.deepEqual([...bad.services.keys()], ['default/a']);
  const fix = '(choose one of that range, remove it, or start with another --service-cidr)';
  t.deepEqual(lines(bad), [
    `MANIFEST_VALUE default/out: spec.clusterIP: 192.0.2.7 is no address for a Service in 10.96.0.0/16 ${fix}`,
    `MANIFEST_VALUE default/net: spec.clusterIP: 10.96.0.0 is no address for a Service in 10.96.0.0/16 ${fix}`,
    `MANIFEST_VALUE default/broadcast: spec.clusterIP: 10.96.255.255 is no address for a Service in 10.96.0.0/16 ${fix}`,
    'MANIFEST_DUPLICATE default/b: spec.clusterIP: 10.96.0.10 is also asked for by service default/a, which has it (choose another, or remove it)',
  ]);
  const full = give([service('a'), service('b'), service('c')], emptyAllocation, network('10.0.0.0/30'));
  t.is(full.services.size, 2);
  t.deepEqual(lines(full), [
    'MANIFEST_LIMIT default/c: spec.clusterIP: no address is left in 10.0.0.0/30 (give a larger --service-cidr)',
  ]);
});

test('node ports: given to NodePort and LoadBalancer, shared by protocols, never one asked for, kept', (t) => {
  const documents: [string, Service][] = [
    service('dns', { type: 'NodePort', ports: [port(53), port(53, 'UDP')] }),
    service('half', { type: 'NodePort', ports: [port(53, 'TCP', 30053), port(53, 'UDP')] }),
    service('lb', { type: 'LoadBalancer', allocateLoadBalancerNodePorts: true, ports: [port(80)] }),
    service('bare', {
      type: 'LoadBalancer',
      allocateLoadBalancerNodePorts: false,
      ports: [port(80), port(81, 'TCP', 31000)],
    }),
    service('plain', { ports: [port(80)] }),
  ];
  const ports = (result: ReturnType<typeof give>, name: string) =>
    (result.services.get(`default/${name}`)?.spec.ports ?? []).map(({ nodePort = 0 }) => nodePort);
  const first = give(documents);
  const [dns = 0, udp = 0] = ports(first, 'dns');
  t.is(dns, udp);
  t.true(dns >= 30086 && dns <= 32767);
  t.deepEqual(ports(first, 'half'), [30053, 30053]);
  t.true((ports(first, 'lb')[0] ?? 0) >= 30086);
  t.deepEqual(ports(first, 'bare'), [0, 31000]);
  t.deepEqual(ports(first, 'plain'), [0]);
  const second = give(
    [...documents.toReversed(), service('thief', { type: 'NodePort', ports: [port(1, 'UDP', dns)] })],
    first.allocation,
  );
  t.is(ports(second, 'lb')[0], ports(first, 'lb')[0]);
  t.not(ports(second, 'dns')[0], dns);
  t.deepEqual(lines(second), []);
});

test('more node ports than there are: the rest of the Service is served', (t) => {
  const many = Array.from({ length: 2769 }, (_, index) => port(index + 1));
  const result = give([service('many', { type: 'NodePort', ports: many })]);
  const ports = result.services.get('default/many')?.spec.ports ?? [];
  t.is(new Set(ports.map(({ nodePort }) => nodePort)).size, 2769);
  t.is(ports.filter(({ nodePort }) => nodePort === 0).length, 1);
  t.regex(
    lines(result).join('\n'),
    /^MANIFEST_LIMIT default\/many: spec\.ports: no node port is left for port \d+: all of 30000 to 32767/,
  );
});
