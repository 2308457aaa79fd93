/**
 * `kubectl logs` through a real API server, with each of its options, against containers that talk, end, restart and are
 * rotated. Layer: test (integration, root). One cluster and one node, the tests run in order.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { stringify } from 'yaml';
import { type ApiObject, type PodsOfNamespace, podsOfNamespace } from '../support/cluster-namespace.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { container, type Manifest, podManifest } from '../support/daemon.ts';
import { type ExecResult, eventually } from '../support/exec.ts';

let cluster: ClusterNode;
let pods: PodsOfNamespace;
const namespace = 'talk';

test.before(async () => {
  cluster = await startClusterNode();
  await cluster.waitForReady();
  // The authority of the API server's own certificate is known by now.
  await cluster.keelson.stop();
  const config = stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: cluster.cluster.caFile } },
    containerLogMaxSize: '40Ki',
    containerLogMaxFiles: 3,
    containerLogMonitorInterval: '3s',
  });
  await cluster.start({ config });
  await cluster.waitForReady();
  pods = await podsOfNamespace(cluster, namespace);
});
test.after.always(async () => {
  await cluster?.cluster.kubectl('-n', namespace, 'delete', 'pod', '--all', '--grace-period=1');
  await pods?.waitForNone();
  pods?.close();
  await cluster?.end();
});

const shell = (name: string, script: string, more: Manifest = {}): Manifest =>
  container(name, ['sh', '-c', script], more);

const apply = (name: string, spec: Manifest): Promise<void> =>
  cluster.cluster.apply(podManifest(name, { terminationGracePeriodSeconds: 1, ...spec }, { namespace }));

const result = (...args: string[]): Promise<ExecResult> =>
  cluster.cluster.kubectlResult(['-n', namespace, 'logs', ...args]);
const logs = (...args: string[]): Promise<string> => cluster.cluster.kubectl('-n', namespace, 'logs', ...args);

const statusOf = (pod: ApiObject, name = 'main'): ApiObject =>
  pod.status?.containerStatuses?.find((status: ApiObject) => status.name === name);

/** Files of the pod's logs that the daemon has open. */
const openLogs = (): string[] => {
  const fds = `/proc/${cluster.keelson.pid}/fd`;
  return readdirSync(fds).flatMap((fd) => {
    try {
      const target = readlinkSync(join(fds, fd));
      return target.startsWith(cluster.node.dirs.podLogs) ? [target] : [];
    } catch {
      return [];
    }
  });
};

test.serial('all of a log, its end, since a time, with times, of each container', async (t) => {
  await apply('several', {
    initContainers: [shell('setup', 'echo setting up')],
    containers: [
      shell(
        'main',
        'for i in 1 2 3; do echo "line $i"; echo "complaint $i" >&2; done; sleep 3; echo late; exec sleep 1000',
      ),
      shell('side', 'echo beside it; exec sleep 1000'),
    ],
  });
  await pods.waitForReady('several');
  await eventually('the last line', async () => (await logs('several', '-c', 'main')).includes('late'));
  const all = await logs('several', '-c', 'main');
  t.deepEqual(all.split('\n').sort(), [
    '',
    ...['complaint 1', 'complaint 2', 'complaint 3', 'late', 'line 1', 'line 2', 'line 3'],
  ]);
  t.is(await logs('several', '-c', 'main', '--tail=1'), 'late\n');
  t.is(await logs('several', '-c', 'main', '--tail=0'), '');
  t.is(await logs('several', '-c', 'main', '--limit-bytes=4'), all.slice(0, 4));
  t.is(await logs('several', '-c', 'main', '--since=1h'), all);
  t.is(await logs('several', '-c', 'main', '--since-time=2100-01-01T00:00:00Z'), '');
  const stamped = await logs('several', '-c', 'main', '--timestamps');
  t.is(stamped.replace(/^\S{30,35} /gm, ''), all);
  const times = stamped.split('\n').flatMap((line) => /^(\d{4}-\d\d-\d\dT\S+) late/.exec(line)?.[1] ?? []);
  t.is(await logs('several', '-c', 'main', `--since-time=${times[0]}`), 'late\n');
  t.is(await logs('several', '-c', 'setup'), 'setting up\n');
  t.is(await logs('several', '-c', 'side'), 'beside it\n');
  const together = await logs('several', '--all-containers');
  for (const text of ['setting up\n', all, 'beside it\n']) t.true(together.includes(text), text);
  t.regex(await logs('several', '--all-containers', '--prefix'), /\[pod\/several\/setup\] setting up\n/);
  t.regex((await result('several', '-c', 'nobody')).stderr, /container nobody is not valid for pod several/);
});

test.serial('a long line is whole, though the runtime cuts it', async (t) => {
  await apply('long', { containers: [shell('main', 'printf "%0100000d\\n" 0; exec sleep 1000')] });
  await pods.waitForReady('long');
  const line = `${'0'.repeat(100_000)}\n`;
  await eventually('the line', async () => (await logs('long')).length >= line.length);
  t.is(await logs('long'), line);
  t.regex(await logs('long', '--timestamps'), /^\S{30,35} 0{100000}\n$/);
});

test.serial('-f sends what comes and ends with the container', async (t) => {
  const script = 'for i in $(seq 1 40); do echo "tick $i"; sleep 0.1; done';
  await apply('ticking', { restartPolicy: 'Never', containers: [shell('main', script)] });
  await pods.waitFor('ticking', 'runs', (pod) => statusOf(pod)?.state.running);
  const { code, stdout, stderr } = await result('ticking', '-f');
  t.is(code, 0, stderr);
  t.is(stdout, Array.from({ length: 40 }, (_, i) => `tick ${i + 1}\n`).join(''));
  t.is(await logs('ticking', '-f', '--tail=1'), 'tick 40\n', 'also when it ended before');
});

test.serial('--previous is the instance before; a container that waits, and one without a log, say so', async (t) => {
  const script =
    'n=$(($(cat /data/n 2>/dev/null || echo 0) + 1)); echo $n > /data/n; echo "life $n"; [ $n -gt 1 ] || exit 1; exec sleep 1000';
  const main = shell('main', script, { volumeMounts: [{ name: 'data', mountPath: '/data' }] });
  await apply('reborn', { containers: [main], volumes: [{ name: 'data', emptyDir: {} }] });
  await pods.waitFor('reborn', 'restarted', (pod) => statusOf(pod)?.state.running && statusOf(pod).restartCount === 1);
  await eventually('the second life', async () => (await logs('reborn')).includes('life 2'));
  t.is(await logs('reborn'), 'life 2\n');
  t.is(await logs('reborn', '--previous'), 'life 1\n');
  t.is(await logs('reborn', '--previous', '-f'), 'life 1\n');
  t.regex(
    (await result('several', '-c', 'main', '--previous')).stderr,
    /previous terminated container "main" in pod "several" not found/,
  );
  await apply('imageless', { containers: [{ name: 'main', image: 'keelson.test/none:1', imagePullPolicy: 'Never' }] });
  await pods.waitFor('imageless', 'waits', (pod) => statusOf(pod)?.state.waiting?.reason === 'ErrImageNeverPull');
  t.regex(
    (await result('imageless')).stderr,
    /container "main" in pod "imageless" is waiting to start: ErrImageNeverPull/,
  );
});

test.serial('-f through rotation: every line once, and old files are compressed and removed', async (t) => {
  // Some 5 KB in 0.1 s, and a rotation each 3 s.
  const script =
    'i=0; while [ $i -lt 6000 ]; do for n in $(seq 1 50); do i=$((i+1)); echo "$i ........................................................................"; done; sleep 0.1; done';
  await apply('talkative', { restartPolicy: 'Never', containers: [shell('main', script)] });
  const pod = await pods.waitFor('talkative', 'runs', (object) =>
    statusOf(object)?.state.running ? object : undefined,
  );
  const { code, stdout, stderr } = await result('talkative', '-f');
  t.is(code, 0, stderr);
  const numbers = stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => Number.parseInt(line, 10));
  t.deepEqual(
    numbers,
    Array.from({ length: 6000 }, (_, i) => i + 1),
  );
  const folder = join(cluster.node.dirs.podLogs, `${namespace}_talkative_${pod.metadata.uid}`, 'main');
  const files = readdirSync(folder).sort();
  t.true(files.length >= 2 && files.length <= 3, files.join(' '));
  t.true(files.some((name) => /^0\.log\.\d{8}-\d{6}\.gz$/.test(name)));
});

test.serial('clients that went away leave no file open', async (t) => {
  const followers = Array.from({ length: 5 }, () =>
    cluster.cluster.kubectlResult(['-n', namespace, 'logs', 'several', '-c', 'main', '-f', '--request-timeout=2s']),
  );
  await eventually('they follow', () => openLogs().length >= 5);
  await Promise.all(followers);
  await eventually('nothing is open', () => openLogs().length === 0);
  t.pass();
});
