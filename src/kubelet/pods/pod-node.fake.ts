/**
 * A kubelet on the fake runtime and a clock of its own, for tests of whole pods.
 * Layer: kubelet/pods (test support). Must not be imported by production code.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { Container, ContainerStatus, Pod, PodSpec, PodStatus } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import type { FakeContainer } from '../../cri/fake-pods.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import type { FakeMethod } from '../../cri/fake-server.ts';
import { type Kubelet, type KubeletOptions, startKubelet } from '../kubelet.ts';
import { fakeKubeletOptions } from '../kubelet-options.fake.ts';
import type { PodSnapshot } from '../pod-source.ts';

export const busybox = (name: string, more: Partial<Container> = {}): Container => ({
  name,
  image: 'busybox',
  imagePullPolicy: 'IfNotPresent',
  ...more,
});

export const staticPod = (
  name: string,
  spec: Partial<PodSpec> & Pick<PodSpec, 'containers'>,
  uid = `uid-${name}`,
): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'team', uid, annotations: { 'keelson.dev/config.file': `/m/${name}` } },
  spec: { terminationGracePeriodSeconds: 10, ...spec },
});

export async function podNode(t: ExecutionContext, change: Partial<KubeletOptions> = {}) {
  const root = await mkdtemp(join(tmpdir(), 'keelson-pods-'));
  const clock = new FakeClock();
  const fake = new FakeRuntime({ clock });
  fake.setImage('docker.io/library/busybox:latest');
  const kubelets: Kubelet[] = [];
  const events: string[] = [];
  let snapshot: PodSnapshot = {
    pods: [],
    configMaps: new Map(),
    secrets: new Map(),
    errors: [],
    brokenFiles: new Set(),
  };
  let listener: (snapshot: PodSnapshot) => void = () => {};
  t.teardown(async () => {
    await Promise.all(kubelets.map((kubelet) => kubelet.stop()));
    await rm(root, { recursive: true, force: true });
  });

  const status = (name: string): PodStatus | undefined =>
    kubelets
      .at(-1)
      ?.board.list()
      .find(({ pod }) => pod.metadata.name === name)?.status;
  const node = {
    clock,
    fake,
    root,
    events,
    set(...pods: Pod[]): void {
      snapshot = { ...snapshot, pods };
      listener(snapshot);
    },
    async start(): Promise<Kubelet> {
      const kubelet = await startKubelet(
        fakeKubeletOptions(
          { root, clock, runtime: fake.runtime, image: fake.image },
          {
            source: {
              start: async (next) => {
                listener = next;
                next(snapshot);
              },
            },
            parallelStarts: 1,
            recordEvent: (_pod, { reason, message, container }) =>
              void events.push(`${container ?? ''} ${reason}: ${message}`),
            ...change,
          },
        ),
        new AbortController().signal,
      );
      kubelets.push(kubelet);
      return kubelet;
    },
    async until(what: string, condition: () => boolean | Promise<boolean>, stepMs = 10): Promise<void> {
      for (let i = 0; i < 400; i++) {
        if (await condition()) {
          t.pass(what);
          return;
        }
        await clock.advance(stepMs);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      const state = fake.containers.map((each) => `${each.config.metadata?.name}:${each.state}`);
      t.fail(`never happened: ${what}; ${state.join(' ')}; ${JSON.stringify(node.told())}`);
    },
    status,
    /** What is told of each pod's containers, short. */
    told: () =>
      kubelets
        .at(-1)
        ?.board.list()
        .map(({ pod, status: { phase, conditions } }) => [
          pod.metadata.name,
          phase,
          ...conditions.filter((each) => each.status === 'True').map(({ type }) => type),
        ]),
    container(pod: string, name: string): ContainerStatus | undefined {
      const told = status(pod);
      const lists = [told?.initContainerStatuses, told?.containerStatuses, told?.ephemeralContainerStatuses];
      return lists.flatMap((list) => list ?? []).find((each) => each.name === name);
    },
    condition: (pod: string, type: string) => status(pod)?.conditions.find((each) => each.type === type),
    isReady: (pod: string): boolean => node.condition(pod, 'Ready')?.status === 'True',
    /** The running instance of the container, in whatever pod. */
    running: (name: string): FakeContainer | undefined =>
      fake.containers.find(({ state, config }) => state === 'CONTAINER_RUNNING' && config.metadata?.name === name),
    /** Its process ends by itself. */
    exit(name: string, exitCode: number): void {
      const found = node.running(name);
      if (!found) throw new Error(`${name} does not run`);
      fake.exitContainer(found.id, exitCode);
    },
    /** The names of the containers that a method was called for, in order. */
    called: (method: FakeMethod): string[] =>
      fake.calls
        .filter((call) => call.method === method)
        .map(({ request }) => {
          const { containerId, config } = request as { containerId?: string; config?: { metadata?: { name: string } } };
          return config?.metadata?.name ?? names.get(containerId ?? '') ?? containerId ?? '';
        }),
    timeouts: (): number[] =>
      fake.calls
        .filter(({ method }) => method === 'stopContainer')
        .map(({ request }) => (request as { timeout: number }).timeout),
  };
  /** Ids stay known after the records are gone. */
  const names = new Map<string, string>();
  const start = fake.onStart;
  fake.onStart = (container) => {
    names.set(container.id, container.config.metadata?.name ?? '');
    return start(container);
  };
  return node;
}
