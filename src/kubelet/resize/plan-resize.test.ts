/** The steps of a resize: their order, and that they come to the end from wherever they were cut short. */
import test from 'ava';
import fc from 'fast-check';
import type { Container, Pod, ResourceRequirements } from '../../api/core.ts';
import { makePod, named, plan, record, sidecar, within } from '../plan/planned-pod.fake.ts';
import { computePodActions } from '../plan/pod-actions.ts';
import { describeOperation, type PodOperation } from '../plan/pod-operation.ts';
import { bytesOf, millicoresOf } from '../plan/resource-values.ts';
import type { NodeResources } from '../plan/resources.ts';
import type { ActualResources, ContainerRecord, PodRuntimeState } from '../plan/runtime-state.ts';
import { alive } from '../pods/no-probes.fake.ts';
import { type Allocation, allocationOf, sameAllocation } from './allocation.ts';
import { createdWith, createdWithAnnotation } from './container-resize.ts';
import { isResizeInProgress, type ResizeState } from './plan-resize.ts';

const node: NodeResources = { memoryBytes: 2 ** 33, enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000 };
const mi = 2 ** 20;
const asks = (milli: number, mebi: number): ResourceRequirements => ({
  requests: { cpu: `${milli}m`, memory: `${mebi}Mi` },
  limits: { cpu: `${milli}m`, memory: `${mebi}Mi` },
});
const has = (milli: number, mebi: number): ActualResources => ({
  cpuShares: Math.max(2, Math.floor((milli * 1024) / 1000)),
  cpuQuotaUs: Math.max(1_000, milli * 100),
  cpuPeriodUs: 100_000,
  memoryLimitBytes: mebi * mi,
});
const sized = (name: string, milli: number, mebi: number, more: Partial<Container> = {}): Container =>
  named(name, { resources: asks(milli, mebi), ...more });
const unknown: ResizeState = { node, told: new Map(), podCgroup: undefined };

const operations = (pod: Pod, state: PodRuntimeState, resize: ResizeState | undefined): PodOperation[] =>
  computePodActions(pod, state, {
    nowMs: 1_000_000_000,
    restartBackoff: { initialMs: 10_000, maxMs: 300_000 },
    verdict: () => alive,
    resize,
  }).operations;
const lines = (pod: Pod, state: PodRuntimeState, resize: ResizeState | undefined): string[] =>
  operations(pod, state, resize).map(describeOperation);

test('a pod that was never resized is not compared', (t) => {
  const pod = makePod({ containers: [sized('c', 500, 64)] });
  t.deepEqual(plan(pod, within(record('c', 'running', { resources: has(100, 1) }))).operations, []);
});

test('room for the pod, memory before CPU, what shrinks before what grows, then the room that is left over', (t) => {
  const before = makePod({ containers: [sized('a', 100, 100), sized('b', 200, 200)] });
  const after = makePod({ containers: [sized('a', 200, 200), sized('b', 50, 100)] });
  const state = within(
    record('a', 'running', { resources: has(100, 100) }),
    record('b', 'running', { resources: has(200, 200) }),
  );
  const steps = operations(after, state, { ...unknown, podCgroup: allocationOf(before) });
  t.deepEqual(steps.map(describeOperation), [
    'update the cgroup of the pod',
    `update memory of b (b-id): ${100 * mi}`,
    `update memory of a (a-id): ${200 * mi}`,
    'update cpu of b (b-id): 51 shares, 5000/100000',
    'update cpu of a (a-id): 204 shares, 20000/100000',
    'update the cgroup of the pod',
  ]);
  const [room, lower, raise, , , rest] = steps;
  t.deepEqual(room?.op === 'updatePodCgroup' && room.pod.spec.containers.map(({ resources }) => resources?.limits), [
    { cpu: '200m', memory: '200Mi' },
    { cpu: '200m', memory: '200Mi' },
  ]);
  t.is(lower?.op === 'updateContainer' ? lower.lowersMemoryTo : 0, 100 * mi);
  t.is(raise?.op === 'updateContainer' ? raise.lowersMemoryTo : 0, undefined);
  t.is(rest?.op === 'updatePodCgroup' ? rest.pod : undefined, after);
});

test('a cgroup of which nothing is known gets room for what runs, in the class of the pod', (t) => {
  const pod = makePod({ containers: [sized('c', 200, 100)] });
  const state = within(record('c', 'running', { resources: has(500, 200) }));
  const steps = operations(pod, state, unknown);
  t.deepEqual(
    steps.map(({ op }) => op),
    ['updatePodCgroup', 'updateContainer', 'updateContainer', 'updatePodCgroup'],
  );
  const [room] = steps;
  t.deepEqual(room?.op === 'updatePodCgroup' && room.pod.spec.containers[0]?.resources?.limits, {
    cpu: '500m',
    memory: String(200 * mi),
  });
  t.is(room?.op === 'updatePodCgroup' ? room.pod.status?.qosClass : undefined, 'Guaranteed');
});

test('a limit where there was none takes memory away', (t) => {
  const pod = makePod({ containers: [sized('c', 100, 100)] });
  const state = within(record('c', 'running', { resources: { ...has(100, 100), memoryLimitBytes: 0 } }));
  const [, step] = operations(pod, state, unknown);
  t.is(step?.op === 'updateContainer' ? step.lowersMemoryTo : 0, 100 * mi);
});

test('what the runtime was told counts, though it says something else yet', (t) => {
  const pod = makePod({ containers: [sized('c', 200, 64)] });
  const state = within(record('c', 'running', { resources: has(100, 64) }));
  const told = new Map([['c-id', has(200, 64)]]);
  const resize = { ...unknown, told, podCgroup: allocationOf(pod) };
  t.deepEqual(lines(pod, state, resize), []);
  t.false(isResizeInProgress(pod, state, resize));
  t.true(isResizeInProgress(pod, state, { ...resize, told: new Map() }));
});

test('amounts too small for a cgroup to tell apart need no step', (t) => {
  const pod = makePod({ containers: [named('c', { resources: { requests: { cpu: '2m' } } })] });
  const state = within(record('c', 'running', { resources: { ...has(1, 0), cpuQuotaUs: 0, cpuPeriodUs: 0 } }));
  t.deepEqual(lines(pod, state, { ...unknown, podCgroup: allocationOf(pod) }), []);
});

test('init containers and sidecars are resized as they run, ended and ephemeral ones are not', (t) => {
  const pod = makePod({
    initContainers: [sidecar('side', { resources: asks(200, 64) }), sized('init', 200, 64)],
    containers: [sized('c', 200, 64)],
    ephemeralContainers: [named('debug')],
  });
  const resize = { ...unknown, podCgroup: allocationOf(pod) };
  const small = { resources: has(100, 64) };
  const state = within(
    record('side', 'running', small),
    record('init', 'running', small),
    record('debug', 'running', small),
  );
  t.deepEqual(lines(pod, state, resize), [
    'update cpu of init (init-id): 204 shares, 20000/100000',
    'update cpu of side (side-id): 204 shares, 20000/100000',
  ]);
  const ended = within(record('side', 'running', { resources: has(200, 64) }), record('init', 'running', small));
  t.false(isResizeInProgress(pod, ended, resize), 'nobody waits for an init container');
});

const memoryRestarts = { resizePolicy: [{ resourceName: 'memory', restartPolicy: 'RestartContainer' as const }] };

test('a restart where the policy says so: by what the instance was made with, and no other container', (t) => {
  const container = sized('c', 200, 128, memoryRestarts);
  const pod = makePod({ containers: [container, sized('d', 100, 64)] });
  const made = (milli: number, mebi: number): Partial<ContainerRecord> => ({
    resources: has(milli, mebi),
    annotations: { [createdWithAnnotation]: createdWith(pod, sized('c', milli, mebi, memoryRestarts)) ?? '' },
  });
  const other = record('d', 'running', { resources: has(100, 64) });
  const resize = { ...unknown, podCgroup: allocationOf(pod) };
  t.deepEqual(lines(pod, within(record('c', 'running', made(200, 64)), other), resize), [
    'kill container c (c-id): resize requires restart',
    'create and start container c, attempt 1',
  ]);
  t.deepEqual(lines(pod, within(record('c', 'running', made(100, 128)), other), resize), [
    'update cpu of c (c-id): 204 shares, 20000/100000',
  ]);
  const foreign = (mebi: number): PodRuntimeState =>
    within(record('c', 'running', { resources: has(200, mebi) }), other);
  t.is(lines(pod, foreign(64), resize)[0], 'kill container c (c-id): resize requires restart');
  t.deepEqual(lines(pod, foreign(128), resize), []);
});

for (const annotation of ['', '1', 'null', '{"cpu":[1,2]}', '{"cpu":["1","2"],"memory":[1,2]}']) {
  test(`an instance that says it was made with ${annotation || 'nothing'} is judged by what it has`, (t) => {
    const pod = makePod({ containers: [sized('c', 200, 64, memoryRestarts)] });
    const annotations = { [createdWithAnnotation]: annotation };
    const state = within(record('c', 'running', { resources: has(200, 64), annotations }));
    t.deepEqual(lines(pod, state, { ...unknown, podCgroup: allocationOf(pod) }), []);
  });
}

const amounts = fc.tuple(fc.integer({ min: 1, max: 1_000 }), fc.integer({ min: 1, max: 512 }));
const change = fc.record({ before: amounts, after: amounts, restarts: fc.boolean() });

/** The runtime and the pod's cgroup; refuses a container that is larger than its pod, at any time. */
class Model {
  cgroup: Pod;
  containers: Map<string, ContainerRecord>;
  told = new Map<string, ActualResources>();
  podCgroup: Allocation | undefined;

  constructor(pod: Pod) {
    this.cgroup = pod;
    this.podCgroup = allocationOf(pod);
    this.containers = new Map(pod.spec.containers.map((container) => [container.name, this.#made(pod, container)]));
  }

  #made(pod: Pod, container: Container): ContainerRecord {
    const { cpu = '', memory = '' } = container.resources?.limits ?? {};
    const annotation = createdWith(pod, container);
    return record(container.name, 'running', {
      resources: has(millicoresOf(cpu), bytesOf(memory) / mi),
      annotations: annotation === undefined ? {} : { [createdWithAnnotation]: annotation },
    });
  }

  get state(): PodRuntimeState {
    return within(...this.containers.values());
  }

  apply(pod: Pod, operation: PodOperation): void {
    if (operation.op === 'updatePodCgroup') {
      this.cgroup = operation.pod;
      this.podCgroup = allocationOf(operation.pod);
    } else if (operation.op === 'updateContainer') {
      const found = [...this.containers.values()].find(({ id }) => id === operation.id)!;
      const { cpuShares = 0, cpuQuota = 0, cpuPeriod = 0, memoryLimitInBytes = 0 } = operation.resources;
      const resources = {
        cpuShares,
        cpuQuotaUs: cpuQuota,
        cpuPeriodUs: cpuPeriod,
        memoryLimitBytes: memoryLimitInBytes,
      };
      this.containers.set(operation.name, { ...found, resources });
      this.told.set(operation.id, resources);
    } else if (operation.op === 'startContainer') {
      this.containers.set(
        operation.name,
        this.#made(pod, pod.spec.containers.find(({ name }) => name === operation.name)!),
      );
    } else if (operation.op === 'killContainer') {
      this.containers.set(
        operation.name,
        record(operation.name, 'exited', { exitCode: 137, finishedAtMs: 0, startedAtMs: 0 }),
      );
    } else throw new Error(describeOperation(operation));
    this.check();
  }

  check(): void {
    const limits = [...this.containers.values()]
      .filter(({ phase }) => phase === 'running')
      .map(({ resources }) => resources!);
    const memory = limits.reduce((sum, { memoryLimitBytes }) => sum + memoryLimitBytes, 0);
    const room = this.cgroup.spec.containers.reduce(
      (sum, { resources }) => sum + bytesOf(resources?.limits?.memory ?? ''),
      0,
    );
    if (memory > room) throw new Error(`containers may use ${memory} of the pod's ${room}`);
  }
}

test('cut short after any step, by a process that then knows nothing, a resize comes to its end and stays there', (t) => {
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(8), { maxLength: 4 }),
      (list, cuts) => {
        const podOf = (which: 'before' | 'after'): Pod =>
          makePod({
            containers: list.map(({ [which]: [milli, mebi], restarts }, index) =>
              sized(`c${index}`, milli, mebi, restarts ? memoryRestarts : {}),
            ),
          });
        const [before, after] = [podOf('before'), podOf('after')];
        const model = new Model(before);
        const resize = (): ResizeState => ({ node, told: model.told, podCgroup: model.podCgroup });
        for (const steps of [...cuts, 100]) {
          for (let pass = 0, left = steps; pass < 10 && left > 0; pass++) {
            const next = operations(after, model.state, resize());
            if (next.length === 0) break;
            for (const operation of next.slice(0, left)) model.apply(after, operation);
            left -= next.length;
          }
          if (steps === 100) break;
          model.told = new Map();
          model.podCgroup = undefined;
        }
        t.deepEqual(operations(after, model.state, resize()), []);
        t.false(isResizeInProgress(after, model.state, resize()));
        t.true(model.podCgroup !== undefined && sameAllocation(model.podCgroup, allocationOf(after)));
        for (const [
          index,
          {
            after: [milli, mebi],
          },
        ] of list.entries()) {
          t.deepEqual(model.containers.get(`c${index}`)?.resources, has(milli, mebi));
        }
      },
    ),
    { numRuns: 500 },
  );
});
