/** The patch between two statuses, applied by a server's rules, gives the one that was wanted. */
import test from 'ava';
import type { ContainerStatus, Pod, PodStatus } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { FakePodApi } from './fake-pod-api.ts';
import { canBeDeleted, canonical, podStatusPatch, statusToSend } from './status-patch.ts';

const pod = (status?: PodStatus, metadata: object = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'default', uid: 'u1', ...metadata },
  spec: { containers: [{ name: 'c', image: 'busybox' }] },
  ...(status === undefined ? {} : { status }),
});
const running: PodStatus = {
  phase: 'Running',
  conditions: [
    { type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' },
    { type: 'PodScheduled', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' },
  ],
  hostIP: '192.0.2.2',
  hostIPs: [{ ip: '192.0.2.2' }],
  podIP: '10.0.0.1',
  podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }],
  startTime: '2026-01-01T00:00:00Z',
  qosClass: 'BestEffort',
  containerStatuses: [
    {
      name: 'c',
      state: { running: { startedAt: 'x' } },
      lastState: {},
      ready: true,
      started: true,
      restartCount: 0,
      image: 'busybox',
      imageID: 'sha256:1',
    },
  ],
};
/** In an order that says nothing, and without what others wrote. */
const own = (status: PodStatus | undefined): string => {
  const conditions = (status?.conditions ?? []).filter(({ type }) => !type.includes('/'));
  return canonical({ ...status, conditions: conditions.sort((a, b) => (a.type < b.type ? -1 : 1)) });
};

test('nothing to say makes no request', (t) => {
  t.is(podStatusPatch(pod(running), running), undefined);
  const reordered = Object.fromEntries(Object.entries(running).reverse()) as unknown as PodStatus;
  t.is(podStatusPatch(pod(reordered), running), undefined);
});

test('the patch is held to the uid and has only what differs', (t) => {
  const next: PodStatus = { ...running, phase: 'Succeeded' };
  t.deepEqual(podStatusPatch(pod(running), next), { metadata: { uid: 'u1' }, status: { phase: 'Succeeded' } });
});

test('start time and QoS class are decided once', (t) => {
  t.is(
    podStatusPatch(pod(running), { ...running, startTime: '2027-01-01T00:00:00Z', qosClass: 'Burstable' }),
    undefined,
  );
});

const others = { type: 'example.com/gate', status: 'True' as const };
const steps: [string, PodStatus | undefined, PodStatus][] = [
  ['from nothing', undefined, running],
  ['from what the scheduler left', { phase: 'Pending', conditions: [running.conditions[1]!] }, running],
  ['new addresses', running, { ...running, podIP: '10.0.0.2', podIPs: [{ ip: '10.0.0.2' }] }],
  [
    'the other family first',
    running,
    { ...running, podIP: 'fd00::1', podIPs: [{ ip: 'fd00::1' }, { ip: '10.0.0.1' }] },
  ],
  ['no address any more', running, { ...running, podIP: undefined, podIPs: undefined }],
  [
    'a reason that goes',
    { ...running, conditions: [{ type: 'Ready', status: 'False', reason: 'x', message: 'y' }] },
    { ...running, conditions: [{ type: 'Ready', status: 'True' }] },
  ],
  ['a condition of ours that goes', running, { ...running, conditions: [] }],
  ['a reason of the pod that goes', { ...running, reason: 'NodeLost', message: 'm' }, running],
];
for (const [what, before, wanted] of steps) {
  for (const foreign of [[], [others]]) {
    test(`applied by the server: ${what}${foreign.length > 0 ? ', and the condition of another stays' : ''}`, async (t) => {
      const server = new FakePodApi(new FakeClock());
      const status = before ?? (foreign.length > 0 ? { phase: 'Pending' as const, conditions: [] } : undefined);
      const stored = server.bind(pod(status && { ...status, conditions: [...status.conditions, ...foreign] }));
      const patch = podStatusPatch(stored, wanted);
      t.truthy(patch);
      const answer = await server.patchStatus(stored.metadata, patch!, new AbortController().signal);
      t.is(own(answer.status), own(wanted));
      t.is(podStatusPatch(answer, wanted), undefined, 'and then nothing is left to say');
      t.is(answer.status?.conditions.filter(({ type }) => type.includes('/')).length, foreign.length);
    });
  }
}

test('an end is not taken back, and not told while something may run', (t) => {
  const failed: PodStatus = { ...running, phase: 'Failed', reason: 'Evicted', message: 'm' };
  t.like(statusToSend(pod(failed), running, true), { phase: 'Failed', reason: 'Evicted', message: 'm' });
  t.like(statusToSend(pod(running), failed, true), { phase: 'Running', reason: undefined });
  t.like(statusToSend(pod(running), failed, false), { phase: 'Failed', reason: 'Evicted' });
});

test('what the containers said last fits 12 KiB for the pod, in whole characters', (t) => {
  const container = running.containerStatuses![0]!;
  const ended = (message: string) => ({ ...container, state: { terminated: { exitCode: 1, message } } });
  const status = {
    ...running,
    containerStatuses: ['a', 'b', 'c'].map((name) => ({ ...ended('ü'.repeat(4000)), name })),
  };
  const sent = statusToSend(pod(running), status, false).containerStatuses!;
  const lengths = sent.map(({ state }) => Buffer.byteLength(state.terminated?.message ?? ''));
  t.deepEqual(lengths, [4096, 4096, 4096]);
  const odd = statusToSend(pod(), { ...running, containerStatuses: [ended(`x${'ü'.repeat(9000)}`)] }, false);
  t.notRegex(odd.containerStatuses?.[0]?.state.terminated?.message ?? '', /\ufffd/);
});

test('deletion ends only when asked for, when nothing is left, and when the end was told', (t) => {
  const asked = { deletionTimestamp: '2026-01-01T00:00:00Z' };
  const done: PodStatus = { ...running, phase: 'Succeeded' };
  t.true(canBeDeleted(pod(done, asked), true));
  t.false(canBeDeleted(pod(done, asked), false));
  t.false(canBeDeleted(pod(running, asked), true));
  t.false(canBeDeleted(pod(done), true));
  t.false(canBeDeleted(pod(done, { ...asked, annotations: { 'kubernetes.io/config.mirror': 'x' } }), true));
});

const ended = (name: string, message: string): ContainerStatus => ({
  name,
  state: { terminated: { exitCode: 1, message } },
  lastState: {},
  ready: false,
  started: false,
  restartCount: 0,
  image: 'busybox',
  imageID: '',
});

test('init and ephemeral containers are sent as the main ones are', (t) => {
  const next: PodStatus = {
    ...running,
    initContainerStatuses: [ended('i', 'no')],
    ephemeralContainerStatuses: [ended('debug', 'no')],
  };
  const patch = podStatusPatch(pod(running), next) as { status: PodStatus };
  t.deepEqual(Object.keys(patch.status), ['initContainerStatuses', 'ephemeralContainerStatuses']);
  t.is(podStatusPatch(pod(next), next), undefined);
});

test('12 KiB of last words are shared by the containers of all kinds', (t) => {
  const long = 'x'.repeat(20_000);
  const next: PodStatus = {
    ...running,
    containerStatuses: [ended('a', long), ended('b', long)],
    initContainerStatuses: [ended('i', long)],
    ephemeralContainerStatuses: [ended('debug', long)],
  };
  const sent = statusToSend(pod(running), next, false);
  const lengths = [sent.containerStatuses, sent.initContainerStatuses, sent.ephemeralContainerStatuses]
    .flatMap((list) => list ?? [])
    .map(({ state }) => state.terminated?.message?.length);
  t.deepEqual(lengths, [3072, 3072, 3072, 3072]);
});

test("that a pod ends for others' sake is told with its end", (t) => {
  const disruption = { type: 'DisruptionTarget', status: 'True' as const, reason: 'TerminationByKubelet' };
  const next: PodStatus = { ...running, phase: 'Failed', conditions: [...running.conditions, disruption] };
  const types = (mayRun: boolean) => statusToSend(pod(running), next, mayRun).conditions.map(({ type }) => type);
  t.false(types(true).includes('DisruptionTarget'));
  t.true(types(false).includes('DisruptionTarget'));
});
