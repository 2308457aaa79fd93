import test from 'ava';
import type { PodReport, StatusReport } from '../agent/status-report.ts';
import type { OverlayStatus } from '../network/overlay/contract.ts';
import { statusTable, statusText } from './status.ts';

const now = Date.UTC(2026, 0, 1, 12);
const ago = (seconds: number): string => new Date(now - seconds * 1000).toISOString();

const proxy: StatusReport['proxy'] = {
  mode: 'nftables',
  families: ['IPv4'],
  services: 0,
  frontends: 0,
  endpoints: 0,
  lastSyncAt: now,
  lastSyncMs: 1,
  syncs: 1,
  repairs: 0,
  pending: false,
  healthy: true,
  lastError: undefined,
  reportCount: 0,
  problems: [],
  serviceList: [],
};

const report = (change: Partial<StatusReport> = {}): StatusReport => ({
  version: '0.1.0',
  nodeName: 'node1',
  nodeIPs: ['192.0.2.2'],
  startedAt: ago(3 * 3600),
  memoryBytes: 60 * 2 ** 20,
  runtime: { name: 'containerd', version: '1.7.24', healthy: true, mode: 'events' },
  network: { podCIDR: '10.244.0.0/24', gateway: '10.244.0.1', allocated: 2, free: 251 },
  proxy,
  waiting: [],
  pods: [],
  ending: [],
  manifestErrors: [],
  ...change,
});
const pod = (name: string, change: Partial<PodReport> = {}): PodReport => ({
  namespace: 'default',
  name,
  uid: name,
  summary: 'Running',
  ready: 1,
  containers: 1,
  restarts: 0,
  error: undefined,
  status: { phase: 'Running', conditions: [], startTime: ago(90), podIP: '10.244.0.5' },
  ...change,
});

test('the way to other nodes: how many, whom not and why', (t) => {
  const network = { podCIDR: '10.244.0.0/24', gateway: '10.244.0.1', allocated: 2, free: 251 };
  const lines = (overlay: OverlayStatus): string[] =>
    statusTable(report({ network: { ...network, overlay } }), now)
      .split('\n')
      .filter((line) => /node/i.test(line))
      .slice(1);
  const fine = { family: 4, backend: 'vxlan', vxlan: 3, direct: 0, complete: true, unreached: [], faults: [] } as const;
  t.deepEqual(lines({ ...fine, unreached: [], faults: [] }), ['Other nodes (vxlan): 3 by VXLAN']);
  const unreached = Array.from({ length: 7 }, (_, index) => ({ node: `n${index}`, reason: 'podCIDR \u001b[2J twice' }));
  const faults = ['link keelson-vxlan: VNI 1 on port 8472 is taken by link flannel.1'];
  const bad = lines({ ...fine, direct: 2, complete: false, unreached, faults });
  t.deepEqual(bad.slice(0, 2), [
    'Other nodes (vxlan): 3 by VXLAN, 2 by a route; not all of them are known yet',
    'way to other nodes: link keelson-vxlan: VNI 1 on port 8472 is taken by link flannel.1',
  ]);
  t.is(bad.length, 8);
  t.true(bad[2]?.startsWith('NOT REACHED: node n0: podCIDR '));
  t.false(bad.join('').includes('\u001b'));
  t.is(bad.at(-1), 'NOT REACHED: 2 more nodes');
  const alloc = { ...fine, backend: 'alloc', vxlan: 0, unreached: [], faults: [] } as const;
  t.deepEqual(lines({ ...alloc, unreached: [], faults: [] }), [
    'Other nodes (alloc): somebody else routes to their pods',
  ]);
  const six: OverlayStatus = {
    ...fine,
    family: 6,
    vxlan: 2,
    unreached: [{ node: 'a', reason: 'sends by IPv4' }],
    faults: [],
  };
  t.deepEqual(lines({ ...fine, unreached: [], faults: [], second: six }), [
    'Other nodes (IPv4, vxlan): 3 by VXLAN',
    'Other nodes (IPv6, vxlan): 2 by VXLAN',
    'NOT REACHED: node a: sends by IPv4',
  ]);
});

test('a heading and a table, as kubectl prints it', (t) => {
  const pods = [
    pod('web'),
    pod('job', {
      namespace: 'team',
      summary: 'Pending',
      ready: 0,
      containers: 2,
      restarts: 12,
      status: { phase: 'Pending', conditions: [] },
    }),
  ];
  t.is(
    statusTable(report({ pods }), now),
    [
      'Node node1 (192.0.2.2), Keelson 0.1.0, up 3h, 60 MiB',
      'Runtime containerd 1.7.24: ready (events)',
      'Pod network 10.244.0.0/24: 2 addresses used, 251 free',
      'Services: 0, 0 endpoints, in the kernel',
      '',
      'NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE   IP',
      'default     web    1/1     Running   0          90s   10.244.0.5',
      'team        job    0/2     Pending   12         -     <none>',
      '',
    ].join('\n'),
  );
});

test('Services in a table of their own, the rest counted, and what is wrong with them below', (t) => {
  const web = {
    namespace: 'default',
    name: 'web',
    type: 'NodePort' as const,
    clusterIPs: ['10.96.0.7'],
    externalIPs: [],
    ports: ['80:30080/TCP'],
    endpoints: 2,
  };
  const problems = ['service default/db: port "x" is refused'];
  const ours = {
    ...proxy,
    services: 3,
    endpoints: 9,
    healthy: false,
    lastError: 'no room',
    problems,
    serviceList: [web],
  };
  const text = statusTable(report({ proxy: ours }), now);
  t.true(text.includes('\nServices: 3, 9 endpoints, NOT IN THE KERNEL\n'), text);
  t.deepEqual(text.split('\n').slice(6), [
    '',
    'NAMESPACE   SERVICE   TYPE       CLUSTER-IP   EXTERNAL-IP   PORTS          ENDPOINTS',
    'default     web       NodePort   10.96.0.7    <none>        80:30080/TCP   2',
    '',
    'and 2 more Services',
    'services: no room',
    'service default/db: port "x" is refused',
    '',
  ]);
});

test('a node of a cluster: what the API server knows, and roles that wait', (t) => {
  const node = { registered: true, ready: 'container runtime network not ready', pendingStatuses: 3 };
  const waiting = [{ role: 'network', reason: 'waits for spec.podCIDR of the Node' }];
  const text = statusTable(report({ node, waiting, network: undefined, proxy: undefined }), now);
  t.deepEqual(text.split('\n').slice(1, 5), [
    'API server: Node container runtime network not ready, 3 pod statuses on the way',
    'Runtime containerd 1.7.24: ready (events)',
    'network: NOT STARTED: waits for spec.podCIDR of the Node',
    '',
  ]);
  const missing = statusTable(report({ node: { ...node, registered: false } }), now);
  t.true(missing.includes('API server: Node NOT REGISTERED'));
});

test('what the API server does not tell, and addresses of a former pod network', (t) => {
  const node = { registered: false, ready: 'not Ready', pendingStatuses: 0, error: 'client-key is not the key' };
  const network = { podCIDR: '10.1.0.0/24', gateway: '10.1.0.1', allocated: 1, free: 252 };
  const former = [
    { podCIDR: '10.2.0.0/24', pods: 1 },
    { podCIDR: '10.3.0.0/24', pods: 2 },
  ];
  const troubles = ['endpointslices: forbidden'];
  const text = statusTable(report({ node, network: { ...network, former }, troubles }), now);
  t.deepEqual(text.split('\n').slice(1, 8), [
    'API server: Node NOT REGISTERED: client-key is not the key',
    'Runtime containerd 1.7.24: ready (events)',
    'Pod network 10.1.0.0/24: 1 addresses used, 252 free',
    '1 pod has an address of the former pod network 10.2.0.0/24: delete it, so that a new one takes its place',
    '2 pods have addresses of the former pod network 10.3.0.0/24: delete them, so that new ones take their place',
    'Services: 0, 0 endpoints, in the kernel',
    'not told by the API server, the last state is used: endpointslices: forbidden',
  ]);
  const later = statusTable(report({ node: { ...node, registered: true, ready: 'Ready' } }), now);
  t.true(later.includes('\nAPI server: Node Ready; cannot be written now: client-key is not the key\n'), later);
});

test('nothing runs, nobody answers, no address: said so', (t) => {
  const runtime = { name: 'containerd', version: '1.6.20', healthy: false, mode: 'relist' };
  const text = statusTable(report({ runtime, nodeIPs: [] }), now);
  t.true(text.includes('Node node1 (no address)'));
  t.true(text.includes('Runtime containerd 1.6.20: NOT ANSWERING (relist)'));
  t.true(text.endsWith('\nNo pods.\n'));
});

test('below the table: why pods wait and which manifests are refused', (t) => {
  const waiting = { reason: 'ErrImagePull', message: 'no such image' };
  const containerStatuses = [
    {
      name: 'c',
      state: { waiting },
      lastState: {},
      ready: false,
      started: false,
      restartCount: 0,
      image: '',
      imageID: '',
    },
  ];
  const pods = [
    pod('web', { error: 'cannot mount volume data' }),
    pod('job', { status: { phase: 'Pending', conditions: [], containerStatuses } }),
  ];
  const manifestErrors = [
    { file: '/m/a.yaml', error: '/m/a.yaml:3:7: spec is missing' },
    { file: '/m/b.yaml', error: 'cannot be read' },
  ];
  const lines = statusTable(report({ pods, manifestErrors }), now).split('\n');
  t.deepEqual(lines.slice(8, -1), [
    '',
    'pod default/web: cannot mount volume data',
    'pod default/job, container c: no such image',
    '/m/a.yaml:3:7: spec is missing',
    '/m/b.yaml: cannot be read',
  ]);
});

test('what comes from outside cannot move the cursor nor add lines', (t) => {
  const evil = 'x\u001b[2J\r\ny\u009b31m';
  const pods = [pod(evil, { summary: evil, error: evil })];
  const text = statusTable(report({ pods, manifestErrors: [{ file: 'f', error: evil }] }), now);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not reach a terminal
  t.notRegex(text.replaceAll('\n', ''), /[\u0000-\u001f\u007f-\u009f]/);
  t.is(
    text.split('\n').length,
    statusTable(report({ pods: [pod('w', { error: 'e' })], manifestErrors: [{ file: 'f', error: 'e' }] }), now).split(
      '\n',
    ).length,
  );
});

test('a daemon that is starting says so', (t) => {
  t.regex(statusText({ starting: true, version: '0.1.0' }), /^Keelson 0\.1\.0 is starting: .*\n$/);
});

test('certificates that the daemon asks for: until when, and what is waited for', (t) => {
  const linesOf = (certificates: NonNullable<StatusReport['certificates']>): string[] =>
    statusTable(report({ certificates }), now)
      .split('\n')
      .filter((line) => line.includes('certificate:'));
  t.deepEqual(linesOf({}), []);
  const good = { valid: true, notAfter: '2026-06-01T00:00:00Z', renewAt: '2026-05-01T00:00:00Z' };
  t.deepEqual(linesOf({ client: good, serving: { valid: false, trouble: 'csr-1\nwaits' } }), [
    'Client certificate: valid until 2026-06-01T00:00:00Z, renewed at 2026-05-01T00:00:00Z',
    'Serving certificate: NONE; csr-1 waits',
  ]);
  t.deepEqual(linesOf({ client: { ...good, valid: false, trouble: 'refused' } }), [
    'Client certificate: EXPIRED at 2026-06-01T00:00:00Z; refused',
  ]);
});
