/**
 * Makes a pod's sandbox: log directory, RunPodSandbox (which calls our CNI), then its address.
 * Layer: kubelet/pods (edge to CRI). Must be called in a start slot; records what it made even if a later step fails.
 */
import { mkdir, readFile } from 'node:fs/promises';
import type { Pod } from '../../api/core.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { parseResolvConf, podDns } from '../plan/dns-config.ts';
import { podLogDirectory } from '../plan/log-paths.ts';
import type { PodRuntimeState, SandboxRecord } from '../plan/runtime-state.ts';
import { sandboxConfig } from '../plan/sandbox-config.ts';
import { readSandbox } from './inspect-pod.ts';
import type { PodContext } from './pod-context.ts';

export async function startSandbox(
  pod: Pod,
  attempt: number,
  context: PodContext,
): Promise<{ sandbox: SandboxRecord; state: PodRuntimeState }> {
  await mkdir(podLogDirectory(context.paths.podLogDir, pod.metadata), { recursive: true, mode: 0o755 });
  const config = await podSandboxConfig(pod, attempt, context);
  const { podSandboxId } = await context.runtime.runPodSandbox({ config });
  const sandbox = await readSandbox(context.runtime, podSandboxId);
  if (!sandbox) throw new Error(`sandbox ${podSandboxId} vanished right after it was made`);
  const state = context.cache.get(pod.metadata.uid);
  // The event about it may have brought it in already.
  const others = state.sandboxes.filter(({ id }) => id !== podSandboxId);
  const next = { ...state, sandboxes: [sandbox, ...others] };
  context.cache.record(pod.metadata, next);
  return { sandbox, state: next };
}

/** The same config is handed to CreateContainer. */
export async function podSandboxConfig(pod: Pod, attempt: number, context: PodContext) {
  const { resolvConf } = context.node;
  const host = resolvConf === '' ? undefined : parseResolvConf(await readResolvConf(resolvConf));
  return sandboxConfig(pod, attempt, {
    nodeName: context.node.nodeName,
    podLogDir: context.paths.podLogDir,
    dns: podDns(pod, host, context.node.clusterDns),
  });
}

async function readResolvConf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return '';
    throw error;
  }
}
