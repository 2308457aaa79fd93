/**
 * The exec probe: exit code 0 is success, running out of time a failure.
 * Layer: kubelet/probes (edge to CRI). Source: pkg/probe/exec/exec.go, pkg/kubelet/prober/prober.go.
 */
import type { Container, ExecAction } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import type { Semaphore } from '../../base/semaphore.ts';
import { CriError } from '../../cri/cri-error.ts';
import type { ExecSyncResponse } from '../../cri/messages.generated.ts';
import type { RuntimeService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { expandReferences } from '../plan/expansion.ts';
import { maxOutputBytes, type ProbeOutcome, probeError } from './probe-outcome.ts';
import type { ProbeRequest } from './run-probe.ts';

/**
 * How long a command keeps its place. Starting a process in a container costs CPU, waiting for it does not: one that hangs
 * until its timeout must not keep other probes from starting.
 */
export const placePatienceMs = 250;

export interface ExecEdge {
  runtime: Pick<RuntimeService, 'execSync'>;
  places: Semaphore;
}

/** Rejects with the signal's reason when aborted. */
export async function runExecProbe(action: ExecAction, request: ProbeRequest, edge: ExecEdge): Promise<ProbeOutcome> {
  const { container, containerId, clock, signal, timeoutSeconds } = request;
  try {
    const cmd = staticCommand(action.command, container);
    const call = { containerId, cmd, timeout: timeoutSeconds };
    const response = await inPlace(edge.places, clock, signal, () => edge.runtime.execSync(call, { signal }));
    return { result: response.exitCode === 0 ? 'success' : 'failure', output: outputOf(response) };
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof CriError && error.isDeadline()) {
      const command = JSON.stringify(action.command.join(' '));
      return { result: 'failure', output: `command timed out: ${command} timed out after ${timeoutSeconds}s` };
    }
    return probeError(errorLine(error));
  }
}

/** References to the container's own env are expanded, but only to values that the manifest itself gives. */
function staticCommand(command: readonly string[], { env = [] }: Container): string[] {
  const values = new Map(env.map(({ name, value }) => [name, value ?? '']));
  return command.map((word) => expandReferences(word, values, 'the command of a probe'));
}

/** Standard output, then standard error, 10 KiB of both. */
export function outputOf(
  { stdout, stderr }: Pick<ExecSyncResponse, 'stdout' | 'stderr'>,
  limit = maxOutputBytes,
): string {
  const first = Buffer.from(stdout).subarray(0, limit);
  const second = Buffer.from(stderr).subarray(0, limit - first.length);
  return Buffer.concat([first, second]).toString('utf8');
}

/** Begins `work` when there is a place, and gives the place back when it ended or has had it for long enough. */
function inPlace<T>(places: Semaphore, clock: Clock, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const hold = (): Promise<void> =>
      new Promise((giveBack) => {
        const cancel = clock.after(placePatienceMs, giveBack);
        const finish = (): void => {
          cancel();
          giveBack();
        };
        const working = work();
        resolve(working);
        working.then(finish, finish);
      });
    places.run(hold, { signal }).catch(reject);
  });
}
