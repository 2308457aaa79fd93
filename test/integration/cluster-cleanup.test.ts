/**
 * `keelson cleanup` on a node that was in a cluster: pods of the API server and static ones go with all that they had, and
 * nothing else; also after a cleanup without a runtime, which says what stays.
 * Layer: test (integration, root). One node, the tests run in order.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { stringify } from 'yaml';
import { connectRuntime, type RuntimeConnection } from '../../src/cri/connect.ts';
import { busyboxImage } from '../images/build.ts';
import { type Census, census, censusDifference } from '../support/census.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { type ClusterPods, clusterPods } from '../support/cluster-pods.ts';
import { container, podManifest, sleeper } from '../support/daemon.ts';
import { type ExecResult, eventually, execResult } from '../support/exec.ts';
import { keelsonBinary } from '../support/keelson.ts';
import { createTestNode } from '../support/node.ts';

const staticPodPath = mkdtempSync(join(tmpdir(), 'keelson-cleanup-'));
const config = JSON.stringify({
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  staticPodPath,
});

let on: ClusterNode;
let pods: ClusterPods;
let cri: RuntimeConnection;
let before: Census;

test.before(async () => {
  on = await startClusterNode({ images: ['pause', 'busybox'], keelson: { config } });
  pods = clusterPods(on);
  cri = await connectRuntime(on.node.containerd.endpoint);
  await on.waitForReady();
});
test.after.always(async () => {
  cri?.close();
  await on?.end();
  rmSync(staticPodPath, { recursive: true, force: true });
});

const cleanup = (): Promise<ExecResult> => {
  const { dirs, containerd, netns } = on.node;
  return execResult(
    keelsonBinary,
    [
      ...['cleanup', '--container-runtime-endpoint', containerd.endpoint, '--root-dir', dirs.root],
      ...['--run-dir', dirs.run, '--pod-log-dir', dirs.podLogs],
      ...['--cni-conf-dir', containerd.cniConfDir, '--cni-bin-dir', containerd.cniBinDir],
    ],
    { netns },
  );
};

const withVolumes = {
  containers: [
    container('main', undefined, {
      volumeMounts: [
        { name: 'memory', mountPath: '/memory' },
        { name: 'disk', mountPath: '/disk' },
        { name: 'self', mountPath: '/self' },
      ],
    }),
  ],
  volumes: [
    { name: 'memory', emptyDir: { medium: 'Memory' } },
    { name: 'disk', emptyDir: {} },
    { name: 'self', downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
  ],
};

async function startPods(): Promise<void> {
  writeFileSync(join(staticPodPath, 'fixed.yaml'), stringify(podManifest('fixed', {}, { namespace: 'kube-system' })));
  await pods.createPod('web', withVolumes);
  await pods.createPod('host', { hostNetwork: true });
  await pods.waitForReady('web', 'host');
  await on.waitFor(
    'the static pod',
    `/api/v1/namespaces/kube-system/pods/fixed-${on.nodeName}`,
    ({ status }) => status?.phase === 'Running' || undefined,
  );
}

/** As a stock kubelet makes one, of a pod of the API server. */
async function foreignPod(name: string): Promise<string> {
  const labels = {
    'io.kubernetes.pod.name': name,
    'io.kubernetes.pod.namespace': 'foreign',
    'io.kubernetes.pod.uid': `uid-${name}`,
  };
  const sandbox = {
    metadata: { name, namespace: 'foreign', uid: `uid-${name}`, attempt: 0 },
    labels,
    annotations: { 'kubernetes.io/config.source': 'api' },
    linux: {
      cgroupParent: `/kt-${on.node.run.id}/pod${name}`,
      securityContext: { namespaceOptions: { network: 'NODE' } },
    },
  } as const;
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config: sandbox });
  const { containerId } = await cri.runtime.createContainer({
    podSandboxId,
    config: { metadata: { name: 'main', attempt: 0 }, image: { image: busyboxImage }, command: [...sleeper], labels },
    sandboxConfig: sandbox,
  });
  await cri.runtime.startContainer({ containerId });
  return podSandboxId;
}

const sandboxNames = async (): Promise<(string | undefined)[]> =>
  (await cri.runtime.listPodSandbox({})).items.map(({ metadata }) => metadata?.name).sort();

test.serial('it refuses while the daemon runs', async (t) => {
  // Of a node that never had a pod, but for what the daemon itself has made.
  before = await census(on.node);
  await startPods();
  const { code, stderr } = await cleanup();
  t.is(code, 1);
  t.regex(stderr, /DAEMON_RUNNING/);
  t.true((await sandboxNames()).length >= 3);
});

test.serial('without a runtime: containers keep their volumes, and it is said what stays', async (t) => {
  await on.keelson.stop();
  await on.node.containerd.kill();
  const { code, stdout, stderr } = await cleanup();
  t.is(code, 1);
  t.regex(stderr, /not removed: pods: .*containerd\.sock.*start it and run keelson cleanup again/);
  t.regex(stderr, /not removed: volumes: pod directory \S+: a container still runs with these volumes \(start the/);
  t.regex(stdout, /^removed link keelson-vxlan$/m);
  t.true(readdirSync(join(on.node.dirs.root, 'pods')).length >= 3);
  await on.node.containerd.start();
  const web = (await cri.runtime.listContainers({})).containers.find(
    ({ labels }) => labels['io.kubernetes.pod.name'] === 'web',
  );
  const { stdout: name } = await cri.runtime.execSync({
    containerId: web?.id ?? '',
    cmd: ['cat', '/self/name'],
    timeout: 30,
  });
  t.is(new TextDecoder().decode(name), 'web');
});

test.serial('with one: every pod of the node goes, with all that it had; a stock kubelet’s stays', async (t) => {
  const foreign = await foreignPod('stock');
  const { code, stdout, stderr } = await cleanup();
  t.is(code, 0, stderr);
  for (const pod of ['default/web', 'default/host', `kube-system/fixed-${on.nodeName}`])
    t.regex(stdout, new RegExp(`^removed pod ${pod} \\(sandbox \\w+\\)$`, 'm'));
  t.is(stdout.match(/^removed pod directory /gm)?.length, 3);
  t.deepEqual(await sandboxNames(), ['stock']);
  await cri.runtime.stopPodSandbox({ podSandboxId: foreign });
  await cri.runtime.removePodSandbox({ podSandboxId: foreign });

  const again = await cleanup();
  t.deepEqual([again.code, again.stdout, again.stderr], [0, 'Nothing of Keelson is left here.\n', '']);
  const left = async (): Promise<string[]> =>
    // What the daemon had made before the first pod is gone as well.
    censusDifference(before, await census(on.node)).filter((line) => /^\w+: \+/.test(line) && !/\/kt-/.test(line));
  await eventually('nothing is left', async () => (await left()).length === 0, 10_000).catch(() => undefined);
  t.deepEqual(await left(), []);
  t.false(existsSync(on.node.dirs.root));
  t.false(existsSync(on.node.dirs.run));
});

test.serial('after it the node joins again, and its pods come back', async (t) => {
  mkdirSync(staticPodPath, { recursive: true });
  await on.start();
  await on.waitForReady();
  await pods.createPod('later');
  await pods.waitForReady('later');
  t.is(await on.keelson.stop(), 0);
  t.is((await cleanup()).code, 0);
  t.deepEqual(await sandboxNames(), []);
});

test.serial('a node that never ran: there is nothing to do', async (t) => {
  const other = await createTestNode({ images: ['pause'] });
  try {
    const { dirs, containerd, netns } = other;
    const args = ['cleanup', '--container-runtime-endpoint', containerd.endpoint, '--root-dir', dirs.root];
    const { stdout } = await execResult(
      keelsonBinary,
      [...args, '--run-dir', dirs.run, '--pod-log-dir', dirs.podLogs, '--cni-conf-dir', containerd.cniConfDir],
      { netns },
    );
    t.is(stdout, 'Nothing of Keelson is left here.\n');
  } finally {
    await other.stop();
  }
});
