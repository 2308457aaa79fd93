/**
 * Ends containers, all at once or sidecars last: event, preStop hook, StopContainer, within one grace period each.
 * Rule: pkg/kubelet/kuberuntime/kuberuntime_container.go (killContainer, killContainersWithSyncResult).
 * Layer: kubelet/pods (edge to CRI). Must not decide what ends. Safe to repeat: hooks that were begun are not run again.
 */
import type { Container, LifecycleHandler, Pod } from '../../api/core.ts';
import { sleep } from '../../base/clock.ts';
import { CriError } from '../../cri/cri-error.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { ContainerRecord } from '../plan/runtime-state.ts';
import { terminationOrder } from '../plan/termination-order.ts';
import type { PodContext } from './pod-context.ts';
import { normal, warning } from './pod-events.ts';

/** What the runtime gets at least, so that a process can still say goodbye. */
const minimumGraceSeconds = 2;
/** 68 years: a validated grace may be more than a gRPC deadline and the runtime's nanoseconds can hold. */
const maximumGraceSeconds = 2 ** 31 - 1;
const defaultGraceSeconds = 30;

/** Whole seconds for StopContainer; what is no number counts as the default 30. */
export const stopTimeout = (graceSeconds: number): number => Math.max(wholeSeconds(graceSeconds), minimumGraceSeconds);

function wholeSeconds(graceSeconds: number): number {
  if (!Number.isFinite(graceSeconds)) return defaultGraceSeconds;
  return Math.min(Math.max(Math.ceil(graceSeconds), 0), maximumGraceSeconds);
}

export interface ContainerStop {
  record: ContainerRecord;
  container: Container | undefined;
  graceSeconds: number;
  /** Of the event Killing; default: `Stopping container <name>`. */
  message?: string | undefined;
}

export interface StopRequest {
  /** For an orphan, made of what its containers say (plan/orphan-container.ts). */
  pod: Pod;
  stops: readonly ContainerStop[];
  /** The whole pod ends: sidecars wait for the containers that they serve. */
  ordered: boolean;
  /** Where hooks connect to. */
  podIP: string | undefined;
  /** See PodMemory.preStopped. */
  preStopped: Set<string>;
  /** An orphan's events would be about an object that is gone. */
  quiet?: boolean;
  signal?: AbortSignal | undefined;
}

/** Tries each; @throws CriError, an AggregateError of several, or the signal's reason */
export async function stopContainers(request: StopRequest, context: PodContext): Promise<void> {
  const turns = takeTurns(request);
  const results = await Promise.allSettled(request.stops.map((stop) => stopContainer(stop, request, turns, context)));
  request.signal?.throwIfAborted();
  const failures = results.filter((result) => result.status === 'rejected').map((result) => result.reason as unknown);
  if (failures.length > 0) {
    throw failures.length === 1 ? failures[0] : new AggregateError(failures, 'stopping containers');
  }
}

interface Turns {
  /** Resolves when those have ended that are to end before. */
  before(name: string): Promise<unknown>;
  ended(name: string): void;
}

function takeTurns({ pod, stops, ordered }: StopRequest): Turns | undefined {
  const order = terminationOrder(pod);
  if (!ordered || order.size === 0) return undefined;
  const ends = new Map(stops.map(({ record }) => [record.name, Promise.withResolvers<void>()]));
  return {
    before: (name) => Promise.all((order.get(name) ?? []).map((other) => ends.get(other)?.promise)),
    ended: (name) => ends.get(name)?.resolve(),
  };
}

async function stopContainer(
  stop: ContainerStop,
  request: StopRequest,
  turns: Turns | undefined,
  context: PodContext,
): Promise<void> {
  const { record, container } = stop;
  const { clock } = context;
  const { signal } = request;
  const message = stop.message ?? `Stopping container ${record.name}`;
  if (!request.quiet) context.recordEvent(request.pod, normal('Killing', message, record.name));
  const total = wholeSeconds(stop.graceSeconds);
  const startedMs = clock.now();
  // Only whole seconds are taken off, as the kubelet counts.
  const remaining = (): number => total - Math.floor((clock.now() - startedMs) / 1000);
  const preStop = container?.lifecycle?.preStop;
  if (container && preStop && remaining() > 0 && !request.preStopped.has(record.id)) {
    request.preStopped.add(record.id);
    await runPreStop(preStop, container, record.id, remaining(), request, context);
  }
  if (turns && remaining() > 0) await within(remaining(), turns.before(record.name), signal, context);
  const timeout = stopTimeout(remaining());
  try {
    await context.runtime.stopContainer({ containerId: record.id, timeout }, signal ? { signal } : {});
  } catch (error) {
    if (!(error instanceof CriError && error.isNotFound())) throw error;
  }
  turns?.ended(record.name);
}

/** A hook that fails or takes too long keeps nothing from ending. */
async function runPreStop(
  handler: LifecycleHandler,
  container: Container,
  containerId: string,
  graceSeconds: number,
  { pod, podIP, quiet, signal }: StopRequest,
  context: PodContext,
): Promise<void> {
  const scope = new AbortController();
  const both = signal ? AbortSignal.any([signal, scope.signal]) : scope.signal;
  const fields = { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, container: container.name };
  const hook = context.runHook(handler, { pod, container, containerId, podIP }, both).catch((error: unknown) => {
    if (both.aborted) return;
    context.log.warn({ ...fields, error: errorLine(error) }, 'preStop hook failed');
    // Without the reason, which may hold what the hook's target said.
    if (!quiet) context.recordEvent(pod, warning('FailedPreStopHook', 'PreStopHook failed', container.name));
  });
  const finished = await within(graceSeconds, hook, signal, context);
  scope.abort(new Error('the grace period is over'));
  if (!finished) context.log.warn({ ...fields, graceSeconds }, 'preStop hook did not end within the grace period');
}

/** @returns whether `work` ended within the time. Rejects with the signal's reason. */
async function within(
  seconds: number,
  work: Promise<unknown>,
  signal: AbortSignal | undefined,
  { clock }: PodContext,
): Promise<boolean> {
  const scope = new AbortController();
  const timer = sleep(seconds * 1000, signal ? AbortSignal.any([signal, scope.signal]) : scope.signal, clock);
  try {
    return await Promise.race([work.then(() => true), timer.then(() => false)]);
  } finally {
    scope.abort();
    timer.catch(() => undefined);
  }
}
