/**
 * What one run of a probe came to. Layer: kubelet/probes (types only).
 */

export type ProbeOutcome =
  /** `warning`: good, but there is something to tell. */
  | { result: 'success' | 'warning' | 'failure'; output: string }
  /** The node could not ask: tried again at once, then thrown away. `state` is the kubelet's word for it in the event. */
  | { result: 'error'; state: 'unknown' | 'failure'; output: string };

export const probeError = (output: string, state: 'unknown' | 'failure' = 'unknown'): ProbeOutcome => ({
  result: 'error',
  state,
  output,
});

/** Bytes of a body or of a command's output that a message repeats (pkg/probe/http, pkg/probe/exec: maxReadLength). */
export const maxOutputBytes = 10 * 1024;
