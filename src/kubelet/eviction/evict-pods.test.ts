import test from 'ava';
import { PodEvictor } from './evict-pods.ts';
import { apiPod, container } from './evictable-pod.fake.ts';
import { FakeNode } from './eviction-node.fake.ts';

const hard = (...thresholds: [string, string][]) => ({ evictionHard: new Map(thresholds) });
const scratch = { volumes: [{ name: 'scratch', emptyDir: {} }] };

function setUp(settings = hard(['memory.available', '100'], ['nodefs.available', '10%'], ['pid.available', '50'])) {
  const node = new FakeNode(settings);
  const evictor = new PodEvictor(node.options());
  return { node, evictor, round: () => evictor.round() };
}

test('far from every threshold a round asks for no usage and ends nobody', async (t) => {
  const { node, round } = setUp();
  node.run(apiPod('web'), { memory: 500, disk: 500 });
  t.deepEqual(await round(), []);
  t.deepEqual(node.calls, []);
  t.deepEqual(node.pressure.conditions(), []);
});

test('a disk that is nearly short is looked at closely, so that volumes are measured in time', async (t) => {
  const { node, round } = setUp();
  node.run(apiPod('web', scratch), { volume: 860 });
  t.deepEqual(await round(), []);
  t.deepEqual(node.calls, ['usage']);
});

test('short of memory: one pod a round, the right one, with the verdict, events and counter', async (t) => {
  const { node, evictor, round } = setUp();
  node.run(apiPod('asked', { containers: [container('main', { memory: '600' })] }), { memory: 600 });
  node.run(apiPod('small'), { memory: 100 });
  node.run(apiPod('hog'), { memory: 250 });
  t.deepEqual(await round(), ['uid-hog']);
  const message =
    'The node was low on resource: memory. Threshold quantity: 100, available: 50. ' +
    'Container main was using 250, request is 0, has larger consumption of memory. ';
  t.deepEqual(node.verdicts.get('uid-hog'), { reason: 'Evicted', message, graceSeconds: 1, disruption: message });
  t.deepEqual(node.events, ['node EvictionThresholdMet: Attempting to reclaim memory', 'hog Evicted']);
  t.like(node.annotations[0], { offending_containers: 'main', starved_resource: 'memory' });
  t.deepEqual([...evictor.evictions], [['memory.available', 1]]);
  t.deepEqual(node.pressure.conditions(), ['MemoryPressure']);
  t.false(node.calls.includes('unusedImages'), 'nothing gives memory back but pods');
});

test('critical pods and those of manifests stay; the next one goes', async (t) => {
  const { node, round } = setUp();
  node.run(apiPod('critical', { priority: 2_000_000_000 }), { memory: 500 });
  node.run(apiPod('static', {}, 'file'), { memory: 400 });
  t.deepEqual(await round(), []);
  t.deepEqual(node.ended, []);
  node.run(apiPod('plain', { containers: [container('main', { memory: '10' })] }), { memory: 1 });
  t.deepEqual(await round(), ['uid-plain']);
});

test('a pod that is ending already is passed over when it cannot be hastened', async (t) => {
  const { node, round } = setUp();
  node.run(apiPod('first'), { memory: 600 });
  node.run(apiPod('second'), { memory: 350 });
  t.deepEqual(await round(), ['uid-first']);
  t.deepEqual(await round(), ['uid-second']);
  t.deepEqual(await round(), []);
});

test('a full disk: dead containers and unused images go first, and that may be enough', async (t) => {
  const { node, round } = setUp();
  node.run(apiPod('web', scratch), { volume: 500 });
  node.images = 300;
  node.dead = 150;
  t.deepEqual(await round(), []);
  t.deepEqual(node.calls, ['deadContainers', 'unusedImages']);
  t.deepEqual(node.events, ['node EvictionThresholdMet: Attempting to reclaim ephemeral-storage']);
  t.deepEqual(node.pressure.conditions(), ['DiskPressure']);
});

test('a full disk: when that is not enough, the pod that uses most goes', async (t) => {
  const { node, round } = setUp();
  node.run(apiPod('little', scratch), { volume: 100 });
  node.run(apiPod('much', scratch), { volume: 850 });
  node.images = 20;
  t.deepEqual(await round(), ['uid-much']);
  t.regex(node.verdicts.get('uid-much')!.message, /^The node was low on resource: ephemeral-storage\. /);
});

test('what cannot be reclaimed keeps nothing else from being tried', async (t) => {
  const { node, round } = setUp();
  node.run(apiPod('web', scratch), { volume: 500 });
  node.images = 450;
  node.reclaimFails = new Error('runtime away');
  t.deepEqual(await round(), []);
  t.is(node.images, 0);
  t.like(node.warnings.at(-1), { step: 'deadContainers', error: 'runtime away' });
});

test('room that was made for one threshold is not enough while another is met', async (t) => {
  const { node, round } = setUp(hard(['nodefs.available', '100'], ['pid.available', '100']));
  node.run(apiPod('forks'), { processes: 950 });
  node.images = 950;
  t.deepEqual(await round(), ['uid-forks']);
  t.is(node.images, 0);
});

test('memory is relieved first', async (t) => {
  const { node, round } = setUp();
  node.run(apiPod('disk', scratch), { volume: 990 });
  node.run(apiPod('memory'), { memory: 990 });
  t.deepEqual(await round(), ['uid-memory']);
});

test('process IDs', async (t) => {
  const { node, round } = setUp();
  node.run(apiPod('forks'), { processes: 900 });
  node.run(apiPod('web'), { processes: 90, memory: 800 });
  t.deepEqual(await round(), ['uid-forks']);
  t.is(node.events[0], 'node EvictionThresholdMet: Attempting to reclaim pids');
  t.deepEqual(node.pressure.conditions(), ['PIDPressure']);
});

const soft = {
  evictionHard: new Map(),
  evictionSoft: new Map([['memory.available', '200']]),
  evictionSoftGracePeriod: new Map([['memory.available', 60_000]]),
};

for (const [maximum, own, grace] of [
  [30, 10, 10],
  [5, 10, 5],
  [5, undefined, 5],
  [0, 10, 1],
  [-1, 10, 1],
] as const) {
  test(`a soft threshold waits its time, then gives the pod ${grace} s (of ${own}, at most ${maximum})`, async (t) => {
    const node = new FakeNode(soft);
    const evictor = new PodEvictor(node.options({ maxPodGraceSeconds: maximum }));
    const spec = own === undefined ? {} : { terminationGracePeriodSeconds: own };
    node.run(apiPod('web', spec), { memory: 900 });
    t.deepEqual(await evictor.round(), []);
    await node.clock.advance(59_999);
    t.deepEqual(await evictor.round(), []);
    t.deepEqual(node.pressure.conditions(), ['MemoryPressure']);
    await node.clock.advance(1);
    t.deepEqual(await evictor.round(), ['uid-web']);
    t.is(node.verdicts.get('uid-web')?.graceSeconds, grace);
  });
}

test('evictions go on until the minimum reclaim is reached', async (t) => {
  const node = new FakeNode({
    ...hard(['memory.available', '100']),
    evictionMinimumReclaim: new Map([['memory.available', '150']]),
  });
  const evictor = new PodEvictor(node.options());
  for (const name of ['a', 'b', 'c']) node.run(apiPod(name), { memory: 310 });
  const ended: string[] = [];
  for (let i = 0; i < 3; i++) {
    const [uid] = await evictor.round();
    if (uid === undefined) break;
    ended.push(uid);
    node.pods.delete(uid);
    node.otherMemory += 200;
  }
  t.deepEqual(ended, ['uid-a', 'uid-b'], 'after the first 180 are free of the 250 wanted, after the second 290');
});

test("a pod's own limits: all that break theirs go at once, not for others' sake, and nobody else in that round", async (t) => {
  const { node, evictor, round } = setUp();
  const limited = (name: string) => apiPod(name, { volumes: [{ name: 'scratch', emptyDir: { sizeLimit: '100' } }] });
  node.run(limited('over'), { volume: 101 });
  node.run(limited('over-too'), { volume: 700 });
  node.run(limited('within'), { volume: 100 });
  node.run(apiPod('hog', scratch), { volume: 90 });
  t.deepEqual(await round(), ['uid-over', 'uid-over-too']);
  t.deepEqual(node.verdicts.get('uid-over'), {
    reason: 'Evicted',
    message: 'Usage of EmptyDir volume "scratch" exceeds the limit "100". ',
    graceSeconds: 1,
  });
  t.deepEqual([...evictor.evictions], [['emptydirfs.limit', 2]]);
  t.deepEqual(node.events, ['over Evicted', 'over-too Evicted']);
});

test('limits do not count where local storage is not isolated', async (t) => {
  const { node } = setUp();
  const evictor = new PodEvictor(node.options({ localStorageIsolation: false }));
  node.run(apiPod('over', { volumes: [{ name: 'scratch', emptyDir: { sizeLimit: '100' } }] }), { volume: 700 });
  t.deepEqual(await evictor.round(), []);
});

test('a pod of a manifest is not ended for its limits, either', async (t) => {
  const { node, round } = setUp();
  const spec = { volumes: [{ name: 'scratch', emptyDir: { sizeLimit: '100' } }] };
  node.run(apiPod('static', spec, 'file'), { volume: 700 });
  t.deepEqual(await round(), []);
});
