/**
 * A kubelet with a fake runtime, a fake API server and files of its own, for tests of pods that are resized.
 * Layer: kubelet/resize (test support). Must not be imported by production code.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { Container, ContainerStatus, Pod, PodCondition, PodSpec, ResourceRequirements } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import type { FakeContainer, FakeGeneration } from '../../cri/fake-pods.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import type { ImageService, RuntimeService } from '../../cri/service.ts';
import { silentLogger } from '../../observe/logger.ts';
import { createApiPodSource } from '../api/api-pod-source.ts';
import { ApiPods } from '../api/api-pods.ts';
import { FakePodApi } from '../api/fake-pod-api.ts';
import { startStatusSync } from '../api/status-sync.ts';
import { type Kubelet, type KubeletOptions, startKubelet } from '../kubelet.ts';
import { fakeKubeletOptions, fakeNodeFacts } from '../kubelet-options.fake.ts';
import { noVolumes } from '../pods/no-volumes.fake.ts';
import { StatusBoard } from '../status/status-board.ts';

/** `cpu`, then `memory`; requests are limits unless limits are given. */
export const asks = (cpu: string, memory: string, limits?: { cpu: string; memory: string }): ResourceRequirements => ({
  requests: { cpu, memory },
  limits: limits ?? { cpu, memory },
});

export const sized = (name: string, resources: ResourceRequirements, more: Partial<Container> = {}): Container => ({
  name,
  image: 'busybox',
  imagePullPolicy: 'IfNotPresent',
  resources,
  ...more,
});

export const apiPod = (name: string, containers: Container[], spec: Partial<PodSpec> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', uid: `uid-${name}`, generation: 1 },
  spec: { nodeName: 'n1', restartPolicy: 'Always', terminationGracePeriodSeconds: 1, containers, ...spec },
});

export interface ResizeNodeOptions {
  allocatable?: Record<string, string>;
  generation?: FakeGeneration;
  /** Around each UpdateContainerResources, which are counted from 1; what it returns is waited for. */
  onUpdate?: (when: 'before' | 'after', count: number) => Promise<void>;
  more?: Partial<KubeletOptions>;
}

export interface ResizeDaemon {
  kubelet: Kubelet;
  /** As `kill -9`: nothing of it reaches the runtime or the API server any more. */
  stop(): Promise<void>;
}

export interface WithApiOptions {
  runtime: RuntimeService;
  images: ImageService;
  clock: Clock;
  root: string;
  server: FakePodApi;
  events: string[];
  allocatable: Record<string, string>;
  more?: Partial<KubeletOptions>;
}

/** A kubelet role whose pods come from the fake API server, on whatever runtime. */
export async function startWithApi(options: WithApiOptions): Promise<ResizeDaemon> {
  const { runtime, images, clock, root, server, events, allocatable, more = {} } = options;
  const scope = new AbortController();
  const pods = new ApiPods(clock);
  const source = createApiPodSource({ pods, clock, manifests: undefined });
  pods.start(server.follow, scope.signal);
  const board = new StatusBoard();
  let kubelet: Kubelet | undefined;
  const mayRun = (uid: string): boolean => kubelet?.mayRun(uid) ?? true;
  const log = silentLogger;
  const sync = startStatusSync({ api: server, pods, board, mayRun, clock, log, random: () => 0.5 });
  kubelet = await startKubelet(
    fakeKubeletOptions(
      { root, clock, runtime, image: images },
      {
        source,
        volumes: () => ({
          ...noVolumes,
          teardown: async (uid) => rm(join(root, 'pods', uid), { recursive: true, force: true }),
        }),
        node: fakeNodeFacts(root, { nodeName: 'n1' }),
        admission: {
          node: () => ({ labels: {}, taints: [], allocatable }),
          refresh: async () => {},
          allowedUnsafeSysctls: [],
        },
        recordEvent: (pod, { reason, message }) => void events.push(`${pod.metadata.name} ${reason}: ${message}`),
        board,
        ...more,
      },
    ),
    scope.signal,
  );
  const started = kubelet;
  return {
    kubelet: started,
    /** As `kill -9`. */
    async stop() {
      sync.stop();
      scope.abort(new Error('killed'));
      await started.stop();
    },
  };
}

export async function resizeNode(t: ExecutionContext, options: ResizeNodeOptions = {}) {
  const { allocatable = { cpu: '2', memory: '4Gi' }, generation = '2.1', onUpdate, more = {} } = options;
  const root = await mkdtemp(join(tmpdir(), 'keelson-resize-'));
  const clock = new FakeClock();
  const fake = new FakeRuntime({ clock, generation });
  fake.setImage('docker.io/library/busybox:latest');
  const server = new FakePodApi(clock);
  const events: string[] = [];
  let updates = 0;
  const runtime: RuntimeService = {
    ...fake.runtime,
    async updateContainerResources(request, call) {
      const count = ++updates;
      await onUpdate?.('before', count);
      call?.signal?.throwIfAborted();
      const answer = await fake.runtime.updateContainerResources(request, call);
      await onUpdate?.('after', count);
      return answer;
    },
  };
  const daemons: { stop(): Promise<void> }[] = [];
  t.teardown(async () => {
    await Promise.all(daemons.map((daemon) => daemon.stop()));
    await rm(root, { recursive: true, force: true });
  });

  const start = async (): Promise<ResizeDaemon> => {
    const daemon = await startWithApi({ runtime, images: fake.image, clock, root, server, events, allocatable, more });
    daemons.push(daemon);
    return daemon;
  };

  const told: string[] = [];
  const patchStatus = server.patchStatus.bind(server);
  server.patchStatus = async (pod, patch, signal) => {
    const after = await patchStatus(pod, patch, signal);
    const { observedGeneration = 0, conditions, containerStatuses = [] } = after.status ?? { conditions: [] };
    const resizing = conditions.filter(({ type }) => type.startsWith('PodResize')).map(({ type }) => type.slice(3));
    const memory = containerStatuses.map(({ resources }) => resources?.limits?.memory);
    told.push([pod.name, observedGeneration, ...memory, ...resizing].join(' '));
    return after;
  };

  const node = {
    /** What each status said: name, generation, memory limits, conditions. */
    told,
    clock,
    fake,
    server,
    events,
    root,
    allocatable,
    start,
    /** As the subresource resize: a new generation. */
    resize(pod: string, resources: Record<string, ResourceRequirements>): void {
      server.change(`default/${pod}`, ({ metadata, spec }) => {
        metadata.generation = (metadata.generation ?? 0) + 1;
        for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
          const given = resources[container.name];
          if (given) container.resources = given;
        }
      });
    },
    async until(what: string, condition: () => boolean, stepMs = 10): Promise<void> {
      for (let i = 0; i < 600; i++) {
        if (condition()) {
          t.pass(what);
          return;
        }
        await clock.advance(stepMs);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      t.fail(
        `never happened: ${what}; ${events.join('\n')}\n${JSON.stringify(server.get(server.keys()[0] ?? '')?.status)}`,
      );
    },
    /** Long enough for whatever would happen by itself. */
    async rest(): Promise<void> {
      for (let i = 0; i < 30; i++) {
        await clock.advance(10);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
    condition: (pod: string, type: string): PodCondition | undefined =>
      server.get(`default/${pod}`)?.status?.conditions.find((condition) => condition.type === type),
    isReady: (pod: string): boolean => node.condition(pod, 'Ready')?.status === 'True',
    isResizing: (pod: string): boolean =>
      ['PodResizePending', 'PodResizeInProgress'].some((type) => node.condition(pod, type) !== undefined),
    observed: (pod: string): number | undefined => server.get(`default/${pod}`)?.status?.observedGeneration,
    status(pod: string, name = 'c'): ContainerStatus | undefined {
      const status = server.get(`default/${pod}`)?.status;
      return [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])].find(
        (each) => each.name === name,
      );
    },
    running: (pod: string, name = 'c'): FakeContainer | undefined =>
      fake.containers.find(
        ({ state, config }) =>
          state === 'CONTAINER_RUNNING' &&
          config.metadata?.name === name &&
          config.labels['io.kubernetes.pod.name'] === pod,
      ),
    /** Shares, quota and memory limit that the runtime has for the container. */
    given(pod: string, name = 'c'): [shares: number, quota: number, memory: number] | undefined {
      const resources = node.running(pod, name)?.resources;
      return resources && [resources.cpuShares, resources.cpuQuota, resources.memoryLimitInBytes];
    },
    /** `container resource`, in the order of the calls. */
    updates: (): { name: string; shares: number; quota: number; memory: number }[] =>
      fake.calls
        .filter(({ method }) => method === 'updateContainerResources')
        .map(({ request }) => {
          const { containerId, linux } = request as {
            containerId: string;
            linux: { cpuShares: number; cpuQuota: number; memoryLimitInBytes: number };
          };
          const name = fake.containers.find(({ id }) => id === containerId)?.config.metadata?.name ?? '';
          return { name, shares: linux.cpuShares, quota: linux.cpuQuota, memory: linux.memoryLimitInBytes };
        }),
    record: async (pod: string): Promise<unknown> =>
      JSON.parse(await readFile(join(root, 'pods', `uid-${pod}`, 'allocated-resources'), 'utf8')),
    eventsOf: (prefix: string): string[] =>
      events
        .filter((event) => event.includes(' Resize'))
        .map((event) => event.split(':')[0] ?? '')
        .filter((event) => event.startsWith(prefix)),
  };
  return node;
}
