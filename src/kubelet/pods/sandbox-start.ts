/**
 * Makes a pod's sandbox: log directory, RunPodSandbox (which calls our CNI), then its address.
 * Layer: kubelet/pods (edge to CRI). Must be called in a start slot; records what it made even if a later step fails.
 */
import { mkdir, readFile } from 'node:fs/promises';
import type { Pod } from '../../api/core.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { formPodDns, parseResolvConf } from '../plan/dns-config.ts';
import { type PodIsolation, usualIsolation } from '../plan/isolation.ts';
import { podLogDirectory } from '../plan/log-paths.ts';
import type { PodRuntimeState, SandboxRecord } from '../plan/runtime-state.ts';
import { sandboxConfig } from '../plan/sandbox-config.ts';
import { readSandbox } from './inspect-pod.ts';
import type { PodContext } from './pod-context.ts';
import { warning } from './pod-events.ts';

export async function startSandbox(
  pod: Pod,
  attempt: number,
  context: PodContext,
): Promise<{ sandbox: SandboxRecord; state: PodRuntimeState }> {
  await mkdir(podLogDirectory(context.paths.podLogDir, pod.metadata), { recursive: true, mode: 0o755 });
  const isolation = (await context.isolate?.(pod)) ?? usualIsolation;
  const { config, warnings } = await podSandboxConfig(pod, attempt, isolation, context);
  for (const { reason, message } of warnings) context.recordEvent(pod, warning(reason, message));
  const { runtimeHandler } = isolation;
  const { podSandboxId } = await context.runtime.runPodSandbox({ config, runtimeHandler });
  const sandbox = await readSandbox(context.runtime, podSandboxId);
  if (!sandbox) throw new Error(`sandbox ${podSandboxId} vanished right after it was made`);
  const state = context.cache.get(pod.metadata.uid);
  // The event about it may have brought it in already.
  const others = state.sandboxes.filter(({ id }) => id !== podSandboxId);
  const next = { ...state, sandboxes: [sandbox, ...others] };
  context.cache.record(pod.metadata, next);
  return { sandbox, state: next };
}

/** The same config is handed to CreateContainer: the pod's cgroup is there before either. @throws CgroupError */
export async function podSandboxConfig(pod: Pod, attempt: number, isolation: PodIsolation, context: PodContext) {
  const { resolvConf } = context.node;
  const host = resolvConf === '' ? undefined : parseResolvConf(await readResolvConf(resolvConf));
  const { config: dns, warnings } = formPodDns(pod, host, context.node.clusterDns);
  const config = sandboxConfig(pod, attempt, {
    nodeName: context.node.nodeName,
    clusterDomain: context.node.clusterDns.domain,
    podLogDir: context.paths.podLogDir,
    dns,
    isolation,
    cgroupParent: await context.cgroups?.ensure(pod),
    node: context.node.resources,
  });
  return { config, warnings };
}

async function readResolvConf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return '';
    throw error;
  }
}
