/**
 * The stock kubelet's metrics of its two certificates, read from the rotations when somebody scrapes.
 * Layer: kubelet/certificates. Sources: pkg/kubelet/certificate/kubelet.go, buildKubeletClientConfig of
 * cmd/kubelet/app/server.go.
 */
import type { Clock } from '../../base/clock.ts';
import { Counter, Gauge, Histogram, type Registry } from '../../observe/metrics.ts';
import type { CertificateRotation } from './certificate-rotation.ts';

export type MeasuredRotation = Pick<CertificateRotation, 'status' | 'failures' | 'listen'>;

/** Seconds: a minute, an hour, 4 hours, a day, a week, 1, 3 and 6 months, 1 and 4 years. */
const rotationBuckets = [60, 3_600, 14_400, 86_400, 604_800, 2_592_000, 7_776_000, 15_552_000, 31_104_000, 124_416_000];

/** Of the node as a client of the API server; once, and only where this daemon sees to it. */
export function measureClientCertificate(registry: Registry, rotation: MeasuredRotation, clock: Clock): void {
  ttl(registry, 'kubelet_certificate_manager_client_ttl_seconds', 'client', rotation, clock);
  errors(registry, 'kubelet_certificate_manager_client_expiration_renew_errors', 'client', rotation);
}

/** Of the kubelet's API, where the cluster signs it; once. */
export function measureServingCertificate(registry: Registry, rotation: MeasuredRotation, clock: Clock): void {
  ttl(registry, 'kubelet_certificate_manager_server_ttl_seconds', 'serving', rotation, clock);
  errors(registry, 'kubelet_server_expiration_renew_errors', 'serving', rotation);
  const lives = new Histogram({
    name: 'kubelet_certificate_manager_server_rotation_seconds',
    help: 'How long the former serving certificates were in use, in seconds.',
    buckets: rotationBuckets,
    registers: [registry],
  });
  rotation.listen({ rotated: (livedMs) => lives.observe(livedMs / 1000) });
}

function ttl(registry: Registry, name: string, which: string, rotation: MeasuredRotation, clock: Clock): void {
  new Gauge({
    name,
    help: `Until the ${which} certificate expires, in seconds; negative when it has, +Inf when there is none.`,
    registers: [registry],
    collect() {
      const { notAfterMs } = rotation.status;
      this.set(notAfterMs === undefined ? Number.POSITIVE_INFINITY : Math.trunc((notAfterMs - clock.now()) / 1000));
    },
  });
}

function errors(registry: Registry, name: string, which: string, rotation: MeasuredRotation): void {
  new Counter({
    name,
    help: `Tries to get a ${which} certificate that failed.`,
    registers: [registry],
    collect() {
      this.reset();
      this.inc(rotation.failures);
    },
  });
}
