/**
 * A test node with the daemon on it, as a test drives it: manifests in, status and pods out, restarts in between.
 * Layer: test. Asks for the status on the daemon's socket itself, since each `keelson status` would start a Node.js.
 * Knows no expectations; those are the tests'.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { queryControl } from '../../src/agent/control-socket.ts';
import type { PodReport, StandaloneReport } from '../../src/agent/status-report.ts';
import { connectRuntime, type RuntimeConnection } from '../../src/cri/connect.ts';
import { busyboxImage } from '../images/build.ts';
import { type Census, census, lastingDifference } from './census.ts';
import { type ExecResult, eventually } from './exec.ts';
import type { Keelson, KeelsonOptions } from './keelson.ts';
import { createTestNode, type TestNode, type TestNodeOptions } from './node.ts';

/** A Kubernetes object as a manifest has it. */
export type Manifest = Record<string, unknown>;

export interface Daemon {
  readonly node: TestNode;
  readonly cri: RuntimeConnection;
  /** The process that runs now, or ran last. */
  readonly keelson: Keelson;
  /** Starts it again, after kill9() or stop(), with the flags of the first time unless others are given. */
  start(options?: Partial<KeelsonOptions>): Promise<void>;
  /** SIGKILL. */
  kill9(): Promise<void>;
  /** SIGTERM; the exit code. */
  stop(): Promise<number>;
  /** Puts a file into the folder of manifests at one stroke. Objects become YAML documents, texts stand as they are. */
  write(file: string, ...documents: (Manifest | string)[]): void;
  remove(file: string): void;
  /** Removes all files of the folder and waits until their pods are gone. For `test.afterEach.always`. */
  clear(): Promise<void>;
  /** Where `file` of the folder is. */
  path(file: string): string;
  status(): Promise<StandaloneReport>;
  /** Resolves with the first status that satisfies the condition. */
  waitFor(
    what: string,
    condition: (status: StandaloneReport) => boolean,
    timeoutMs?: number,
  ): Promise<StandaloneReport>;
  /** The same for the pod that a manifest names `name`. */
  waitForPod(
    name: string,
    what: string,
    condition: (pod: PodReport) => boolean,
    timeoutMs?: number,
  ): Promise<PodReport>;
  /** Until each is Running with all its containers. */
  waitForReady(...names: string[]): Promise<PodReport[]>;
  /** Until no pod runs or ends. */
  waitForNoPods(): Promise<void>;
  /** The pod in a status. */
  find(status: StandaloneReport, name: string): PodReport | undefined;
  /** The name that the daemon gives it: `<name>-<node>`. */
  fullName(name: string): string;
  /** Runs a shell command in a running container of the pod: the named one, or its only one. */
  exec(pod: PodReport, command: string, container?: string): Promise<ExecResult>;
  /** Its standard output without the last line feed. Throws when it fails. */
  output(pod: PodReport, command: string, container?: string): Promise<string>;
  /** The folder of a pod's logs. */
  logDir(pod: PodReport): string;
  /** Text of the log of a container's instance. */
  log(pod: PodReport, container: string, attempt?: number): string;
  /** Takes a census once a pod has come and gone, which warms up what then stays. */
  warmCensus(): Promise<Census>;
  /** Lines of what differs from `before`; gives the last things ten seconds to go. */
  difference(before: Census): Promise<string[]>;
  /** Ends everything and removes every trace of the node. */
  end(): Promise<void>;
}

export interface DaemonOptions extends TestNodeOptions {
  /** Flags of the daemon; a function is given the node. */
  keelson?: Partial<KeelsonOptions> | ((node: TestNode) => Partial<KeelsonOptions>);
}

/** Stands up a node and starts the daemon; resolves when it answers. */
export async function startDaemon(options: DaemonOptions = {}): Promise<Daemon> {
  const node = await createTestNode(options);
  try {
    return await daemonOn(node, options);
  } catch (error) {
    await node.stop();
    throw error;
  }
}

/** The same on a node that stands already; ending the daemon then ends the node, too. */
export async function daemonOn(node: TestNode, options: Pick<DaemonOptions, 'keelson'> = {}): Promise<Daemon> {
  const { dirs, run } = node;
  const flags = typeof options.keelson === 'function' ? options.keelson(node) : (options.keelson ?? {});
  const staging = join(run.path, 'staging');
  mkdirSync(staging, { recursive: true });
  mkdirSync(dirs.manifests, { recursive: true });
  const suffix = `-node-${run.id}`;
  const cri = await connectRuntime(node.containerd.endpoint);
  let keelson = await node.startKeelson(flags);

  const path = (file: string): string => join(dirs.manifests, file);
  const status = async (): Promise<StandaloneReport> => (await queryControl(dirs.run)) as StandaloneReport;
  const find = (report: StandaloneReport, name: string): PodReport | undefined =>
    report.pods.find((pod) => pod.name === `${name}${suffix}`);
  const tail = (): string => keelson.logs().split('\n').slice(-12).join('\n');

  async function waitFor<T>(
    what: string,
    look: (report: StandaloneReport) => T,
    timeoutMs = 60_000,
  ): Promise<NonNullable<T>> {
    let last = '';
    const result = await eventually(
      () => `${what}\nlast status: ${last}\nlog:\n${tail()}`,
      async () => {
        if (keelson.exit() !== undefined)
          throw new Error(`keelson ended (${keelson.exit()}) before: ${what}\n${tail()}`);
        const report = await status().catch((error: unknown) => {
          last = String(error);
          return undefined;
        });
        // While it starts it answers, but knows no pods yet.
        if (report?.pods === undefined) return undefined;
        last = describe(report);
        const found = look(report);
        return found === undefined || found === null || found === false ? undefined : { found };
      },
      timeoutMs,
    );
    return result.found as NonNullable<T>;
  }

  const containerId = (pod: PodReport, container?: string): string => {
    const statuses = (pod.status.containerStatuses ?? []).filter(({ name }) => (container ?? name) === name);
    const id = statuses[0]?.containerID?.split('//')[1];
    if (statuses.length !== 1 || id === undefined) throw new Error(`${pod.name}: no container ${container ?? ''}`);
    return id;
  };
  const execIn = async (pod: PodReport, command: string, container?: string): Promise<ExecResult> => {
    const id = containerId(pod, container);
    const result = await cri.runtime.execSync({ containerId: id, cmd: ['sh', '-c', command], timeout: 30 });
    const text = new TextDecoder();
    return { code: result.exitCode, stdout: text.decode(result.stdout), stderr: text.decode(result.stderr) };
  };
  const logDir = (pod: PodReport): string => join(dirs.podLogs, `${pod.namespace}_${pod.name}_${pod.uid}`);
  const write = (file: string, ...documents: (Manifest | string)[]): void => {
    const staged = join(staging, 'next');
    const texts = documents.map((document) => (typeof document === 'string' ? document : stringify(document)));
    writeFileSync(staged, texts.join('---\n'));
    renameSync(staged, path(file));
  };
  const removeFile = (file: string): void => rmSync(path(file), { force: true });
  const waitForReady = (...names: string[]): Promise<PodReport[]> =>
    waitFor(`ready: ${names.join(' ')}`, (report) => {
      const pods = names.map((name) => find(report, name)).filter((pod) => pod !== undefined && isReady(pod));
      return pods.length === names.length ? (pods as PodReport[]) : undefined;
    });
  const waitForNoPods = async (): Promise<void> => {
    await waitFor('no pods', ({ pods, ending }) => pods.length === 0 && ending.length === 0);
  };

  const clear = async (): Promise<void> => {
    for (const file of readdirSync(dirs.manifests)) rmSync(path(file), { recursive: true, force: true });
    if (keelson.exit() === undefined) await waitForNoPods();
  };

  await waitFor('the daemon answers', () => true);
  return {
    node,
    cri,
    get keelson() {
      return keelson;
    },
    async start(more = flags) {
      keelson = await node.startKeelson(more);
      await waitFor('the daemon answers', () => true);
    },
    kill9: () => keelson.kill9(),
    stop: () => keelson.stop(),
    write,
    remove: removeFile,
    clear,
    path,
    status,
    waitFor: (what, condition, timeoutMs) =>
      waitFor(what, (report) => (condition(report) ? report : undefined), timeoutMs),
    waitForPod: (name, what, condition, timeoutMs) =>
      waitFor(
        `pod ${name}: ${what}`,
        (report) => {
          const pod = find(report, name);
          return pod !== undefined && condition(pod) ? pod : undefined;
        },
        timeoutMs,
      ),
    waitForReady,
    waitForNoPods,
    find,
    fullName: (name) => `${name}${suffix}`,
    exec: execIn,
    async output(pod, command, container) {
      const result = await execIn(pod, command, container);
      if (result.code !== 0) throw new Error(`${pod.name}: ${command}: exit ${result.code}: ${result.stderr}`);
      return result.stdout.replace(/\n$/, '');
    },
    logDir,
    log: (pod, container, attempt = 0) => readFileSync(join(logDir(pod), container, `${attempt}.log`), 'utf8'),
    async warmCensus() {
      write('warm-up.yaml', podManifest('warm-up'));
      await waitForReady('warm-up');
      removeFile('warm-up.yaml');
      await waitForNoPods();
      return census(node);
    },
    difference: (before) => lastingDifference(before, node),
    async end() {
      cri.close();
      await node.stop();
    },
  };
}

/** A status in a few lines, for a failure. */
function describe({ pods, ending, manifestErrors }: StandaloneReport): string {
  const lines = pods.map(({ name, uid, summary, ready, restarts, error, status }) => {
    const states = (status.containerStatuses ?? []).map(({ state }) => JSON.stringify(state)).join(' ');
    return `${name} ${uid} ${summary} ready ${ready} restarts ${restarts} ${error ?? ''} ${states}`;
  });
  return [
    ...lines,
    `ending: ${ending.map(({ name }) => name).join(' ')}`,
    `${manifestErrors.length} manifest errors: ${JSON.stringify(manifestErrors.slice(0, 3))}`,
  ].join('\n');
}

export const isReady = (pod: PodReport): boolean =>
  pod.summary === 'Running' && pod.containers > 0 && pod.ready === pod.containers;

/** The reason that a pod's first container waits for. */
export const waitingReason = (pod: PodReport): string | undefined =>
  pod.status.containerStatuses?.[0]?.state.waiting?.reason;

/** Sleeps until SIGTERM, which it obeys at once. */
export const sleeper: readonly string[] = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done'];

/** A container of the test image, without pulls. */
export function container(name: string, command: readonly string[] = sleeper, more: Manifest = {}): Manifest {
  return { name, image: busyboxImage, imagePullPolicy: 'IfNotPresent', command, ...more };
}

/** A pod with one sleeping container `main`, unless `spec` has others. */
export function podManifest(name: string, spec: Manifest = {}, metadata: Manifest = {}): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...metadata },
    spec: { terminationGracePeriodSeconds: 2, containers: [container('main')], ...spec },
  };
}
