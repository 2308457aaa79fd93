/**
 * Runs a probe once, by the one of its four actions that is set.
 * Layer: kubelet/probes (edge). Knows nothing of thresholds and events. Source: pkg/kubelet/prober/prober.go runProbe.
 */
import type { Container, Probe } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { type ProbeOutcome, probeError } from './probe-outcome.ts';
import { type ExecEdge, runExecProbe } from './run-exec.ts';
import { runGrpcProbe } from './run-grpc.ts';
import { runHttpProbe } from './run-http.ts';
import { runTcpProbe } from './run-tcp.ts';

export interface ProbeRequest {
  container: Container;
  containerId: string;
  /** The pod's address, the node's for hostNetwork pods. */
  host: string | undefined;
  /** 1 or more. */
  timeoutSeconds: number;
  clock: Clock;
  signal: AbortSignal;
}

/** Tries in all, for a probe that the node could not run (maxProbeRetries). */
const tries = 3;

export type RunProbe = (probe: Probe, request: ProbeRequest) => Promise<ProbeOutcome>;

/** Rejects with the signal's reason when aborted, and never otherwise. */
export const createRunProbe =
  (edge: ExecEdge): RunProbe =>
  async (probe, request) => {
    for (let tried = 1; ; tried++) {
      const outcome = await runOnce(probe, request, edge);
      if (outcome.result !== 'error' || tried === tries) return outcome;
    }
  };

async function runOnce(probe: Probe, request: ProbeRequest, edge: ExecEdge): Promise<ProbeOutcome> {
  try {
    request.signal.throwIfAborted();
    if (probe.exec) return await runExecProbe(probe.exec, request, edge);
    if (probe.httpGet) return await runHttpProbe(probe.httpGet, request);
    if (probe.tcpSocket) return await runTcpProbe(probe.tcpSocket, request);
    if (probe.grpc) return await runGrpcProbe(probe.grpc, request);
    return probeError('the probe has no action');
  } catch (error) {
    if (request.signal.aborted) throw request.signal.reason;
    return probeError(errorLine(error));
  }
}
