/**
 * The examples of the Kubernetes documentation by name (concepts/services-networking/network-policies,
 * tasks/administer-cluster/declare-network-policy), written here as specs of our own wording, and the cases that a table of
 * policies does not show: replies, the pod itself, its node, Services, drop counters, what an administrator lists.
 * Layer: test.
 */
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import type { PolicyEvent } from '../../src/network/policy/policy-source.ts';
import { exec, execResult, spawnIn } from '../support/exec.ts';
import { createPolicyLab, type Flow, type PolicyLab } from '../support/policy-lab.ts';
import type { ModelPod, ModelPolicy } from '../support/policy-model.ts';
import { endWith, type PolicyNode, podEvent, policyEvent, startPolicyNode } from '../support/policy-node.ts';

/** The same in IPv6: each address and prefix in 2001:db8:4::/96. */
function inSix<Value>(value: Value): Value {
  const text = JSON.stringify(value).replaceAll(
    /\b(\d+)\.(\d+)\.(\d+)\.(\d+)(?:\/(\d+))?/g,
    (_, a: string, b: string, c: string, d: string, length?: string) => {
      const [high, low] = [Number(a) * 256 + Number(b), Number(c) * 256 + Number(d)];
      return `2001:db8:4::${high.toString(16)}:${low.toString(16)}${length === undefined ? '' : `/${96 + Number(length)}`}`;
    },
  );
  return JSON.parse(text) as Value;
}
const bothFamilies = (ip: string): string[] => [ip, inSix(ip)];

/** On the node: db (role=db) and web (role=frontend) of default. */
const db = '10.244.1.2';
const web = '10.244.1.3';
const far = {
  frontend: '10.244.2.2',
  stranger: '10.244.2.3',
  project: '10.244.2.4',
  alice: '10.244.2.5',
  other: '10.244.2.6',
};

const pod = (key: string, ip: string, labels: Record<string, string>, ports: ModelPod['ports'] = []): ModelPod => {
  const [namespace = '', name = ''] = key.split('/');
  return { namespace, name, labels, ips: bothFamilies(ip), ports };
};
const namespace = (name: string, labels: Record<string, string>): PolicyEvent => ({
  event: 'namespaceSet',
  namespace: { name, labels: { 'kubernetes.io/metadata.name': name, ...labels } },
});
const objects: PolicyEvent[] = [
  namespace('default', {}),
  namespace('myproject', { project: 'myproject', user: 'alice' }),
  namespace('frontend', { namespace: 'frontend' }),
  ...podEvent(pod('default/db', db, { role: 'db' }, [{ name: 'redis', protocol: 'TCP', port: 6379 }]), true),
  ...podEvent(pod('default/web', web, { role: 'frontend' }), true),
  ...podEvent(pod('default/frontend', far.frontend, { role: 'frontend' }), false),
  ...podEvent(pod('default/stranger', far.stranger, { role: 'stranger' }), false),
  ...podEvent(pod('myproject/any', far.project, {}), false),
  ...podEvent(pod('myproject/client', far.alice, { role: 'client' }), false),
  ...podEvent(pod('frontend/client', far.other, { role: 'client' }), false),
];

const policy = (name: string, spec: ModelPolicy['spec']): ModelPolicy => ({
  metadata: { namespace: 'default', name },
  spec,
});
const role = (value: string) => ({ matchLabels: { role: value } });

interface Example {
  policies: ModelPolicy[];
  passes: [from: string, to: string, port: number, protocol?: Flow['protocol']][];
  dropped: [from: string, to: string, port: number, protocol?: Flow['protocol']][];
}

const examples: Record<string, Example> = {
  'test-network-policy': {
    policies: [
      policy('test-network-policy', {
        podSelector: role('db'),
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          {
            from: [
              { ipBlock: { cidr: '172.17.0.0/16', except: ['172.17.1.0/24'] } },
              { namespaceSelector: { matchLabels: { project: 'myproject' } } },
              { podSelector: role('frontend') },
            ],
            ports: [{ protocol: 'TCP', port: 6379 }],
          },
        ],
        egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/24' } }], ports: [{ protocol: 'TCP', port: 5978 }] }],
      }),
    ],
    passes: [
      ['172.17.0.1', db, 6379],
      ['172.17.2.0', db, 6379],
      ['172.17.255.255', db, 6379],
      [far.project, db, 6379],
      [far.frontend, db, 6379],
      [web, db, 6379],
      [db, '10.0.0.200', 5978],
      [far.stranger, web, 6379],
    ],
    dropped: [
      ['172.17.1.77', db, 6379],
      ['172.18.0.1', db, 6379],
      [far.stranger, db, 6379],
      [far.frontend, db, 6378],
      [far.frontend, db, 6379, 'UDP'],
      [far.frontend, db, 6379, 'SCTP'],
      [db, '10.0.0.200', 5979],
      [db, '10.0.1.1', 5978],
      [db, web, 5978],
    ],
  },
  'default-deny-ingress': {
    policies: [policy('default-deny-ingress', { podSelector: {}, policyTypes: ['Ingress'] })],
    passes: [
      [db, far.frontend, 80],
      [web, '203.0.113.9', 53, 'UDP'],
    ],
    dropped: [
      [far.frontend, db, 80],
      [db, web, 80, 'SCTP'],
      ['203.0.113.9', web, 53, 'UDP'],
    ],
  },
  'allow-all-ingress beside default-deny-ingress': {
    policies: [
      policy('default-deny-ingress', { podSelector: {}, policyTypes: ['Ingress'] }),
      policy('allow-all-ingress', { podSelector: {}, ingress: [{}], policyTypes: ['Ingress'] }),
    ],
    passes: [
      [far.stranger, db, 80],
      ['203.0.113.9', web, 9, 'SCTP'],
    ],
    dropped: [],
  },
  'default-deny-egress': {
    policies: [policy('default-deny-egress', { podSelector: {}, policyTypes: ['Egress'] })],
    passes: [[far.frontend, db, 80]],
    dropped: [
      [db, far.frontend, 80],
      [db, '203.0.113.9', 53, 'UDP'],
    ],
  },
  'allow-all-egress beside default-deny-egress': {
    policies: [
      policy('default-deny-egress', { podSelector: {}, policyTypes: ['Egress'] }),
      policy('allow-all-egress', { podSelector: {}, egress: [{}], policyTypes: ['Egress'] }),
    ],
    passes: [[db, '203.0.113.9', 53, 'UDP']],
    dropped: [],
  },
  'default-deny-all': {
    policies: [policy('default-deny-all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] })],
    passes: [],
    dropped: [
      [db, web, 80],
      [web, '203.0.113.9', 80],
      [far.frontend, db, 80],
    ],
  },
  'multi-port-egress': {
    policies: [
      policy('multi-port-egress', {
        podSelector: role('db'),
        policyTypes: ['Egress'],
        egress: [
          { to: [{ ipBlock: { cidr: '10.0.0.0/24' } }], ports: [{ protocol: 'TCP', port: 32_000, endPort: 32_768 }] },
        ],
      }),
    ],
    passes: [
      [db, '10.0.0.1', 32_000],
      [db, '10.0.0.1', 32_500],
      [db, '10.0.0.1', 32_768],
    ],
    dropped: [
      [db, '10.0.0.1', 31_999],
      [db, '10.0.0.1', 32_769],
      [db, '10.0.0.1', 32_500, 'UDP'],
    ],
  },
  'egress-namespaces': {
    policies: [
      policy('egress-namespaces', {
        podSelector: role('db'),
        policyTypes: ['Egress'],
        egress: [
          {
            to: [
              {
                namespaceSelector: {
                  matchExpressions: [{ key: 'namespace', operator: 'In', values: ['frontend', 'backend'] }],
                },
              },
            ],
          },
        ],
      }),
    ],
    passes: [[db, far.other, 80]],
    dropped: [
      [db, far.project, 80],
      [db, web, 80],
    ],
  },
  'a namespace by its name': {
    policies: [
      policy('by-name', {
        podSelector: role('db'),
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'frontend' } } }] }],
      }),
    ],
    passes: [[far.other, db, 1]],
    dropped: [[far.project, db, 1]],
  },
  'namespaceSelector and podSelector in one element': {
    policies: [
      policy('both', {
        podSelector: role('db'),
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { user: 'alice' } }, podSelector: role('client') }] }],
      }),
    ],
    passes: [[far.alice, db, 80]],
    dropped: [
      [far.project, db, 80],
      [far.other, db, 80],
    ],
  },
  'namespaceSelector and podSelector as two elements': {
    policies: [
      policy('either', {
        podSelector: role('db'),
        ingress: [
          { from: [{ namespaceSelector: { matchLabels: { user: 'alice' } } }, { podSelector: role('frontend') }] },
        ],
      }),
    ],
    passes: [
      [far.alice, db, 80],
      [far.project, db, 80],
      [web, db, 80],
    ],
    dropped: [
      [far.other, db, 80],
      [far.stranger, db, 80],
    ],
  },
  'a port by its name, in both directions': {
    policies: [
      policy('by-port', { podSelector: role('db'), ingress: [{ ports: [{ port: 'redis' }] }] }),
      policy('to-port', {
        podSelector: role('frontend'),
        policyTypes: ['Egress'],
        egress: [{ ports: [{ port: 'redis' }] }],
      }),
    ],
    passes: [
      [web, db, 6379],
      [far.stranger, db, 6379],
    ],
    dropped: [
      [web, db, 6380],
      [web, far.frontend, 6379],
      [far.stranger, db, 80],
      [far.stranger, db, 6379, 'UDP'],
    ],
  },
};

async function setUp(t: ExecutionContext): Promise<{ lab: PolicyLab; node: PolicyNode }> {
  const lab = endWith(
    t,
    await createPolicyLab({
      pods: [bothFamilies(db), bothFamilies(web)],
      services: [{ ip: '10.96.0.1', port: 80, protocol: 'TCP', to: db, toPort: 8080 }],
    }),
  );
  return { lab, node: endWith(t, await startPolicyNode(lab.node, objects)) };
}

const flows = (list: Example['passes']): Flow[] =>
  list.map(([from, to, port, protocol = 'TCP']) => ({ from, to, port, protocol }));

test('the examples of the documentation', async (t) => {
  const { lab, node } = await setUp(t);
  const knob = 'net.bridge.bridge-nf-call-iptables';
  const hasKnob = (await execResult('sysctl', ['-n', knob], { netns: lab.netns.node })).code === 0;
  for (const [index, [name, { policies, passes, dropped }]] of Object.entries(examples).entries()) {
    if (hasKnob) await exec('sysctl', ['-qw', `${knob}=${index % 2}`], { netns: lab.netns.node });
    const wanted = [...flows(passes).map((flow) => [flow, true]), ...flows(dropped).map((flow) => [flow, false])];
    for (const family of [4, 6]) {
      const here = family === 4 ? <Value>(value: Value): Value => value : inSix;
      await node.tell(...here(policies).map(policyEvent));
      const asked = here(flows([...passes, ...dropped]));
      const passed = await lab.pass(asked);
      t.deepEqual(
        asked.map((flow, at) => [flow, passed[at]]),
        here(wanted) as never,
        `${name}, IPv${family}`,
      );
    }
    await node.tell(
      ...policies.map(({ metadata }): PolicyEvent => ({ event: 'policyDeleted', key: `default/${metadata.name}` })),
    );
    t.is(node.enforcement.status().sets, 0, name);
  }
});

const denyAll = policyEvent(policy('default-deny-all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }));

const connects = async (netns: string, ip: string, port: number): Promise<boolean> =>
  (await execResult('timeout', ['2', 'bash', '-c', `exec 3<>/dev/tcp/${ip}/${port} && head -c 2 <&3`], { netns }))
    .stdout === 'hi';

test('replies pass, the node reaches its pods, and a pod reaches itself through its Service', async (t) => {
  const { lab, node } = await setUp(t);
  const [dbNetns = '', webNetns = ''] = lab.netns.pods;
  const program = `require('node:net').createServer((s) => { s.on('error', () => {}); s.end('hi'); }).listen(8080, () => console.log('up'))`;
  for (const netns of [dbNetns, lab.netns.node]) {
    const child = spawnIn(netns, process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    await once(child.stdout ?? child, 'data');
  }
  await node.tell(denyAll);
  t.false(await connects(webNetns, db, 8080));
  t.true(await connects(lab.netns.node, db, 8080), 'a probe');
  t.true(await connects(dbNetns, '198.51.100.2', 8080), 'its own node');
  t.deepEqual(
    await lab.pass(
      flows([
        [db, '10.96.0.1', 80],
        [web, '10.96.0.1', 80],
      ]),
    ),
    [true, false],
    'hairpin',
  );
  // db may still send nothing by itself, but answers.
  await node.tell(
    policyEvent(
      policy('in', {
        podSelector: role('db'),
        ingress: [{ from: [{ podSelector: role('frontend') }], ports: [{ port: 8080 }] }],
      }),
    ),
    policyEvent(
      policy('out', {
        podSelector: role('frontend'),
        policyTypes: ['Egress'],
        egress: [{ to: [{ podSelector: role('db') }] }],
      }),
    ),
  );
  t.true(await connects(webNetns, db, 8080));
  t.true(await connects(webNetns, '10.96.0.1', 80), 'judged by the pod and port behind the Service');
  t.deepEqual(
    await lab.pass(
      flows([
        [db, web, 8080],
        [far.stranger, db, 8080],
      ]),
    ),
    [false, false],
  );
});

test('drops are counted for each direction and its policies', async (t) => {
  const { lab, node } = await setUp(t);
  await node.tell(denyAll);
  const list: Example['passes'] = [
    [db, web, 1],
    [db, '203.0.113.9', 2],
    [far.stranger, db, 3],
  ];
  t.deepEqual(await lab.pass(flows(list)), [false, false, false]);
  const drops = await node.enforcement.drops();
  t.deepEqual(drops.map(({ direction, policies, packets }) => [direction, policies, packets]).toSorted(), [
    ['egress', ['default/default-deny-all'], 2],
    ['ingress', ['default/default-deny-all'], 1],
  ]);
});

test('nft lists the table, as text that it reads again and as JSON', async (t) => {
  const { lab, node } = await setUp(t);
  const named = {
    podSelector: {},
    ingress: [
      {
        ports: [{ port: 'redis' }, { protocol: 'SCTP' }],
        from: [
          { podSelector: {} },
          { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } },
          { ipBlock: { cidr: '8000::/1' } },
        ],
      },
    ],
  };
  await node.tell(
    denyAll,
    ...Object.values(examples).flatMap(({ policies }) => policies.map(policyEvent)),
    policyEvent(policy('named', named)),
  );
  const text = await exec('/usr/sbin/nft', ['list', 'table', 'inet', 'keelson-policy'], { netns: lab.netns.node });
  t.regex(text, /10\.0\.0\.0-10\.0\.255\.255, 10\.2\.0\.0-10\.255\.255\.255|10\.0\.0\.0\/16/);
  t.regex(text, /comment "default\/test-network-policy"/);
  t.regex(text, /10\.244\.1\.2 \. 10\.244\.1\.2 comment "default\.db" : accept/);
  await exec('/usr/sbin/nft', ['-c', '-f', '-'], { netns: lab.netns.world, input: text });
  const json = await exec('/usr/sbin/nft', ['-j', 'list', 'ruleset'], { netns: lab.netns.node });
  t.true(Array.isArray((JSON.parse(json) as { nftables: unknown }).nftables));
});

test('1,000 policies on a pod: each allows its own', async (t) => {
  const { lab, node } = await setUp(t);
  const events = Array.from({ length: 1000 }, (_, index) =>
    policyEvent(
      policy(`p${index}`, {
        podSelector: role('db'),
        ingress: [
          { from: [{ ipBlock: { cidr: `203.${index >> 8}.${index & 255}.0/24` } }], ports: [{ port: 1000 + index }] },
        ],
      }),
    ),
  );
  await node.tell(...events);
  const list: Example['passes'] = [
    ['203.0.0.1', db, 1000],
    ['203.3.231.1', db, 1999],
    ['203.3.231.1', db, 1998],
    ['203.3.232.1', db, 1999],
  ];
  t.deepEqual(await lab.pass(flows(list)), [true, true, false, false]);
  t.deepEqual(node.enforcement.status().troubles, []);
  await node.tell({ event: 'policyDeleted', key: 'default/p999' });
  t.deepEqual(await lab.pass(flows(list)), [true, false, false, false]);
});

test('an ipBlock means no address of the other family, though it be the whole of its own', async (t) => {
  const { lab, node } = await setUp(t);
  const from = (cidr: string): PolicyEvent =>
    policyEvent(
      policy('block', {
        podSelector: {},
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [{ ipBlock: { cidr } }] }],
        egress: [{ to: [{ ipBlock: { cidr } }] }],
      }),
    );
  const list = flows([
    ['203.0.113.9', db, 80],
    [db, '203.0.113.9', 80],
    [web, db, 80],
  ]);
  await node.tell(from('0.0.0.0/0'));
  t.deepEqual(await lab.pass([...list, ...inSix(list)]), [true, true, true, false, false, false]);
  await node.tell(from('::/0'));
  t.deepEqual(await lab.pass([...list, ...inSix(list)]), [false, false, false, true, true, true]);
  // Written as an IPv4 address in IPv6: of IPv6, and nobody's here.
  await node.tell(from('::ffff:0:0/96'));
  t.deepEqual(await lab.pass([...list, ...inSix(list)]), [false, false, false, false, false, false]);
});

test('fragments and extension headers hide no port', async (t) => {
  const { lab, node } = await setUp(t);
  await node.tell(
    policyEvent(
      policy('ports', {
        podSelector: role('db'),
        ingress: [{ ports: (['TCP', 'UDP', 'SCTP'] as const).map((protocol) => ({ protocol, port: 80 })) }],
      }),
    ),
  );
  const asked: Flow[] = (['TCP', 'UDP', 'SCTP'] as const).flatMap((protocol) =>
    [80, 81].flatMap((port) => {
      const flow = { protocol, from: far.stranger, to: db, port };
      const six = inSix(flow);
      return [{ ...flow, shape: 'f' as const }, ...(['f', 'd', 'h', 'a'] as const).map((shape) => ({ ...six, shape }))];
    }),
  );
  const passed = await lab.pass(asked);
  t.deepEqual(
    asked.map((flow, index) => [flow, passed[index]]),
    asked.map((flow) => [flow, flow.port === 80]) as never,
  );
  // The ports come in the second fragment only: no kernel has to take that, and none may let it to another port.
  const hidden = asked.filter(({ to, port, shape }) => to.includes(':') && port === 81 && shape === 'f');
  t.deepEqual(await lab.pass(hidden.map((flow) => ({ ...flow, shape: 's' }))), [false, false, false]);
});

test('neighbours on a bridge of another CNI find each other, whatever policies say', async (t) => {
  const { lab, node } = await setUp(t);
  const knob = 'net.bridge.bridge-nf-call-ip6tables';
  if ((await execResult('sysctl', ['-n', knob], { netns: lab.netns.node })).code !== 0) {
    t.log('this kernel shows bridged packets to no table');
    t.pass();
    return;
  }
  const ip = (netns: string, ...args: string[]): Promise<string> => exec('ip', ['-n', netns, ...args]);
  await ip(lab.netns.node, 'link', 'add', 'cni0', 'type', 'bridge', 'mcast_snooping', '0');
  await ip(lab.netns.node, 'link', 'set', 'cni0', 'up');
  await exec('sysctl', ['-qw', `${knob}=1`], { netns: lab.netns.node });
  const [one = '', two = ''] = lab.netns.pods;
  const ips = ['fd00:b::1', 'fd00:b::2'];
  for (const [index, netns] of [one, two].entries()) {
    await ip(lab.netns.node, 'link', 'add', `br-${index}`, 'type', 'veth', 'peer', 'name', 'br0', 'netns', netns);
    await ip(lab.netns.node, 'link', 'set', `br-${index}`, 'master', 'cni0', 'up');
    await ip(netns, 'link', 'set', 'br0', 'up');
    await ip(netns, 'addr', 'add', `${ips[index]}/64`, 'dev', 'br0', 'nodad');
    const bridged = { ...pod(`default/bridged-${index}`, '10.244.3.1', { role: 'bridged' }), ips: [ips[index] ?? ''] };
    await node.tell(...podEvent(bridged, true));
  }
  await node.tell(denyAll);
  /** Refused by the other end, which has no such port. */
  const isAnswered = async (): Promise<boolean> =>
    (await execResult('timeout', ['1', 'bash', '-c', `exec 3<>/dev/tcp/${ips[1]}/7`], { netns: one })).code === 1;
  t.false(await isAnswered(), 'denied');
  t.regex(await ip(one, 'neigh', 'show', ips[1] ?? ''), /lladdr/, 'but found');
  await node.tell(
    policyEvent(
      policy('open', { podSelector: role('bridged'), policyTypes: ['Ingress', 'Egress'], ingress: [{}], egress: [{}] }),
    ),
  );
  t.true(await isAnswered());
});
