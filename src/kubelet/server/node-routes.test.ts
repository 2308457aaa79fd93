/** What the kubelet API says of the node itself: pods, health, configuration, checkpoints. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import type { CheckpointContainerRequestInput } from '../../cri/messages.generated.ts';
import { servedPod, startFakeKubeletApi } from './fake-kubelet-api.ts';

test('/pods lists pods with metadata, spec and status', async (t) => {
  const kubelet = await startFakeKubeletApi({ pods: [servedPod('web'), servedPod('job', 'Succeeded')] });
  t.teardown(() => kubelet.close());
  const as = kubelet.user();
  const { body, headers } = await kubelet.ask('/pods', { as });
  t.is(headers['content-type'], 'application/json');
  const list = JSON.parse(body);
  t.like(list, { kind: 'PodList', apiVersion: 'v1' });
  t.deepEqual(
    list.items.map((item: object) => Object.keys(item)),
    [
      ['metadata', 'spec', 'status'],
      ['metadata', 'spec', 'status'],
    ],
  );
  t.like(list.items[1], { metadata: { name: 'job', uid: 'uid-job' }, status: { phase: 'Succeeded' } });
  const running = JSON.parse((await kubelet.ask('/runningpods/', { as })).body);
  t.deepEqual(running.items, [
    {
      metadata: { name: 'web', namespace: 'default', uid: 'uid-web' },
      spec: { containers: [{ name: 'main', image: 'shell', resources: {} }] },
      status: {},
    },
  ]);
});

test('/healthz is ok, or says which check failed and only the check why', async (t) => {
  let problem: string | undefined;
  const kubelet = await startFakeKubeletApi({
    parts: { checks: [{ name: 'syncloop', problem: () => problem }] },
  });
  t.teardown(() => kubelet.close());
  const as = kubelet.user();
  const ask = async (path: string) => {
    const { status, body } = await kubelet.ask(path, { as });
    return [status, body];
  };
  t.deepEqual(await ask('/healthz'), [200, 'ok']);
  for (const name of ['ping', 'log', 'syncloop']) t.deepEqual(await ask(`/healthz/${name}`), [200, 'ok']);
  t.is((await ask('/healthz/other'))[0], 404);
  t.deepEqual(await ask('/healthz?verbose'), [200, '[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n']);
  problem = 'stuck';
  t.deepEqual(await ask('/healthz'), [
    500,
    '[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n',
  ]);
  t.deepEqual(await ask('/healthz/syncloop'), [500, 'internal server error: stuck\n']);
  t.is((await ask('/healthz?exclude=syncloop'))[0], 200);
  t.regex(String((await ask('/healthz?exclude=none&verbose'))[1]), /no matches for "none"/);
});

test('/configz, /statusz and /flagz', async (t) => {
  const clock = new FakeClock(90_061_000);
  const kubelet = await startFakeKubeletApi({ clock });
  t.teardown(() => kubelet.close());
  const as = kubelet.authority.issue({ commonName: 'admin' });
  const ask = (path: string, accept?: string) =>
    kubelet.ask(path, { as, headers: accept === undefined ? {} : { accept } });
  t.deepEqual(JSON.parse((await ask('/configz')).body), { kubeletconfig: { maxPods: 110 } });
  const { body } = await ask('/statusz', 'text/plain, */*');
  t.regex(body, /^kubelet statusz\n/);
  t.true(body.includes('Up: 1 day 1 hr 01 min 01 sec\n'));
  t.true(body.includes('/checkpoint/{namespace}/{pod}/{container} /configz '));
  t.true((await ask('/flagz')).body.endsWith('\nnode-ip=192.0.2.7\n'));
  t.is((await ask('/flagz', 'application/json;v=v1alpha1;as=Flagz')).status, 406);
});

test('a checkpoint goes to its folder, and errors are those of the kubelet', async (t) => {
  const requests: CheckpointContainerRequestInput[] = [];
  let failure: Error | undefined;
  const kubelet = await startFakeKubeletApi({
    clock: new FakeClock(Date.UTC(2026, 5, 1, 2, 3, 4)),
    pods: [servedPod('web')],
    parts: {
      runtime: {
        async checkpointContainer(request) {
          requests.push(request);
          if (failure) throw failure;
          return {};
        },
      },
    },
  });
  t.teardown(() => kubelet.close());
  const notAfter = Date.UTC(2027, 0, 1);
  const as = kubelet.authority.issue({
    commonName: 'admin',
    notBefore: 0,
    notAfter: Math.max(notAfter, Date.now() + 1e9),
  });
  const post = async (path: string) => {
    const { status, body } = await kubelet.ask(`/checkpoint/${path}`, { as, method: 'POST' });
    return [status, body];
  };
  const location = join(kubelet.folder, 'root/checkpoints/checkpoint-web_default-main-2026-06-01T02:03:04Z.tar');
  t.deepEqual(await post('default/web/main?timeout=7'), [200, JSON.stringify({ items: [location] })]);
  t.deepEqual(requests, [{ containerId: 'c-web', location, timeout: 7 }]);
  t.is((await stat(join(kubelet.folder, 'root/checkpoints'))).mode & 0o777, 0o700);
  t.deepEqual(await post('default/nobody/main'), [404, 'pod does not exist']);
  t.deepEqual(await post('default/web/other'), [404, 'container other does not exist']);
  t.deepEqual(await post('default/web/main?timeout=soon'), [404, 'cannot parse value of timeout parameter']);
  t.is((await post('default/web/..%2f..%2fmain'))[0], 400);
  t.is(requests.length, 1);
  failure = new Error('no criu');
  t.deepEqual(await post('default/web/main'), [500, 'checkpointing of default/web/main failed (no criu)']);
});
