/**
 * Sandboxes and containers of the fake runtime: the records, their state machines and containerd's refusals, as seen by
 * walking real containerd 1.6.20, 1.7.24 and 2.1.9 (runtime-contract.ts).
 * Layer: cri (test support). State only; fake-runtime.ts maps the CRI methods onto it.
 */
import { CriError, GrpcStatus } from './cri-error.ts';
import type { FakeImages } from './fake-images.ts';
import type { FakeServer } from './fake-server.ts';
import type * as cri from './messages.generated.ts';

/** Which containerd to resemble where they differ. */
export type FakeGeneration = '1.6' | '1.7' | '2.1';

export interface FakeSandbox {
  readonly id: string;
  readonly config: cri.PodSandboxConfig;
  readonly runtimeHandler: string;
  /** Nanoseconds. */
  readonly createdAt: number;
  readonly ip: string;
  state: cri.PodSandboxState;
}

export interface FakeContainer {
  readonly id: string;
  readonly sandboxId: string;
  readonly config: cri.ContainerConfig;
  readonly reservedName: string;
  readonly logPath: string;
  readonly imageId: string;
  /** Nanoseconds, as the two below; 0: not yet. */
  readonly createdAt: number;
  startedAt: number;
  finishedAt: number;
  state: cri.ContainerState;
  exitCode: number;
  reason: string;
  message: string;
  resources: cri.LinuxContainerResources | undefined;
}

const sigkillExit = 137;
/** What containerd reports for a process that never started. */
const startErrorExit = 128;

export class FakePods {
  readonly sandboxes = new Map<string, FakeSandbox>();
  readonly containers = new Map<string, FakeContainer>();
  networkReady = true;
  readonly #server: FakeServer;
  readonly #images: FakeImages;
  readonly #generation: FakeGeneration;
  #sequence = 0;

  constructor(server: FakeServer, images: FakeImages, generation: FakeGeneration) {
    this.#server = server;
    this.#images = images;
    this.#generation = generation;
  }

  /** By id or unambiguous prefix; NOT_FOUND otherwise. */
  sandbox(method: string, id: string): FakeSandbox {
    return lookup(this.sandboxes, id) ?? fail(method, GrpcStatus.notFound, `sandbox "${id}": not found`);
  }

  /** By id or unambiguous prefix; NOT_FOUND otherwise. */
  container(method: string, id: string): FakeContainer {
    return lookup(this.containers, id) ?? fail(method, GrpcStatus.notFound, `container "${id}": not found`);
  }

  findContainer(id: string): FakeContainer | undefined {
    return lookup(this.containers, id);
  }

  containersOf(sandboxId: string): FakeContainer[] {
    return [...this.containers.values()].filter((container) => container.sandboxId === sandboxId);
  }

  run({ config, runtimeHandler }: cri.RunPodSandboxRequest): FakeSandbox {
    const method = 'RunPodSandbox';
    if (!config?.metadata) return fail(method, GrpcStatus.unknown, 'sandbox config must include metadata');
    const name = sandboxName(config.metadata);
    const taken = [...this.sandboxes.values()].find((other) => sandboxName(other.config.metadata) === name);
    if (taken !== undefined) fail(method, this.#nameTaken(), `name "${name}" is reserved for "${taken.id}"`);
    if (runtimeHandler !== '' && runtimeHandler !== 'runc') {
      fail(method, GrpcStatus.unknown, `no runtime for "${runtimeHandler}" is configured`);
    }
    const hostNetwork = config.linux?.securityContext?.namespaceOptions?.network === 'NODE';
    if (!hostNetwork && !this.networkReady) fail(method, GrpcStatus.unknown, 'cni plugin not initialized');
    const id = this.#nextId();
    const sandbox: FakeSandbox = {
      id,
      config,
      runtimeHandler,
      createdAt: this.#now(),
      ip: hostNetwork ? '' : `10.88.${Math.floor(this.#sequence / 250) % 250}.${(this.#sequence % 250) + 2}`,
      state: 'SANDBOX_READY',
    };
    this.sandboxes.set(id, sandbox);
    this.#emit(id, id, 'CONTAINER_CREATED_EVENT');
    this.#emit(id, id, 'CONTAINER_STARTED_EVENT');
    return sandbox;
  }

  /** Kills what still runs, without grace. Unknown ids are an error in 1.6 only. */
  stopSandbox(id: string): void {
    const sandbox = lookup(this.sandboxes, id);
    if (sandbox === undefined) {
      if (this.#generation === '1.6') fail('StopPodSandbox', GrpcStatus.notFound, `sandbox "${id}": not found`);
      return;
    }
    for (const container of this.containersOf(sandbox.id)) this.kill(container);
    this.sandboxExited(sandbox);
  }

  sandboxExited(sandbox: FakeSandbox): void {
    if (sandbox.state === 'SANDBOX_NOTREADY') return;
    sandbox.state = 'SANDBOX_NOTREADY';
    this.#emit(sandbox.id, sandbox.id, 'CONTAINER_STOPPED_EVENT');
  }

  removeSandbox(id: string): void {
    const sandbox = lookup(this.sandboxes, id);
    if (sandbox === undefined) return;
    this.stopSandbox(sandbox.id);
    for (const container of this.containersOf(sandbox.id)) this.removeContainer(container.id);
    const last = this.#generation === '2.1' ? this.sandboxStatus(sandbox) : undefined;
    this.sandboxes.delete(sandbox.id);
    this.#send(sandbox.id, 'CONTAINER_DELETED_EVENT', last, []);
  }

  create({ podSandboxId, config, sandboxConfig }: cri.CreateContainerRequest): FakeContainer {
    const method = 'CreateContainer';
    const sandbox = this.sandbox(method, podSandboxId);
    // containerd 2 lets it be created and refuses the start.
    if (sandbox.state !== 'SANDBOX_READY' && this.#generation !== '2.1') {
      fail(method, GrpcStatus.notFound, 'no running task found: not found');
    }
    if (!config?.metadata) return fail(method, GrpcStatus.unknown, 'container config must include metadata');
    if (!sandboxConfig?.metadata) return fail(method, GrpcStatus.unknown, 'sandbox config must include metadata');
    const pod = sandboxConfig.metadata;
    const reservedName = `${config.metadata.name}_${pod.name}_${pod.namespace}_${pod.uid}_${config.metadata.attempt}`;
    const taken = [...this.containers.values()].find((other) => other.reservedName === reservedName);
    if (taken !== undefined) fail(method, this.#nameTaken(), `name "${reservedName}" is reserved for "${taken.id}"`);
    const wanted = config.image?.image ?? '';
    const image = this.#images.find(wanted) ?? fail(method, GrpcStatus.notFound, `image "${wanted}": not found`);
    this.#checkTarget(sandbox, config);
    const container: FakeContainer = {
      id: this.#nextId(),
      sandboxId: sandbox.id,
      config,
      reservedName,
      logPath: sandboxConfig.logDirectory && config.logPath ? `${sandboxConfig.logDirectory}/${config.logPath}` : '',
      imageId: image.id ?? '',
      createdAt: this.#now(),
      startedAt: 0,
      finishedAt: 0,
      state: 'CONTAINER_CREATED',
      exitCode: 0,
      reason: '',
      message: '',
      resources: config.linux?.resources,
    };
    this.containers.set(container.id, container);
    this.#emit(container.id, sandbox.id, 'CONTAINER_CREATED_EVENT');
    return container;
  }

  /** A container whose processes another one is to see must run in the same sandbox. */
  #checkTarget(sandbox: FakeSandbox, config: cri.ContainerConfig): void {
    const options = config.linux?.securityContext?.namespaceOptions;
    if (options?.pid !== 'TARGET') return;
    const target = this.containers.get(options.targetId);
    if (target?.sandboxId !== sandbox.id) {
      fail(
        'CreateContainer',
        GrpcStatus.unknown,
        `invalid target container: "${options.targetId}" is not in the sandbox`,
      );
    }
    if (target?.state !== 'CONTAINER_RUNNING') {
      fail('CreateContainer', GrpcStatus.unknown, `invalid target container: "${options.targetId}" does not run`);
    }
  }

  /** `problem`: what keeps the process from starting; the container is then dead with StartError, without an event. */
  start(id: string, problem: (container: FakeContainer) => string | undefined): void {
    const method = 'StartContainer';
    const container = this.container(method, id);
    if (container.state !== 'CONTAINER_CREATED')
      fail(method, GrpcStatus.unknown, `container is in ${container.state} state`);
    const ready = this.sandboxes.get(container.sandboxId)?.state === 'SANDBOX_READY';
    const message = ready ? problem(container) : 'sandbox container is not running';
    if (message !== undefined) {
      this.#finish(container, startErrorExit, 'StartError', message);
      fail(method, GrpcStatus.unknown, message);
    }
    container.state = 'CONTAINER_RUNNING';
    container.startedAt = this.#now();
    this.#emit(container.id, container.sandboxId, 'CONTAINER_STARTED_EVENT');
  }

  /** The process ends; nothing happens unless it runs. */
  exit(container: FakeContainer, exitCode: number, reason = exitCode === 0 ? 'Completed' : 'Error'): void {
    if (container.state !== 'CONTAINER_RUNNING') return;
    this.#finish(container, exitCode, reason, '');
    this.#emit(container.id, container.sandboxId, 'CONTAINER_STOPPED_EVENT');
  }

  kill(container: FakeContainer): void {
    this.exit(container, sigkillExit);
  }

  removeContainer(id: string): void {
    const container = lookup(this.containers, id);
    if (container === undefined) return;
    this.kill(container);
    this.containers.delete(container.id);
    this.#emit(container.id, container.sandboxId, 'CONTAINER_DELETED_EVENT');
  }

  sandboxStatus(sandbox: FakeSandbox): cri.PodSandboxStatusInput {
    const { id, config, state, createdAt, runtimeHandler } = sandbox;
    const { metadata, labels, annotations } = config;
    const options = config.linux?.securityContext?.namespaceOptions ?? {};
    const network = { ip: sandbox.ip };
    const linux = { namespaces: { options } };
    return { id, metadata, state, createdAt, labels, annotations, runtimeHandler, network, linux };
  }

  containerStatus(container: FakeContainer): cri.ContainerStatusInput {
    const { id, config, state, createdAt, startedAt, finishedAt, exitCode, reason, message, logPath } = container;
    const { metadata, labels, annotations, mounts } = config;
    const image = this.#images.find(container.imageId);
    return {
      ...{ id, metadata, state, createdAt, startedAt, finishedAt, exitCode, reason, message, logPath },
      ...{ labels, annotations, mounts },
      image: { image: image?.repoTags?.[0] ?? config.image?.image ?? '' },
      imageRef: image?.repoDigests?.[0] ?? container.imageId,
      resources: { linux: container.resources ?? {} },
    };
  }

  #finish(container: FakeContainer, exitCode: number, reason: string, message: string): void {
    container.state = 'CONTAINER_EXITED';
    container.finishedAt = this.#now();
    container.exitCode = exitCode;
    container.reason = reason;
    container.message = message;
  }

  #emit(id: string, sandboxId: string, type: cri.ContainerEventType): void {
    const sandbox = this.sandboxes.get(sandboxId);
    const statuses = this.containersOf(sandboxId).map((container) => this.containerStatus(container));
    this.#send(id, type, sandbox && this.sandboxStatus(sandbox), statuses);
  }

  #send(
    containerId: string,
    containerEventType: cri.ContainerEventType,
    podSandboxStatus: cri.PodSandboxStatusInput | undefined,
    containersStatuses: cri.ContainerStatusInput[],
  ): void {
    const event: cri.ContainerEventResponseInput = {
      containerId,
      containerEventType,
      createdAt: this.#now(),
      podSandboxStatus,
      containersStatuses,
    };
    this.#server.emit(event);
  }

  #nameTaken(): number {
    return this.#generation === '2.1' ? GrpcStatus.failedPrecondition : GrpcStatus.unknown;
  }

  /** 64 hex digits whose first 8 already tell them apart. */
  #nextId(): string {
    this.#sequence += 1;
    return this.#sequence.toString(16).padStart(8, '0').repeat(8);
  }

  #now(): number {
    return this.#server.clock.now() * 1e6;
  }
}

/** Throws the CriError that the client would give for this status. */
export function fail(method: string, status: number, message: string): never {
  throw CriError.fromStatus(method, status, message);
}

function lookup<T>(table: Map<string, T>, id: string): T | undefined {
  const exact = table.get(id);
  if (exact !== undefined || id === '') return exact;
  const matches = [...table.keys()].filter((key) => key.startsWith(id));
  return matches.length === 1 ? table.get(matches[0] ?? '') : undefined;
}

function sandboxName(metadata: cri.PodSandboxMetadata | undefined): string {
  return metadata ? `${metadata.name}_${metadata.namespace}_${metadata.uid}_${metadata.attempt}` : '';
}
