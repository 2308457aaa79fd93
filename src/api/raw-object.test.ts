/** Readers of decoded JSON, and the projections of Services and EndpointSlices made with them. */
import test from 'ava';
import { projectEndpointSlice } from './project-endpoint-slice.ts';
import { projectService } from './project-service.ts';
import { ObjectShapeError, RawObject } from './raw-object.ts';

const service = (spec: object): unknown => ({ kind: 'Service', metadata: { name: 'web', namespace: 'shop' }, spec });

test('a Service as the API server writes it, with nulls and fields that nobody reads', (t) => {
  const projected = projectService({
    kind: 'Service',
    metadata: {
      name: 'web',
      namespace: 'shop',
      uid: 'u1',
      resourceVersion: '42',
      labels: null,
      managedFields: [{ manager: 'x' }],
    },
    spec: {
      type: 'NodePort',
      clusterIP: '10.96.0.1',
      clusterIPs: ['10.96.0.1'],
      ipFamilies: ['IPv4'],
      externalIPs: null,
      ports: [{ name: 'http', port: 80, nodePort: 30080, targetPort: 'http', appProtocol: 'x' }],
      selector: { app: 'web' },
    },
    status: { loadBalancer: { ingress: [{ ip: '192.0.2.9', ipMode: 'VIP' }] } },
  });
  t.is(projected.metadata.resourceVersion, '42');
  t.deepEqual(projected.spec.externalIPs, []);
  t.like(projected.spec.ports?.[0], { name: 'http', port: 80, nodePort: 30080 });
  t.deepEqual(projected.status?.loadBalancer?.ingress, [{ ip: '192.0.2.9', ipMode: 'VIP' }]);
});

test('a type of Service that nobody knows yet does not lose the Service', (t) => {
  const { spec } = projectService(service({ type: 'Magic', clusterIP: '10.96.0.1' }));
  t.is(spec.type, undefined);
  t.is(spec.unknownType, 'Magic');
  t.is(projectService(service({ type: 'ClusterIP' })).spec.unknownType, undefined);
});

test('an EndpointSlice of v1beta1', (t) => {
  const projected = projectEndpointSlice({
    metadata: { name: 'web-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [
      { addresses: ['10.244.0.2'], conditions: { ready: true }, topology: { 'kubernetes.io/hostname': 'node-a' } },
      { addresses: ['10.244.0.3'], conditions: null, hints: { forZones: [{ name: 'a' }] } },
    ],
    ports: [{ name: '', port: 8080, protocol: 'TCP' }, { port: null }],
  });
  t.is(projected.endpoints?.[0]?.topology?.['kubernetes.io/hostname'], 'node-a');
  t.deepEqual(projected.endpoints?.[1]?.hints?.forZones, [{ name: 'a' }]);
  t.is(projected.ports?.[1]?.port, undefined);
});

for (const [fault, value, field] of [
  ['no object', 7, 'object'],
  ['no name', { metadata: {}, spec: {} }, 'metadata.name'],
  ['a list for a string', service({ clusterIP: ['10.96.0.1'] }), 'spec.clusterIP'],
  ['a string for a list', service({ clusterIPs: '10.96.0.1' }), 'spec.clusterIPs'],
  ['a number in a list of strings', service({ externalIPs: ['192.0.2.1', 5] }), 'spec.externalIPs[1]'],
  ['a port without a number', service({ ports: [{ port: 80 }, { name: 'b' }] }), 'spec.ports[1].port'],
  ['a fraction', service({ ports: [{ port: 80.5 }] }), 'spec.ports[0].port'],
  ['an unknown word', service({ sessionAffinity: 'Magic' }), 'spec.sessionAffinity'],
  ['a type that is no text', service({ type: 7 }), 'spec.type'],
  ['an unknown family', service({ ipFamilies: ['IPv4', 'IPv5'] }), 'spec.ipFamilies[1]'],
  ['a label that is a number', { metadata: { name: 'a', labels: { b: 1 } }, spec: {} }, 'metadata.labels.b'],
] as const)
  test(`refused: ${fault}`, (t) => {
    const error = t.throws(() => projectService(value), { instanceOf: ObjectShapeError });
    t.is(error.object, field);
    t.true(error.message.length < 150);
  });

test('hostile keys are plain keys, and inherited ones are not there', (t) => {
  const raw = new RawObject(JSON.parse('{"labels": {"__proto__": "x", "constructor": "y"}}'));
  t.deepEqual(Object.entries(raw.textMap('labels') ?? {}), [
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ]);
  t.is(raw.text('toString'), undefined);
  t.is(raw.object('constructor'), undefined);
});
