/**
 * The series kubelet_podcertificate_states of /metrics: how many certificates of pods each signer has given, and how they are.
 * Layer: kubelet/volumes. Counted when somebody scrapes. Source: pkg/kubelet/metrics/collectors/podcertificate_metrics.go.
 */
import { Gauge, type Registry } from '../../../observe/metrics.ts';
import type { PodCertificates } from './pod-certificates.ts';

/** Once for a registry. */
export function registerCertificateMetrics(registry: Registry, certificates: Pick<PodCertificates, 'states'>): void {
  new Gauge({
    name: 'kubelet_podcertificate_states',
    help: 'Number of podCertificate sources of projected volumes, by signer and state.',
    labelNames: ['signer_name', 'state'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { signerName, state } of certificates.states()) this.inc({ signer_name: signerName, state });
    },
  });
}
