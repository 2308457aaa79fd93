/** The API server's pod ends up with what the node said last, whatever happens on the way. */
import test, { type ExecutionContext } from 'ava';
import type { Pod, PodCondition, PodStatus } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import { StatusBoard } from '../status/status-board.ts';
import { ApiPods } from './api-pods.ts';
import { FakePodApi } from './fake-pod-api.ts';
import { canonical } from './status-patch.ts';
import { type StatusSync, startStatusSync } from './status-sync.ts';

const makePod = (name: string, uid = `uid-${name}`, metadata: object = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', uid, annotations: { 'kubernetes.io/config.source': 'api' }, ...metadata },
  spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'busybox' }] },
});
const status = (phase: PodStatus['phase'], restartCount = 0): PodStatus => ({
  phase,
  conditions: [
    { type: 'Ready', status: phase === 'Running' ? 'True' : 'False', lastTransitionTime: `t${restartCount}` },
  ],
  startTime: '2026-01-01T00:00:00Z',
  containerStatuses: [
    { name: 'c', state: {}, lastState: {}, ready: true, started: true, restartCount, image: 'busybox', imageID: '' },
  ],
});

function setUp(t: ExecutionContext, parallel = 3) {
  const clock = new FakeClock();
  const server = new FakePodApi(clock);
  const board = new StatusBoard();
  const pods = new ApiPods(clock);
  const mayRun = new Set<string>();
  const scope = new AbortController();
  const syncs: StatusSync[] = [];
  const warnings: string[] = [];
  const log: Logger = { ...silentLogger, warn: (_, message) => void warnings.push(message) };
  t.teardown(() => {
    scope.abort();
    for (const sync of syncs) sync.stop();
  });
  const start = (): StatusSync => {
    const options = { api: server, pods, board, mayRun: (uid: string) => mayRun.has(uid), clock, log };
    const sync = startStatusSync({ ...options, parallel, random: () => 0.5 });
    syncs.push(sync);
    return sync;
  };
  pods.start(server.follow, scope.signal);
  return { clock, server, board, pods, mayRun, start, warnings };
}

test('the last status is sent; equal ones and those between are not', async (t) => {
  const { clock, server, board, start } = setUp(t);
  server.bind(makePod('web'));
  await clock.advance(1);
  const sync = start();
  server.latencyMs = () => 100;
  for (let count = 0; count < 50; count++) board.set(makePod('web'), status('Running', count));
  await clock.advance(1_000);
  board.set(makePod('web'), status('Running', 49));
  await clock.advance(60_000);
  t.is(server.get('default/web')?.status?.containerStatuses?.[0]?.restartCount, 49);
  t.is(server.requests.length, 2);
  t.is(server.mostOfOnePod, 1);
  t.is(sync.pending, 0);
});

test('a namesake with another uid gets nothing of the old pod', async (t) => {
  const { clock, server, board, start } = setUp(t);
  server.bind(makePod('web', 'old'));
  await clock.advance(1);
  start();
  server.latencyMs = () => 50;
  board.set(makePod('web', 'old'), status('Running', 7));
  server.askToDelete('default/web', 0, true);
  server.bind(makePod('web', 'new'));
  await clock.advance(100);
  t.is(server.requests[0]?.outcome, 'API_CONFLICT');
  t.is(server.get('default/web')?.status, undefined);
  board.delete('old');
  await clock.advance(60_000);
  t.is(server.requests.length, 1, 'nobody asks again');
});

test('an outage: what was said meanwhile arrives at once when the server is back', async (t) => {
  const { clock, server, board, start } = setUp(t);
  server.bind(makePod('web'));
  start();
  board.set(makePod('web'), status('Running'));
  await clock.advance(10);
  server.goDown();
  board.set(makePod('web'), status('Running', 1));
  await clock.advance(600_000);
  t.is(server.get('default/web')?.status?.containerStatuses?.[0]?.restartCount, 0);
  t.true(server.requests.length < 40, 'with growing delays');
  server.comeBack();
  await clock.advance(1);
  t.is(server.get('default/web')?.status?.containerStatuses?.[0]?.restartCount, 1);
});

test('deletion: the end is told first, then the pod goes, and only when nothing is left here', async (t) => {
  const { clock, server, board, start } = setUp(t);
  server.bind(makePod('web'));
  start();
  board.set(makePod('web'), status('Running'));
  await clock.advance(10);
  server.askToDelete('default/web', 30);
  await clock.advance(10);
  board.set(makePod('web'), status('Succeeded'));
  await clock.advance(10);
  t.is(server.get('default/web')?.status?.phase, 'Succeeded');
  board.delete('uid-web');
  await clock.advance(10);
  t.deepEqual(server.keys(), []);
  t.deepEqual(
    server.requests.map(({ verb }) => verb),
    ['patch', 'patch', 'delete'],
  );
});

test('a watch that is late holds nothing up: the answers to patches count', async (t) => {
  const { clock, server, board, start } = setUp(t);
  server.bind(makePod('web'));
  start();
  server.askToDelete('default/web', 30);
  await clock.advance(10);
  server.watchDelayMs = 60_000;
  board.set(makePod('web'), status('Running'));
  await clock.advance(10);
  board.set(makePod('web'), status('Succeeded'));
  board.delete('uid-web');
  await clock.advance(10);
  t.deepEqual(server.keys(), []);
});

test('deletion that the server refuses is tried again; the pod of the same name that came since is left alone', async (t) => {
  const { clock, server, board, start } = setUp(t);
  server.bind(makePod('web'));
  start();
  server.askToDelete('default/web', 30);
  board.set(makePod('web'), status('Succeeded'));
  await clock.advance(10);
  server.failures.push(500, 500);
  board.delete('uid-web');
  await clock.advance(10_000);
  t.deepEqual(server.keys(), []);
  server.bind(makePod('web', 'next'));
  await clock.advance(100_000);
  t.deepEqual(server.keys(), ['default/web']);
});

test('an end is not told while a container may run, and is told soon after', async (t) => {
  const { clock, server, board, mayRun, start } = setUp(t);
  server.bind(makePod('web'));
  start();
  mayRun.add('uid-web');
  board.set(makePod('web'), status('Running'));
  await clock.advance(10);
  board.set(makePod('web'), { ...status('Failed'), reason: 'DeadlineExceeded' });
  await clock.advance(5_000);
  t.is(server.get('default/web')?.status?.phase, 'Running');
  mayRun.clear();
  await clock.advance(1_100);
  t.is(server.get('default/web')?.status?.phase, 'Failed');
  t.is(server.get('default/web')?.status?.reason, 'DeadlineExceeded');
});

test('somebody takes our words away: they are said again', async (t) => {
  const { clock, server, board, start } = setUp(t);
  server.bind(makePod('web'));
  start();
  board.set(makePod('web'), status('Running', 2));
  await clock.advance(10);
  server.change('default/web', (pod) => {
    pod.status!.containerStatuses![0]!.restartCount = 99;
  });
  await clock.advance(10);
  t.is(server.get('default/web')?.status?.containerStatuses?.[0]?.restartCount, 2);
});

test('a server too old for a field is told once, not for ever', async (t) => {
  const { clock, server, board, start } = setUp(t);
  server.unknownFields = ['observedGeneration', 'hostIPs'];
  server.bind(makePod('web'));
  start();
  board.set(makePod('web'), {
    ...status('Running'),
    observedGeneration: 1,
    hostIP: '192.0.2.2',
    hostIPs: [{ ip: '192.0.2.2' }, { ip: 'fd00::2' }],
  });
  await clock.advance(100_000);
  t.is(server.requests.length, 1);
  server.change('default/web', (pod) => void pod.status?.conditions.push({ type: 'a/b', status: 'True' }));
  await clock.advance(100_000);
  t.is(server.requests.length, 1);
  board.set(makePod('web'), { ...status('Running', 1), observedGeneration: 2 });
  await clock.advance(100_000);
  t.is(server.requests.length, 2);
  t.is(server.get('default/web')?.status?.containerStatuses?.[0]?.restartCount, 1);
});

test('a successor compares with what the server has: nothing changed, nothing is sent', async (t) => {
  const { clock, server, board, start } = setUp(t);
  server.bind(makePod('web'));
  const first = start();
  board.set(makePod('web'), status('Running', 3));
  await clock.advance(10);
  first.stop();
  start();
  await clock.advance(10_000);
  t.is(server.requests.length, 1);
});

test('the status of a manifest pod goes to its mirror, and never ends it', async (t) => {
  const { clock, server, board, start } = setUp(t);
  const hash = { 'kubernetes.io/config.source': 'file', 'kubernetes.io/config.hash': 'h1' };
  const manifest = makePod('static-n1', 'h1', { annotations: hash });
  start();
  board.set(manifest, status('Running', 1));
  await clock.advance(10);
  t.is(server.requests.length, 0);
  server.bind(makePod('static-n1', 'mirror-uid', { annotations: { ...hash, 'kubernetes.io/config.mirror': 'h1' } }));
  await clock.advance(10);
  t.is(server.get('default/static-n1')?.status?.containerStatuses?.[0]?.restartCount, 1);
  server.askToDelete('default/static-n1', 30);
  board.set(manifest, status('Succeeded', 1));
  board.delete('h1');
  await clock.advance(10);
  t.false(server.requests.some(({ verb }) => verb === 'delete'));
});

test('five hundred pods: never more requests at a time than allowed, all arrive', async (t) => {
  const { clock, server, board, start } = setUp(t, 8);
  server.latencyMs = () => 20;
  const names = Array.from({ length: 500 }, (_, index) => `p${index}`);
  for (const name of names) server.bind(makePod(name));
  await clock.advance(100);
  start();
  for (const name of names) board.set(makePod(name), status('Running', 1));
  await clock.advance(10_000);
  t.true(names.every((name) => server.get(`default/${name}`)?.status?.phase === 'Running'));
  t.is(server.mostAtOnce, 8);
});

function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

for (let seed = 1; seed <= 60; seed++) {
  test(`any order of events leaves the last status and every other writer's condition: seed ${seed}`, async (t) => {
    const random = randomOf(seed);
    const { clock, server, board, start } = setUp(t);
    server.latencyMs = () => random(40);
    if (seed % 3 === 0) server.unknownFields = ['observedGeneration'];
    const names = ['a', 'b', 'c', 'd'];
    const own = new Map<string, PodStatus>();
    const foreign = new Map<string, PodCondition>();
    const deleting = new Set<string>();
    const finished = new Set<string>();
    const forced = new Set<string>();
    for (const name of names) server.bind(makePod(name));
    let sync = start();
    let count = 0;
    let replaced = false;
    for (let step = 0; step < 120; step++) {
      const name = names[random(names.length)]!;
      const key = `default/${name}`;
      const here = server.get(key) !== undefined;
      switch (random(10)) {
        case 0:
        case 1:
        case 2: {
          if (finished.has(name)) break;
          const ended = ['Succeeded', 'Failed'].includes(own.get(name)?.phase ?? '');
          const phase = ended ? own.get(name)!.phase : random(12) === 0 ? 'Succeeded' : 'Running';
          const next = { ...status(phase, ++count), ...(seed % 3 === 0 ? { observedGeneration: count } : {}) };
          own.set(name, next);
          board.set(makePod(name), next);
          break;
        }
        case 3:
          if (here) {
            const condition: PodCondition = {
              type: `example.com/${random(3)}`,
              status: 'True',
              message: `m${++count}`,
            };
            foreign.set(`${name} ${condition.type}`, condition);
            server.change(key, (pod) => {
              const rest = (pod.status?.conditions ?? []).filter(({ type }) => type !== condition.type);
              pod.status = { ...(pod.status ?? { phase: 'Pending' }), conditions: [...rest, condition] };
            });
          }
          break;
        case 4:
          server.goDown();
          break;
        case 5:
          server.comeBack();
          break;
        case 6:
          if (here && random(4) === 0) {
            server.askToDelete(key, 30);
            deleting.add(name);
          }
          break;
        case 7:
          if (deleting.has(name) && !finished.has(name)) {
            finished.add(name);
            const last = { ...status('Failed', ++count) };
            own.set(name, ['Succeeded', 'Failed'].includes(own.get(name)?.phase ?? '') ? own.get(name)! : last);
            board.set(makePod(name), own.get(name)!);
            board.delete(`uid-${name}`);
          }
          break;
        case 8:
          if (random(3) === 0) server.failures.push(500);
          else if (here && random(8) === 0) {
            server.askToDelete(key, 0, true);
            forced.add(name);
          }
          break;
        default:
          // The daemon is replaced; the kubelet's board is built anew from what runs.
          if (random(6) === 0 && finished.size === 0) {
            sync.stop();
            sync = start();
            replaced = true;
          }
      }
      await clock.advance(random(60));
    }
    server.comeBack();
    await clock.advance(200_000);
    for (const name of names) {
      const pod = server.get(`default/${name}`);
      const gone = forced.has(name) || (deleting.has(name) && finished.has(name));
      t.is(pod === undefined, gone, `${name} is gone or there`);
      if (pod === undefined) continue;
      const said = own.get(name);
      if (said) {
        t.is(pod.status?.phase, said.phase);
        t.is(canonical(pod.status?.containerStatuses), canonical(said.containerStatuses));
      }
      const kept = pod.status?.conditions.filter(({ type }) => type.includes('/')) ?? [];
      const expected = [...foreign].filter(([id]) => id.startsWith(`${name} `)).map(([, condition]) => condition);
      t.deepEqual(kept.map(canonical).sort(), expected.map(canonical).sort(), `conditions of others on ${name}`);
    }
    // The request of a daemon that died may still be on its way.
    t.true(replaced || server.mostOfOnePod === 1);
    t.true(replaced || server.mostAtOnce <= 3);
    t.is(sync.pending, 0);
  });
}

test('a 403 that passes within seconds is nothing to warn of, one that stays is', async (t) => {
  const { clock, server, board, start, warnings } = setUp(t);
  for (const name of ['web', 'db']) server.bind(makePod(name));
  await clock.advance(1);
  start();
  server.failures.push(403, 403, 403);
  board.set(makePod('web'), status('Running'));
  await clock.advance(8_000);
  t.is(server.get('default/web')?.status?.phase, 'Running');
  t.deepEqual(warnings, []);
  server.failures.push(...Array.from({ length: 8 }, () => 403));
  board.set(makePod('db'), status('Running'));
  await clock.advance(60_000);
  t.true(warnings.length > 0);
  t.is(new Set(warnings).size, 1);
  t.is(warnings[0], 'pod status not sent yet');
});
