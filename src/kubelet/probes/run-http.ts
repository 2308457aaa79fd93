/**
 * The httpGet probe: 200 to 399 is success, a redirect that leaves the host a success with a warning.
 * Layer: kubelet/probes (edge). Source: pkg/probe/http/http.go DoHTTPProbe; the body of a failure is not shown, since
 * events are read by more people than the pod's answers.
 */
import type { HTTPGetAction } from '../../api/core.ts';
import { httpGet } from './http-get.ts';
import { httpTarget } from './http-target.ts';
import { type ProbeOutcome, probeError } from './probe-outcome.ts';
import type { ProbeRequest } from './run-probe.ts';

/** Rejects with the signal's reason when aborted. */
export async function runHttpProbe(action: HTTPGetAction, request: ProbeRequest): Promise<ProbeOutcome> {
  const { container, host, clock, signal, timeoutSeconds } = request;
  const target = httpTarget(action, container, host, 'probe');
  if (typeof target === 'string') return probeError(target);
  const answer = await httpGet(target, { clock, signal, timeoutMs: timeoutSeconds * 1000 });
  if (answer.kind === 'failed') return { result: 'failure', output: answer.message };
  const { status, body, bodyFault } = answer;
  if (bodyFault !== undefined) return probeError(bodyFault, 'failure');
  if (status < 200 || status >= 400) {
    return { result: 'failure', output: `HTTP probe failed with statuscode: ${status}` };
  }
  if (status < 300) return { result: 'success', output: body };
  return { result: 'warning', output: `Probe terminated redirects, Response body: ${body}` };
}
