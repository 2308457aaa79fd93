/**
 * Claims on a real control plane: the controller manager binds them, the node mounts what they are bound to. hostPath and
 * local PersistentVolumes, generic ephemeral volumes, disks; what is missing or wrong is told in events; nothing of a pod
 * stays mounted, and its data does.
 * Layer: test (integration, root). One cluster and one node, the tests run in order.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { stringify } from 'yaml';
import { type ApiObject, type PodsOfNamespace, podsOfNamespace } from '../support/cluster-namespace.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { container, type Manifest, podManifest, sleeper } from '../support/daemon.ts';
import { eventually } from '../support/exec.ts';
import { mountsBelow } from '../support/scrub.ts';

let cluster: ClusterNode;
let pods: PodsOfNamespace;
let mountsBefore: string[];

const namespace = 'store';
const kubectl = (...args: string[]): Promise<string> => cluster.cluster.kubectl('-n', namespace, ...args);
const apply = (...documents: Manifest[]): Promise<void> => cluster.cluster.apply(...documents);

/** Alpha in 1.20, on everywhere since 1.21. */
const gates = '--feature-gates=GenericEphemeralVolume=true';

/** With a server that the API server may ask. */
const start = (): Promise<void> =>
  cluster.start({
    config: stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      authentication: { x509: { clientCAFile: cluster.cluster.caFile } },
    }),
  });

test.before(async () => {
  const flags = { apiServer: [gates], controllerManager: [gates], scheduler: [gates] };
  cluster = await startClusterNode({ images: ['pause', 'busybox'], controlPlane: { flags } });
  await cluster.keelson.stop();
  await start();
  await cluster.waitForReady();
  pods = await podsOfNamespace(cluster, namespace);
  mountsBefore = await nodeMounts();
});
test.afterEach.always(async () => {
  // A failed test's pods must not stand in the way of the next.
  await kubectl('delete', 'pod,pvc', '--all', '--wait=false', '--ignore-not-found');
  await pods.waitForNone();
  await cluster.cluster.kubectl('delete', 'pv', '--all', '--ignore-not-found');
});
test.after.always(async () => {
  pods?.close();
  await cluster?.end();
});

const nodeMounts = async (): Promise<string[]> => mountsBelow(cluster.node.dirs.root);
const directory = (name: string): string => {
  const path = join(cluster.node.run.path, name);
  mkdirSync(path, { recursive: true });
  return path;
};

/** A PersistentVolume for the claim of that name alone. */
const volume = (name: string, source: Manifest, more: Manifest = {}): Manifest => ({
  apiVersion: 'v1',
  kind: 'PersistentVolume',
  metadata: { name: `pv-${name}` },
  spec: {
    capacity: { storage: '1Gi' },
    accessModes: ['ReadWriteOnce'],
    persistentVolumeReclaimPolicy: 'Retain',
    storageClassName: '',
    claimRef: { namespace, name },
    ...source,
    ...more,
  },
});
const onNode = (hostname = cluster.nodeName): Manifest => ({
  nodeAffinity: {
    required: {
      nodeSelectorTerms: [
        { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [hostname] }] },
      ],
    },
  },
});
const claim = (name: string, more: Manifest = {}): Manifest => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name, namespace },
  spec: {
    accessModes: ['ReadWriteOnce'],
    storageClassName: '',
    resources: { requests: { storage: '1Gi' } },
    ...more,
  },
});
/** Sleeps with the claim at /data. */
const user = (name: string, claimName: string, spec: Manifest = {}, readOnly = false): Manifest =>
  podManifest(
    name,
    {
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName, readOnly } }],
      containers: [container('main', sleeper, { volumeMounts: [{ name: 'data', mountPath: '/data' }] })],
      ...spec,
    },
    { namespace },
  );

async function bound(name: string): Promise<void> {
  await cluster.waitFor(
    `claim ${name} is bound`,
    `/api/v1/namespaces/${namespace}/persistentvolumeclaims/${name}`,
    ({ status }) => status?.phase === 'Bound' || undefined,
  );
}

/** CAP_SYS_RESOURCE, which some containers lack: the kernel wants it of whoever grows an ext4 that is mounted. */
function mayGrowExt4(): boolean {
  const [, effective = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return ((BigInt(`0x${effective}`) >> 24n) & 1n) === 1n;
}

/** Until an event FailedMount of the pod matches. */
const failedMount = (pod: string, expected: RegExp): Promise<void> => eventOf(pod, 'FailedMount', expected);

async function eventOf(pod: string, wanted: string, expected: RegExp): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}/events?fieldSelector=involvedObject.name%3D${pod}`;
  await cluster.waitFor(
    `pod ${pod}: event ${wanted} ${expected}`,
    path,
    ({ items }) =>
      items.some(({ reason, message }: ApiObject) => reason === wanted && expected.test(message)) || undefined,
  );
}

async function gone(t: ExecutionContext, ...names: string[]): Promise<void> {
  await kubectl('delete', 'pod', ...names);
  t.deepEqual(await nodeMounts(), mountsBefore);
}

test.serial('hostPath: what one pod writes the next one reads, and it outlives both', async (t) => {
  const path = directory('host-data');
  chownSync(path, 0, 4322);
  chmodSync(path, 0o770);
  const metadata = { name: 'pv-host', annotations: { 'pv.beta.kubernetes.io/gid': '4322' } };
  await apply({ ...volume('host', { hostPath: { path } }), metadata }, claim('host'));
  await bound('host');
  await apply(user('writer', 'host', { securityContext: { runAsUser: 1000, runAsGroup: 1000 } }));
  const writer = await pods.waitForReady('writer');
  t.is(await pods.output(writer, 'id -G'), '1000 4322', 'the group that the volume names');
  await pods.output(writer, 'echo kept > /data/x');
  await apply(user('reader', 'host', {}, true));
  const reader = await pods.waitForReady('reader');
  t.is(await pods.output(reader, 'cat /data/x'), 'kept');
  t.not((await pods.exec(reader, 'echo no > /data/y')).code, 0, 'the claim is read-only');
  await gone(t, 'writer', 'reader');
  t.is(readFileSync(join(path, 'x'), 'utf8'), 'kept\n');
});

test.serial('local directory: shared by pods, fsGroup, found again after kill -9, gone with the pods', async (t) => {
  const path = directory('local-data');
  await apply(volume('local', { local: { path } }, onNode()), claim('local'));
  await bound('local');
  await apply(user('a', 'local', { securityContext: { fsGroup: 4321, runAsUser: 1000 } }));
  const a = await pods.waitForReady('a');
  await pods.output(a, 'echo from-a > /data/x');
  t.is(statSync(path).gid, 4321);
  await apply(user('b', 'local', { securityContext: { fsGroup: 4321 } }));
  const b = await pods.waitForReady('b');
  t.is(await pods.output(b, 'cat /data/x'), 'from-a');
  t.is((await nodeMounts()).filter((target) => target.includes('kubernetes.io~local-volume/pv-local')).length, 2);

  await cluster.keelson.kill9();
  await start();
  await cluster.waitForReady();
  // One goes while the successor knows it from the API server alone, the other runs on.
  await kubectl('delete', 'pod', 'a');
  t.is(await pods.output(b, 'cat /data/x'), 'from-a');
  t.is((await pods.get('b'))?.status.containerStatuses[0].restartCount, 0);
  t.is((await nodeMounts()).filter((target) => target.includes('kubernetes.io~local-volume/pv-local')).length, 1);
  await gone(t, 'b');
  t.is(readFileSync(join(path, 'x'), 'utf8'), 'from-a\n');
});

test.serial('a pod that was deleted while no daemon ran is unmounted by the next one', async (t) => {
  const path = directory('orphaned');
  await apply(volume('orphan', { local: { path } }, onNode()), claim('orphan'));
  await bound('orphan');
  await apply(user('orphan', 'orphan'));
  await pods.waitForReady('orphan');
  await cluster.keelson.kill9();
  await kubectl('delete', 'pod', 'orphan', '--grace-period=0', '--force');
  t.true((await nodeMounts()).length > mountsBefore.length, 'nothing is taken away behind its back');
  await start();
  await eventually(
    'the pod of before is unmounted',
    async () => (await nodeMounts()).length === mountsBefore.length || undefined,
    60_000,
  );
  t.true(existsSync(path));
});

test.serial('the figures of a claim are in /stats/summary and /metrics', async (t) => {
  const path = directory('measured');
  await apply(volume('measured', { local: { path } }, onNode()), claim('measured'));
  await bound('measured');
  await apply(user('measured', 'measured'));
  await pods.waitForReady('measured');
  const proxy = `/api/v1/nodes/${cluster.nodeName}/proxy`;
  const figures = await cluster.waitFor('the summary has the volume', `${proxy}/stats/summary`, (summary) => {
    const found = summary.pods.find(({ podRef }: ApiObject) => podRef.name === 'measured');
    return found?.volume?.find(({ name }: ApiObject) => name === 'data');
  });
  t.deepEqual(figures.pvcRef, { name: 'measured', namespace });
  t.true(figures.capacityBytes > figures.availableBytes && figures.usedBytes > 0 && figures.inodes > 0);
  const metrics = await cluster.cluster.kubectl('get', '--raw', `${proxy}/metrics`);
  const labels = `{namespace="${namespace}",persistentvolumeclaim="measured"}`;
  t.true(metrics.includes(`kubelet_volume_stats_capacity_bytes${labels} ${figures.capacityBytes}\n`));
  t.true(metrics.includes(`kubelet_volume_stats_inodes_used${labels} `));
});

test.serial('a local disk: formatted for files and grown with its claim, and another one as a device', async (t) => {
  const disk = (name: string): string => {
    const file = join(directory('disks'), name);
    writeFileSync(file, '');
    execFileSync('truncate', ['-s', '32M', file]);
    const device = execFileSync('losetup', ['--find', '--show', file], { encoding: 'utf8' }).trim();
    t.teardown(() => execFileSync('losetup', ['--detach', device]));
    return device;
  };
  const [files, raw] = [disk('files'), disk('raw')];
  await apply(
    volume('files', { local: { path: files, fsType: 'ext4' } }, onNode()),
    claim('files'),
    volume('raw', { local: { path: raw } }, { volumeMode: 'Block', ...onNode() }),
    claim('raw', { volumeMode: 'Block' }),
  );
  await Promise.all([bound('files'), bound('raw')]);
  const main = container('main', sleeper, {
    volumeMounts: [{ name: 'files', mountPath: '/files' }],
    volumeDevices: [{ name: 'raw', devicePath: '/dev/raw' }],
  });
  const volumes = ['files', 'raw'].map((name) => ({ name, persistentVolumeClaim: { claimName: name } }));
  await apply(podManifest('disks', { volumes, containers: [main] }, { namespace }));
  const pod = await pods.waitForReady('disks');
  t.is(await pods.output(pod, 'awk \'$2 == "/files" { print $3 }\' /proc/mounts'), 'ext4');
  await pods.output(pod, 'echo hello | dd of=/dev/raw bs=512 count=1 conv=sync 2>/dev/null');

  const blocks = async (): Promise<number> =>
    Number(await pods.output(pod, "df -k /files | awk 'NR == 2 { print $2 }'"));
  const before = await blocks();
  execFileSync('truncate', ['-s', '96M', join(directory('disks'), 'files')]);
  execFileSync('losetup', ['--set-capacity', files]);
  const spec = { capacity: { storage: '2Gi' } };
  await cluster.cluster.kubectl('patch', 'pv', 'pv-files', '-p', JSON.stringify({ spec }));
  // A claim is read again within a minute; a daemon that starts reads it at once.
  await cluster.keelson.kill9();
  await start();
  await cluster.waitForReady();
  if (mayGrowExt4()) {
    const path = `/api/v1/namespaces/${namespace}/persistentvolumeclaims/files`;
    await cluster.waitFor('the claim knows', path, ({ status }) => status.capacity.storage === '2Gi' || undefined);
    t.true((await blocks()) > 2 * before);
  } else {
    await eventOf('disks', 'VolumeResizeFailed', /resize2fs \/dev\/loop\d+: exit status 1: .*Permission denied/);
    t.is(await blocks(), before);
  }
  t.is((await pods.get('disks'))?.status.containerStatuses[0].restartCount, 0);
  await gone(t, 'disks');
  t.is(readFileSync(raw).subarray(0, 5).toString(), 'hello');
  await apply(
    podManifest(
      'wrong',
      { volumes, containers: [{ ...main, volumeDevices: [], volumeMounts: [{ name: 'raw', mountPath: '/raw' }] }] },
      { namespace },
    ),
  );
  await failedMount('wrong', /volume raw has volumeMode Block, but is specified in volumeMounts/);
});

test.serial('a generic ephemeral volume has a claim of its own, which goes with the pod', async (t) => {
  const path = directory('ephemeral');
  await apply(volume('own-scratch', { hostPath: { path } }));
  const spec = { accessModes: ['ReadWriteOnce'], storageClassName: '', resources: { requests: { storage: '1Gi' } } };
  await apply(
    podManifest(
      'own',
      {
        volumes: [{ name: 'scratch', ephemeral: { volumeClaimTemplate: { spec } } }],
        containers: [container('main', sleeper, { volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }] })],
      },
      { namespace },
    ),
  );
  await pods.output(await pods.waitForReady('own'), 'echo x > /scratch/x');
  t.is(readFileSync(join(path, 'x'), 'utf8'), 'x\n');
  await gone(t, 'own');
  await eventually('the claim is gone', async () => (await kubectl('get', 'pvc', '-o', 'name')) === '' || undefined);

  // Somebody else's claim of that name is not taken for it.
  await apply(volume('own2-scratch', { hostPath: { path } }), claim('own2-scratch'));
  await bound('own2-scratch');
  await apply(
    podManifest(
      'own2',
      {
        nodeName: cluster.nodeName,
        volumes: [{ name: 'scratch', ephemeral: { volumeClaimTemplate: { spec } } }],
        containers: [container('main', sleeper, { volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }] })],
      },
      { namespace },
    ),
  );
  await failedMount('own2', /was not created for pod store\/own2 \(pod is not owner\)/);
});

test.serial('a claim that is missing, then unbound, then bound: the pod waits and starts', async (t) => {
  // Past the scheduler, which would hold it back.
  await apply(user('late', 'late', { nodeName: cluster.nodeName }));
  await failedMount('late', /error processing PVC store\/late: failed to fetch PVC from API server: /);
  await apply(claim('late'));
  await failedMount('late', /error processing PVC store\/late: PVC is not bound/);
  await apply(volume('late', { hostPath: { path: directory('late') } }));
  await pods.waitForReady('late');
  await gone(t, 'late');
});

test.serial('what cannot be mounted is told, and the pod can be deleted at once', async (t) => {
  const server = '127.0.0.1';
  const options = ['nfsvers=4.2', 'retry=0', 'soft', 'timeo=10'];
  await apply(
    volume('elsewhere', { local: { path: directory('elsewhere') } }, onNode('another-node')),
    claim('elsewhere'),
    volume('nowhere', { local: { path: '/no/such/place' } }, onNode()),
    claim('nowhere'),
    volume('iscsi', { iscsi: { targetPortal: '10.0.0.1', iqn: 'iqn.2026-01.com.example:x', lun: 0 } }),
    claim('iscsi'),
    volume('nfs', { nfs: { server, path: '/exports-nothing' } }, { mountOptions: options }),
    claim('nfs'),
    volume('narrow', { hostPath: { path: '/tmp' } }),
    claim('narrow', { accessModes: ['ReadWriteMany'] }),
  );
  for (const name of ['elsewhere', 'nowhere', 'iscsi', 'nfs']) await bound(name);
  const expected: Record<string, RegExp> = {
    elsewhere: /MountVolume.NodeAffinity check failed for volume "pv-elsewhere" : no matching NodeSelectorTerms/,
    nowhere: /path "\/no\/such\/place" does not exist/,
    iscsi: /"pv-iscsi" is of the type iscsi.*use the CSI driver iscsi.csi.k8s.io/,
    nfs: /MountVolume.SetUp failed for volume "pv-nfs" : mount -t nfs/,
    narrow: /PVC is not bound/,
  };
  const names = Object.keys(expected);
  await apply(...names.map((name) => user(name, name, { nodeName: cluster.nodeName })));
  await Promise.all(Object.entries(expected).map(([name, words]) => failedMount(name, words)));
  const inline = user('inline', '', {
    nodeName: cluster.nodeName,
    volumes: [{ name: 'data', iscsi: { targetPortal: '10.0.0.1', iqn: 'iqn.2026-01.com.example:x', lun: 0 } }],
  });
  await apply(inline);
  await failedMount('inline', /volume "data" is of the type iscsi.*use the CSI driver iscsi.csi.k8s.io/);
  t.is((await pods.get('inline'))?.status.phase, 'Pending', 'a failed pod would be made again and again');
  const waiting = await pods.get('nfs');
  t.is(waiting?.status.containerStatuses[0].state.waiting.reason, 'ContainerCreating');
  await gone(t, ...names, 'inline');
});
