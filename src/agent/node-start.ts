/**
 * What a daemon does first, whatever it runs: reads the machine, refuses what would break pods, connects to the runtime.
 * Layer: agent (edges). Starts no role.
 */
import { readFile } from 'node:fs/promises';
import type { RunOptions } from '../config/flags.ts';
import type { RuntimeConnection } from '../cri/connect.ts';
import { connectionKeeper } from '../kernel/hold-connection.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import { KeelsonError } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { holderPath, packageJsonPath } from './install-paths.ts';
import { type MachineFacts, readMachineFacts, swapDevices } from './node-facts.ts';

export async function readVersion(): Promise<string> {
  const parsed: unknown = JSON.parse(await readFile(packageJsonPath, 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : 'unknown';
}

/** @throws KeelsonError SWAP_ON */
export async function refuseSwap(options: RunOptions): Promise<void> {
  if (!options.kubelet.failSwapOn) return;
  const swap = await swapDevices();
  if (swap.length === 0) return;
  throw new KeelsonError('SWAP_ON', `swap is on (${swap.join(', ')})`, {
    object: 'node',
    fix: 'run swapoff -a, or set failSwapOn: false in the configuration file',
  });
}

export async function readMachine(options: RunOptions, current: readonly string[] = []): Promise<MachineFacts> {
  const rtnetlink = await kernelRtnetlink.open();
  try {
    return await readMachineFacts(rtnetlink, {
      hostname: options.hostnameOverride,
      nodeIPs: options.nodeIPs,
      preferredFamily: options.preferredNodeIPFamily,
      current,
    });
  } finally {
    rtnetlink.close();
  }
}

/** Both services of the runtime. */
export interface Runtime extends RuntimeConnection {
  close(): void;
}

/** Waits for a runtime that does not answer yet. @throws CriError CRI_ENDPOINT for one that cannot, the signal's reason */
export async function connectServices(options: RunOptions, log: Logger, signal: AbortSignal): Promise<Runtime> {
  // gRPC's megabytes are for roles that need a runtime.
  const { connectRuntime } = await import('../cri/connect.ts');
  const connection = await connectRuntime(options.containerRuntimeEndpoint, {
    signal,
    requestTimeoutMs: options.kubelet.runtimeRequestTimeoutMs,
    keeper: connectionKeeper(holderPath, log),
  });
  try {
    const images = await connectImages(options, connection, signal);
    log.info(
      { runtime: connection.version.runtimeName, version: connection.version.runtimeVersion },
      'connected to the container runtime',
    );
    return {
      ...connection,
      image: images.image,
      close() {
        images.close();
        connection.close();
      },
    };
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** The image service is the runtime's own unless the configuration names another endpoint. */
async function connectImages(
  options: RunOptions,
  runtime: RuntimeConnection,
  signal: AbortSignal,
): Promise<Pick<RuntimeConnection, 'image' | 'close'>> {
  const { imageServiceEndpoint, runtimeRequestTimeoutMs } = options.kubelet;
  if (imageServiceEndpoint === options.containerRuntimeEndpoint)
    return { image: runtime.image, close: () => undefined };
  const { connectRuntime } = await import('../cri/connect.ts');
  return connectRuntime(imageServiceEndpoint, { signal, requestTimeoutMs: runtimeRequestTimeoutMs });
}

/** Resolves when the signal is aborted. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
