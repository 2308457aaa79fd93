/**
 * The native addon with types: finds the file, loads it once, and checks that it is the one this code was written for.
 * Layer: kernel. The only file that loads native code; what the functions promise is written in native/src.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { KeelsonError } from '../observe/keelson-error.ts';

export class AddonError extends KeelsonError {
  constructor(code: 'ADDON_MISSING' | 'ADDON_UNUSABLE', message: string, cause?: unknown) {
    super(code, message, { object: 'native addon', fix: 'run `make -C native` in the Keelson directory', cause });
  }
}

/** Rejections and exceptions of the addon carry a positive `errno` and `syscall`; kernel-errors.ts turns them into KernelError. */
export interface NativeNetlinkSocket {
  /**
   * Sends the batch in one sendmsg and resolves with the answers: whole messages, in order. Must not be written to until
   * then. Ends when every message with NLM_F_ACK has its answer, for a dump at NLMSG_DONE. Calls queue up per socket.
   * @param timeoutMs how long answers may take once the kernel has accepted the batch
   */
  transact(batch: Buffer, dump: boolean, timeoutMs: number): Promise<Buffer[]>;
  /** Joins multicast groups by number; from then on the socket only listens. `overrun`: something was lost before `bytes`. */
  subscribe(groups: number[], listener: (bytes: Buffer, overrun: boolean) => void): Promise<void>;
  /** Idempotent; calls under way reject with ECANCELED. */
  close(): void;
}

export interface NativeAddon {
  openNetlink(
    protocol: number,
    netnsPath: string | undefined,
    receiveBufferBytes: number,
  ): Promise<NativeNetlinkSocket>;
  mount(
    source: string | undefined,
    target: string,
    type: string | undefined,
    flags: number,
    data: string | undefined,
  ): Promise<void>;
  umount(target: string, flags: number): Promise<void>;
  /** Copies a mount; `attributes` are MOUNT_ATTR_* that it has from its first moment on. */
  bindMount(source: string, target: string, recursive: boolean, attributes: number): Promise<void>;
  writeInNetns(netnsPath: string, file: string, value: string): Promise<void>;
  sdNotify(socketPath: string, state: string): void;
}

const functionNames = ['openNetlink', 'mount', 'umount', 'bindMount', 'writeInNetns', 'sdNotify'] as const;

let loaded: NativeAddon | undefined;

/** src/kernel and dist/kernel are equally deep, so one relative path serves both. */
export const addonPath = fileURLToPath(new URL('../../native/build/keelson.node', import.meta.url));

/** @throws AddonError */
export function loadAddon(path = addonPath): NativeAddon {
  if (loaded !== undefined && path === addonPath) return loaded;
  if (!existsSync(path)) throw new AddonError('ADDON_MISSING', `${path} does not exist`);
  let candidate: unknown;
  try {
    candidate = createRequire(import.meta.url)(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new AddonError('ADDON_UNUSABLE', `cannot be loaded: ${reason}`, cause);
  }
  if (!isAddon(candidate)) throw new AddonError('ADDON_UNUSABLE', `${path} was built from another version`);
  if (path === addonPath) loaded = candidate;
  return candidate;
}

function isAddon(candidate: unknown): candidate is NativeAddon {
  if (typeof candidate !== 'object' || candidate === null) return false;
  const functions: Partial<Record<string, unknown>> = { ...candidate };
  return functionNames.every((name) => typeof functions[name] === 'function');
}
