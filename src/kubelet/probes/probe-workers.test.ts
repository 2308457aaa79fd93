import test from 'ava';
import type { Container, ContainerStatus, Pod, PodSpec, Probe } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { ContainerPhase, ContainerRecord, PodRuntimeState } from '../plan/runtime-state.ts';
import type { ProbeVerdict } from '../pods/pod-context.ts';
import type { ProbeOutcome } from './probe-outcome.ts';
import { ProbeWorkers } from './probe-workers.ts';
import type { ProbeRequest } from './run-probe.ts';

const startMs = 1_000_000;
const tcp: Probe = { tcpSocket: { port: 80 } };
const good: ProbeOutcome = { result: 'success', output: '' };
const bad: ProbeOutcome = { result: 'failure', output: 'no' };

interface Instance {
  id?: string;
  phase?: ContainerPhase;
  startedAtMs?: number;
}

/** A node with one pod `u1`, whose container `c` has the probes given. Outcomes are taken by the probe's kind. */
function world(probes: Partial<Container>, { spec = {} as Partial<PodSpec>, random = 0.5, deaf = false } = {}) {
  const clock = new FakeClock(startMs);
  const runs: string[] = [];
  const requests: ProbeRequest[] = [];
  const events: string[] = [];
  const changes: string[] = [];
  const outcomes = new Map<Probe | undefined, ProbeOutcome | Promise<ProbeOutcome>>();
  const kindOf = (container: Container, probe: Probe): string =>
    probe === container.startupProbe ? 'startup' : probe === container.livenessProbe ? 'liveness' : 'readiness';
  const workers = new ProbeWorkers({
    runtime: { execSync: () => Promise.reject(new Error('not here')) },
    clock,
    log: silentLogger,
    nodeIP: '192.0.2.2',
    recordEvent: (pod, { type, reason, message, container }) =>
      events.push(`${type} ${reason} ${pod.metadata.name}/${container}: ${message}`),
    onChange: (uid) => changes.push(uid),
    random: () => random,
    run: async (probe, request) => {
      const kind = kindOf(request.container, probe);
      runs.push(`${clock.now() - startMs} ${kind}`);
      requests.push(request);
      const aborted = new Promise<never>((_, reject) =>
        request.signal.addEventListener('abort', () => reject(request.signal.reason)),
      );
      aborted.catch(() => undefined);
      return deaf ? (outcomes.get(probe) ?? good) : Promise.race([outcomes.get(probe) ?? good, aborted]);
    },
  });
  const container: Container = { name: 'c', image: 'i', ...probes };
  let pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default', uid: 'u1' },
    spec: { containers: [container], ...spec },
  };
  const record = ({ id = 'id1', phase = 'running', startedAtMs = clock.now() }: Instance): ContainerRecord => ({
    id,
    sandboxId: 'sandbox',
    name: 'c',
    attempt: 0,
    phase,
    image: 'i',
    imageRef: 'i',
    createdAtMs: startedAtMs,
    startedAtMs,
    finishedAtMs: undefined,
    exitCode: 0,
    reason: '',
    message: '',
    logPath: '',
    annotations: {},
  });
  const sandbox = {
    id: 'sandbox',
    attempt: 0,
    ready: true,
    createdAtMs: 0,
    ips: ['fd00::5', '10.0.0.5'],
    hostNetwork: false,
  };
  const self = {
    clock,
    runs,
    requests,
    events,
    changes,
    workers,
    container,
    state: { sandboxes: [sandbox], containers: [] } as PodRuntimeState,
    says(probe: Probe | undefined, outcome: ProbeOutcome | Promise<ProbeOutcome>): void {
      outcomes.set(probe, outcome);
    },
    /** The pod comes to the node; nothing runs yet. */
    admit(status?: Partial<ContainerStatus>): void {
      if (status) {
        const whole = { name: 'c', containerID: 'containerd://id1', ...status } as ContainerStatus;
        pod = { ...pod, status: { phase: 'Running', conditions: [], containerStatuses: [whole] } };
      }
      workers.follow(pod, self.state, { terminating: false });
    },
    run(instance: Instance = {}, terminating = false): void {
      self.state = { sandboxes: [sandbox], containers: [record(instance)] };
      workers.follow(pod, self.state, { terminating });
    },
    /** The pod is changed by an update. */
    change(changed: Partial<Container>): void {
      Object.assign(container, changed);
      pod = { ...pod };
      workers.follow(pod, self.state, { terminating: false });
    },
    verdict: (): ProbeVerdict => workers.verdict(container, self.state.containers[0] ?? record({})),
    takeRuns: (): string[] => runs.splice(0),
  };
  return self;
}

test('a container without probes is started and ready while it runs', (t) => {
  const node = world({});
  node.run();
  t.deepEqual(node.verdict(), { started: true, ready: true });
  node.run({ phase: 'exited' });
  t.deepEqual(node.verdict(), { started: false, ready: false });
});

test('a container is asked for readiness at once, and then each period', async (t) => {
  const node = world({ readinessProbe: tcp });
  node.admit();
  await node.clock.advance(700);
  t.deepEqual(node.takeRuns(), [], 'nothing runs yet');
  node.run();
  t.deepEqual(node.verdict(), { started: true, ready: false });
  await node.clock.advance(25_000);
  t.deepEqual(node.takeRuns(), ['750 readiness', '10750 readiness', '20750 readiness']);
  t.deepEqual(node.verdict(), { started: true, ready: true });
  t.deepEqual(node.changes, ['u1'], 'the worker is woken once');
  t.deepEqual(node.requests[0]?.host, '10.0.0.5', 'the address of the node’s family');
});

test('a container that is slow to become ready is asked again within its first second, and told of once', async (t) => {
  const node = world({ readinessProbe: tcp });
  node.says(tcp, bad);
  node.run();
  await node.clock.advance(12_000);
  t.deepEqual(node.takeRuns(), ['50 readiness', '300 readiness', '1000 readiness', '11000 readiness']);
  t.is(node.events.length, 2);
  t.is(node.events[0], 'Warning Unhealthy web/c: Readiness probe failed: no');
  t.deepEqual(node.changes, []);
});

test('an early look that succeeds ends the early looks', async (t) => {
  const probe = { ...tcp, successThreshold: 3 };
  const node = world({ readinessProbe: probe });
  node.run();
  await node.clock.advance(30_000);
  t.deepEqual(node.takeRuns(), ['50 readiness', '10250 readiness', '20250 readiness'], 'successes are a period apart');
  t.true(node.verdict().ready);
});

test('nothing is asked before the initial delay', async (t) => {
  const delayed = { ...tcp, initialDelaySeconds: 12 };
  const node = world({ readinessProbe: delayed, livenessProbe: { ...delayed } });
  node.admit();
  await node.clock.advance(3_000);
  node.run();
  await node.clock.advance(11_999);
  t.deepEqual(node.takeRuns(), []);
  await node.clock.advance(10_000);
  t.deepEqual(
    node.takeRuns(),
    ['15050 readiness', '20000 liveness'],
    'liveness keeps the beat that began with the pod',
  );
});

test('liveness runs in the beat of its period and gives a new container its time', async (t) => {
  const probe = { ...tcp, periodSeconds: 5 };
  const node = world({ livenessProbe: probe });
  node.admit();
  await node.clock.advance(2_000);
  node.run();
  await node.clock.advance(10_000);
  t.deepEqual(node.takeRuns(), ['5000 liveness', '10000 liveness']);
  const late = world({ livenessProbe: probe });
  late.run();
  await late.clock.advance(5_000);
  t.deepEqual(late.takeRuns(), ['5000 liveness'], 'also when its start was seen first');
});

test('a container that fails its liveness probe is to be ended, and is left alone until a new one runs', async (t) => {
  const probe = { ...tcp, periodSeconds: 1, terminationGracePeriodSeconds: 7 };
  const node = world({ livenessProbe: probe });
  node.says(probe, bad);
  node.run();
  await node.clock.advance(2_500);
  t.is(node.verdict().failed, undefined, 'below the threshold');
  await node.clock.advance(10_000);
  const message = 'Container c failed liveness probe';
  t.deepEqual(node.verdict(), { started: true, ready: true, failed: { probe: 'liveness', message, graceSeconds: 7 } });
  t.is(node.takeRuns().length, 3);
  t.deepEqual(node.changes, ['u1']);
  node.run({ phase: 'exited' });
  node.says(probe, good);
  node.run({ id: 'id2' });
  t.is(node.verdict().failed, undefined);
  node.says(probe, bad);
  await node.clock.advance(2_000);
  t.is(node.takeRuns().length, 2);
  t.is(node.verdict().failed, undefined, 'the new one has failed twice, not five times');
});

test('nothing else is asked until the startup probe succeeded, and that is never asked again', async (t) => {
  const startupProbe: Probe = { ...tcp, periodSeconds: 2, failureThreshold: 10 };
  const readinessProbe: Probe = { ...tcp };
  const livenessProbe: Probe = { ...tcp };
  const node = world({ startupProbe, readinessProbe, livenessProbe });
  node.says(startupProbe, bad);
  node.admit();
  node.run();
  await node.clock.advance(5_000);
  t.deepEqual(node.takeRuns(), ['0 startup', '2000 startup', '4000 startup']);
  t.deepEqual(node.verdict(), { started: false, ready: false });
  node.says(startupProbe, good);
  await node.clock.advance(10_000);
  t.deepEqual(node.takeRuns(), ['6000 startup', '6050 readiness', '10000 liveness']);
  t.deepEqual(node.verdict(), { started: true, ready: true });
  t.deepEqual(node.changes, ['u1', 'u1']);
  node.run({ id: 'id2' });
  t.deepEqual(node.verdict(), { started: false, ready: false }, 'a new container begins anew');
});

test('a startup probe that fails for good ends the container', async (t) => {
  const node = world({ startupProbe: { ...tcp, periodSeconds: 1, failureThreshold: 2 }, livenessProbe: { ...tcp } });
  node.says(node.container.startupProbe, bad);
  node.run();
  await node.clock.advance(60_000);
  t.deepEqual(node.takeRuns(), ['1000 startup', '2000 startup']);
  const failed = { probe: 'startup', message: 'Container c failed startup probe' };
  t.deepEqual(node.verdict() as unknown, { started: false, ready: false, failed });
});

test('an error of the node changes nothing, and is told of in the kubelet’s words', async (t) => {
  const node = world({ readinessProbe: tcp });
  node.run();
  await node.clock.advance(100);
  node.says(tcp, { result: 'error', state: 'unknown', output: 'no connection' });
  await node.clock.advance(60_000);
  t.deepEqual(node.verdict(), { started: true, ready: true });
  t.is(node.events[0], 'Warning Unhealthy web/c: Readiness probe errored and resulted in unknown state: no connection');
  t.deepEqual(
    [...node.workers.counts()].map(({ labels, value }) => `${labels.result} ${value}`),
    ['successful 1'],
  );
});

test('a warning counts as success and is told of', async (t) => {
  const node = world({ readinessProbe: tcp });
  node.says(tcp, { result: 'warning', output: 'redirected' });
  node.run();
  await node.clock.advance(100);
  t.true(node.verdict().ready);
  t.deepEqual(node.events, ['Warning ProbeWarning web/c: Readiness probe warning: redirected']);
});

test('a pod that ends is asked for readiness only', async (t) => {
  const startupProbe: Probe = { ...tcp, initialDelaySeconds: 1000 };
  const node = world({ startupProbe, readinessProbe: { ...tcp }, livenessProbe: { ...tcp, periodSeconds: 1 } });
  node.run();
  await node.clock.advance(5_000);
  t.deepEqual(node.verdict(), { started: false, ready: false });
  node.run({ startedAtMs: startMs }, true);
  t.true(node.verdict().started, 'it is not held back by its startup probe');
  await node.clock.advance(20_000);
  t.deepEqual(node.takeRuns(), ['5050 readiness', '15250 readiness']);
  t.true(node.verdict().ready);
});

const endsWhileProbed = test.macro(async (t, deaf: boolean) => {
  const node = world({ livenessProbe: { ...tcp, failureThreshold: 1 } }, { deaf });
  const { promise, resolve } = Promise.withResolvers<ProbeOutcome>();
  node.says(node.container.livenessProbe, promise);
  node.run();
  await node.clock.advance(10_000);
  node.run({ startedAtMs: startMs }, true);
  t.true(node.requests[0]?.signal.aborted);
  resolve(bad);
  await node.clock.advance(60_000);
  t.is(node.verdict().failed, undefined);
  t.deepEqual(node.events, []);
  t.is(node.runs.length, 1);
});

test('a liveness probe under way is aborted when the pod ends', endsWhileProbed, false);
test('a result that comes just when the pod ends is nobody’s', endsWhileProbed, true);

test('a probe that hangs is not run twice at a time', async (t) => {
  const node = world({ readinessProbe: tcp });
  const { promise, resolve } = Promise.withResolvers<ProbeOutcome>();
  node.says(tcp, promise);
  node.run();
  await node.clock.advance(25_000);
  t.deepEqual(node.takeRuns(), ['50 readiness']);
  node.says(tcp, good);
  resolve(good);
  await node.clock.advance(5_300);
  t.deepEqual(node.takeRuns(), ['25000 readiness', '30250 readiness'], 'the beat goes on');
});

test('what an instance said ends with it', async (t) => {
  const node = world({ readinessProbe: tcp });
  node.run();
  await node.clock.advance(100);
  t.true(node.verdict().ready);
  node.run({ phase: 'exited' });
  t.false(node.verdict().ready);
  await node.clock.advance(60_000);
  t.is(node.takeRuns().length, 1, 'nothing is asked of what does not run');
  node.run({ id: 'id2' });
  t.false(node.verdict().ready);
  await node.clock.advance(100);
  t.true(node.verdict().ready);
});

test('probes follow an update of the pod', async (t) => {
  const node = world({ readinessProbe: tcp });
  node.says(tcp, bad);
  node.run();
  await node.clock.advance(2_000);
  node.takeRuns();
  const faster = { ...tcp, periodSeconds: 1 };
  node.change({ readinessProbe: faster });
  await node.clock.advance(1_500);
  t.deepEqual(node.takeRuns(), ['2000 readiness', '3000 readiness']);
  t.true(node.verdict().ready);
  node.change({ livenessProbe: { ...tcp, periodSeconds: 2 } });
  await node.clock.advance(2_500);
  t.deepEqual(node.takeRuns(), ['4000 readiness', '5000 readiness', '5500 liveness', '6000 readiness']);
  node.change({ readinessProbe: undefined, livenessProbe: undefined } as unknown as Partial<Container>);
  await node.clock.advance(60_000);
  t.deepEqual(node.takeRuns(), []);
  t.deepEqual(node.verdict(), { started: true, ready: true });
});

test('sidecars are probed, init containers that end are not; hostNetwork pods at the node’s address', async (t) => {
  const probed: Container = { name: 'c', image: 'i', readinessProbe: tcp };
  for (const [restartPolicy, count] of [
    ['Always', 1],
    [undefined, 0],
  ] as const) {
    const initContainers = [{ ...probed, ...(restartPolicy && { restartPolicy }) }];
    const node = world({}, { spec: { containers: [], initContainers, hostNetwork: true } });
    node.run();
    await node.clock.advance(100);
    t.deepEqual(
      node.requests.map(({ host }) => host),
      new Array(count).fill('192.0.2.2'),
    );
  }
});

test('after a restart of the daemon what was ready stays ready, and its probes are spread', async (t) => {
  const probes = () => ({ startupProbe: { ...tcp }, readinessProbe: { ...tcp }, livenessProbe: { ...tcp } });
  const before = startMs - 3600_000;
  const node = world(probes(), { random: 0.7 });
  node.admit({ ready: true, started: true });
  node.run({ startedAtMs: before });
  t.deepEqual(node.verdict(), { started: true, ready: true });
  for (const probe of [node.container.readinessProbe, node.container.livenessProbe]) node.says(probe, bad);
  await node.clock.advance(20_000);
  t.deepEqual(node.takeRuns(), ['7000 readiness', '7000 liveness', '17000 readiness', '17000 liveness']);
  t.deepEqual(node.verdict(), { started: true, ready: true }, 'two failures are below the threshold');

  const other = world(probes());
  other.admit({ ready: true, started: true, containerID: 'containerd://other' });
  other.run({ startedAtMs: before });
  t.deepEqual(other.verdict(), { started: false, ready: false }, 'that was said of another instance');
  await other.clock.advance(0);
  t.deepEqual(other.takeRuns(), ['0 startup', '0 readiness'], 'what is not known is asked at once');

  const unready = world({ readinessProbe: tcp });
  unready.admit({ ready: false, started: true });
  unready.run({ startedAtMs: before });
  unready.says(tcp, bad);
  await unready.clock.advance(0);
  t.deepEqual(unready.takeRuns(), ['0 readiness']);
  t.is(unready.events.length, 1, 'its failure is news');
});

test('what a container of this daemon’s own time says in its status is not believed', (t) => {
  const node = world({ readinessProbe: tcp });
  node.admit({ ready: true, started: true });
  node.run();
  t.false(node.verdict().ready);
});

test('counts are kept for each probe over restarts of the container, and end with the pod', async (t) => {
  const node = world({ readinessProbe: tcp, livenessProbe: { ...tcp } });
  node.admit();
  await node.clock.advance(1_000);
  node.run();
  await node.clock.advance(10_000);
  node.says(tcp, bad);
  node.run({ id: 'id2' });
  await node.clock.advance(100);
  const labels = { container: 'c', pod: 'web', namespace: 'default', pod_uid: 'u1' };
  t.deepEqual(
    [...node.workers.counts()],
    [
      { labels: { ...labels, probe_type: 'Readiness', result: 'successful' }, value: 1 },
      { labels: { ...labels, probe_type: 'Readiness', result: 'failed' }, value: 1 },
      { labels: { ...labels, probe_type: 'Liveness', result: 'successful' }, value: 1 },
    ],
  );
  node.workers.forget('u1');
  node.workers.forget('u1');
  t.deepEqual([...node.workers.counts()], []);
  node.takeRuns();
  await node.clock.advance(60_000);
  t.deepEqual(node.takeRuns(), []);
});

test('a stopped daemon probes nothing and still knows what was said', async (t) => {
  const node = world({ readinessProbe: tcp });
  node.run();
  await node.clock.advance(100);
  node.workers.stop();
  node.run({ id: 'id2' });
  await node.clock.advance(60_000);
  t.is(node.runs.length, 1);
});

test('a period beyond what a timer holds does not run early', async (t) => {
  const node = world({ livenessProbe: { ...tcp, periodSeconds: 2 ** 31 - 1 } });
  const { after } = node.clock;
  const longest = 2 ** 31 - 1;
  node.clock.after = (delayMs, callback) => after.call(node.clock, Math.min(delayMs, longest), callback);
  node.run();
  await node.clock.advance(longest * 5);
  t.deepEqual(node.takeRuns(), []);
});
