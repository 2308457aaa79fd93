import test from 'ava';
import fc from 'fast-check';
import { flannelAnnotation, flannelAnnotations, flannelFault, isSameFlannel, parseFlannel } from './flannel.ts';
import type { PeerNode } from './peer.ts';
import { PeerPlan } from './peer-plan.ts';
import { PeerTable } from './peer-table.ts';
import { vtepMac } from './vtep.ts';

const mac = '6a:01:02:03:04:05';
/** As flannel 0.25 writes them. */
const written = {
  'flannel.alpha.coreos.com/backend-data': `{"VNI":1,"VtepMAC":"${mac}"}`,
  'flannel.alpha.coreos.com/backend-type': 'vxlan',
  'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
  'flannel.alpha.coreos.com/public-ip': '192.0.2.12',
  'kubeadm.alpha.kubernetes.io/cri-socket': 'unix:///run/containerd/containerd.sock',
};

test('what flannel writes', (t) => {
  t.deepEqual(parseFlannel(written), {
    backendType: 'vxlan',
    vni: 1,
    mac,
    publicIP: '192.0.2.12',
    isOverwritten: false,
  });
  t.like(parseFlannel({ ...written, [flannelAnnotation.backendData]: '{"VtepMAC":"6A:01:02:03:04:05"}' }), {
    vni: 1,
    mac,
  });
  t.like(parseFlannel({ ...written, [flannelAnnotation.publicIPOverwrite]: '203.0.113.1' }), {
    publicIP: '203.0.113.1',
  });
  t.deepEqual(
    parseFlannel({
      [flannelAnnotation.managed]: 'true',
      [flannelAnnotation.backendType]: 'host-gw',
      [flannelAnnotation.backendData]: 'null',
    }),
    { backendType: 'host-gw', vni: undefined, mac: undefined, publicIP: undefined, isOverwritten: false },
  );
  for (const none of [undefined, {}, { ...written, [flannelAnnotation.managed]: 'false' }])
    t.is(parseFlannel(none), undefined);
});

test('anything at all in the annotations is read without harm', (t) => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.constantFrom(
      '{"VtepMAC":"ff:ff:ff:ff:ff:ff"}',
      '{"VtepMAC":"01:00:5e:00:00:01"}',
      '{"VNI":1e9,"VtepMAC":7}',
      '[1]',
    ),
  );
  fc.assert(
    fc.property(text, text, text, (data, type, ip) => {
      const found = parseFlannel({
        [flannelAnnotation.managed]: 'true',
        [flannelAnnotation.backendData]: data,
        [flannelAnnotation.backendType]: type,
        [flannelAnnotation.publicIP]: ip,
      });
      if (found?.mac !== undefined) t.regex(found.mac, /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/);
      t.true((found?.backendType.length ?? 0) <= 32);
    }),
  );
});

test('what we write, flannel’s nodes and ours read back', (t) => {
  const own = { backend: 'vxlan', vni: 1, mac, address: '192.0.2.11' } as const;
  const annotations = flannelAnnotations(own);
  t.is(annotations?.[flannelAnnotation.backendData], written['flannel.alpha.coreos.com/backend-data']);
  const read = parseFlannel(annotations);
  t.true(isSameFlannel(read, { backendType: 'vxlan', vni: 1, mac, publicIP: '192.0.2.11', isOverwritten: false }));
  t.is(read && flannelFault(read, { family: 4, backend: 'vxlan', vni: 1 }), undefined);
  t.like(flannelAnnotations({ ...own, backend: 'host-gw' }), { [flannelAnnotation.backendData]: 'null' });
  t.is(flannelAnnotations({ ...own, backend: 'alloc' }), undefined);
});

test('a node that goes another way is named with the difference', (t) => {
  const node = { backendType: 'vxlan', vni: 1, mac, publicIP: undefined, isOverwritten: false };
  const ours = { family: 4 as const, backend: 'vxlan', vni: 1 } as const;
  t.regex(flannelFault({ ...node, backendType: 'wireguard' }, ours) ?? '', /says backend-type "wireguard".*has vxlan/);
  t.regex(flannelFault({ ...node, backendType: 'host-gw' }, ours) ?? '', /host-gw/);
  t.regex(flannelFault(node, { ...ours, backend: 'host-gw' }) ?? '', /"vxlan".*has host-gw/);
  t.regex(flannelFault({ ...node, vni: 4096 }, ours) ?? '', /VNI 4096, this node has 1/);
  t.regex(flannelFault({ ...node, mac: undefined }, ours) ?? '', /MAC address/);
  t.regex(flannelFault({ ...node, publicIP: '::1' }, ours) ?? '', /public-ip "::1" is no address/);
  t.is(flannelFault({ ...node, backendType: 'wireguard' }, { family: 4, backend: 'alloc', vni: 1 }), undefined);
});

const own = { name: 'own', podCIDRs: ['10.244.0.0/24'], address: '192.0.2.10' };
const peer = (name: string, number: number, more: Partial<PeerNode> = {}): PeerNode => ({
  name,
  createdAt: `2026-01-01T00:00:${10 + number}Z`,
  podCIDR: `10.244.${number}.0/24`,
  address: `192.0.2.${10 + number}`,
  ...more,
});
const flannel = (vtep: string): Partial<PeerNode> => ({
  flannel: { backendType: 'vxlan', vni: 1, mac: vtep, publicIP: undefined, isOverwritten: false },
});

test('nobody takes another one’s VXLAN address: the older has it, this node’s is its own', (t) => {
  const table = new PeerTable(own);
  const refusal = (name: string): string | undefined => {
    const judged = table.judge(name);
    return judged !== undefined && 'refused' in judged ? judged.refused : undefined;
  };
  table.apply({ type: 'set', peer: peer('a', 1, flannel(mac)) });
  t.deepEqual([...table.apply({ type: 'set', peer: peer('b', 2, flannel(mac)) })].sort(), ['a', 'b']);
  t.is(refusal('a'), undefined);
  t.regex(refusal('b') ?? '', /6a:01.* is that of node a, which is older/);
  // One of ours without annotations has the address that follows from its name.
  table.apply({ type: 'set', peer: peer('c', 3) });
  table.apply({ type: 'set', peer: peer('d', 4, flannel(vtepMac('c'))) });
  t.regex(refusal('d') ?? '', /is that of node c/);
  table.apply({ type: 'set', peer: peer('e', 5, flannel(vtepMac('own'))) });
  t.regex(refusal('e') ?? '', /is that of this node/);
  t.deepEqual([...table.apply({ type: 'deleted', name: 'a' })].sort(), ['a', 'b']);
  t.is(refusal('b'), undefined);
  // The older one is refused for something else: what it claims is in nobody's way.
  table.apply({ type: 'set', peer: peer('a', 1, { ...flannel(mac), podCIDR: '10.244.0.0/24' }) });
  t.is(refusal('b'), undefined);
});

test('in the kernel: flannel’s MAC and address instead of ours', (t) => {
  const table = new PeerTable(own);
  table.apply({
    type: 'set',
    peer: peer('a', 1, {
      flannel: { backendType: 'vxlan', vni: 1, mac, publicIP: '203.0.113.9', isOverwritten: false },
    }),
  });
  const plan = new PeerPlan(table, { family: 4, backend: 'vxlan', directRouting: false, vni: 1 });
  const host = {
    conflict: () => undefined,
    neighbourLink: () => 2,
    hasAddress: () => false,
    knows: () => false,
    uplinks: new Set<number>(),
  };
  plan.setHost(host, { ifindex: 7, local: '192.0.2.10' });
  t.deepEqual(plan.decide('a').entries, [
    { kind: 'forwarding', ifindex: 7, mac, ip: '203.0.113.9' },
    { kind: 'neighbour', ifindex: 7, ip: '10.244.1.0', mac },
    { kind: 'route', destination: '10.244.1.0/24', gateway: '10.244.1.0', ifindex: 7, onlink: true },
  ]);
  const other = new PeerPlan(table, { family: 4, backend: 'vxlan', directRouting: false, vni: 2 });
  other.setHost(host, { ifindex: 7, local: '192.0.2.10' });
  t.like(other.decide('a'), { entries: [], way: 'none', reason: 'it has VNI 1, this node has 2' });
});
