/**
 * Connections by the thousand while the endpoints of their Service come and go as fast as batches can be made. Every server
 * goes on listening, so nothing may fail; and behind all NAT nobody may see a packet that is still for the Service.
 */
import test, { type ExecutionContext } from 'ava';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { createServiceLab, nodeIp, type ServiceLab, type Source } from '../support/service-lab.ts';
import { ServiceNode } from '../support/service-node.ts';

const connects = Number(process.env.KEELSON_STORM_CONNECTS ?? 10_000);
const servers = [
  { addresses: ['10.244.1.3'], nodeName: 'node-a' },
  { addresses: ['10.244.3.1'], nodeName: 'node-c' },
  ...Array.from({ length: 31 }, (_, index) => ({ addresses: [`10.244.1.${70 + index}`], nodeName: 'node-a' })),
];
const clusterIp = { ip: '10.96.0.1', port: 80 };
const nodePort = { ip: nodeIp, port: 30080 };
let lab: ServiceLab;
let node: ServiceNode;
let version = 0;

test.before(async () => {
  lab = await createServiceLab('send');
  node = await ServiceNode.start(lab.node);
  const spec = {
    ipFamilies: ['IPv4' as const],
    clusterIP: clusterIp.ip,
    clusterIPs: [clusterIp.ip],
    type: 'NodePort' as const,
  };
  const ports = [
    { name: 'tcp', port: 80, nodePort: 30080 },
    { name: 'udp', port: 80, nodePort: 30080, protocol: 'UDP' as const },
  ];
  await node.change([{ type: 'serviceSet', object: aService('web', { ...spec, ports }) }]);
});

test.after.always(async () => {
  node?.close();
  await lab?.remove();
});

async function setEndpoints(count: number): Promise<void> {
  const ports = [
    { name: 'tcp', port: 8080 },
    { name: 'udp', port: 8080, protocol: 'UDP' as const },
  ];
  const meta = { resourceVersion: String(++version), labels: { 'kubernetes.io/service-name': 'web' } };
  const object = aSlice('web-1', 'web', { endpoints: servers.slice(0, count), ports, meta });
  await node.change([{ type: 'sliceSet', object }]);
}

interface Storm {
  protocol: 'TCP' | 'UDP';
  at: { ip: string; port: number };
  from: readonly Source[];
  /** Numbers of endpoints, in turn. */
  endpoints: readonly number[];
}

interface Outcome {
  /** An endpoint or an error, and how often it came. */
  answers: Map<string, number>;
  /** Questions that had to be sent again. */
  repeated: number;
}

async function storm(t: ExecutionContext, { protocol, at, from, endpoints }: Storm): Promise<Outcome> {
  await setEndpoints(Math.max(...endpoints));
  const before = await lab.unNated();
  let isOver = false;
  let repeated = 0;
  const answers = new Map<string, number>();
  const asking = Promise.all(
    from.map(async (source) => {
      const questions = Array.from({ length: Math.ceil(connects / from.length) }, () => ({
        protocol,
        ...at,
        timeoutMs: 5000,
      }));
      for (const answer of await lab.ask(source, questions)) {
        const text = 'error' in answer ? answer.error : answer.endpoint;
        answers.set(text, (answers.get(text) ?? 0) + 1);
        if (answer.sent > 1) repeated++;
      }
    }),
  ).finally(() => {
    isOver = true;
  });
  let changes = 0;
  for (; !isOver; changes++) await setEndpoints(endpoints[changes % endpoints.length] ?? 0);
  await asking;
  const unNated = (await lab.unNated()) - before;
  const told = [...answers].map(([text, times]) => `${text} ${times}`).sort();
  if (told.length > 5) told.splice(3, told.length - 5, '...');
  t.log(
    `${changes} changes of ${endpoints.join(' -> ')}, ${unNated} un-NATed, ${repeated} repeated: ${told.join(', ')}`,
  );
  t.is(unNated, 0, 'packets left for the Service address itself');
  t.true(changes > 20);
  return { answers, repeated };
}

const endpointsOf = (count: number): string[] => servers.slice(0, count).map(({ addresses }) => `${addresses[0]}:8080`);
const nodeAndPod: readonly Source[] = ['node', 'pod-1'];

for (const [title, given] of Object.entries<Omit<Storm, 'endpoints'>>({
  'a cluster IP over TCP': { protocol: 'TCP', at: clusterIp, from: nodeAndPod },
  'a cluster IP over UDP': { protocol: 'UDP', at: clusterIp, from: nodeAndPod },
  'a node port over UDP': { protocol: 'UDP', at: nodePort, from: ['out', 'pod-1'] },
})) {
  for (const endpoints of [
    [3, 2],
    [3, 2, 1, 2],
    [33, 1],
  ])
    test.serial(`nothing to ${title} fails while endpoints go ${endpoints.join(' -> ')}`, async (t) => {
      const { answers, repeated } = await storm(t, { ...given, endpoints });
      t.deepEqual([...answers.keys()].sort(), endpointsOf(Math.max(...endpoints)).sort());
      t.is(repeated, 0);
    });

  test.serial(`all to ${title} is served or refused in the end while the only endpoint comes and goes`, async (t) => {
    // What is on its way while the endpoint goes may be dropped, but its flow must not be stuck: asked again, it is answered.
    const { answers } = await storm(t, { ...given, endpoints: [1, 0] });
    t.deepEqual([...answers.keys()].sort(), [...endpointsOf(1), 'ECONNREFUSED'].sort());
  });
}
