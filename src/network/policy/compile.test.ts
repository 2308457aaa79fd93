/** What of a policy holds, and what is refused by name: fields that no API server would have taken. */
import test from 'ava';
import fc from 'fast-check';
import { projectNamespace, projectNetworkPolicy } from '../../api/project-network-policy.ts';
import { parseIp } from '../../linux/ip-bytes.ts';
import { compilePolicy } from './compile.ts';
import { fakePolicy } from './fake-policies.ts';
import { addressBytes, addressNumber, isInRanges, joinRanges, readBlock } from './ip-block.ts';
import { LabelIndex, selectorText, selects } from './labels.ts';
import { projectPolicyPod } from './policy-pod.ts';

const ingress = (...rules: object[]) =>
  fakePolicy('ns/p', { podSelector: {}, policyTypes: ['Ingress'], ingress: rules });

for (const [what, rule, fault] of [
  [
    'except outside its cidr',
    { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['192.168.0.0/16'] } }] },
    'from[0].ipBlock.except[0]: "192.168.0.0/16" is not within "10.0.0.0/8"',
  ],
  [
    'except that is its cidr',
    { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/8'] } }] },
    'from[0].ipBlock.except[0]: "10.0.0.0/8" is not within "10.0.0.0/8"',
  ],
  [
    'except of the other family',
    { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['fd00::/8'] } }] },
    'from[0].ipBlock.except[0]: "fd00::/8" is of another address family than "10.0.0.0/8"',
  ],
  [
    'a cidr that is none',
    { from: [{ ipBlock: { cidr: '10.0.0.0' } }] },
    'from[0].ipBlock.cidr: "10.0.0.0" is no prefix like 10.0.0.0/8',
  ],
  [
    'a cidr with octal numbers',
    { from: [{ ipBlock: { cidr: '010.0.0.0/8' } }] },
    'from[0].ipBlock.cidr: "010.0.0.0/8" is no prefix like 10.0.0.0/8',
  ],
  [
    'an ipBlock with a selector',
    { from: [{ podSelector: {}, ipBlock: { cidr: '0.0.0.0/0' } }] },
    'from[0]: has an ipBlock and a selector, which cannot go together',
  ],
  ['a peer that is nothing', { from: [{}] }, 'from[0]: has neither a selector nor an ipBlock'],
  [
    'an unknown operator',
    { from: [{ podSelector: { matchExpressions: [{ key: 'a', operator: 'Gt', values: ['1'] }] } }] },
    'from[0].podSelector.matchExpressions[0].operator is "Gt", not In, NotIn, Exists or DoesNotExist',
  ],
  [
    'an operator without values',
    { from: [{ namespaceSelector: { matchExpressions: [{ key: 'a', operator: 'NotIn' }] } }] },
    'from[0].namespaceSelector.matchExpressions[0].values is empty, but NotIn needs some',
  ],
  [
    'an unknown protocol',
    { ports: [{ protocol: 'ICMP', port: 1 }] },
    'ports[0].protocol: "ICMP" is not TCP, UDP or SCTP',
  ],
  ['endPort below port', { ports: [{ port: 90, endPort: 80 }] }, 'ports[0].endPort: 80 is below port 90'],
  ['endPort without port', { ports: [{ endPort: 80 }] }, 'ports[0].endPort: there is no port for it to be the end of'],
  [
    'endPort with a name',
    { ports: [{ port: 'web', endPort: 80 }] },
    'ports[0].endPort: port "web" is a name, which has no range',
  ],
  ['a port beyond 65535', { ports: [{ port: 70000 }] }, 'ports[0].port: 70000 is not between 1 and 65535'],
  ['port 0', { ports: [{ port: 0 }] }, 'ports[0].port: 0 is not between 1 and 65535'],
  [
    'an endPort beyond 65535',
    { ports: [{ port: 1, endPort: 65536 }] },
    'ports[0].endPort: 65536 is not between 1 and 65535',
  ],
] as const)
  test(`${what} allows nothing and is said; the rest of the policy holds`, (t) => {
    const { rules, faults } = compilePolicy(ingress(rule, { ports: [{ port: 443 }] }));
    t.deepEqual(faults, [`spec.ingress[0].${fault}`]);
    t.deepEqual(
      rules.ingress?.map(({ index }) => index),
      [1],
      'never a rule that allows all',
    );
  });

test('what is wrong in a list narrows only itself', (t) => {
  const { rules, faults } = compilePolicy(
    ingress({
      from: [{ ipBlock: { cidr: 'x' } }, { ipBlock: { cidr: 'fd00::/8' } }],
      ports: [{ protocol: 'X' }, { port: 80 }],
    }),
  );
  t.is(faults.length, 2);
  t.like(rules.ingress?.[0], { ports: { ranges: [{ protocol: 'TCP', first: 80, last: 80 }] } });
  t.is(rules.ingress?.[0]?.peers?.blocks[6].length, 1);
});

test('directions by policyTypes, and by rules where there are none', (t) => {
  const types = (spec: object): string[] =>
    Object.keys(compilePolicy(fakePolicy('n/p', { podSelector: {}, ...spec })).rules);
  t.deepEqual(types({}), ['ingress']);
  t.deepEqual(types({ egress: [] }), ['ingress']);
  t.deepEqual(types({ egress: [{}] }), ['ingress', 'egress']);
  t.deepEqual(types({ policyTypes: ['Egress'], ingress: [{}] }), ['egress']);
  t.deepEqual(types({ policyTypes: ['Egress', 'Later'] }), ['egress']);
});

test('a spec or selector that cannot be read isolates the namespace instead of opening it', (t) => {
  const odd = compilePolicy(fakePolicy('ns/p', { podSelector: {}, ingress: 'all' }));
  t.deepEqual(
    [odd.rules, odd.podSelector],
    [
      { ingress: [], egress: [] },
      { matchLabels: {}, matchExpressions: [] },
    ],
  );
  t.regex(odd.faults[0] ?? '', /spec.ingress: is "all", not a list.*isolates its whole namespace/);
  const unknown = compilePolicy(
    fakePolicy('ns/p', { podSelector: { matchExpressions: [{ key: 'a', operator: 'Near' }] } }),
  );
  t.deepEqual(unknown.podSelector.matchExpressions, []);
  t.is(unknown.faults.length, 1);
  t.throws(() => projectNetworkPolicy({ spec: {} }), { code: 'OBJECT_SHAPE' });
  t.deepEqual(projectNamespace({ metadata: { name: 'a' } }), { name: 'a', labels: {} });
});

test('pods that no policy means are none; addresses and ports are taken as far as they are right', (t) => {
  const pod = (spec: object, status: object, annotations = {}) =>
    projectPolicyPod({ metadata: { name: 'p', namespace: 'n', uid: 'u', annotations }, spec, status });
  t.is(pod({ hostNetwork: true }, {}), undefined);
  t.is(pod({}, { phase: 'Succeeded' }), undefined);
  t.is(pod({}, { phase: 'Failed' }), undefined);
  t.is(pod({}, {}, { 'kubernetes.io/config.mirror': 'hash' })?.uid, 'hash');
  const ports = [
    { name: 'a', containerPort: 80 },
    { name: 'b', containerPort: 70_000 },
    { containerPort: 81 },
    { name: 'c', containerPort: 53, protocol: 'UDP' },
    { name: 'd', containerPort: 53, protocol: 'X' },
  ];
  t.like(
    pod(
      { containers: [{ ports }] },
      { podIP: 'FD00::01', podIPs: [{ ip: 'fd00::1' }, { ip: '10.0.0.1' }, { ip: '../x' }] },
    ),
    {
      ips: ['fd00::1', '10.0.0.1'],
      ports: [
        { name: 'a', protocol: 'TCP', port: 80 },
        { name: 'c', protocol: 'UDP', port: 53 },
      ],
    },
  );
});

test('property: a block allows its network without the exceptions', (t) => {
  const low = fc.integer({ min: 0, max: 255 });
  const prefix = fc.tuple(low, fc.integer({ min: 25, max: 32 })).map(([last, length]) => {
    const size = 2 ** (32 - length);
    return { first: Math.floor(last / size) * size, size, text: `10.0.0.${Math.floor(last / size) * size}/${length}` };
  });
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 5 }), low, (holes, last) => {
      const block = readBlock({ cidr: '10.0.0.77/24', except: holes.map(({ text }) => text) });
      if ('fault' in block) return t.fail(block.fault);
      const address = addressNumber(parseIp(`10.0.0.${last}`));
      const isOut = holes.some(({ first, size }) => first <= last && last < first + size);
      t.is(isInRanges(block.ranges, address), !isOut);
      t.false(isInRanges(block.ranges, addressNumber(parseIp('10.0.1.0'))));
      t.deepEqual(joinRanges(block.ranges), [...block.ranges]);
      t.deepEqual(addressBytes(4, address), parseIp(`10.0.0.${last}`));
    }),
  );
});

test('property: the index finds exactly the selectors that match', (t) => {
  const labels = fc.dictionary(fc.constantFrom('a', 'b', '__proto__', 'constructor'), fc.constantFrom('1', '2'));
  fc.assert(
    fc.property(fc.array(labels, { maxLength: 6 }), labels, (wants, has) => {
      const index = new LabelIndex<number>();
      const selectors = wants.map((matchLabels) => ({ matchLabels, matchExpressions: [] }));
      for (const [item, selector] of selectors.entries()) index.add(item, selector);
      const isMatch = (item: number): boolean =>
        Object.entries(wants[item] ?? {}).every(([key, value]) => Object.hasOwn(has, key) && has[key] === value);
      t.deepEqual(index.matching(has).toSorted(), [...wants.keys()].filter(isMatch));
      for (const [item, selector] of selectors.entries()) {
        t.is(selects(selector, has), isMatch(item));
        index.delete(item, selector);
      }
      t.true(index.isEmpty);
    }),
  );
});

test('selectors that say the same have one text, others never', (t) => {
  const text = (
    matchLabels: Record<string, string>,
    ...matchExpressions: { key: string; operator: string; values: string[] }[]
  ) => selectorText({ matchLabels, matchExpressions });
  t.is(text({ a: '1', b: '2' }), text({ b: '2', a: '1' }));
  t.is(
    text({}, { key: 'a', operator: 'In', values: ['x', 'y'] }),
    text({}, { key: 'a', operator: 'In', values: ['y', 'x'] }),
  );
  t.not(text({ a: 'b","c' }), text({ a: 'b', c: '' }));
  t.not(text({ a: '=' }), text({}, { key: 'a', operator: 'Exists', values: [] }));
});
