import test from 'ava';
import type { Pod, PodPhase } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { CriError, GrpcStatus } from '../../cri/cri-error.ts';
import type { RuntimeService } from '../../cri/service.ts';
import { StatusBoard } from '../status/status-board.ts';
import { FakeStatsNode } from './fake-stats-node.ts';
import { KubeletMetrics } from './kubelet-metrics.ts';

function metrics() {
  const clock = new FakeClock();
  const it = new KubeletMetrics({ version: '0.1', kubernetesVersion: 'v1.36.0', nodeName: 'node-1', clock });
  const lines = async (): Promise<string[]> => (await it.registry.metrics()).split('\n');
  return { clock, it, lines };
}

test('pods and containers are counted when somebody looks', async (t) => {
  const { it, lines } = metrics();
  const node = new FakeStatsNode(2);
  it.read(node.served);
  t.true((await lines()).includes('kubelet_running_pods 0'));
  const { state } = node.addPod({ containers: ['a', 'b'] });
  const done = node.addPod({ name: 'done' });
  done.status.phase = 'Succeeded';
  for (const sandbox of done.state.sandboxes) sandbox.ready = false;
  for (const container of done.state.containers) container.phase = 'exited';
  for (const container of state.containers) if (container.name === 'b') container.phase = 'created';
  const now = await lines();
  for (const line of [
    'kubelet_running_pods 1',
    'kubelet_running_containers{container_state="running"} 1',
    'kubelet_running_containers{container_state="created"} 1',
    'kubelet_running_containers{container_state="exited"} 1',
    'kubelet_desired_pods{static="true"} 2',
    'kubelet_active_pods{static="true"} 1',
    'kubelet_node_name{node="node-1"} 1',
    'kubernetes_build_info{git_version="v1.36.0",major="1",minor="36",platform="linux/amd64"} 1',
  ]) {
    t.true(now.includes(line), line);
  }
});

test('calls to the runtime are counted by the names of the kubelet', async (t) => {
  const { it, lines } = metrics();
  const service = {
    version: async () => ({ version: '', runtimeName: 'x', runtimeVersion: '', runtimeApiVersion: '' }),
    runPodSandbox: async () => {
      throw CriError.fromStatus('RunPodSandbox', GrpcStatus.unavailable, 'gone');
    },
    getContainerEvents: async function* () {},
  } as unknown as RuntimeService;
  const counted = it.runtimeOperations.counted(service);
  t.is((await counted.version({})).runtimeName, 'x');
  await counted.version({});
  await t.throwsAsync(counted.runPodSandbox({}), { instanceOf: CriError });
  t.is(counted.getContainerEvents, service.getContainerEvents);
  const now = await lines();
  for (const line of [
    'kubelet_runtime_operations_total{operation_type="version"} 2',
    'kubelet_runtime_operations_total{operation_type="run_podsandbox"} 1',
    'kubelet_runtime_operations_errors_total{operation_type="run_podsandbox"} 1',
    'kubelet_runtime_operations_duration_seconds_count{operation_type="run_podsandbox"} 1',
  ]) {
    t.true(now.includes(line), line);
  }
  t.false(now.some((line) => line.startsWith('kubelet_runtime_operations_errors_total{operation_type="version"}')));
});

test('the start of a pod is counted from its first sight, once, and not for a pod that ran before', async (t) => {
  const { clock, it, lines } = metrics();
  const board = new StatusBoard();
  it.watch(board);
  const set = (name: string, phase: PodPhase): void => {
    const metadata = { name, namespace: 'default', uid: name };
    const pod: Pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [] } };
    board.set(pod, { phase, conditions: [] });
  };
  set('adopted', 'Running');
  set('new', 'Pending');
  await clock.advance(2_500);
  set('new', 'Running');
  set('new', 'Pending');
  set('failed', 'Pending');
  set('failed', 'Failed');
  const now = await lines();
  t.true(now.includes('kubelet_pod_start_duration_seconds_count 1'));
  t.true(now.includes('kubelet_pod_start_duration_seconds_sum 2.5'));
});

test('evictions and removed images are read from who made room', async (t) => {
  const { it, lines } = metrics();
  const evictions = new Map([['memory.available', 2]]);
  it.readRoomMade({ evictions: () => evictions, imagesRemoved: () => ({ age: 0, space: 7 }) });
  for (const count of [2, 3]) {
    evictions.set('memory.available', count);
    const now = await lines();
    t.true(now.includes(`kubelet_evictions{eviction_signal="memory.available"} ${count}`));
    t.true(now.includes('kubelet_image_garbage_collected_total{reason="space"} 7'));
    t.true(now.includes('kubelet_image_garbage_collected_total{reason="age"} 0'));
  }
});

test('requests are counted without letting a client make series', async (t) => {
  const { it, lines } = metrics();
  it.answered({ method: 'GET', path: '/pods', status: 200 });
  it.answered({ method: 'BREW', path: 'other', status: 404 });
  const now = await lines();
  t.true(now.includes('kubelet_http_requests_total{method="GET",path="/pods",code="200"} 1'));
  t.true(now.includes('kubelet_http_requests_total{method="other",path="other",code="404"} 1'));
});
