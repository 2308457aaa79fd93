/**
 * When a finished container may start again. The delay is written on each instance as it is created, so the sequence
 * (at once, 10 s, 20 s, 40 s ... the ceiling) goes on across a restart of the daemon.
 * Rule: pkg/kubelet/kuberuntime doBackOff with client-go's Backoff (first retry at once; forgotten after 10 minutes).
 * Layer: kubelet/plan (pure).
 */
import { type BackoffLimits, nextDelay } from '../../base/backoff.ts';
import { restartBackoffAnnotation } from './annotations.ts';
import type { ContainerRecord } from './runtime-state.ts';

/** An instance that ran longer than this starts the sequence anew. */
export const healthyRunMs = 600_000;

export interface RestartDecision {
  /** Epoch milliseconds from which the next instance may be created. */
  notBeforeMs: number;
  /** What the next instance is to carry: its own delay after exit. */
  nextBackoffMs: number;
  /** The delay in force now, for the CrashLoopBackOff message. */
  currentBackoffMs: number;
}

/** @param previous newest finished instance, or undefined for a first start */
export function restartDecision(previous: ContainerRecord | undefined, limits: BackoffLimits): RestartDecision {
  if (!previous) return { notBeforeMs: 0, nextBackoffMs: 0, currentBackoffMs: 0 };
  const finishedAtMs = previous.finishedAtMs ?? previous.createdAtMs;
  const ranMs = finishedAtMs - (previous.startedAtMs ?? finishedAtMs);
  const currentBackoffMs = ranMs > healthyRunMs ? 0 : carriedBackoffMs(previous, limits);
  return {
    notBeforeMs: currentBackoffMs === 0 ? 0 : finishedAtMs + currentBackoffMs,
    // maxContainerRestartPeriod may be less than the first delay.
    nextBackoffMs: Math.min(nextDelay(currentBackoffMs, limits), limits.maxMs),
    currentBackoffMs,
  };
}

/** Milliseconds between the end of this instance and its successor; 0 for none. Any client of the runtime wrote it. */
export function carriedBackoffMs(record: ContainerRecord, limits: BackoffLimits): number {
  const carried = Number(record.annotations[restartBackoffAnnotation] ?? '0');
  return Number.isFinite(carried) && carried > 0 ? Math.min(carried, limits.maxMs) : 0;
}
