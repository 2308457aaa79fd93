/**
 * What one probe says of one running container, and how each run changes that: results stick until as many in a row as
 * the threshold say otherwise. Layer: kubelet/probes (pure, no clock). Rule: pkg/kubelet/prober/worker.go, doProbe.
 * Unlike there, a new container starts counting anew: what its predecessor failed with is not held against it.
 */
import type { ProbeKind, ProbeTerms } from './probe-terms.ts';

export type ProbeResult = 'success' | 'failure' | 'unknown';

export interface ProbeState {
  /** What counts now. */
  readonly result: ProbeResult;
  /** What the latest run said, and how many in a row said so. */
  readonly last: 'success' | 'failure' | undefined;
  readonly run: number;
  /** The probe has said its last word on this container. */
  readonly onHold: boolean;
}

const firstResults: Record<ProbeKind, ProbeResult> = { startup: 'unknown', readiness: 'failure', liveness: 'success' };

/** Of a container that has not been probed. */
export function initialState(kind: ProbeKind): ProbeState {
  return { result: firstResults[kind], last: undefined, run: 0, onHold: false };
}

/** Of a container that was known as started or ready before this daemon began. */
export function carriedState(kind: ProbeKind): ProbeState {
  return { result: 'success', last: undefined, run: 0, onHold: kind === 'startup' };
}

/** After a run that ended. One that ended in an error of the node's own changes nothing: do not call this for it. */
export function afterRun(
  kind: ProbeKind,
  terms: Pick<ProbeTerms, 'successThreshold' | 'failureThreshold'>,
  state: ProbeState,
  outcome: 'success' | 'failure',
): ProbeState {
  if (state.onHold) return state;
  const run = state.last === outcome ? state.run + 1 : 1;
  const threshold = outcome === 'success' ? terms.successThreshold : terms.failureThreshold;
  if (run < threshold) return { ...state, last: outcome, run };
  // An exec in a container that is being stopped can damage its state; and a startup probe has only one thing to say.
  const onHold = kind === 'startup' || (kind === 'liveness' && outcome === 'failure');
  return { result: outcome, last: outcome, run, onHold };
}
