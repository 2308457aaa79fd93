import test from 'ava';
import type { Node } from '../../api/node.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { checkNodeLabel } from '../../config/node-labels.ts';
import { FakeNodeApi } from './fake-node-api.ts';
import { nodeSettings } from './node-facts.fake.ts';
import { initialNode, reconcileMetadata, requiredMetadata } from './node-labels.ts';

const defaults = {
  'kubernetes.io/hostname': 'node-a',
  'kubernetes.io/os': 'linux',
  'kubernetes.io/arch': 'amd64',
  'beta.kubernetes.io/os': 'linux',
  'beta.kubernetes.io/arch': 'amd64',
};
const attach = 'volumes.kubernetes.io/controller-managed-attach-detach';
const provided = 'alpha.kubernetes.io/provided-node-ip';

const existing = (
  labels: Record<string, string>,
  annotations: Record<string, string> = { [attach]: 'true' },
): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'node-a', uid: 'u', labels, annotations },
  spec: {},
});

test('a new Node: labels, annotation, taints, provider', (t) => {
  const taint = { key: 'a', value: 'b', effect: 'NoExecute' } as const;
  const plain = initialNode(nodeSettings(), {});
  t.deepEqual(plain.metadata, { name: 'node-a', labels: defaults, annotations: { [attach]: 'true' } });
  t.deepEqual(plain.spec, {});
  const settings = nodeSettings({
    nodeLabels: new Map([
      ['disk', 'ssd'],
      ['kubernetes.io/hostname', 'other'],
    ]),
    registerWithTaints: [taint],
    externalCloudProvider: true,
    givenNodeIPs: ['192.0.2.2', '2001:db8::2'],
    enableControllerAttachDetach: false,
    providerID: 'x://1',
  });
  const cloudy = initialNode(settings, {});
  t.deepEqual(cloudy.metadata.labels, { ...defaults, disk: 'ssd', 'kubernetes.io/hostname': 'other' });
  t.deepEqual(cloudy.metadata.annotations, { [provided]: '192.0.2.2,2001:db8::2' });
  t.deepEqual(cloudy.spec, {
    providerID: 'x://1',
    taints: [taint, { key: 'node.cloudprovider.kubernetes.io/uninitialized', value: 'true', effect: 'NoSchedule' }],
  });
});

test('registering puts well-known labels right and leaves the others', (t) => {
  t.is(reconcileMetadata(existing({ ...defaults, team: 'x' }), nodeSettings()), undefined);
  const settings = nodeSettings({
    nodeLabels: new Map([
      ['topology.kubernetes.io/zone', 'z1'],
      ['node.kubernetes.io/instance-type', ''],
      ['disk', 'ssd'],
    ]),
  });
  const node = existing({ 'kubernetes.io/hostname': 'old', 'node.kubernetes.io/instance-type': 'm', team: 'x' }, {});
  const { 'kubernetes.io/hostname': hostname, ...missing } = defaults;
  t.deepEqual(reconcileMetadata(node, settings), {
    labels: {
      'kubernetes.io/hostname': hostname,
      'topology.kubernetes.io/zone': 'z1',
      'node.kubernetes.io/instance-type': null,
      ...missing,
    },
    annotations: { [attach]: 'true' },
  });
});

test('attach-detach switched off takes the annotation away', (t) => {
  const settings = nodeSettings({ enableControllerAttachDetach: false });
  t.deepEqual(reconcileMetadata(existing(defaults), settings), { annotations: { [attach]: null } });
});

test('each sync keeps os and arch, and the address hint of a cloud', (t) => {
  t.is(requiredMetadata(existing(defaults), nodeSettings()), undefined);
  t.deepEqual(requiredMetadata(existing({ 'kubernetes.io/os': 'windows' }), nodeSettings()), {
    labels: { 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'amd64' },
  });
  const stale = existing(defaults, { [provided]: '192.0.2.7' });
  t.deepEqual(requiredMetadata(stale, nodeSettings()), { annotations: { [provided]: null } });
});

test('what checkNodeLabel lets through, NodeRestriction lets through', async (t) => {
  for (const key of ['disk', 'kubernetes.io/hostname', 'topology.kubernetes.io/region', 'x.node.kubernetes.io/y']) {
    t.deepEqual(checkNodeLabel(key, 'v'), []);
    const api = new FakeNodeApi(new FakeClock(), 'node-a');
    const node = initialNode(nodeSettings({ nodeLabels: new Map([[key, 'v']]) }), {});
    await t.notThrowsAsync(api.createNode(node, new AbortController().signal), key);
  }
  for (const key of ['node-restriction.kubernetes.io/x', 'node-role.kubernetes.io/worker']) {
    t.not(checkNodeLabel(key, 'v').length, 0);
    const api = new FakeNodeApi(new FakeClock(), 'node-a');
    const node = initialNode(nodeSettings({ nodeLabels: new Map([[key, 'v']]) }), {});
    await t.throwsAsync(api.createNode(node, new AbortController().signal), { code: 'API_FORBIDDEN' }, key);
  }
});
