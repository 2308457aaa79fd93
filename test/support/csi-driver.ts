/**
 * A CSI driver for tests, hostpath-like: a gRPC server on a unix socket that keeps to the rules of the CSI specification
 * (order of calls, paths, idempotence, one operation a volume at a time) and can be slow, failing, hanging or restarted.
 * Layer: test. What a mount is, is handed in: real bind mounts as root, or a mount table in memory.
 */
import { existsSync, lstatSync, mkdirSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

export type CsiMethod =
  | 'NodeStageVolume'
  | 'NodeUnstageVolume'
  | 'NodePublishVolume'
  | 'NodeUnpublishVolume'
  | 'NodeGetVolumeStats'
  | 'NodeExpandVolume'
  | 'NodeGetCapabilities'
  | 'NodeGetInfo';

export type CsiTestCapability =
  | 'STAGE_UNSTAGE_VOLUME'
  | 'GET_VOLUME_STATS'
  | 'EXPAND_VOLUME'
  | 'VOLUME_CONDITION'
  | 'SINGLE_NODE_MULTI_WRITER'
  | 'VOLUME_MOUNT_GROUP';

/** How the driver mounts. Paths exist as the specification says. */
export interface TestMounter {
  bind(source: string, target: string, readOnly: boolean): Promise<void>;
  unmount(target: string): Promise<void>;
  isMounted(path: string): Promise<boolean>;
  /** A block device with this file's bytes behind it, mounted on `target`. */
  attachDevice?(file: string, target: string): Promise<void>;
  detachDevice?(target: string): Promise<void>;
}

export interface CsiDriverOptions {
  name: string;
  /** Holds the socket and the volumes' data. */
  directory: string;
  /** `plugins_registry`; the registration socket is `<name>-reg.sock` there. */
  registryDirectory: string;
  mounter: TestMounter;
  capabilities?: CsiTestCapability[];
  nodeId?: string;
  maxVolumes?: number;
  topology?: Record<string, string>;
  versions?: string[];
  type?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: requests are whatever was sent; tests look into them as they like.
export type Loose = any;

export interface CsiCall {
  method: CsiMethod;
  request: Loose;
}

interface Failure {
  method: CsiMethod;
  code: number;
  message: string;
  left: number;
  /** The work is done and only the answer is lost. */
  afterEffect: boolean;
}

/** google.rpc.Code */
export const code = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  failedPrecondition: 9,
  aborted: 10,
  internal: 13,
  unavailable: 14,
} as const;

class Refusal extends Error {
  readonly code: number;
  constructor(status: number, message: string) {
    super(message);
    this.code = status;
  }
}

const protoRoot = fileURLToPath(new URL('../../proto/', import.meta.url));

export class TestCsiDriver {
  readonly #options: CsiDriverOptions;
  /** In order of arrival, also those that failed. */
  readonly calls: CsiCall[] = [];
  /** What the registrar was told. */
  readonly notices: { pluginRegistered: boolean; error: string }[] = [];
  capabilities: CsiTestCapability[];
  nodeId: string;
  maxVolumes: number;
  topology: Record<string, string>;
  condition: { abnormal: boolean; message: string } | undefined;
  /** By volume: its staging path. */
  readonly staged = new Map<string, string>();
  /** By target path: the volume. */
  readonly published = new Map<string, string>();
  /** Bytes, by volume. */
  readonly sizes = new Map<string, number>();
  readonly #failures: Failure[] = [];
  readonly #holds = new Map<CsiMethod, Promise<void>>();
  readonly #busy = new Set<string>();
  #servers: Server[] = [];

  constructor(options: CsiDriverOptions) {
    this.#options = options;
    this.capabilities = options.capabilities ?? ['STAGE_UNSTAGE_VOLUME', 'GET_VOLUME_STATS', 'EXPAND_VOLUME'];
    this.nodeId = options.nodeId ?? 'test-node';
    this.maxVolumes = options.maxVolumes ?? 0;
    this.topology = options.topology ?? {};
  }

  get endpoint(): string {
    return join(this.#options.directory, 'csi.sock');
  }

  get registrationSocket(): string {
    return join(this.#options.registryDirectory, `${this.#options.name}-reg.sock`);
  }

  /** Where the data of a volume are. */
  data(volumeId: string): string {
    return join(this.#options.directory, 'volumes', encodeURIComponent(volumeId));
  }

  /** Serves the driver, then makes it known. */
  async start(): Promise<void> {
    await this.startService();
    await this.register();
  }

  async startService(): Promise<void> {
    mkdirSync(join(this.#options.directory, 'volumes'), { recursive: true });
    this.#servers.push(await serve(this.endpoint, 'csi/v1/csi.proto', 'csi.v1', 'Node', (m, r) => this.#answer(m, r)));
  }

  async register(): Promise<void> {
    mkdirSync(this.#options.registryDirectory, { recursive: true });
    const { name, type = 'CSIPlugin', versions = ['1.0.0'] } = this.#options;
    const answer = async (method: string, request: Loose): Promise<object> => {
      if (method === 'GetInfo') return { type, name, endpoint: this.endpoint, supportedVersions: versions };
      this.notices.push({ pluginRegistered: request.pluginRegistered ?? false, error: request.error ?? '' });
      return {};
    };
    const proto = 'pluginregistration/v1/api.proto';
    this.#servers.push(await serve(this.registrationSocket, proto, 'pluginregistration', 'Registration', answer));
  }

  /** As the death of its process: sockets without a listener stay unless they are removed. */
  stop(options: { removeSockets?: boolean } = {}): void {
    for (const server of this.#servers) server.forceShutdown();
    this.#servers = [];
    this.#busy.clear();
    if (options.removeSockets === false) return;
    for (const path of [this.registrationSocket, this.endpoint]) rmSync(path, { force: true });
  }

  failNext(
    method: CsiMethod,
    status: number,
    message: string,
    more: { times?: number; afterEffect?: boolean } = {},
  ): void {
    const { times = 1, afterEffect = false } = more;
    this.#failures.push({ method, code: status, message, left: times, afterEffect });
  }

  /** Calls of the method do nothing, and are not answered, until the returned function is called. */
  hold(method: CsiMethod): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#holds.set(method, promise);
    return () => {
      this.#holds.delete(method);
      resolve();
    };
  }

  count(method: CsiMethod): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  last(method: CsiMethod): Loose {
    return this.calls.findLast((call) => call.method === method)?.request;
  }

  async #answer(name: string, request: Loose): Promise<object> {
    const method = name as CsiMethod;
    this.calls.push({ method, request });
    const failure = this.#failures.find((one) => one.method === method && one.left > 0);
    if (failure) failure.left--;
    if (failure && !failure.afterEffect) throw new Refusal(failure.code, failure.message);
    const volume: string = request.volumeId ?? '';
    const changes = /^Node(Un)?(Stage|Publish)Volume$/.test(method);
    if (changes && this.#busy.has(volume)) throw new Refusal(code.aborted, `an operation on ${volume} is pending`);
    if (changes) this.#busy.add(volume);
    let answer: object;
    try {
      await this.#holds.get(method);
      answer = await this.#work(method, request);
    } finally {
      this.#busy.delete(volume);
    }
    if (failure) throw new Refusal(failure.code, failure.message);
    return answer;
  }

  #work(method: CsiMethod, request: Loose): Promise<object> | object {
    switch (method) {
      case 'NodeGetCapabilities':
        return { capabilities: this.capabilities.map((type) => ({ rpc: { type } })) };
      case 'NodeGetInfo':
        return {
          nodeId: this.nodeId,
          maxVolumesPerNode: this.maxVolumes,
          accessibleTopology: { segments: this.topology },
        };
      case 'NodeStageVolume':
        return this.#stage(request);
      case 'NodeUnstageVolume':
        return this.#unstage(request);
      case 'NodePublishVolume':
        return this.#publish(request);
      case 'NodeUnpublishVolume':
        return this.#unpublish(request);
      case 'NodeExpandVolume':
        if (!this.published.has(request.volumePath)) throw new Refusal(code.notFound, 'volume_path is not published');
        this.sizes.set(request.volumeId, Number(request.capacityRange.requiredBytes));
        return { capacityBytes: request.capacityRange.requiredBytes };
      case 'NodeGetVolumeStats':
        if (!this.published.has(request.volumePath)) throw new Refusal(code.notFound, 'volume_path is not published');
        return {
          usage: [
            { available: 600, total: 1000, used: 400, unit: 'BYTES' },
            { available: 90, total: 100, used: 10, unit: 'INODES' },
          ],
          ...(this.condition && { volumeCondition: this.condition }),
        };
    }
  }

  async #stage(request: Loose): Promise<object> {
    const { volumeId, stagingTargetPath: path } = request;
    this.#needs('STAGE_UNSTAGE_VOLUME');
    if (!volumeId || !path || !request.volumeCapability) throw new Refusal(code.invalidArgument, 'a field is missing');
    if (!existsSync(path) || !statSync(path).isDirectory())
      throw new Refusal(code.internal, 'the staging path is missing');
    const at = this.staged.get(volumeId);
    if (at !== undefined && at !== path) throw new Refusal(code.failedPrecondition, `is staged at ${at}`);
    mkdirSync(this.data(volumeId), { recursive: true });
    const { mounter } = this.#options;
    if (request.volumeCapability.mount && !(await mounter.isMounted(path))) {
      await mounter.bind(this.data(volumeId), path, false);
    }
    this.staged.set(volumeId, path);
    return {};
  }

  async #unstage({ volumeId, stagingTargetPath: path }: Loose): Promise<object> {
    this.#needs('STAGE_UNSTAGE_VOLUME');
    if ([...this.published.values()].includes(volumeId))
      throw new Refusal(code.failedPrecondition, 'is still published');
    if (await this.#options.mounter.isMounted(path)) await this.#options.mounter.unmount(path);
    this.staged.delete(volumeId);
    return {};
  }

  async #publish(request: Loose): Promise<object> {
    const { volumeId, targetPath, stagingTargetPath } = request;
    const { mounter } = this.#options;
    if (!volumeId || !targetPath || !request.volumeCapability)
      throw new Refusal(code.invalidArgument, 'a field is missing');
    if (
      this.capabilities.includes('STAGE_UNSTAGE_VOLUME') &&
      request.volumeContext?.['csi.storage.k8s.io/ephemeral'] !== 'true'
    ) {
      if (this.staged.get(volumeId) !== stagingTargetPath)
        throw new Refusal(code.failedPrecondition, 'is not staged there');
    }
    if (!existsSync(dirname(targetPath))) throw new Refusal(code.internal, 'the parent of the target is missing');
    if (this.published.has(targetPath)) return {};
    mkdirSync(this.data(volumeId), { recursive: true });
    if (request.volumeCapability.block) {
      await mounter.attachDevice?.(join(this.data(volumeId), 'device'), targetPath);
    } else if (!(await mounter.isMounted(targetPath))) {
      if (existsSync(targetPath)) throw new Refusal(code.internal, 'the target exists already');
      mkdirSync(targetPath);
      await mounter.bind(stagingTargetPath || this.data(volumeId), targetPath, request.readonly === true);
    }
    this.published.set(targetPath, volumeId);
    return {};
  }

  async #unpublish({ volumeId, targetPath }: Loose): Promise<object> {
    const { mounter } = this.#options;
    if (!volumeId || !targetPath) throw new Refusal(code.invalidArgument, 'a field is missing');
    if (existsSync(targetPath) && !lstatSync(targetPath).isDirectory()) await mounter.detachDevice?.(targetPath);
    else if (await mounter.isMounted(targetPath)) await mounter.unmount(targetPath);
    // An unmounted target is empty, so this cannot delete data.
    if (existsSync(targetPath)) lstatSync(targetPath).isDirectory() ? rmdirSync(targetPath) : rmSync(targetPath);
    this.published.delete(targetPath);
    return {};
  }

  #needs(capability: CsiTestCapability): void {
    if (!this.capabilities.includes(capability)) throw new Refusal(12, `${capability} is not offered`);
  }
}

/** One service with one answer function, by its .proto; decoded by protobufjs' own reflection, not by our codec. */
async function serve(
  socket: string,
  proto: string,
  packageName: string,
  service: string,
  answer: (method: string, request: Loose) => Promise<object>,
): Promise<Server> {
  const root = await new protobuf.Root().load(join(protoRoot, proto), { keepCase: false });
  const methods = root.lookupService(`${packageName}.${service}`).resolveAll() as protobuf.Service;
  const identity = (bytes: Buffer): Buffer => bytes;
  const definitions = methods.methodsArray.map(({ name }) => [
    name,
    {
      path: `/${packageName}.${service}/${name}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    },
  ]);
  const handlers = methods.methodsArray.map((method) => [
    method.name,
    (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
      const [input, output] = [method.resolvedRequestType, method.resolvedResponseType];
      if (input === null || output === null) throw new Error(`${method.name} has no types`);
      const request = input.toObject(input.decode(call.request), { longs: Number, enums: String });
      answer(method.name, request).then(
        (message) => reply(null, Buffer.from(output.encode(output.fromObject(message)).finish())),
        (error: unknown) => {
          const known = error instanceof Refusal ? error : new Refusal(code.unknown, String(error));
          reply({ code: known.code, details: known.message });
        },
      );
    },
  ]);
  rmSync(socket, { force: true });
  const server = new Server();
  server.addService(Object.fromEntries(definitions), Object.fromEntries(handlers));
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
  return server;
}
