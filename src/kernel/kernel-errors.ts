/**
 * The one place where errno becomes KernelError, for failures of the addon and of Node's own file system calls.
 * Layer: kernel. Must not swallow: what is no failed system call passes through unchanged.
 */
import { KernelError } from '../linux/kernel-error.ts';

/** @param operation what was attempted, printable: `ip link add ...`, `mount tmpfs /x` */
export function toKernelError(error: unknown, operation: string): Error {
  if (error instanceof Error && 'errno' in error && typeof error.errno === 'number') {
    const syscall = 'syscall' in error && typeof error.syscall === 'string' ? error.syscall : 'unknown';
    // Node's own errors carry it negated.
    return new KernelError(Math.abs(error.errno), syscall, operation);
  }
  return error instanceof Error ? error : new Error(String(error));
}

/** Awaits the call and rethrows its failure as KernelError. */
export async function kernelCall<Result>(operation: string, call: () => Result | Promise<Result>): Promise<Result> {
  try {
    return await call();
  } catch (error) {
    throw toKernelError(error, operation);
  }
}
