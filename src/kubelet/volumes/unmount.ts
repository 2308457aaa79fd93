/**
 * Takes a mount away however its users or its server behave: asks, asks again, forces, and in the end detaches it, which is
 * told to somebody. Layer: kubelet/volumes (edge: mounts, processes). Must not delete anything.
 * Source: staging/src/k8s.io/mount-utils (CleanupMountWithForce), pkg/volume/nfs (unMountTimeout).
 */
import { type Clock, sleep } from '../../base/clock.ts';
import type { Mounts } from '../../linux/host.ts';
import { isBusy } from '../../linux/kernel-error.ts';
import type { RunHostCommand } from './host-command.ts';

/** A mount that could only be detached: it lives on until its last user is gone. */
export interface LastResort {
  readonly target: string;
  /** `busy`: something still uses it. `unanswered`: the server does not answer. */
  readonly cause: 'busy' | 'unanswered';
}

/** For the pod's owner. */
export const lastResortMessage = (target: string, cause: LastResort['cause']): string =>
  cause === 'busy'
    ? `${target} was still in use and could only be detached: it ends with its last user`
    : `the server of ${target} does not answer, so it was detached: what was not written yet is lost`;

export interface UnmountDependencies {
  readonly mounts: Pick<Mounts, 'unmount' | 'list'>;
  readonly run: RunHostCommand;
  readonly clock: Clock;
  /** To be logged or told in an event. */
  readonly onLastResort: (what: LastResort) => void;
}

/** Milliseconds between two attempts at a mount that is busy: whoever uses it may be about to end. */
const busyPausesMs = [100, 400, 1_500];
const umountTimeoutMs = 60_000;
const forceTimeoutMs = 10_000;
const answerTimeoutMs = 5_000;

/** Local file systems: a call that cannot hang for long. Throws KernelError for anything but a busy mount. */
export async function unmountLocal(
  target: string,
  { mounts, clock, onLastResort }: Omit<UnmountDependencies, 'run'>,
  signal: AbortSignal,
): Promise<void> {
  for (const pauseMs of [...busyPausesMs, undefined]) {
    try {
      await mounts.unmount(target);
      return;
    } catch (error) {
      if (!isBusy(error)) throw error;
      if (pauseMs !== undefined) await sleep(pauseMs, signal, clock);
    }
  }
  await mounts.unmount(target, { lazy: true });
  onLastResort({ target, cause: 'busy' });
}

/**
 * Network file systems: umount(8) as a child within a minute, since the kernel first writes what it holds back to a server
 * that may be gone; then with force, which fails what waits for the server; then detached.
 * Throws KernelError when even that is refused.
 */
export async function unmountNetwork(
  target: string,
  { mounts, run, clock, onLastResort }: UnmountDependencies,
  signal: AbortSignal,
): Promise<void> {
  const isMounted = async (): Promise<boolean> => (await mounts.list()).some((mount) => mount.target === target);
  // The path is canonical; looking at it again would ask the server.
  const umount = (timeoutMs: number, ...options: string[]) =>
    run('umount', ['--no-canonicalize', ...options, '--', target], { timeoutMs, signal });
  let cause: LastResort['cause'] = 'busy';
  for (const pauseMs of [...busyPausesMs, undefined]) {
    const answer = await umount(umountTimeoutMs);
    if (!(await isMounted())) return;
    if (answer.outcome === 'killed') {
      cause = 'unanswered';
      break;
    }
    if (pauseMs !== undefined) await sleep(pauseMs, signal, clock);
  }
  // What keeps it busy may be somebody who waits for the server: a question how full it is.
  if (cause === 'busy' && !(await answers(target, run, signal))) cause = 'unanswered';
  // Not where it is only busy: pods with the same export share the connection that this breaks.
  if (cause === 'unanswered') await umount(forceTimeoutMs, '--force');
  if (await isMounted()) await mounts.unmount(target, { lazy: true });
  onLastResort({ target, cause });
}

async function answers(target: string, run: RunHostCommand, signal: AbortSignal): Promise<boolean> {
  const limits = { timeoutMs: answerTimeoutMs, endsAlone: true, signal };
  const { outcome } = await run('stat', ['--file-system', '--format', '%i', '--', target], limits);
  return outcome !== 'killed';
}
