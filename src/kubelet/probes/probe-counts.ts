/**
 * How often probes ran and what they said, for /metrics/probes. Layer: kubelet/probes (types only).
 * Source: pkg/kubelet/prober/prober_manager.go ProberResults.
 */

/** One series of `prober_probe_total`; there is none for a result that never came. */
export interface ProbeCount {
  labels: {
    probe_type: 'Startup' | 'Readiness' | 'Liveness';
    result: 'successful' | 'failed';
    container: string;
    pod: string;
    namespace: string;
    pod_uid: string;
  };
  value: number;
}
