/**
 * Proves the ground the other integration tests stand on: containerd, images, registry, census, and that nothing stays.
 * Layer: test (integration, root). Uses raw CRI with Debian's bridge plugins, not Keelson.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { connectRuntime, type RuntimeConnection } from '../../src/cri/connect.ts';
import { busyboxImage, entrypointImage, pauseImage } from '../images/build.ts';
import { census, censusDifference } from '../support/census.ts';
import { containerdVersion } from '../support/containerd.ts';
import { eventually, exec, repositoryRoot } from '../support/exec.ts';
import { createTestNode, type TestNode } from '../support/node.ts';
import { debianCniBinDir, runRawPod, writeBridgeConflist } from '../support/raw-cri.ts';
import { sweepDeadRuns } from '../support/run-dir.ts';
import { mountsBelow, processesOf, shimSockets } from '../support/scrub.ts';

/** A node with the stock CNI chain, and a CRI connection to it; both end with the test. */
async function rawNode(t: ExecutionContext): Promise<{ node: TestNode; cri: RuntimeConnection }> {
  const node = await createTestNode({ cniBinDir: debianCniBinDir });
  t.teardown(() => node.stop());
  writeBridgeConflist(node.containerd.cniConfDir, '10.88.0.0/24', join(node.run.path, 'host-local'));
  const cri = await connectRuntime(node.containerd.endpoint);
  t.teardown(() => cri.close());
  await eventually('NetworkReady', async () => {
    const { status } = await cri.runtime.status({});
    return status?.conditions.find(({ type }) => type === 'NetworkReady')?.status;
  });
  return { node, cri };
}

function traces(node: TestNode, cgroups: string[], sockets: string[]): string[] {
  return [
    ...(existsSync(node.run.path) ? [node.run.path] : []),
    ...processesOf(node.run.path, [node.netns, node.outside]).map((pid) => `process ${pid}`),
    ...mountsBelow(node.run.path),
    ...[node.netns, node.outside].map((name) => `/run/netns/${name}`).filter((path) => existsSync(path)),
    ...[...cgroups, ...sockets].filter((path) => existsSync(path)),
  ];
}

test('containerd of the wanted version runs pods that reach each other, and forgets them', async (t) => {
  const { node, cri } = await rawNode(t);
  t.is(cri.version.runtimeName, 'containerd');
  t.true(node.containerd.version.startsWith(containerdVersion), `${node.containerd.version} for ${containerdVersion}`);

  // The bridge itself stays when its pods go, so it has to be there before.
  await (await runRawPod(cri, { runId: node.run.id, name: 'first' })).remove();
  const before = await census(node);
  const [a, b] = [
    await runRawPod(cri, { runId: node.run.id, name: 'a' }),
    await runRawPod(cri, { runId: node.run.id, name: 'b' }),
  ];
  t.is((await eventually('HTTP from a to b', () => a.exec('wget', '-qO-', b.ip).catch(() => undefined))).trim(), 'b');
  t.is((await node.exec('curl', '-s', '-m', '5', a.ip)).trim(), 'a');

  const during = await census(node);
  t.is(during.containers.length, before.containers.length + 2);
  t.is(during.sandboxes.length, before.sandboxes.length + 2);
  t.is(during.netns.length, before.netns.length + 2);
  t.true(during.cgroups.length > before.cgroups.length, 'cgroups of the pods are seen');
  t.true(during.processes.length > before.processes.length, 'processes of the pods are seen');
  t.true(during.mounts.length > before.mounts.length, 'mounts of the pods are seen');

  await a.remove();
  await b.remove();
  // runc leaves the parent cgroup of a pod to the kubelet, which is not there in this test.
  let left: string[] = [];
  await eventually(
    () => `only the pods' cgroup folders are left, but: ${left.join(' | ')}`,
    async () => {
      left = censusDifference(before, await census(node));
      return left.every((line) => /^cgroups: \+ .*\/(pod|kt-)[0-9a-z-]+$/.test(line));
    },
    10_000,
  );
  t.true(left.length > 0);
});

test('the census names what is left', async (t) => {
  const { node } = await rawNode(t);
  const before = await census(node);
  await node.exec('ip', 'link', 'add', 'leak0', 'type', 'bridge');
  await node.exec('ip', 'address', 'add', '192.0.2.77/32', 'dev', 'lo');
  mkdirSync(join(node.dirs.root, 'pods/left'), { recursive: true });
  writeFileSync(join(node.dirs.root, 'pods/left/file'), '');
  await exec('mount', ['-t', 'tmpfs', 'tmpfs', join(node.dirs.root, 'pods/left')]);
  const lines = censusDifference(before, await census(node));
  for (const expected of [
    'links: + leak0',
    'addresses: + lo 192.0.2.77/32',
    'files: + root/pods/left',
    `mounts: + ${node.dirs.root}/pods/left`,
  ]) {
    t.true(lines.includes(expected), `${expected} is missing in: ${lines.join(' | ')}`);
  }
  await node.stop();
  t.deepEqual(traces(node, [], []), []);
});

test('a restart and a crash of containerd leave the pods running', async (t) => {
  const { node, cri } = await rawNode(t);
  const pod = await runRawPod(cri, { runId: node.run.id, name: 'survivor' });
  const started = async (): Promise<unknown> => {
    const { status } = await cri.runtime.containerStatus({ containerId: pod.containerId });
    return { state: status?.state, startedAt: status?.startedAt };
  };
  const before = await started();
  await node.containerd.restart();
  await cri.waitUntilReady(10_000);
  t.deepEqual(await started(), before);
  await node.containerd.kill();
  t.is(
    (
      await eventually('HTTP while containerd is down', () =>
        node.exec('curl', '-s', '-m', '2', pod.ip).catch(() => undefined),
      )
    ).trim(),
    'survivor',
  );
  await node.containerd.start();
  await cri.waitUntilReady(10_000);
  t.deepEqual(await started(), before);
});

test('nothing is left after stop, although containerd was killed with pods running', async (t) => {
  const { node, cri } = await rawNode(t);
  await runRawPod(cri, { runId: node.run.id, name: 'orphan-a' });
  await runRawPod(cri, { runId: node.run.id, name: 'orphan-b', image: entrypointImage, command: [] });
  const cgroups = await eventually('cgroups of both pods', () => {
    const found = node.containerd.cgroups.existing();
    return found.length >= 6 ? found : undefined;
  });
  const sockets = shimSockets(node.run.path);
  t.is(sockets.filter((path) => existsSync(path)).length, 2);
  await node.containerd.kill();
  t.true(processesOf(node.run.path, [node.netns]).length >= 4, 'shims and containers outlive containerd');
  await node.stop();
  t.deepEqual(traces(node, cgroups, sockets), []);
});

test('what a killed test run left is swept, a living one is not', async (t) => {
  const { node: living } = await rawNode(t);
  const script = `
    const { createTestNode } = await import('${join(repositoryRoot, 'test/support/node.ts')}');
    const node = await createTestNode({ images: ['pause'] });
    console.log(node.run.path);
    await new Promise((resolve) => setTimeout(resolve, 60_000));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const path = await new Promise<string>((resolve) =>
    child.stdout.once('data', (data) => resolve(String(data).trim())),
  );
  t.true(existsSync(join(path, 'owner')));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  t.true(processesOf(path).length > 0, 'its containerd still runs');
  t.true((await sweepDeadRuns()).includes(path));
  t.false(existsSync(path));
  t.deepEqual(processesOf(path), []);
  t.is((await living.containerd.ctr('images', 'ls', '-q')).split('\n').includes(pauseImage), true);
});

test('a registry gives its images to who may have them, and damaged ones to nobody', async (t) => {
  const { node, cri } = await rawNode(t);
  const open = await node.startRegistry();
  const closed = await node.startRegistry({ auth: { user: 'keel', password: 'son' } });

  const pushed = await open.push('entrypoint', 'team/app:1');
  const { imageRef } = await cri.image.pullImage({ image: { image: pushed.reference } });
  t.regex(imageRef, /sha256:/);
  await t.notThrowsAsync(cri.image.pullImage({ image: { image: `${open.hostPort}/team/app@${pushed.digest}` } }));
  await t.throwsAsync(cri.image.pullImage({ image: { image: `${open.hostPort}/team/none:1` } }));

  const secret = await closed.push('entrypoint', 'private/app:1');
  const image = { image: secret.reference };
  await t.throwsAsync(cri.image.pullImage({ image }));
  await t.throwsAsync(cri.image.pullImage({ image, auth: { username: 'keel', password: 'wrong' } }));
  await t.notThrowsAsync(cri.image.pullImage({ image, auth: { username: 'keel', password: 'son' } }));

  const damaged = await closed.push('busybox', 'private/bad:1');
  await closed.corrupt(damaged);
  await t.throwsAsync(
    cri.image.pullImage({ image: { image: damaged.reference }, auth: { username: 'keel', password: 'son' } }),
  );
  await open.stop();
  await closed.stop();
});

test('Keelson runs in the namespace of its node, survives a kill and leaves what was there before', async (t) => {
  const node = await createTestNode();
  t.teardown(() => node.stop());
  let keelson = await node.startKeelson();
  await keelson.waitFor('an empty node', ({ pods }) => pods.length === 0);
  const before = await census(node);
  const manifest = join(node.dirs.manifests, 'web.yaml');
  const spec = {
    containers: [{ name: 'web', image: busyboxImage, command: ['httpd', '-f'] }],
    terminationGracePeriodSeconds: 1,
  };
  writeFileSync(manifest, JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web' }, spec }));
  const running = await keelson.waitFor('the pod runs', ({ pods }) => pods[0]?.summary === 'Running');
  const ip = running.pods[0]?.status.podIP ?? '';
  t.is(await node.exec('curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', ip), '404');
  t.true(censusDifference(before, await census(node)).length > 0);

  await keelson.kill9();
  t.is(keelson.exit(), 'SIGKILL');
  keelson = await node.startKeelson();
  const again = await keelson.waitFor('the pod is adopted', ({ pods }) => pods[0]?.summary === 'Running');
  t.deepEqual([again.pods[0]?.status.podIP, again.pods[0]?.restarts], [ip, 0]);

  rmSync(manifest);
  await keelson.waitFor('the pod is gone', ({ pods, ending }) => pods.length + ending.length === 0);
  let left: string[] = [];
  await eventually(
    () => `the node is as before, but: ${left.join(' | ')}`,
    async () => {
      left = censusDifference(before, await census(node));
      return left.length === 0;
    },
    10_000,
  );
  t.is(await keelson.stop(), 0);
});
