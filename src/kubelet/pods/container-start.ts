/**
 * Makes and starts one container: its host files (hosts, termination log, log directory and link), CreateContainer,
 * StartContainer. Layer: kubelet/pods (edge to CRI). Must be called in a start slot, with the image present and volumes mounted.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readdir, readFile, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container, EphemeralContainer, Pod } from '../../api/core.ts';
import { writeFileAtomic } from '../../base/atomic-file.ts';
import { hasErrorCode } from '../../base/errors.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { PresentImage } from '../images/ensure-image.ts';
import { containerConfig } from '../plan/container-config.ts';
import { ContainerConfigError } from '../plan/environment.ts';
import { hostsFile } from '../plan/hosts-file.ts';
import { usualIsolation } from '../plan/isolation.ts';
import { containerLogLinkName, containerLogPath, podLogDirectory } from '../plan/log-paths.ts';
import type { StartOperation } from '../plan/pod-operation.ts';
import type { PodVolumes } from '../plan/pod-volume.ts';
import { newestContainer, type PodRuntimeState, type SandboxRecord, sortNewestFirst } from '../plan/runtime-state.ts';
import { podAddresses } from '../status/pod-status.ts';
import { prepareSubPaths, readEnvFiles } from './container-volumes.ts';
import { readContainer } from './inspect-pod.ts';
import type { PodContext } from './pod-context.ts';
import { normal } from './pod-events.ts';
import { podSandboxConfig } from './sandbox-start.ts';

/** The waiting reason a failed start earns (pkg/kubelet/kuberuntime/kuberuntime_container.go). */
export class ContainerStartError extends KeelsonError {
  readonly reason: 'CreateContainerConfigError' | 'CreateContainerError' | 'RunContainerError' | 'PostStartHookError';
  constructor(reason: ContainerStartError['reason'], container: string, cause: unknown) {
    const object = `container ${container}`;
    // What is about the container already is not to name it twice.
    const own = cause instanceof KeelsonError && cause.object === object ? cause : undefined;
    const fix = own?.fix === undefined ? {} : { fix: own.fix };
    super('CONTAINER_START', own?.message ?? errorLine(cause), { object, ...fix, cause });
    this.reason = reason;
  }
}

export interface StartRequest {
  pod: Pod;
  container: Container;
  operation: StartOperation;
  sandbox: SandboxRecord;
  image: PresentImage;
  volumes: PodVolumes;
  /** Of image volumes, by name. */
  images: ReadonlyMap<string, cri.ImageSpecInput>;
}

/** @returns the pod's state with the new instance; it is recorded in the cache. @throws ContainerStartError, CriError */
export async function startContainer(request: StartRequest, context: PodContext): Promise<PodRuntimeState> {
  const { pod, container, sandbox } = request;
  const attempt = await attemptOf(request, context);
  const containerId = request.operation.existingId ?? (await createContainer(request, attempt, context));
  try {
    await context.runtime.startContainer({ containerId });
  } catch (error) {
    await remember(pod, containerId, sandbox, context);
    throw new ContainerStartError('RunContainerError', container.name, error);
  }
  context.recordEvent(pod, normal('Started', 'Container started', container.name));
  await linkLog(pod, container, attempt, containerId, context);
  return remember(pod, containerId, sandbox, context);
}

async function remember(
  pod: Pod,
  containerId: string,
  sandbox: SandboxRecord,
  context: PodContext,
): Promise<PodRuntimeState> {
  const record = await readContainer(context, containerId, sandbox.id);
  // The other containers as they are now: one may have ended since this start was planned.
  const state = context.cache.get(pod.metadata.uid);
  const ended = state.containers.find(({ id, phase }) => id === containerId && phase === 'exited');
  const others = state.containers.filter(({ id }) => id !== containerId);
  const newest = ended ?? record;
  const next = { ...state, containers: sortNewestFirst(newest ? [newest, ...others] : others) };
  context.cache.record(pod.metadata, next);
  return next;
}

/**
 * A runtime that lost its records must not make new logs over old ones: what they count is gone on with
 * (calcRestartCountByLogDir).
 */
async function attemptOf({ pod, container, operation }: StartRequest, context: PodContext): Promise<number> {
  if (operation.attempt > 0 || operation.existingId !== undefined) return operation.attempt;
  const logs = await namesIn(join(podLogDirectory(context.paths.podLogDir, pod.metadata), container.name));
  return logs.reduce((attempt, name) => {
    const [, digits] = /^(\d{1,9})\.log(?:\.|$)/.exec(name) ?? [];
    return digits === undefined ? attempt : Math.max(attempt, Number(digits) + 1);
  }, 0);
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return [];
    throw error;
  }
}

async function createContainer(request: StartRequest, attempt: number, context: PodContext): Promise<string> {
  const { pod, container, operation, sandbox, image, volumes, images } = request;
  const { node, paths } = context;
  let config: ReturnType<typeof containerConfig>;
  const isolation = (await context.isolate?.(pod)) ?? usualIsolation;
  try {
    const podDir = join(paths.rootDir, 'pods', pod.metadata.uid);
    const hostsFilePath = await writeHostsFile(pod, sandbox, podDir, context);
    const terminationMessageFile = await makeTerminationMessageFile(podDir, container.name);
    const logDir = join(podLogDirectory(paths.podLogDir, pod.metadata), container.name);
    await mkdir(logDir, { recursive: true, mode: 0o755 });
    const environment = {
      sources: context.sources,
      nodeName: node.nodeName,
      hostIP: node.hostIPs[0] ?? '',
      hostIPs: node.hostIPs,
      podIPs: podAddresses(pod, { sandboxes: [sandbox], containers: [] }, node.hostIPs),
      allocatable: node.allocatable,
      serviceVariables: context.serviceVariables?.(pod),
      envFile: await readEnvFiles(container, volumes, context.volumes),
    };
    const subPaths = await prepareSubPaths(pod, container, volumes, environment, context.volumes);
    config = containerConfig(pod, container, {
      attempt,
      backoffMs: operation.backoffMs,
      image,
      volumes,
      subPaths,
      images,
      hostsFilePath,
      terminationMessageFile,
      environment,
      node: node.resources,
      security: node.security,
      isolation,
      targetId: targetOf(request, context),
    });
  } catch (error) {
    if (error instanceof ContainerConfigError) {
      throw new ContainerStartError('CreateContainerConfigError', container.name, error);
    }
    throw error;
  }
  try {
    const { containerId } = await context.runtime.createContainer({
      podSandboxId: sandbox.id,
      config,
      sandboxConfig: (await podSandboxConfig(pod, sandbox.attempt, isolation, context)).config,
    });
    context.recordEvent(pod, normal('Created', 'Container created', container.name));
    return containerId;
  } catch (error) {
    throw new ContainerStartError('CreateContainerError', container.name, error);
  }
}

/** The id of the container whose processes an ephemeral one sees. */
function targetOf({ pod, container }: StartRequest, { cache }: PodContext): string | undefined {
  const { targetContainerName: target }: EphemeralContainer = container;
  if (target === undefined || target === '') return undefined;
  const record = newestContainer(cache.get(pod.metadata.uid), target);
  if (record) return record.id;
  throw new ContainerConfigError(`unable to find target container ${target}`, `container ${container.name}`);
}

async function writeHostsFile(pod: Pod, sandbox: SandboxRecord, podDir: string, context: PodContext): Promise<string> {
  const path = join(podDir, 'etc-hosts');
  const hostFile = pod.spec.hostNetwork ? await readFile('/etc/hosts', 'utf8') : '';
  const names = { nodeName: context.node.nodeName, clusterDomain: context.node.clusterDns.domain };
  const text = hostsFile(pod, sandbox.ips, names, hostFile);
  await mkdir(podDir, { recursive: true, mode: 0o750 });
  // A replaced file would leave containers that are bound to the old one behind.
  if ((await readFileIfPresent(path)) !== text) await writeFileAtomic(path, text, { mode: 0o644 });
  return path;
}

async function readFileIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** `<podDir>/containers/<name>/<8 hex>`, world-writable for whatever user the container runs as. */
async function makeTerminationMessageFile(podDir: string, containerName: string): Promise<string> {
  const dir = join(podDir, 'containers', containerName);
  await mkdir(dir, { recursive: true, mode: 0o750 });
  const path = join(dir, randomBytes(4).toString('hex'));
  const handle = await open(path, 'wx', 0o666);
  await handle.close();
  await chmod(path, 0o666);
  return path;
}

/** The flat link is a convenience for log collectors: its failure must not fail the pod. */
async function linkLog(
  pod: Pod,
  container: Container,
  attempt: number,
  id: string,
  context: PodContext,
): Promise<void> {
  const { podLogDir, containerLogLinkDir } = context.paths;
  const target = join(podLogDirectory(podLogDir, pod.metadata), containerLogPath(container.name, attempt));
  const link = join(containerLogLinkDir, containerLogLinkName(pod.metadata, container.name, id));
  try {
    await symlink(target, link).catch(async (error: unknown) => {
      if (!hasErrorCode(error, 'EEXIST')) throw error;
      await unlink(link);
      await symlink(target, link);
    });
  } catch (error) {
    context.log.warn({ link, error: errorLine(error) }, 'cannot link the container log');
  }
}
