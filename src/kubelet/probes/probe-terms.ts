/**
 * The numbers of a probe with their defaults, in the units that the schedule uses, whatever the manifest says.
 * Layer: kubelet/probes (pure). Must not know what a probe does. Defaults: pkg/apis/core/v1/defaults.go, where 0 is
 * "not set", too.
 */
import type { Container, Probe } from '../../api/core.ts';

export const probeKinds = ['startup', 'readiness', 'liveness'] as const;
export type ProbeKind = (typeof probeKinds)[number];

/** As events and metrics write them. */
export const probeTitles = {
  startup: 'Startup',
  readiness: 'Readiness',
  liveness: 'Liveness',
} as const satisfies Record<ProbeKind, string>;

export interface ProbeTerms {
  /** Milliseconds after the container's start before which the probe does not run. */
  initialDelayMs: number;
  /** Milliseconds, 1000 or more. */
  periodMs: number;
  /** Whole seconds, 1 or more: what ExecSync takes. */
  timeoutSeconds: number;
  /** Results in a row, 1 or more. */
  successThreshold: number;
  failureThreshold: number;
  /** Replaces the pod's grace when the probe ends the container. */
  graceSeconds: number | undefined;
}

const maxInt32 = 2 ** 31 - 1;

export function probeTerms(probe: Probe): ProbeTerms {
  return {
    initialDelayMs: whole(probe.initialDelaySeconds, 0) * 1000,
    periodMs: whole(probe.periodSeconds, 10) * 1000,
    timeoutSeconds: whole(probe.timeoutSeconds, 1),
    successThreshold: whole(probe.successThreshold, 1),
    failureThreshold: whole(probe.failureThreshold, 3),
    graceSeconds:
      probe.terminationGracePeriodSeconds === undefined ? undefined : whole(probe.terminationGracePeriodSeconds, 1),
  };
}

export function probeOf(container: Container, kind: ProbeKind): Probe | undefined {
  switch (kind) {
    case 'startup':
      return container.startupProbe;
    case 'readiness':
      return container.readinessProbe;
    case 'liveness':
      return container.livenessProbe;
  }
}

/** An integer of 1 to 2^31-1, or what stands in for none. */
function whole(value: number | undefined, fallback: number): number {
  if (value === undefined || !(value >= 1)) return fallback;
  return Math.min(Math.floor(value), maxInt32);
}
