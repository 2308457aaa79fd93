/**
 * The API server goes away and comes back: pods, restarts and Services go on meanwhile, and what happened is told after.
 * Then it forgets its history (410), and a daemon starts while nobody answers.
 * Layer: test (integration, root). OUTAGE_SECONDS is the length of the first outage.
 */
import test from 'ava';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import {
  type ApiObject,
  askWithoutPause,
  type ClusterPods,
  clusterPods,
  containerIds,
  fetchFrom,
  isReady,
  restarts,
  service,
  webPod,
} from '../support/cluster-pods.ts';
import { container } from '../support/daemon.ts';
import { eventually, exec } from '../support/exec.ts';

const outageSeconds = Number(process.env.OUTAGE_SECONDS ?? 15);
/** From then on the node controller takes the node for dead, and its pods for not ready until the node says otherwise. */
const gracePeriodSeconds = 40;

let on: ClusterNode;
let pods: ClusterPods;
let webIp: string;

const stable = ['web-0', 'web-1'];
const podPath = (name: string): string => `/api/v1/namespaces/default/pods/${name}`;
const servicePath = (name: string): string => `/api/v1/namespaces/default/services/${name}`;

test.before(async () => {
  // A debug log, for the 410 is told there.
  on = await startClusterNode({ images: ['pause', 'busybox'], keelson: { args: ['-v', '4'] } });
  pods = clusterPods(on);
  await on.waitForReady();
  for (const name of stable) await pods.createPod(name, webPod(), { labels: { app: 'web' } });
  const web = await pods.create(service('web', { app: 'web' }));
  webIp = web.spec.clusterIP;
  await pods.waitForReady(...stable);
  await eventually('the Service answers', () => fetchFrom(on, `http://${webIp}/`), 300_000);
});
test.after.always(() => on?.end());

/** What must stay as it is when nothing happens to a pod. */
const identity = (pod: ApiObject) => ({
  uid: pod.metadata.uid,
  containers: containerIds(pod),
  restarts: restarts(pod),
});
const stablePods = () => pods.waitForReady(...stable);

test.serial('the API server is away: pods and Services go on, and what happened arrives after', async (t) => {
  await pods.createPod('crasher', webPod());
  const [crasher] = await pods.waitForReady('crasher');
  await eventually('its events arrived', async () => (await pods.events('crasher')).Started === 1);
  const before = await stablePods();
  const asking = askWithoutPause(on, `http://${webIp}/`);
  t.teardown(asking.stop);

  await on.cluster.apiServer.end('SIGKILL');
  const backAt = Date.now() + outageSeconds * 1000;
  t.is((await pods.exec(crasher, 'echo 3 > /tmp/end')).code, 0);
  await on.keelson.waitFor('the crashed container was restarted', ({ pods: known }) =>
    known.some(({ name, restarts: count, ready }) => name === 'crasher' && count === 1 && ready === 1),
  );
  // From a pod, too.
  const inside = await pods.exec(before[0], `timeout 5 wget -qO- http://${webIp}/`);
  t.regex(inside.stdout, /^web-/, inside.stderr);
  const { node, pods: known } = await on.keelson.status();
  t.true((node?.pendingStatuses ?? 0) > 0, 'what could not be sent waits');
  t.is(known.length, stable.length + 1);
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, backAt - Date.now())));
  t.is(on.keelson.exit(), undefined);
  const during = await asking.stop();
  t.deepEqual(during.failed, [], `of ${during.asked} requests`);
  t.true(during.asked > 10);

  on.cluster.apiServer.start();
  await on.cluster.waitForReady();
  const restarted = await on.waitFor(
    'the restart is told',
    podPath('crasher'),
    (pod) => (isReady(pod) && restarts(pod) === 1 ? pod : undefined),
    90_000,
  );
  t.is(restarted.metadata.uid, crasher.metadata.uid);
  t.is(restarted.status.containerStatuses[0].lastState.terminated.exitCode, 3);
  t.is(await eventually('its event arrives', async () => (await pods.events('crasher')).Started === 2, 60_000), true);
  await on.waitForReady();
  await pods.waitForReady(...stable);
  await on.keelson.waitFor('nothing waits to be sent', (status) => status.node?.pendingStatuses === 0);

  const after = await stablePods();
  t.deepEqual(after.map(identity), before.map(identity), 'a pod that ran was restarted');
  if (outageSeconds < gracePeriodSeconds)
    t.deepEqual(
      after.map(({ metadata }) => metadata.resourceVersion),
      before.map(({ metadata }) => metadata.resourceVersion),
      'a status that did not change was sent again',
    );
  t.is((await pods.events('crasher')).Started, 2, 'an event came twice');
  await eventually('the Service answers', () => fetchFrom(on, `http://${webIp}/`), 300_000);

  // All watches are there again: what is made now is seen.
  await pods.createPod('later', webPod());
  await pods.waitForReady('later');
  await pods.remove('later');
  await pods.remove('crasher');
  await pods.waitForGone('later', 'crasher');
});

/** Everything that comes from the node at the API server's host is refused, as by a host whose server is not up. */
async function cutOff<T>(work: () => Promise<T>): Promise<T> {
  const nft = (input: string): Promise<string> => exec('/usr/sbin/nft', ['-f', '-'], { netns: on.node.outside, input });
  await nft(`table ip cut {
    chain in {
      type filter hook input priority 0
      iifname up0 meta l4proto tcp reject with tcp reset
    }
  }`);
  try {
    return await work();
  } finally {
    await nft('delete table ip cut');
  }
}

test.serial(
  'etcd is compacted while the node is cut off: changes made meanwhile are seen, nothing is lost',
  async (t) => {
    const config = await pods.create({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'words' },
      data: { word: 'before' },
    });
    const reader = {
      terminationGracePeriodSeconds: 1,
      containers: [container('main', undefined, { volumeMounts: [{ name: 'words', mountPath: '/words' }] })],
      volumes: [{ name: 'words', configMap: { name: config.metadata.name } }],
    };
    await pods.createPod('reader', reader);
    for (const name of ['deleted', 'forced', 'replaced']) await pods.createPod(name);
    const old = await pods.create(service('old', { app: 'web' }));
    const [readerBefore, , , replaced] = await pods.waitForReady('reader', 'deleted', 'forced', 'replaced');
    await eventually('the old Service answers', () => fetchFrom(on, `http://${old.spec.clusterIP}/`));
    const before = await stablePods();

    const { fresh } = await (async () => {
      // Its watches end first; then it cannot make new ones.
      const restart = async (): Promise<void> => {
        await on.cluster.apiServer.end('SIGKILL');
        on.cluster.apiServer.start();
        await on.cluster.waitForReady();
      };
      await on.cluster.apiServer.end('SIGKILL');
      return cutOff(async () => {
        on.cluster.apiServer.start();
        await on.cluster.waitForReady();
        await pods.remove('deleted');
        await pods.remove('forced', true);
        await pods.remove('replaced', true);
        await pods.createPod('replaced');
        await pods.createPod('fresh', webPod(), { labels: { app: 'fresh' } });
        await on.cluster.request('DELETE', servicePath('old'));
        await on.cluster.request('PATCH', '/api/v1/namespaces/default/configmaps/words', { data: { word: 'after' } });
        const made = await pods.create(service('fresh', { app: 'fresh' }));
        await eventually(
          'the scheduler binds the new pods',
          async () => {
            const found = await Promise.all(['fresh', 'replaced'].map((name) => pods.get(name)));
            return found.every((pod) => pod?.spec.nodeName === on.nodeName);
          },
          300_000,
        );
        await on.cluster.compactEtcd();
        await restart();
        return { fresh: made };
      });
    })();

    await pods.waitForGone('deleted');
    const [again] = await pods.waitForReady('replaced', 'fresh');
    t.not(again.metadata.uid, replaced.metadata.uid);
    t.true(on.keelson.logs().includes('listing anew'), 'no watch was told 410');
    await eventually(
      'the ConfigMap changes in its volume',
      async () => (await pods.exec(readerBefore, 'cat /words/word')).stdout === 'after',
      300_000,
      500,
    );
    // The controllers, which lost their watches too, take their time.
    await eventually('the new Service answers', () => fetchFrom(on, `http://${fresh.spec.clusterIP}/`), 300_000);
    await eventually(
      'the old one does not',
      async () => !(await fetchFrom(on, `http://${old.spec.clusterIP}/`)),
      60_000,
    );
    const report = await on.keelson.waitFor(
      'exactly the wanted pods',
      (status) => status.pods.length === stable.length + 3 && status.ending.length === 0,
    );
    t.deepEqual(report.pods.map(({ name }) => name).sort(), [...stable, 'reader', 'replaced', 'fresh'].sort());
    t.deepEqual((await stablePods()).map(identity), before.map(identity), 'a pod that ran was restarted');
    t.is(restarts(await pods.get('reader')), 0);
    for (const name of ['reader', 'replaced', 'fresh']) await pods.remove(name);
    await pods.waitForGone('reader', 'replaced', 'fresh');
  },
);

test.serial('a daemon that starts while nobody answers disturbs nothing, and says what it waits for', async (t) => {
  const before = await stablePods();
  const asking = askWithoutPause(on, `http://${webIp}/`);
  t.teardown(asking.stop);
  await on.cluster.apiServer.end('SIGKILL');
  await on.keelson.kill9();
  await on.start();
  await on.keelson.waitFor('the daemon says why the proxy waits', ({ waiting }) =>
    waiting.some(({ role, reason }) => role === 'proxy' && reason.includes('is not reachable')),
  );
  const { code, stdout } = await on.keelson.command('status');
  t.is(code, 0);
  t.regex(stdout, /network.*waits for the API server/);
  t.regex(stdout, /proxy.*is not reachable/);
  const during = await asking.stop();
  t.deepEqual(during.failed, [], `of ${during.asked} requests`);

  on.cluster.apiServer.start();
  await on.cluster.waitForReady();
  await on.keelson.waitFor(
    'all roles',
    ({ waiting, pods: known }) => waiting.length === 0 && known.length === 2,
    90_000,
  );
  await on.waitForReady();
  await pods.waitForReady(...stable);
  t.deepEqual((await stablePods()).map(identity), before.map(identity), 'a pod that ran was restarted');
  await eventually('the Service answers', () => fetchFrom(on, `http://${webIp}/`), 300_000);
  for (const name of stable) await pods.remove(name);
  await pods.waitForNoPods();
  t.is(await on.keelson.stop(), 0);
});
