/**
 * Probes of all kinds on a real runtime, against a server that is told what to answer and writes down what it was asked.
 * Layer: test (integration, root). Pods come from manifests: the API server of the tests knows no gRPC probes.
 */
import { join } from 'node:path';
import test from 'ava';
import type { PodReport } from '../../src/agent/status-report.ts';
import type { ContainerStatus } from '../../src/api/core.ts';
import type { Census } from '../support/census.ts';
import { container, type Daemon, type Manifest, podManifest, sleeper, startDaemon } from '../support/daemon.ts';
import { eventually } from '../support/exec.ts';
import { type Asked, type ProbedPod, probedPod, probePorts } from '../support/probed-pod.ts';

let daemon: Daemon;
let before: Census;

test.before(async () => {
  daemon = await startDaemon({ images: ['pause', 'busybox'] });
  before = await daemon.warmCensus();
});
test.afterEach.always(() => daemon.clear());
test.after.always(() => daemon?.end());

/** Asks the server of its pod, or looks for the switch itself. */
const actions = {
  exec: { exec: { command: ['sh', '-c', 'test ! -e /probed/no-exec'] } },
  http: { httpGet: { path: '/', port: probePorts.http } },
  https: { httpGet: { path: '/', port: probePorts.https, scheme: 'HTTPS' } },
  tcp: { tcpSocket: { port: probePorts.tcp } },
  grpc: { grpc: { port: probePorts.grpc } },
} as const;
const kinds = Object.keys(actions) as (keyof typeof actions)[];
const fast = { periodSeconds: 1, failureThreshold: 1 };
/** For what must not fail on a busy machine. */
const patient = { timeoutSeconds: 10 };
const get = (path: string, more: Manifest = {}): Manifest => ({
  httpGet: { path, port: probePorts.http },
  ...fast,
  ...more,
});

const probed = (name: string): ProbedPod => probedPod(join(daemon.node.run.path, 'probed', name));
const write = (name: string, { volumes }: ProbedPod, containers: Manifest[], more: Manifest = {}): void =>
  daemon.write(`${name}.yaml`, podManifest(name, { volumes, containers, ...more }));
const statusOf = (pod: PodReport, name: string): ContainerStatus | undefined =>
  pod.status.containerStatuses?.find((status) => status.name === name);
const unready = (pod: PodReport): string[] =>
  (pod.status.containerStatuses ?? []).filter(({ ready }) => !ready).map(({ name }) => name);
const waitUnready = (pod: string, ...names: string[]): Promise<PodReport> =>
  daemon.waitForPod(pod, `unready: ${names.join(' ')}`, (report) => unready(report).sort().join() === names.join());
const waitRestarts = (pod: string, name: string, restarts = 1): Promise<PodReport> =>
  daemon.waitForPod(pod, `${name} restarted`, (report) => statusOf(report, name)?.restartCount === restarts);
const waitAsked = (pod: ProbedPod, name: string, count = 1): Promise<Asked[]> =>
  eventually(`${name} is asked for ${count} times`, () => {
    const asked = pod.asked(name);
    return asked.length >= count ? asked : undefined;
  });
/** Whether the daemon said since then that the pod is not ready. */
const wasUnready = (pod: string, sinceLog: number): boolean =>
  daemon.keelson
    .logs()
    .slice(sinceLog)
    .split('\n')
    .some((line) => line.includes(`pod=default/${daemon.fullName(pod)} `) && line.includes(' ready=false'));

test.serial('readiness by exec, HTTP, HTTPS, TCP and gRPC: each follows its own answer', async (t) => {
  const pod = probed('readiness');
  for (const kind of kinds) pod.fail(kind);
  const asking = kinds.map((kind) =>
    container(kind, sleeper, { volumeMounts: [pod.mount], readinessProbe: { ...actions[kind], ...fast } }),
  );
  write('readiness', pod, [pod.server('server'), ...asking]);
  await waitAsked(pod, 'grpc');
  const first = await waitUnready('readiness', ...kinds.toSorted());
  t.deepEqual(
    first.status.conditions.filter(({ type }) => type.endsWith('Ready')).map(({ type, status }) => [type, status]),
    [
      ['Ready', 'False'],
      ['ContainersReady', 'False'],
    ],
  );
  for (const kind of kinds) pod.fail(kind, false);
  await daemon.waitForReady('readiness');
  for (const kind of kinds) {
    pod.fail(kind);
    await waitUnready('readiness', kind);
    pod.fail(kind, false);
    await waitUnready('readiness');
  }
  const [ready] = await daemon.waitForReady('readiness');
  t.is(ready?.restarts, 0, 'readiness restarts nothing');
});

test.serial('liveness by exec, HTTP, HTTPS, TCP and gRPC: each restarts its own container', async (t) => {
  const pod = probed('liveness');
  const asking = kinds.map((kind) =>
    container(kind, sleeper, {
      volumeMounts: [pod.mount],
      livenessProbe: { ...actions[kind], ...patient, periodSeconds: 1, failureThreshold: 2, initialDelaySeconds: 3 },
    }),
  );
  write('liveness', pod, [pod.server('server'), ...asking]);
  await daemon.waitForReady('liveness');
  const wanted: Record<string, number> = Object.fromEntries(kinds.map((kind) => [kind, 0]));
  for (const kind of kinds) {
    pod.fail(kind);
    const report = await waitRestarts('liveness', kind);
    pod.fail(kind, false);
    wanted[kind] = 1;
    const counts = kinds.map((name) => [name, statusOf(report, name)?.restartCount]);
    t.deepEqual(Object.fromEntries(counts), wanted);
    t.is(statusOf(report, kind)?.lastState.terminated?.exitCode, 0, 'it was asked to end');
    await daemon.waitForReady('liveness');
  }
});

test.serial('the startup probe holds the others back until it succeeds', async (t) => {
  const pod = probed('startup');
  pod.fail('startup');
  // It would be restarted at once, were it asked.
  pod.fail('live');
  const main = container('main', sleeper, {
    startupProbe: get('/startup', { failureThreshold: 100 }),
    livenessProbe: get('/live'),
    readinessProbe: get('/ready'),
  });
  write('startup', pod, [pod.server('server'), main]);
  await waitAsked(pod, 'startup', 3);
  const [early] = (await daemon.status()).pods;
  t.deepEqual([...pod.asked('live'), ...pod.asked('ready')], []);
  t.like(statusOf(early!, 'main'), { started: false, ready: false, restartCount: 0 });
  pod.fail('startup', false);
  await waitRestarts('startup', 'main');
  pod.fail('live', false);
  await daemon.waitForReady('startup');
  const order = pod.asked().map(({ name }) => name);
  t.true(order.indexOf('ready') > order.indexOf('startup'));
  const last = pod.asked('startup').at(-1);
  t.false(last?.failed, 'the new instance was asked anew and has started');
});

test.serial("a startup or liveness probe ends with its own grace, not with the pod's", async (t) => {
  const pod = probed('grace');
  for (const name of ['stubborn', 'never', 'live']) pod.fail(name);
  const grace = { terminationGracePeriodSeconds: 1 };
  // Obeys no SIGTERM for as long as the switch is on; then ends by itself, as one that came before the trap is lost.
  const stubborn = ['sh', '-c', 'trap : TERM; while test -e /probed/no-stubborn; do sleep 0.2; done'];
  const more = { volumeMounts: [pod.mount] };
  const containers = [
    pod.server('server'),
    container('start', stubborn, { ...more, startupProbe: get('/never', { ...grace, failureThreshold: 2 }) }),
    container('live', stubborn, { ...more, livenessProbe: get('/live', grace) }),
  ];
  // With the pod's grace the test would not end in time.
  write('grace', pod, containers, { terminationGracePeriodSeconds: 3600 });
  for (const name of ['start', 'live']) {
    const report = await waitRestarts('grace', name);
    t.is(statusOf(report, name)?.lastState.terminated?.exitCode, 137, name);
  }
  pod.fail('stubborn', false);
});

test.serial(
  'HTTP: path and query, a port by name, headers, TLS that nobody vouches for, a host of its own',
  async (t) => {
    const pod = probed('parameters');
    const { nodeIp } = daemon.node;
    const names = ['plain', 'headers', 'tls', 'elsewhere', 'redirect'];
    const readiness = (httpGet: Manifest): Manifest => ({ readinessProbe: { httpGet, ...fast } });
    // The host's network has a server, too: of the second pod.
    const other = probed('other');
    write('other', other, [other.server('server')], { hostNetwork: true });
    await daemon.waitForReady('other');
    write('parameters', pod, [
      pod.server('server', readiness({ path: '/named?full=1#not', port: probePorts.httpName })),
      container('plain', sleeper, readiness({ port: probePorts.http })),
      container(
        'headers',
        sleeper,
        readiness({
          path: '/headers',
          port: probePorts.http,
          httpHeaders: [
            { name: 'Host', value: 'shop.example' },
            { name: 'X-Twice', value: 'a' },
            { name: 'X-Twice', value: 'b' },
            { name: 'User-Agent', value: 'own' },
          ],
        }),
      ),
      container('tls', sleeper, readiness({ path: '/tls', port: probePorts.https, scheme: 'HTTPS' })),
      container('elsewhere', sleeper, readiness({ path: '/elsewhere', host: nodeIp, port: probePorts.http })),
      container('redirect', sleeper, readiness({ path: '/redirect', port: probePorts.http })),
    ]);
    const [ready] = await daemon.waitForReady('parameters');
    t.deepEqual(
      names.filter((name) => !statusOf(ready!, name)?.ready),
      [],
    );
    const first = (name: string, of = pod): Asked | undefined => of.asked(name)[0];
    t.is(first('named')?.url, '/named?full=1');
    t.like(first('http'), { url: '/' });
    t.is(first('http')?.headers['user-agent'], 'kube-probe/1.36');
    t.is(first('http')?.headers.host, `${ready?.status.podIP}:${probePorts.http}`);
    t.like(first('headers')?.headers, { host: 'shop.example', 'x-twice': 'a, b', 'user-agent': 'own' });
    t.is(first('tls')?.kind, 'https');
    t.is(first('elsewhere'), undefined);
    t.is(first('elsewhere', other)?.kind, 'http');
    t.truthy(first('redirected'), 'a redirect on the host is followed');
  },
);

test.serial('gRPC: the service is asked by its name; NOT_SERVING is no', async (t) => {
  const pod = probed('grpc');
  pod.fail('db');
  const readinessProbe = (service: string): Manifest => ({ grpc: { port: probePorts.grpc, service }, ...fast });
  write('grpc', pod, [
    pod.server('server'),
    container('db', sleeper, { readinessProbe: readinessProbe('db') }),
    container('queue', sleeper, { readinessProbe: readinessProbe('queue') }),
  ]);
  await waitAsked(pod, 'db');
  await waitUnready('grpc', 'db');
  t.is(pod.asked('queue')[0]?.url, '/grpc.health.v1.Health/Check');
  pod.fail('db', false);
  await daemon.waitForReady('grpc');
  t.true(pod.asked('db').some(({ failed }) => failed));
});

test.serial('thresholds: so many in a row, and what came before is forgotten', async (t) => {
  const pod = probed('thresholds');
  const main = pod.server('server', {
    readinessProbe: get('/ready', { ...patient, failureThreshold: 3, successThreshold: 2 }),
  });
  write('thresholds', pod, [main]);
  await daemon.waitForReady('thresholds');
  const sinceLog = daemon.keelson.logs().length;
  const failedInARow = (): number => {
    const asked = pod.asked('ready');
    return asked.length - 1 - asked.findLastIndex(({ failed }) => !failed);
  };
  t.true(pod.asked('ready').length >= 2, 'one success is not enough');
  // Two failures, twice, with a success between.
  for (const _ of [1, 2]) {
    const asked = pod.asked('ready').length;
    pod.failTimes('ready', 2);
    await waitAsked(pod, 'ready', asked + 4);
  }
  t.false(wasUnready('thresholds', sinceLog), 'two failures in a row are not three');
  pod.fail('ready');
  await waitUnready('thresholds', 'server');
  t.true(failedInARow() >= 3);
  t.true(wasUnready('thresholds', sinceLog), 'the log is what it is looked for in');
  const asked = pod.asked('ready').length;
  pod.fail('ready', false);
  await daemon.waitForReady('thresholds');
  t.true(
    pod
      .asked('ready')
      .slice(asked)
      .filter(({ failed }) => !failed).length >= 2,
  );
});

test.serial('initialDelaySeconds and periodSeconds are kept; an answer that takes too long is none', async (t) => {
  const pod = probed('times');
  write('times', pod, [
    pod.server('server', { readinessProbe: get('/late', { initialDelaySeconds: 3, periodSeconds: 2 }) }),
    container('hangs', sleeper, { livenessProbe: get('/hang', { timeoutSeconds: 1, failureThreshold: 2 }) }),
    container('execs', sleeper, {
      readinessProbe: { exec: { command: ['sh', '-c', 'sleep 1000'] }, ...fast, timeoutSeconds: 1 },
    }),
  ]);
  const [first, second, third] = await waitAsked(pod, 'late', 3);
  const report = await waitRestarts('times', 'hangs');
  const startedMs = Date.parse(statusOf(report, 'server')?.state.running?.startedAt ?? '');
  t.true(first!.atMs >= startedMs + 3000, 'not before the delay');
  // The first ones are looks at a container that is to become ready soon; a timer may be late, never early.
  t.true(third!.atMs - second!.atMs >= 1000);
  t.true(pod.asked('hang').length >= 2);
  t.true(statusOf(report, 'server')?.ready);
  t.false(statusOf(report, 'execs')?.ready);
});

test.serial('a closed port, a command that is not there, a host that is none: unready, never worse', async (t) => {
  const closed = 4;
  const readiness = (name: string, probe: Manifest): Manifest =>
    container(name, sleeper, { readinessProbe: { ...probe, ...fast } });
  daemon.write(
    'closed.yaml',
    podManifest('closed', {
      containers: [
        readiness('exec', { exec: { command: ['/not/there'] } }),
        readiness('grpc', { grpc: { port: closed } }),
        readiness('http', { httpGet: { port: closed } }),
        readiness('https', { httpGet: { port: closed, scheme: 'HTTPS' } }),
        readiness('name', { httpGet: { port: closed, host: 'no.such.host.invalid' } }),
        readiness('tcp', { tcpSocket: { port: closed } }),
      ],
    }),
  );
  await daemon.waitForPod('closed', 'runs', ({ status }) => status.phase === 'Running');
  // Time for all to have been asked.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const report = await waitUnready('closed', 'exec', 'grpc', 'http', 'https', 'name', 'tcp');
  t.is(report.status.phase, 'Running');
  t.is(report.restarts, 0);
  await daemon.waitForPod('closed', 'its condition says why', ({ status }) =>
    status.conditions.some(({ type, reason }) => type === 'Ready' && reason === 'ContainersNotReady'),
  );
});

test.serial("hostNetwork: probes ask the node's address", async (t) => {
  const pod = probed('host');
  const readinessProbe = { httpGet: { path: '/host', port: probePorts.http }, ...fast };
  write('host', pod, [pod.server('server', { readinessProbe })], { hostNetwork: true });
  await daemon.waitForReady('host');
  t.is(pod.asked('host')[0]?.headers.host, `${daemon.node.nodeIp}:${probePorts.http}`);
});

test.serial('probed while it ends: readiness goes on, liveness does not', async (t) => {
  const pod = probed('ending');
  const script = 'trap "until test -e /probed/may-end; do sleep 0.2; done; exit 0" TERM; while :; do sleep 0.2; done';
  const main = container('main', ['sh', '-c', script], {
    volumeMounts: [pod.mount],
    readinessProbe: get('/ready'),
    livenessProbe: get('/live'),
  });
  // The server must outlive the main container: it is a sidecar.
  write('ending', pod, [main], {
    initContainers: [pod.server('server', { restartPolicy: 'Always' })],
    terminationGracePeriodSeconds: 60,
  });
  await daemon.waitForReady('ending');
  daemon.remove('ending.yaml');
  await daemon.waitFor('it ends', ({ ending }) => ending.length === 1);
  const asked = pod.asked('live').length;
  await waitAsked(pod, 'ready', pod.asked('ready').length + 3);
  // One may have been under way.
  t.true(pod.asked('live').length <= asked + 1);
  await daemon.node.exec('touch', join(daemon.node.run.path, 'probed/ending/may-end'));
});

test.serial('nothing is left of all these pods', async (t) => {
  await daemon.waitForNoPods();
  t.deepEqual(await daemon.difference(before), []);
});
