/** A RuntimeClass of the API server decides which handler of the runtime a pod gets. Layer: test (integration, root). */
import test from 'ava';
import { type ApiObject, type PodsOfNamespace, podsOfNamespace } from '../support/cluster-namespace.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { podManifest } from '../support/daemon.ts';

let cluster: ClusterNode;
let pods: PodsOfNamespace;
const namespace = 'classes';
test.before(async () => {
  cluster = await startClusterNode({ images: ['pause', 'busybox'] });
  await cluster.waitForReady();
  pods = await podsOfNamespace(cluster, namespace);
});
test.after.always(async () => {
  pods?.close();
  await cluster?.end();
});

test.serial('a class of the runtime, and one that names no handler of it', async (t) => {
  for (const [name, handler] of [
    ['usual', 'runc'],
    ['absent', 'no-such-handler'],
  ] as const) {
    await cluster.cluster.apply({ apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata: { name }, handler });
    await cluster.cluster.apply(podManifest(name, { runtimeClassName: name }, { namespace }));
  }
  await pods.waitForReady('usual');
  await cluster.waitFor(
    'an event names the handler',
    `/api/v1/namespaces/${namespace}/events?fieldSelector=involvedObject.name%3Dabsent`,
    ({ items }) =>
      items.some(
        ({ reason, message }: ApiObject) => reason === 'FailedCreatePodSandBox' && message.includes('no-such-handler'),
      ) || undefined,
  );
  t.is((await pods.get('absent'))?.status.phase, 'Pending');
});
