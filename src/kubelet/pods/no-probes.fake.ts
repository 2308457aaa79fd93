/**
 * Probes of a test that is about something else: whatever runs is started, ready and alive.
 * Layer: kubelet/pods (test support).
 */
import type { PodProbes, ProbeVerdict } from './pod-context.ts';

export const alive: ProbeVerdict = { started: true, ready: true };

export const noProbes: PodProbes = { follow: () => {}, verdict: () => alive, forget: () => {} };
