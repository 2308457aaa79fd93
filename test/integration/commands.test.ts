/**
 * What a person asks of the command line: doctor before and while it runs, status in both forms, cleanup that refuses,
 * then removes all that is Keelson's and nothing that is not. Layer: test (integration, root). One node, in order.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { CheckResult } from '../../src/agent/check-result.ts';
import type { StandaloneReport } from '../../src/agent/status-report.ts';
import { connectRuntime, type RuntimeConnection } from '../../src/cri/connect.ts';
import { busyboxImage } from '../images/build.ts';
import { type Census, census, censusDifference } from '../support/census.ts';
import { container, type Daemon, daemonOn, podManifest, sleeper } from '../support/daemon.ts';
import { type ExecResult, eventually, execResult } from '../support/exec.ts';
import { keelsonBinary } from '../support/keelson.ts';
import { createTestNode, type TestNode } from '../support/node.ts';

const nft = '/usr/sbin/nft';

let node: TestNode;
let cri: RuntimeConnection;
let daemon: Daemon | undefined;
let before: Census;
let cniBefore: string[];

test.before(async () => {
  node = await createTestNode({ images: ['pause', 'busybox'] });
  cri = await connectRuntime(node.containerd.endpoint);
  mkdirSync(node.dirs.manifests, { recursive: true });
});
test.after.always(async () => {
  cri?.close();
  await (daemon === undefined ? node?.stop() : daemon.end());
});

const cniFiles = (): string[] =>
  [node.containerd.cniConfDir, node.containerd.cniBinDir].flatMap((dir) => readdirSync(dir)).sort();

const keelson = (...args: string[]): Promise<ExecResult> => execResult(keelsonBinary, args, { netns: node.netns });

const doctor = (more: Record<string, string> = {}, ...rest: string[]): Promise<ExecResult> => {
  const { dirs, containerd } = node;
  const flags = {
    '--container-runtime-endpoint': containerd.endpoint,
    '--root-dir': dirs.root,
    '--run-dir': dirs.run,
    '--cni-conf-dir': containerd.cniConfDir,
    '--cni-bin-dir': containerd.cniBinDir,
    ...more,
  };
  return keelson('doctor', ...Object.entries(flags).flat(), ...rest);
};

const cleanup = (): Promise<ExecResult> => {
  const { dirs, containerd } = node;
  return keelson(
    ...['cleanup', '--container-runtime-endpoint', containerd.endpoint, '--root-dir', dirs.root],
    ...['--run-dir', dirs.run, '--pod-log-dir', dirs.podLogs],
    ...['--cni-conf-dir', containerd.cniConfDir, '--cni-bin-dir', containerd.cniBinDir],
  );
};

/** A pod of somebody else's on the node's network: with the labels that every kubelet gives, or with none. */
async function foreignPod(name: string, labels: Record<string, string>): Promise<string> {
  const config = {
    metadata: { name, namespace: 'foreign', uid: `uid-${name}`, attempt: 0 },
    labels,
    linux: {
      cgroupParent: `/kt-${node.run.id}/pod${name}`,
      securityContext: { namespaceOptions: { network: 'NODE' } },
    },
  } as const;
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config });
  const { containerId } = await cri.runtime.createContainer({
    podSandboxId,
    config: { metadata: { name: 'main', attempt: 0 }, image: { image: busyboxImage }, command: [...sleeper], labels },
    sandboxConfig: config,
  });
  await cri.runtime.startContainer({ containerId });
  return containerId;
}

const stateOf = async (containerId: string): Promise<string | undefined> =>
  (await cri.runtime.containerStatus({ containerId })).status?.state;

test.serial('doctor: every prerequisite by name, and what to do about one that is missing', async (t) => {
  const good = await doctor();
  t.is(good.code, 0, good.stdout);
  t.regex(good.stdout, /\nKeelson can run here\.\n$/);
  const results = JSON.parse((await doctor({}, '-o', 'json')).stdout) as CheckResult[];
  const level = (name: string): string | undefined => results.find((result) => result.name === name)?.level;
  for (const name of ['privileges', 'kernel', 'Node.js', 'native addon', 'CNI plugin', 'nft', 'container runtime']) {
    t.is(level(name), 'ok', name);
  }
  for (const name of [
    'oom_score_adj',
    'CNI directories',
    'ip_forward',
    'pod CIDR',
    'swap',
    'nf_tables',
    'conntrack',
    'other kubelet',
    'other proxy',
    'other network',
    'daemon',
  ]) {
    t.is(level(name), 'ok', name);
  }
  for (const { name, level: found, fix } of results) t.is(fix === undefined, found === 'ok', name);

  for (const [flag, value, line] of [
    [
      '--container-runtime-endpoint',
      'unix:///nowhere/containerd.sock',
      /^fail +container runtime .*no such socket -> start/m,
    ],
    [
      '--pod-cidr',
      '198.51.100.0/25',
      /^fail +pod CIDR .*overlaps address 198\.51\.100\.2\/24 of up0 -> choose another/m,
    ],
    ['--cni-bin-dir', `${node.run.path}/owner/bin`, /^fail +CNI directories .*cannot write \S+\/owner\/bin -> /m],
  ] as const) {
    const bad = await doctor({ [flag]: value });
    t.is(bad.code, 1, bad.stdout);
    t.regex(bad.stdout, line);
    t.regex(bad.stdout, /\n1 of \d+ checks failed\.\n$/);
    const json = JSON.parse((await doctor({ [flag]: value }, '-o', 'json')).stdout) as CheckResult[];
    const failed = json.filter((result) => result.level === 'fail');
    t.is(failed.length, 1);
    t.truthy(failed[0]?.fix);
  }
  const wrong = await doctor({ '--pod-cidr': 'ten' });
  t.is(wrong.code, 1);
  t.regex(wrong.stderr, /^keelson: --pod-cidr: .*\n$/);
});

test.serial('status without a daemon is one clear line', async (t) => {
  const { code, stdout, stderr } = await keelson('status', '--run-dir', node.dirs.run);
  t.deepEqual([code, stdout], [1, '']);
  t.regex(stderr, /^keelson: .*keelson\.sock: no Keelson daemon runs here \(start it .*\) \[DAEMON_NOT_RUNNING\]\n$/);
});

test.serial('cleanup where nothing is', async (t) => {
  const { code, stdout } = await cleanup();
  t.deepEqual([code, stdout], [0, 'Nothing of Keelson is left here.\n']);
});

test.serial('status: a table for people, JSON for programs', async (t) => {
  writeFileSync(join(node.containerd.cniConfDir, '99-foreign.conflist'), '{"name": "foreign", "plugins": []}');
  writeFileSync(join(node.containerd.cniBinDir, 'foreign-plugin'), '#!/bin/sh\n', { mode: 0o755 });
  await node.exec('ip', 'link', 'add', 'foreign0', 'type', 'veth', 'peer', 'name', 'foreign1');
  await node.exec(nft, 'add', 'table', 'inet', 'foreign');
  await node.exec('ip', 'route', 'add', '203.0.113.0/24', 'dev', 'up0', 'proto', 'static');
  before = await census(node);
  cniBefore = cniFiles();

  daemon = await daemonOn(node);
  daemon.write('web.yaml', podManifest('web', { containers: [container('a'), container('b')] }));
  daemon.write('crash.yaml', podManifest('crash', { containers: [container('main', ['sh', '-c', 'exit 7'])] }));
  daemon.write(
    'absent.yaml',
    podManifest('absent', {
      containers: [container('main', sleeper, { image: 'nowhere.invalid/x', imagePullPolicy: 'Never' })],
    }),
  );
  daemon.write('bad.yaml', 'kind: Pod\n');
  await daemon.waitForReady('web');
  await daemon.waitForPod(
    'crash',
    'in its loop',
    ({ summary, restarts }) => summary === 'CrashLoopBackOff' && restarts === 1,
  );
  await daemon.waitForPod('absent', 'refused', ({ summary }) => summary === 'ErrImageNeverPull');

  const json = await daemon.keelson.command('status', '-o', 'json');
  t.is(json.code, 0);
  const report = JSON.parse(json.stdout) as StandaloneReport;
  t.is(report.nodeName, `node-${node.run.id}`);
  t.deepEqual(report.nodeIPs, [node.nodeIp]);
  t.like(report.runtime, { name: 'containerd', healthy: true });
  t.true(report.runtime.version.startsWith(node.containerd.version), report.runtime.version);
  t.like(report.network, { podCIDR: '10.244.0.0/24', gateway: '10.244.0.1', allocated: 3 });
  t.is(report.manifestErrors.length, 1);
  const web = daemon.find(report, 'web');
  t.like(web, { namespace: 'default', summary: 'Running', ready: 2, containers: 2, restarts: 0 });

  const { code, stdout } = await daemon.keelson.command('status');
  t.is(code, 0);
  const lines = stdout.split('\n');
  t.regex(lines[0] ?? '', /^Node node-\w+ \(198\.51\.100\.2\), Keelson \d+\.\d+\.\d+, up \d+s, \d+ MiB$/);
  t.regex(lines[1] ?? '', /^Runtime containerd \S+: ready \((events|relist)\)$/);
  t.regex(lines[2] ?? '', /^Pod network 10\.244\.0\.0\/24: 3 addresses used, 250 free$/);
  t.regex(stdout, /^NAMESPACE +NAME +READY +STATUS +RESTARTS +AGE +IP$/m);
  t.regex(
    stdout,
    new RegExp(`^default +${daemon.fullName('web')} +2/2 +Running +0 +\\d+s +${web?.status.podIP}$`, 'm'),
  );
  t.regex(stdout, new RegExp(`^default +${daemon.fullName('crash')} +0/1 +CrashLoopBackOff +1 `, 'm'));
  t.regex(stdout, new RegExp(`^pod default/${daemon.fullName('crash')}, container main: back-off 10s`, 'm'));
  t.regex(
    stdout,
    new RegExp(`^pod default/${daemon.fullName('absent')}, container main: .*nowhere\\.invalid/x.*Never$`, 'm'),
  );
  t.regex(stdout, /bad\.yaml:1: .*apiVersion/);

  const running = JSON.parse((await doctor({}, '-o', 'json')).stdout) as CheckResult[];
  t.is(running.find(({ name }) => name === 'daemon')?.finding, 'runs');
  t.is(running.find(({ name }) => name === 'pod CIDR')?.level, 'ok', 'its own addresses are no conflict');
});

test.serial('status says when the runtime is away, and when it is back', async (t) => {
  await node.containerd.kill();
  await daemon!.waitFor('the loss is seen', ({ runtime }) => !runtime.healthy);
  const away = await daemon!.keelson.command('status');
  t.is(away.code, 0);
  t.regex(away.stdout, /^Runtime containerd \S+: NOT ANSWERING/m);
  t.regex(away.stdout, new RegExp(`${daemon!.fullName('web')} +2/2 +Running +0 `), 'pods are shown as they were');
  await node.containerd.start();
  await daemon!.waitFor('it is back', ({ runtime }) => runtime.healthy);
  const [web] = await daemon!.waitForReady('web');
  t.is(web?.restarts, 0);
});

test.serial('cleanup refuses while the daemon runs, and touches nothing', async (t) => {
  const [web] = await daemon!.waitForReady('web');
  const { code, stdout, stderr } = await cleanup();
  t.deepEqual([code, stdout], [1, '']);
  t.regex(stderr, /^keelson: .*keelson\.sock: the daemon is running .*\(stop it first .*\) \[DAEMON_RUNNING\]\n$/);
  const [same] = await daemon!.waitForReady('web');
  t.deepEqual(same?.status.containerStatuses, web?.status.containerStatuses);
});

test.serial('cleanup removes all that is Keelson’s, and nothing else', async (t) => {
  const unlabelled = await foreignPod('unlabelled', {});
  t.is(await daemon!.stop(), 0);
  // Another kubelet's. While it runs, Keelson would take it for an orphan, as the kubelet does.
  const labelled = await foreignPod('labelled', {
    'io.kubernetes.pod.name': 'labelled',
    'io.kubernetes.pod.namespace': 'foreign',
    'io.kubernetes.pod.uid': 'uid-labelled',
  });
  const { code, stdout, stderr } = await cleanup();
  t.is(code, 0, stderr);
  for (const line of [
    /^removed pod default\/web-node-\w+ \(sandbox \w+\)$/m,
    /^removed pod directory .*\/pods\/\w+$/m,
    /^removed file .*\/10-keelson\.conflist$/m,
    /^removed file .*\/bin\/keelson$/m,
    /^removed nft table ip keelson-network$/m,
    /^removed directory .*\/keelson\/run$/m,
  ]) {
    t.regex(stdout, line);
  }
  t.is(await stateOf(unlabelled), 'CONTAINER_RUNNING');
  t.is(await stateOf(labelled), 'CONTAINER_RUNNING');
  t.deepEqual(cniFiles(), cniBefore);
  t.is(
    readFileSync(join(node.containerd.cniConfDir, '99-foreign.conflist'), 'utf8'),
    '{"name": "foreign", "plugins": []}',
  );

  const { items } = await cri.runtime.listPodSandbox({});
  t.deepEqual(items.map(({ metadata }) => metadata?.name).sort(), ['labelled', 'unlabelled']);
  for (const { id } of items) {
    await cri.runtime.stopPodSandbox({ podSandboxId: id });
    await cri.runtime.removePodSandbox({ podSandboxId: id });
  }
  // What is left of the foreign pods is a folder in each hierarchy, which CRI leaves to whoever made the pod.
  const ofForeignPods = /^cgroups: \+ .*\/kt-\w+(\/pod(un)?labelled)?$/;
  const left = async (): Promise<string[]> =>
    censusDifference(before, await census(node)).filter((line) => !ofForeignPods.test(line));
  await eventually('the foreign pods are gone', async () => (await left()).length === 0, 10_000).catch(() => undefined);
  t.deepEqual(await left(), []);

  const again = await cleanup();
  t.deepEqual([again.code, again.stdout, again.stderr], [0, 'Nothing of Keelson is left here.\n', '']);
});

test.serial('after a cleanup the daemon starts from nothing', async (t) => {
  await daemon!.start();
  const [web] = await daemon!.waitForReady('web');
  t.is(web?.restarts, 0);
  await daemon!.clear();
  t.is(await daemon!.stop(), 0);
  t.is((await cleanup()).code, 0);
  t.deepEqual(cniFiles(), cniBefore);
});

test.serial('cleanup without a runtime does what it can, and says what it could not', async (t) => {
  await daemon!.start();
  await daemon!.stop();
  await node.containerd.kill();
  const { code, stdout, stderr } = await cleanup();
  t.is(code, 1);
  t.regex(stderr, /^keelson: not removed: pods: .*containerd\.sock: .*\n$/);
  t.regex(stdout, /^removed nft table ip keelson-network$/m);
  t.deepEqual(cniFiles(), cniBefore);
});
