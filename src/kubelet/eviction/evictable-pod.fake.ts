/**
 * Pods and figures for the tests of eviction. Layer: kubelet/eviction (test support).
 * Must not be imported by production code.
 */
import type { Container, Pod, PodSpec } from '../../api/core.ts';
import { configSourceAnnotation } from '../plan/pod-origin.ts';
import type { ContainerStats, FsStats, PodStats } from '../stats/summary-types.ts';

const time = '2026-01-01T00:00:00Z';

export const container = (name: string, requests: Record<string, string> = {}, limits: Record<string, string> = {}) =>
  ({ name, image: 'busybox', resources: { requests, limits } }) satisfies Container;

/** A pod of the API server; `source: 'file'` makes it a manifest's. */
export const apiPod = (name: string, spec: Partial<PodSpec> = {}, source = 'api'): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'team', uid: `uid-${name}`, annotations: { [configSourceAnnotation]: source } },
  spec: { containers: [container('main')], ...spec },
});

export const fs = (usedBytes: number, inodesUsed = 0): FsStats => ({ time, usedBytes, inodesUsed });

export const containerStats = (name: string, change: Partial<ContainerStats> = {}): ContainerStats => ({
  name,
  startTime: time,
  ...change,
});

export const podStats = (name: string, change: Partial<PodStats> = {}): PodStats => ({
  podRef: { name, namespace: 'team', uid: `uid-${name}` },
  startTime: time,
  containers: [containerStats('main')],
  ...change,
});

export const memory = (workingSetBytes: number) => ({ time, workingSetBytes });
