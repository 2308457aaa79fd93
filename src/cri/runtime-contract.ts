/**
 * What Keelson relies on in a container runtime, as one walk through the life of sandboxes and containers that ends in
 * lines of text. The same walk runs against real containerd and against the fake: the fake's lines must be the real ones.
 * Layer: cri (test support). Must not be imported by production code. Needs an image with sh and sleep.
 */
import { CriError } from './cri-error.ts';
import type * as cri from './messages.generated.ts';
import type { ImageService, RuntimeService } from './service.ts';

export interface ContractSubject {
  runtime: RuntimeService;
  image: ImageService;
  /** An image present on the runtime whose shell is `sh`. */
  imageName: string;
  /** Makes names and uids unique among runs on one runtime. */
  seed: string;
  /** Lets a container that was told to exit really exit: waits, or moves the fake's clock. */
  settle(containerId: string, exitCode: number): Promise<void>;
}

const unknownId = '0123456789abcdef'.repeat(4);

/** Runs the walk and returns one `step: outcome` line a step; removes what it made. */
export async function walkContract(subject: ContractSubject): Promise<string[]> {
  const { runtime, image, imageName, seed } = subject;
  const lines: string[] = [];
  const note = async <T>(
    step: string,
    action: Promise<T>,
    show: (value: T) => unknown = () => 'ok',
  ): Promise<T | undefined> => {
    try {
      const value = await action;
      lines.push(`${step}: ${String(show(value))}`);
      return value;
    } catch (error) {
      if (!(error instanceof CriError)) throw error;
      lines.push(`${step}: ${error.code}`);
      return undefined;
    }
  };
  const sandboxConfig: cri.PodSandboxConfigInput = {
    metadata: { name: `walk-${seed}`, uid: `uid-${seed}`, namespace: 'contract', attempt: 0 },
    labels: { walk: seed },
    annotations: { note: 'x' },
    linux: { securityContext: { namespaceOptions: { network: 'NODE' } } },
  };
  const containerConfig = (name: string, script: string): cri.ContainerConfigInput => ({
    metadata: { name, attempt: 0 },
    image: { image: imageName },
    command: ['/bin/sh', '-c', script],
    labels: { walk: seed, name },
    linux: { securityContext: { namespaceOptions: { network: 'NODE' } } },
  });
  const create = (podSandboxId: string, config: cri.ContainerConfigInput): Promise<cri.CreateContainerResponse> =>
    runtime.createContainer({ podSandboxId, config, sandboxConfig });
  const stateOf = (response: cri.ContainerStatusResponse): unknown => response.status?.state;
  const sleeper = 'trap "exit 5" TERM; sleep 600 & wait';

  await note('image status', image.imageStatus({ image: { image: imageName } }), (r) => r.image !== undefined);
  await note('image status absent', image.imageStatus({ image: { image: 'localhost/none:1' } }), (r) => r.image);
  await note('image remove absent', image.removeImage({ image: { image: 'localhost/none:1' } }));

  await note('sandbox status unknown', runtime.podSandboxStatus({ podSandboxId: unknownId }));
  await note('sandbox stop unknown', runtime.stopPodSandbox({ podSandboxId: unknownId }));
  await note('sandbox remove unknown', runtime.removePodSandbox({ podSandboxId: unknownId }));
  await note('sandbox list unknown', runtime.listPodSandbox({ filter: { id: unknownId } }), (r) => r.items.length);
  await note('sandbox without metadata', runtime.runPodSandbox({ config: { hostname: 'x' } }));
  await note('sandbox unknown handler', runtime.runPodSandbox({ config: sandboxConfig, runtimeHandler: 'none' }));
  const started = await note('sandbox run', runtime.runPodSandbox({ config: sandboxConfig }));
  const sandbox = started?.podSandboxId ?? '';
  await note('sandbox run again', runtime.runPodSandbox({ config: sandboxConfig }));
  await note('sandbox status', runtime.podSandboxStatus({ podSandboxId: sandbox }), (r) => r.status?.state);
  await note(
    'sandbox status by prefix',
    runtime.podSandboxStatus({ podSandboxId: sandbox.slice(0, 12) }),
    (r) => r.status?.id === sandbox,
  );
  await note(
    'sandbox list by label',
    runtime.listPodSandbox({ filter: { labelSelector: { walk: seed } } }),
    (r) => r.items.length,
  );
  await note(
    'sandbox list by state',
    runtime.listPodSandbox({ filter: { id: sandbox, state: { state: 'SANDBOX_NOTREADY' } } }),
    (r) => r.items.length,
  );

  await note('container status unknown', runtime.containerStatus({ containerId: unknownId }));
  await note('container start unknown', runtime.startContainer({ containerId: unknownId }));
  await note('container stop unknown', runtime.stopContainer({ containerId: unknownId, timeout: 1 }));
  await note('container remove unknown', runtime.removeContainer({ containerId: unknownId }));
  await note('container exec unknown', runtime.execSync({ containerId: unknownId, cmd: ['true'], timeout: 5 }));
  await note('container log unknown', runtime.reopenContainerLog({ containerId: unknownId }));
  await note(
    'container update unknown',
    runtime.updateContainerResources({ containerId: unknownId, linux: { cpuShares: 100 } }),
  );
  await note('container create without sandbox', create(unknownId, containerConfig('a', 'true')));
  await note(
    'container create without image',
    create(sandbox, { ...containerConfig('a', 'true'), image: { image: 'localhost/none:1' } }),
  );
  await note('container create without metadata', create(sandbox, { image: { image: imageName } }));

  const a = (await note('container create', create(sandbox, containerConfig('a', sleeper))))?.containerId ?? '';
  await note('container create again', create(sandbox, containerConfig('a', sleeper)));
  await note('container status created', runtime.containerStatus({ containerId: a }), stateOf);
  await note(
    'container exec created',
    runtime.execSync({ containerId: a, cmd: ['/bin/sh', '-c', 'true'], timeout: 5 }),
  );
  await note('container log created', runtime.reopenContainerLog({ containerId: a }));
  await note('container start', runtime.startContainer({ containerId: a }));
  await note('container start again', runtime.startContainer({ containerId: a }));
  await note('container status running', runtime.containerStatus({ containerId: a }), stateOf);
  await note(
    'container list by sandbox',
    runtime.listContainers({ filter: { podSandboxId: sandbox } }),
    (r) => r.containers.length,
  );
  await note(
    'container list by state',
    runtime.listContainers({ filter: { podSandboxId: sandbox, state: { state: 'CONTAINER_RUNNING' } } }),
    (r) => r.containers.length,
  );
  await note(
    'container exec',
    runtime.execSync({ containerId: a, cmd: ['/bin/sh', '-c', 'exit 3'], timeout: 5 }),
    (r) => r.exitCode,
  );
  await note('container stop', runtime.stopContainer({ containerId: a, timeout: 10 }));
  await note('container stop again', runtime.stopContainer({ containerId: a, timeout: 10 }));
  await note(
    'container status stopped',
    runtime.containerStatus({ containerId: a }),
    (r) => `${stateOf(r)} ${r.status?.exitCode} ${r.status?.reason}`,
  );
  await note('container start exited', runtime.startContainer({ containerId: a }));
  await note('container exec exited', runtime.execSync({ containerId: a, cmd: ['true'], timeout: 5 }));
  await note('container remove', runtime.removeContainer({ containerId: a }));
  await note('container remove again', runtime.removeContainer({ containerId: a }));
  await note('container create reuses name', create(sandbox, containerConfig('a', 'exit 0')), () => 'ok');

  const b = (await note('second create', create(sandbox, containerConfig('b', 'exit 7'))))?.containerId ?? '';
  await note('second start', runtime.startContainer({ containerId: b }));
  await subject.settle(b, 7);
  await note(
    'second status',
    runtime.containerStatus({ containerId: b }),
    (r) => `${stateOf(r)} ${r.status?.exitCode} ${r.status?.reason}`,
  );
  const c = (await note('third create', create(sandbox, containerConfig('c', sleeper))))?.containerId ?? '';
  await note('third start', runtime.startContainer({ containerId: c }));
  await note('third remove running', runtime.removeContainer({ containerId: c }));
  const d = (await note('fourth create', create(sandbox, containerConfig('d', sleeper))))?.containerId ?? '';
  await note('fourth start', runtime.startContainer({ containerId: d }));
  const e = (await note('fifth create', create(sandbox, containerConfig('e', sleeper))))?.containerId ?? '';
  await note('fifth stop created', runtime.stopContainer({ containerId: e, timeout: 1 }));
  await note('fifth status', runtime.containerStatus({ containerId: e }), (r) => `${stateOf(r)} ${r.status?.exitCode}`);

  await note('sandbox stop', runtime.stopPodSandbox({ podSandboxId: sandbox }));
  await note('sandbox stop again', runtime.stopPodSandbox({ podSandboxId: sandbox }));
  await note('sandbox status stopped', runtime.podSandboxStatus({ podSandboxId: sandbox }), (r) => r.status?.state);
  await note(
    'fourth status',
    runtime.containerStatus({ containerId: d }),
    (r) => `${stateOf(r)} ${r.status?.exitCode}`,
  );
  await note('create in stopped sandbox', create(sandbox, containerConfig('f', 'true')));
  await note('start in stopped sandbox', runtime.startContainer({ containerId: e }));
  const next: cri.PodSandboxConfigInput = {
    ...sandboxConfig,
    metadata: { name: `walk-${seed}`, uid: `uid-${seed}`, namespace: 'contract', attempt: 1 },
  };
  await note('sandbox remove', runtime.removePodSandbox({ podSandboxId: sandbox }));
  await note('fourth status after removal', runtime.containerStatus({ containerId: d }));
  const second = (await note('next attempt', runtime.runPodSandbox({ config: next })))?.podSandboxId ?? '';
  const g = (await note('next create', create(second, containerConfig('g', sleeper))))?.containerId ?? '';
  await note('next start', runtime.startContainer({ containerId: g }));
  await note('next remove while ready', runtime.removePodSandbox({ podSandboxId: second }));
  await note('next status', runtime.podSandboxStatus({ podSandboxId: second }));
  await note(
    'left over',
    runtime.listContainers({ filter: { labelSelector: { walk: seed } } }),
    (r) => r.containers.length,
  );
  return lines;
}

/** What containerd 1.7.24 answered, recorded from a real one. */
const recorded = [
  'image status: true',
  'image status absent: undefined',
  'image remove absent: ok',
  'sandbox status unknown: CRI_NOT_FOUND',
  'sandbox stop unknown: ok',
  'sandbox remove unknown: ok',
  'sandbox list unknown: 0',
  'sandbox without metadata: CRI_FAILED',
  'sandbox unknown handler: CRI_FAILED',
  'sandbox run: ok',
  'sandbox run again: CRI_FAILED',
  'sandbox status: SANDBOX_READY',
  'sandbox status by prefix: true',
  'sandbox list by label: 1',
  'sandbox list by state: 0',
  'container status unknown: CRI_NOT_FOUND',
  'container start unknown: CRI_NOT_FOUND',
  'container stop unknown: ok',
  'container remove unknown: ok',
  'container exec unknown: CRI_NOT_FOUND',
  'container log unknown: CRI_NOT_FOUND',
  'container update unknown: CRI_NOT_FOUND',
  'container create without sandbox: CRI_NOT_FOUND',
  'container create without image: CRI_NOT_FOUND',
  'container create without metadata: CRI_FAILED',
  'container create: ok',
  'container create again: CRI_FAILED',
  'container status created: CONTAINER_CREATED',
  'container exec created: CRI_FAILED',
  'container log created: CRI_FAILED',
  'container start: ok',
  'container start again: CRI_FAILED',
  'container status running: CONTAINER_RUNNING',
  'container list by sandbox: 1',
  'container list by state: 1',
  'container exec: 3',
  'container stop: ok',
  'container stop again: ok',
  'container status stopped: CONTAINER_EXITED 5 Error',
  'container start exited: CRI_FAILED',
  'container exec exited: CRI_FAILED',
  'container remove: ok',
  'container remove again: ok',
  'container create reuses name: ok',
  'second create: ok',
  'second start: ok',
  'second status: CONTAINER_EXITED 7 Error',
  'third create: ok',
  'third start: ok',
  'third remove running: ok',
  'fourth create: ok',
  'fourth start: ok',
  'fifth create: ok',
  'fifth stop created: ok',
  'fifth status: CONTAINER_CREATED 0',
  'sandbox stop: ok',
  'sandbox stop again: ok',
  'sandbox status stopped: SANDBOX_NOTREADY',
  'fourth status: CONTAINER_EXITED 137',
  'create in stopped sandbox: CRI_NOT_FOUND',
  'start in stopped sandbox: CRI_FAILED',
  'sandbox remove: ok',
  'fourth status after removal: CRI_NOT_FOUND',
  'next attempt: ok',
  'next create: ok',
  'next start: ok',
  'next remove while ready: ok',
  'next status: CRI_NOT_FOUND',
  'left over: 0',
];

/** Where containerd 1.6.20 and 2.1.9 answered differently. */
const differences: Record<'1.6' | '1.7' | '2.1', Record<string, string>> = {
  '1.6': { 'sandbox stop unknown': 'CRI_NOT_FOUND', 'container stop unknown': 'CRI_NOT_FOUND' },
  '1.7': {},
  '2.1': {
    'sandbox run again': 'CRI_PRECONDITION',
    'container create again': 'CRI_PRECONDITION',
    'create in stopped sandbox': 'ok',
  },
};

/** The lines that walkContract must give on this containerd. */
export function contractLines(generation: '1.6' | '1.7' | '2.1'): string[] {
  const changed = differences[generation];
  return recorded.map((line) => {
    const step = line.slice(0, line.indexOf(': '));
    const outcome = changed[step];
    return outcome === undefined ? line : `${step}: ${outcome}`;
  });
}
