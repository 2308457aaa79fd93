/**
 * Whole lives of pods: plans are carried out on a model of the runtime while containers end, sandboxes are lost and
 * probes fail at random. What must hold at every step, and where it must come to in the end.
 */
import test from 'ava';
import fc from 'fast-check';
import type { Container, ContainerRestartRule, Pod, RestartPolicy } from '../../api/core.ts';
import { containerHashAnnotation, restartBackoffAnnotation } from './annotations.ts';
import { containerHash } from './container-hash.ts';
import { containersOf, isSidecar } from './container-kind.ts';
import { makePod, named, record, restartBackoff, sandbox, sidecar } from './planned-pod.fake.ts';
import { computePodActions, type PodActions } from './pod-actions.ts';
import type { PodOperation } from './pod-operation.ts';
import { newestContainer, newestInSandbox, type PodRuntimeState, sortNewestFirst } from './runtime-state.ts';

const all: ContainerRestartRule = { action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [88] } };

/** The runtime, as far as plans see it; refuses what a real one refuses. */
class Model {
  state: PodRuntimeState = { sandboxes: [], containers: [] };
  nowMs = 1_000_000;
  #next = 0;

  apply(pod: Pod, operation: PodOperation): void {
    this.nowMs += 10;
    switch (operation.op) {
      case 'killContainer':
        this.#change(operation.id, { phase: 'exited', exitCode: 137, finishedAtMs: this.nowMs });
        break;
      case 'removeContainer': {
        const found = this.state.containers.find(({ id }) => id === operation.id);
        if (found?.phase === 'running') throw new Error(`removes ${found.name}, which runs`);
        this.state = { ...this.state, containers: this.state.containers.filter(({ id }) => id !== operation.id) };
        break;
      }
      case 'stopSandbox':
        this.loseSandbox();
        break;
      case 'createSandbox': {
        const id = `s${this.#next++}`;
        const made = sandbox({ id, attempt: operation.attempt, createdAtMs: this.nowMs });
        if (this.state.sandboxes.some(({ attempt, ready }) => ready || attempt === operation.attempt)) {
          throw new Error('a sandbox is there');
        }
        this.state = { ...this.state, sandboxes: [made, ...this.state.sandboxes] };
        break;
      }
      case 'startContainer':
        this.#start(pod, operation);
    }
  }

  #start(pod: Pod, operation: Extract<PodOperation, { op: 'startContainer' }>): void {
    const [current] = this.state.sandboxes;
    if (!current?.ready) throw new Error(`starts ${operation.name} without a sandbox`);
    const { name, attempt } = operation;
    const same = this.state.containers.filter((each) => each.name === name);
    if (same.some(({ phase }) => phase === 'running')) throw new Error(`${name} runs twice`);
    if (same.some((each) => each.attempt === attempt)) throw new Error(`${name} has attempt ${attempt} twice`);
    checkOrder(pod, this.state, current.id, name);
    const { image = '' }: Partial<Container> =
      containersOf(pod).find(({ container }) => container.name === name)?.container ?? {};
    const made = record(name, 'running', {
      id: `${name}-${this.#next++}`,
      sandboxId: current.id,
      attempt,
      createdAtMs: this.nowMs,
      startedAtMs: this.nowMs,
      annotations: {
        [containerHashAnnotation]: containerHash({ name, image }),
        [restartBackoffAnnotation]: String(operation.backoffMs),
      },
    });
    this.state = { ...this.state, containers: sortNewestFirst([made, ...this.state.containers]) };
  }

  end(index: number, exitCode: number): void {
    const alive = this.state.containers.filter(({ phase }) => phase === 'running');
    const victim = alive[index % Math.max(alive.length, 1)];
    if (victim) this.#change(victim.id, { phase: 'exited', exitCode, finishedAtMs: this.nowMs });
  }

  loseSandbox(): void {
    this.state = { ...this.state, sandboxes: this.state.sandboxes.map((each) => ({ ...each, ready: false, ips: [] })) };
  }

  #change(id: string, change: Partial<PodRuntimeState['containers'][number]>): void {
    const containers = this.state.containers.map((each) => (each.id === id ? { ...each, ...change } : each));
    this.state = { ...this.state, containers };
  }
}

/** What comes before a container in the spec was begun, and, but for sidecars, is done. */
function checkOrder(pod: Pod, state: PodRuntimeState, sandboxId: string, name: string): void {
  const initContainers = pod.spec.initContainers ?? [];
  const place = initContainers.findIndex((container) => container.name === name);
  if (place < 0 && pod.spec.ephemeralContainers?.some((container) => container.name === name)) return;
  for (const before of place < 0 ? initContainers : initContainers.slice(0, place)) {
    const newest = newestInSandbox(state, before.name, sandboxId);
    if (newest === undefined) throw new Error(`${name} starts before ${before.name} has begun`);
    const passed = isSidecar(before) || (newest.phase === 'exited' && newest.exitCode === 0);
    if (!passed) throw new Error(`${name} starts before ${before.name} is done`);
  }
}

const podArbitrary = fc
  .record({
    policy: fc.constantFrom<RestartPolicy>('Always', 'OnFailure', 'Never'),
    inits: fc.array(fc.boolean(), { maxLength: 3 }),
    mains: fc.array(
      fc.constantFrom<RestartPolicy | 'all' | undefined>('Always', 'OnFailure', 'Never', 'all', undefined),
      {
        minLength: 1,
        maxLength: 3,
      },
    ),
    ephemeral: fc.boolean(),
  })
  .map(({ policy, inits, mains, ephemeral }) =>
    makePod({
      restartPolicy: policy,
      initContainers: inits.map((isSide, index) => (isSide ? sidecar(`i${index}`) : named(`i${index}`))),
      containers: mains.map((own, index) => {
        if (own === 'all') return named(`m${index}`, { restartPolicy: 'Never', restartPolicyRules: [all] });
        return named(`m${index}`, own === undefined ? {} : { restartPolicy: own });
      }),
      ...(ephemeral ? { ephemeralContainers: [named('debug')] } : {}),
    }),
  );

const stepArbitrary = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      what: fc.constant('end' as const),
      index: fc.nat(9),
      exitCode: fc.constantFrom(0, 0, 1, 88),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('lose' as const) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('cut' as const), after: fc.nat(4) }) },
);

function planNow(pod: Pod, model: Model): PodActions {
  const verdict = () => ({ started: true, ready: true });
  return computePodActions(pod, model.state, { nowMs: model.nowMs, restartBackoff, verdict });
}

/** Passes until nothing is left to do but to wait; `most`: operations after which the daemon dies. */
function settle(pod: Pod, model: Model, most = Number.POSITIVE_INFINITY): PodActions {
  let left = most;
  for (let pass = 0; pass < 50; pass++) {
    const actions = planNow(pod, model);
    for (const operation of actions.operations) {
      if (left-- <= 0) return actions;
      model.apply(pod, operation);
    }
    const due = actions.backingOff.map(({ untilMs }) => untilMs);
    if (actions.operations.length === 0 && due.length === 0) return actions;
    model.nowMs = Math.max(model.nowMs + 10, ...due);
  }
  throw new Error('the plans come to no end');
}

test('whatever ends or is lost: order holds, nothing runs twice, and plans come to rest', (t) => {
  fc.assert(
    fc.property(podArbitrary, fc.array(stepArbitrary, { maxLength: 12 }), (pod, steps) => {
      const model = new Model();
      settle(pod, model);
      for (const step of steps) {
        if (step.what === 'end') model.end(step.index, step.exitCode);
        if (step.what === 'lose') model.loseSandbox();
        settle(pod, model, step.what === 'cut' ? step.after : undefined);
      }
      const last = settle(pod, model);
      t.deepEqual(planNow(pod, model).operations, [], 'a plan that was carried out leaves nothing to do');
      const running = model.state.containers.filter(({ phase }) => phase === 'running');
      if (last.completed) {
        t.deepEqual(running, []);
        t.false(model.state.sandboxes.some(({ ready }) => ready));
        return;
      }
      // Regular init containers end by themselves only: one of them may still run.
      const initializing = running.some(({ name }) =>
        pod.spec.initContainers?.some((container) => container.name === name && !isSidecar(container)),
      );
      if (initializing) return;
      t.true(pod.spec.containers.some(({ name }) => newestContainer(model.state, name)?.phase === 'running'));
      for (const { name } of (pod.spec.initContainers ?? []).filter(isSidecar)) {
        t.is(newestContainer(model.state, name)?.phase, 'running', `sidecar ${name} runs beside the main containers`);
      }
    }),
    { numRuns: 1500 },
  );
});
