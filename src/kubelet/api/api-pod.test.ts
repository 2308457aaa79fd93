/** Pods of the API server as the kubelet takes them in. */
import test from 'ava';
import { ObjectShapeError } from '../../api/raw-object.ts';
import { readApiPod } from './api-pod.ts';

const metadata = { name: 'web', namespace: 'default', uid: 'u1' };
const spec = { nodeName: 'n1', containers: [{ name: 'c', image: 'busybox' }] };

test('a pod cannot pretend to come from a file of this node', (t) => {
  const annotations = {
    'kubernetes.io/config.source': 'file',
    'kubernetes.io/config.hash': 'x',
    'keelson.dev/config.file': '/etc/kubernetes/manifests/etcd.yaml',
    mine: '1',
  };
  const { pod } = readApiPod({ metadata: { ...metadata, annotations }, spec });
  t.deepEqual(pod.metadata.annotations, { 'kubernetes.io/config.source': 'api', mine: '1' });
});

test('a spec that cannot be read names its field, and the pod can still be refused and deleted', (t) => {
  const raw = { metadata: { ...metadata, deletionTimestamp: 'x' }, spec: { ...spec, dnsPolicy: 'Mesh' } };
  const { pod, askedFor } = readApiPod(raw);
  t.is(pod.metadata.deletionTimestamp, 'x');
  t.deepEqual(pod.spec.containers, []);
  t.regex(askedFor.unsupported[0] ?? '', /^spec\.dnsPolicy .*"Mesh"/);
});

test('without an identity there is no pod', (t) => {
  t.throws(() => readApiPod({ metadata: { ...metadata, uid: '../x' }, spec }), { instanceOf: ObjectShapeError });
  t.throws(() => readApiPod(null), { instanceOf: ObjectShapeError });
});
