/**
 * The connection to the container runtime as a part that may come late: at boot containerd is often slower than we are, and
 * its socket may be missing for as long as an admin mends it.
 * Layer: agent/cluster. Whoever needs the runtime waits for it here; whoever does not is not held up.
 */
import { systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { socketPathOf } from '../../cri/endpoint.ts';
import type { Logger } from '../../observe/logger.ts';
import { connectServices, type Runtime } from '../node-start.ts';
import { type Role, RoleStart, type SayWaiting } from './role-start.ts';

export type RuntimeRole = Runtime & Role;

/** A try is one look at a path until there is a socket. */
const backoff = { initialMs: 250, maxMs: 2_000 };

/** @throws CriError CRI_ENDPOINT for an endpoint that no runtime can ever have */
export function startRuntime(options: RunOptions<ClusterMode>, log: Logger): RoleStart<RuntimeRole> {
  for (const endpoint of [options.containerRuntimeEndpoint, options.kubelet.imageServiceEndpoint])
    socketPathOf(endpoint);
  return new RoleStart<RuntimeRole>({
    name: 'container runtime',
    backoff,
    clock: systemClock,
    log,
    async start(starting) {
      const runtime = await connectServices(options, log, starting);
      return { ...runtime, stop: async () => runtime.close() };
    },
  });
}

/** For the start of a role that needs it. Rejects with the signal's reason. */
export function runtimeOf(runtime: RoleStart<RuntimeRole>, signal: AbortSignal, say: SayWaiting): Promise<RuntimeRole> {
  say(() => `waits for the container runtime${runtime.error === undefined ? '' : `: ${runtime.error}`}`);
  return runtime.started(signal).finally(() => say(undefined));
}
